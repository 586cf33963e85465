//! MTA-STS of a relay: policies are had over HTTPS, and kept over a restart in the file `mta-sts` of the spool.
//!
//! DNS, which says where a policy host is, is written by strangers: it may lead only where it may lead mail.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use delivery::Settings;
use dns::Resolver;
use envelope::{Domain, TlsFailure};
use filter::http::{self, causes};
use linefile::LineFile;
use parking_lot::Mutex;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::CONTENT_TYPE;
use reqwest::{Certificate, Client, StatusCode};
use spool::Clock;
use sts::{Fault, Kept, Policies, Policy};
use tokio_util::sync::CancellationToken;

use crate::on_disk::on_disk;

/// The policies, and where they are kept; nothing if they are not followed.
#[derive(Debug, Default)]
pub struct Sts(Option<Parts>);

#[derive(Debug)]
struct Parts {
    policies: Arc<Policies<dns::Backend>>,
    file: Arc<Mutex<LineFile<Kept>>>,
}

/// Looks up policy hosts.
struct Hosts {
    resolver: dns::Backend,
    settings: Arc<Settings>,
}

impl Sts {
    /// With what the file in this directory says, if policies are followed at all. What it cannot say is logged and left out.
    pub fn open(dir: &Path, settings: &Settings, resolver: &dns::Backend, clock: &Clock) -> Self {
        if !settings.mta_sts {
            return Self::default();
        }
        let lost = "so MTA-STS policies are looked for anew";
        let (file, kept) = LineFile::open(&dir.join("mta-sts"), lost);
        let (settings, names) = (Arc::new(settings.clone()), resolver.clone());
        let client = Arc::new(OnceLock::new());
        let fetch = move |domain: Domain| -> sts::Fetching {
            let (settings, names) = (Arc::clone(&settings), names.clone());
            let client = Arc::clone(&client);
            Box::pin(async move {
                let client: &Result<Client, Fault> = client.get_or_init(|| make(settings, names));
                text(client.as_ref().map_err(Fault::clone)?, &domain).await
            })
        };
        let (resolver, clock) = (resolver.clone(), clock.clone());
        let policies = Policies::new(resolver, Box::new(fetch), kept, move || clock.now());
        Self(Some(Parts {
            file: Arc::new(Mutex::new(file.compacted(&policies.kept()))),
            policies: Arc::new(policies),
        }))
    }

    pub(crate) fn policies(&self) -> Option<Arc<Policies<dns::Backend>>> {
        self.0.as_ref().map(|parts| Arc::clone(&parts.policies))
    }

    /// Fetches policies anew in time, and keeps what is new, until `shutdown`.
    pub(crate) async fn keep(&self, shutdown: CancellationToken) {
        let Some(Parts { policies, file }) = &self.0 else {
            return;
        };
        let write = async {
            loop {
                policies.changed().await;
                let (kept, file) = (policies.kept(), Arc::clone(file));
                if let Err(error) = on_disk(move || file.lock().compact(&kept)).await {
                    tracing::error!(
                        "cannot keep MTA-STS policies over a restart: {error}\n\nhint: see to the disk of the spool"
                    );
                }
                tokio::time::sleep(WRITE_EVERY).await;
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = policies.keep_fresh() => {}
            () = write => {}
        }
    }
}

impl Resolve for Hosts {
    fn resolve(&self, name: Name) -> Resolving {
        let (resolver, settings) = (self.resolver.clone(), Arc::clone(&self.settings));
        Box::pin(async move {
            let mut addresses = resolver.addresses(name.as_str()).await?.records;
            addresses.retain(|address| settings.may_be_led_to(*address));
            if addresses.is_empty() {
                return Err("it has no address of the Internet".into());
            }
            let port = settings.mta_sts_port;
            let addresses = addresses
                .into_iter()
                .map(move |ip| SocketAddr::new(ip, port));
            Ok(Box::new(addresses) as Addrs)
        })
    }
}

/// A client that may be told by strangers where to go.
pub(crate) fn make(settings: Arc<Settings>, resolver: dns::Backend) -> Result<Client, Fault> {
    let roots = settings
        .roots
        .iter()
        .map(|root| Certificate::from_der(root));
    let roots = roots.collect::<Result<Vec<_>, _>>().map_err(fault)?;
    let client = http::client()
        .https_only(true)
        .connect_timeout(CONNECT_TIME)
        .timeout(FETCH_TIME)
        .pool_max_idle_per_host(0)
        .tls_certs_merge(roots)
        .dns_resolver(Arc::new(Hosts { resolver, settings }));
    client.build().map_err(fault)
}

/// RFC 8461 §3.3: only 200 is an answer, and what is no text was put there by somebody else.
async fn text(client: &Client, domain: &Domain) -> Result<Vec<u8>, Fault> {
    let url = format!("https://mta-sts.{domain}/.well-known/mta-sts.txt");
    let mut response = client.get(url).send().await.map_err(fault)?;
    let refused = |failure, text| Err(Fault { failure, text });
    let status = response.status();
    if status != StatusCode::OK {
        let failure = TlsFailure::StsPolicyFetchError;
        return refused(failure, format!("it answers {status}"));
    }
    let kind = response.headers().get(CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let media = kind.split(';').next().unwrap_or_default().trim();
    if !media.eq_ignore_ascii_case("text/plain") {
        let text = format!("it is not text/plain, but `{media}`");
        return refused(TlsFailure::StsPolicyInvalid, text);
    }
    let mut text = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(fault)? {
        text.extend_from_slice(&chunk);
        if text.len() > Policy::OCTETS_MAX {
            return refused(TlsFailure::StsPolicyInvalid, "over 64 KiB".to_owned());
        }
    }
    Ok(text)
}

fn fault(error: reqwest::Error) -> Fault {
    let text = causes(error);
    let failure = match text.contains(BAD_CERTIFICATE) {
        true => TlsFailure::StsWebpkiInvalid,
        false => TlsFailure::StsPolicyFetchError,
    };
    Fault { failure, text }
}

/// How rustls begins what it says of one.
const BAD_CERTIFICATE: &str = "invalid peer certificate";
const CONNECT_TIME: Duration = Duration::from_secs(5);
/// For all of one policy, or one report. RFC 8461 §3.3 suggests a minute; but hosts that are silent hold up others.
const FETCH_TIME: Duration = Duration::from_secs(10);
/// What is new in a burst is written together.
const WRITE_EVERY: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests;
