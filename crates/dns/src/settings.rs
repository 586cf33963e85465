//! How to ask, and the resolvers of hickory that ask so.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::dnssec::TrustAnchors;

/// How to ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The servers to ask, over UDP and TCP; none: those of the system's configuration (`/etc/resolv.conf`).
    pub servers: Vec<SocketAddr>,
    /// How long one question may take before it is asked again.
    pub timeout: Duration,
    /// How often a question is repeated after a failure.
    pub repeats: usize,
    /// How long a failure is remembered; at most five minutes (RFC 2308 §7.1).
    pub failures_kept: Duration,
    /// Whether MX, addresses of hosts and TLSA are validated.
    pub dnssec: bool,
    /// A file of DNSKEY records to trust in place of the root's keys, which are built in.
    pub trust_anchor: Option<PathBuf>,
}

/// Why there is no resolver.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot set up the resolver: {0}")]
pub struct SetupError(String);

impl Default for Settings {
    fn default() -> Self {
        Self {
            servers: Vec::new(),
            timeout: Duration::from_secs(3),
            repeats: 1,
            failures_kept: Duration::from_secs(5),
            dnssec: false,
            trust_anchor: None,
        }
    }
}

/// Hickory's resolver; one that validates from these anchors down, if there are any.
pub(crate) fn resolver(
    settings: &Settings,
    anchors: Option<TrustAnchors>,
) -> Result<Arc<TokioResolver>, SetupError> {
    let mut builder = if settings.servers.is_empty() {
        TokioResolver::builder_tokio().map_err(|e| SetupError(e.to_string()))?
    } else {
        let servers = settings.servers.iter().copied().map(name_server).collect();
        let config = ResolverConfig::from_name_servers(servers);
        TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
    };
    adjust(builder.options_mut(), settings);
    if let Some(anchors) = anchors {
        builder = builder.with_trust_anchor(Arc::new(anchors));
    }
    let built = builder.build().map_err(|e| SetupError(e.to_string()))?;
    Ok(Arc::new(built))
}

pub(crate) fn anchors(settings: &Settings) -> Result<TrustAnchors, SetupError> {
    let Some(path) = &settings.trust_anchor else {
        return Ok(TrustAnchors::default());
    };
    TrustAnchors::from_file(path).map_err(|e| SetupError(format!("{}: {e}", path.display())))
}

fn name_server(address: SocketAddr) -> NameServerConfig {
    let mut udp = ConnectionConfig::udp();
    udp.port = address.port();
    let mut tcp = ConnectionConfig::tcp();
    tcp.port = address.port();
    NameServerConfig::new(address.ip(), true, vec![udp, tcp])
}

fn adjust(options: &mut ResolverOpts, settings: &Settings) {
    options.timeout = settings.timeout;
    options.attempts = settings.repeats;
    // What /etc/hosts says of a name is for programs on this machine, not for mail of the world.
    options.use_hosts_file = ResolveHosts::Never;
    options.max_active_requests = ACTIVE_REQUESTS_MAX;
    options.cache_size = 0;
}

/// Questions under way at once over one TCP connection to a server; hickory's 32 would answer "busy" under load.
const ACTIVE_REQUESTS_MAX: usize = 1024;
