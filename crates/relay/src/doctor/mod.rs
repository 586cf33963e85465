//! Whether the world agrees with us: DNS, blocklists, the certificate, the way out.
//!
//! Each check takes what is known of us ([`Facts`]) and a resolver, and gives findings: what is wrong, what it costs, what to
//! publish. DNS that does not answer is never held against anybody: that is unknown. Every check is bounded: in names that it
//! asks about, in what runs at once, in time.
//!
//! It does *not* read files or the configuration, and changes nothing.

mod certificate;
mod domains;
mod egress;
mod reach;
mod records;
#[cfg(test)]
mod tests;

use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use control::{CertificateEnd, Finding, Health, Issuing};
use dns::{Error, Resolver};
use envelope::{Domain, Timestamp};
use futures_util::{StreamExt, stream};
use parking_lot::Mutex;
use smtp_in::tls::{Certificate, Holder};
use spool::Clock;
use tokio::time::{sleep, timeout};

use policy::Name;

use crate::Routing;

pub use reach::WayOut;

/// Looks when it is asked to, and daily.
pub struct Doctor {
    /// Where names are looked up.
    pub resolver: dns::Backend,
    /// What is known of us now; with [`Facts::way_out`] or without.
    pub facts: Box<dyn Fn(bool) -> Facts + Send + Sync>,
    /// Asks others: where the forwards come from, what the spool is kept in.
    pub asking: Asking,
    /// What is shown to clients; none if there is no TLS, or no daemon.
    pub served: Option<Holder>,
    /// What comes of asking an ACME server for one.
    pub issuing: Option<Arc<Mutex<Issuing>>>,
    /// Tells the time.
    pub clock: Clock,
    /// How often the daemon looks by itself; zero: never.
    pub every: Duration,
    /// What it has kept before the start; empty if nothing.
    pub kept: Vec<u8>,
    /// Keeps what was bad, so that a restart tells nothing twice.
    pub keep: Box<dyn Fn(String) -> io::Result<()> + Send + Sync>,
}

/// What takes its time to be found out; of a routing.
pub type Asking =
    Box<dyn Fn(Arc<Routing>) -> Pin<Box<dyn Future<Output = Vec<Finding>> + Send>> + Send + Sync>;

/// What is known of us.
pub struct Facts {
    /// Our name, domains, keys, blocklists.
    pub routing: Arc<Routing>,
    /// What mail and callouts leave from.
    pub egresses: Vec<Egress>,
    /// Where connections are taken, as far as addresses are named.
    pub listeners: Vec<IpAddr>,
    /// What is shown to clients.
    pub certificates: Vec<Certificate>,
    /// Whose MX is connected to, if that is wanted.
    pub way_out: Option<WayOut>,
    /// What was found on this machine.
    pub local: Vec<Finding>,
}

/// An address as the world sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Egress {
    /// The source address.
    pub address: IpAddr,
    /// What is said in EHLO.
    pub hello: Domain,
    /// The [[egress]] that it is in.
    pub pool: Option<Name>,
    /// Whether mail leaves from it, and not only callouts.
    pub sends_mail: bool,
}

impl Doctor {
    /// When the certificates that are shown to clients expire.
    pub fn certificates(&self) -> Vec<CertificateEnd> {
        let served = self.served.as_ref().map(Holder::certificates);
        let served = served.unwrap_or_default();
        served.iter().filter_map(certificate::end).collect()
    }

    /// What mail for one domain needs.
    pub async fn examine_domain(&self, domain: &Domain) -> Vec<Finding> {
        domains::check_one(&self.resolver, &(self.facts)(false), domain).await
    }

    /// Everything; servers elsewhere are connected to only if `connect` says so.
    pub async fn examine(&self, connect: bool) -> Vec<Finding> {
        let mut facts = (self.facts)(connect);
        let asked = (self.asking)(Arc::clone(&facts.routing)).await;
        facts.local.extend(asked);
        let issuing = self.issuing.as_ref();
        facts
            .local
            .extend(issuing.map(|now| certificate::issuing(&now.lock())));
        examine(&self.resolver, &facts, self.clock.now()).await
    }
}

