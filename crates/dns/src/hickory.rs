//! The real DNS: a stub resolver on hickory, which caches answers by their TTL.
//!
//! UDP first, TCP when an answer is truncated. Names that RFC 6761 reserves (`localhost`, `invalid`, the reverse names of
//! loopback) are answered by hickory itself and reach no server. It does *not* validate DNSSEC yet.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use envelope::Domain;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use moka::sync::Cache;

use crate::{Error, Mx, Resolver};

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
}

/// A resolver that asks DNS servers. Clones share cache and memory.
#[derive(Debug, Clone)]
pub struct Hickory {
    resolver: Arc<TokioResolver>,
    /// Lookups that failed without an answer, and why: a domain with broken DNS and a long queue must not cost a timeout for
    /// each message. Hickory caches answers, never failures. `A` stands for addresses of both families.
    failures: Cache<(Domain, RecordType), String>,
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
        }
    }
}

impl Hickory {
    /// A resolver on the servers of `settings`. Reads the system's configuration when there are none.
    pub fn new(settings: &Settings) -> Result<Self, SetupError> {
        let mut builder = if settings.servers.is_empty() {
            TokioResolver::builder_tokio().map_err(|e| SetupError(e.to_string()))?
        } else {
            let servers = settings.servers.iter().copied().map(name_server).collect();
            let config = ResolverConfig::from_name_servers(servers);
            TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
        };
        adjust(builder.options_mut(), settings);
        let failures = Cache::builder().time_to_live(settings.failures_kept);
        Ok(Self {
            resolver: Arc::new(builder.build().map_err(|e| SetupError(e.to_string()))?),
            failures: failures.max_capacity(FAILURES_MAX).build(),
        })
    }

    /// Looks up one type of record at `name`; the answer may hold other types (CNAME) beside it.
    async fn records(&self, name: &Domain, kind: RecordType) -> Result<Vec<Record>, Error> {
        // Over 253 octets of text no wire form exists, so neither does the name.
        let fqdn = Name::from_ascii(format!("{name}.")).map_err(|_| Error::NoSuchDomain)?;
        let lookup = self.resolver.lookup(fqdn, kind).await.map_err(error)?;
        Ok(lookup.answers().to_vec())
    }

    /// Runs `lookup` unless it failed a moment ago, and remembers when it fails.
    async fn remembering<T>(
        &self,
        name: &Domain,
        kind: RecordType,
        lookup: impl Future<Output = Result<T, Error>> + Send,
    ) -> Result<T, Error> {
        let asked = (name.clone(), kind);
        if let Some(reason) = self.failures.get(&asked) {
            return Err(Error::Trouble(reason));
        }
        let result = lookup.await;
        if let Err(Error::Trouble(reason)) = &result {
            self.failures.insert(asked, reason.clone());
        }
        result
    }

    async fn family(&self, name: &Domain, kind: RecordType) -> Result<Vec<IpAddr>, Error> {
        let records = self.records(name, kind).await?;
        let address = |record: &Record| match &record.data {
            RData::A(a) => Some(IpAddr::V4(a.0)),
            RData::AAAA(aaaa) => Some(IpAddr::V6(aaaa.0)),
            _ => None,
        };
        non_empty(records.iter().filter_map(address).collect())
    }
}

impl Resolver for Hickory {
    async fn mx(&self, domain: &Domain) -> Result<Vec<Mx>, Error> {
        let lookup = async { exchanges(&self.records(domain, RecordType::MX).await?) };
        self.remembering(domain, RecordType::MX, lookup).await
    }

    async fn addresses(&self, name: &Domain) -> Result<Vec<IpAddr>, Error> {
        let lookup = async {
            let (v6, v4) = tokio::join!(
                self.family(name, RecordType::AAAA),
                self.family(name, RecordType::A)
            );
            both_families(v6, v4)
        };
        self.remembering(name, RecordType::A, lookup).await
    }

    async fn txt(&self, name: &Domain) -> Result<Vec<Vec<u8>>, Error> {
        let lookup = async {
            let records = self.records(name, RecordType::TXT).await?;
            let text = |record: &Record| match &record.data {
                RData::TXT(txt) => Some(txt.txt_data.concat()),
                _ => None,
            };
            non_empty(records.iter().filter_map(text).collect())
        };
        self.remembering(name, RecordType::TXT, lookup).await
    }

    async fn names(&self, address: IpAddr) -> Result<Vec<Domain>, Error> {
        let lookup = self
            .resolver
            .lookup(Name::from(address), RecordType::PTR)
            .await
            .map_err(error)?;
        let name = |record: &Record| match &record.data {
            RData::PTR(ptr) => host_name(&ptr.0),
            _ => None,
        };
        non_empty(lookup.answers().iter().filter_map(name).collect())
    }
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
}

/// The hosts of an MX answer. Records that name no possible host are skipped; if no other is left, that is trouble,
/// since the owner may repair it.
fn exchanges(records: &[Record]) -> Result<Vec<Mx>, Error> {
    let mut answers = records.iter().filter_map(|record| match &record.data {
        RData::MX(mx) => Some(mx),
        _ => None,
    });
    let found: Vec<_> = answers.by_ref().collect();
    if found.is_empty() {
        return Err(Error::NoRecords);
    }
    // RFC 7505 §3: a null MX stands alone; beside others it means nothing and falls to the rule below.
    if found.iter().all(|mx| mx.exchange.is_root()) {
        return Err(Error::NullMx);
    }
    let hosts: Vec<Mx> = found
        .iter()
        .filter_map(|mx| {
            Some(Mx {
                preference: mx.preference,
                exchange: host_name(&mx.exchange)?,
            })
        })
        .collect();
    if hosts.is_empty() {
        return Err(Error::Trouble(
            "its MX records name no possible host".to_owned(),
        ));
    }
    Ok(hosts)
}

/// One family is enough; a failure of the other only counts when there is nothing else.
fn both_families(
    v6: Result<Vec<IpAddr>, Error>,
    v4: Result<Vec<IpAddr>, Error>,
) -> Result<Vec<IpAddr>, Error> {
    match (v6, v4) {
        (Ok(v6), Ok(v4)) => Ok([v6, v4].concat()),
        (Ok(some), Err(_)) | (Err(_), Ok(some)) => Ok(some),
        (Err(trouble @ Error::Trouble(_)), Err(_)) | (Err(_), Err(trouble @ Error::Trouble(_))) => {
            Err(trouble)
        }
        (Err(_), Err(error)) => Err(error),
    }
}

fn non_empty<T>(answers: Vec<T>) -> Result<Vec<T>, Error> {
    if answers.is_empty() {
        return Err(Error::NoRecords);
    }
    Ok(answers)
}

/// A name from the wire as a domain, if it can be one.
fn host_name(name: &Name) -> Option<Domain> {
    name.to_ascii().trim_end_matches('.').parse().ok()
}

fn error(error: NetError) -> Error {
    if error.is_nx_domain() {
        Error::NoSuchDomain
    } else if error.is_no_records_found() {
        Error::NoRecords
    } else {
        Error::Trouble(error.to_string())
    }
}

/// Questions under way at once over one TCP connection to a server; hickory's 32 would answer "busy" under load.
const ACTIVE_REQUESTS_MAX: usize = 1024;
/// Failures kept at most: some 200 octets each.
const FAILURES_MAX: u64 = 10_000;