/// All findings, the worst first.
async fn examine<R: Resolver>(resolver: &R, facts: &Facts, now: Timestamp) -> Vec<Finding> {
    let (egress, domains, records, way_out) = tokio::join!(
        egress::check(resolver, &facts.egresses),
        domains::check(resolver, facts),
        records::check(resolver, facts),
        reach::check(resolver, facts),
    );
    let (domains, names) = domains;
    let mut findings = facts.local.clone();
    findings.extend(egress);
    findings.extend(domains);
    findings.extend(records);
    findings.extend(certificate::check(&facts.certificates, &names, now));
    findings.extend(way_out);
    findings.sort_by_key(|finding| finding.status);
    findings
}

/// What there is; nothing if DNS says so. `Err` says why that could not be found out.
async fn ask<T>(lookup: impl Future<Output = Result<Vec<T>, Error>>) -> Result<Vec<T>, String> {
    match timeout(ANSWER_WITHIN, lookup).await {
        Ok(Ok(found)) => Ok(found),
        Ok(Err(Error::NoSuchDomain | Error::NoRecords | Error::NullMx)) => Ok(Vec::new()),
        Ok(Err(Error::Trouble(why))) => Err(why),
        Err(_) => Err(format!("no answer within {} s", ANSWER_WITHIN.as_secs())),
    }
}

/// Whether a name has this address.
async fn leads_to<R: Resolver>(resolver: &R, name: &str, address: IpAddr) -> Result<bool, String> {
    let found = ask(async { Ok(vec![resolver.leads_to(name, address).await?]) });
    Ok(found.await? == [true])
}

/// Asks about each, some at once; about the first of them at most, and for some time at most. The answers come in order; what is
/// left is unknown.
async fn each<T, F: Future>(
    check: &str,
    all: impl IntoIterator<Item = T>,
    ask: impl Fn(T) -> F,
) -> (Vec<F::Output>, Option<Finding>) {
    let mut all = all.into_iter();
    let first: Vec<_> = all.by_ref().take(EACH_MAX).map(ask).collect();
    let asked = first.len();
    let answers = stream::iter(first).buffered(AT_ONCE);
    let found: Vec<_> = answers.take_until(sleep(EACH_WITHIN)).collect().await;
    let left = asked - found.len() + all.count();
    let why = format!(
        "not looked at: no more than {EACH_MAX}, and no longer than {} s",
        EACH_WITHIN.as_secs()
    );
    let left = (left > 0).then(|| unknown(check, format!("{left} more"), why));
    (found, left)
}

fn unknown(check: &str, of: impl ToString, why: impl std::fmt::Display) -> Finding {
    Finding::new(
        Health::Unknown,
        check,
        of,
        format!("cannot be found out: {why}"),
    )
}

/// `A` or `AAAA`.
fn kind(address: IpAddr) -> &'static str {
    match address {
        IpAddr::V4(_) => "A",
        IpAddr::V6(_) => "AAAA",
    }
}

/// The first few of a list, and how many more.
fn some_of(names: &[impl ToString]) -> String {
    let shown: Vec<_> = names
        .iter()
        .take(SHOWN_MAX)
        .map(ToString::to_string)
        .collect();
    match names.len().saturating_sub(SHOWN_MAX) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// A resolver of one's own answers a few thousand questions a second; mail asks it too.
const AT_ONCE: usize = 16;
const SHOWN_MAX: usize = 10;
/// Of one kind: hosted domains can be a hundred thousand.
const EACH_MAX: usize = 200;
/// A call over the control socket takes two minutes at most.
const EACH_WITHIN: Duration = Duration::from_secs(40);
