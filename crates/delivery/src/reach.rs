//! Getting a connection to a site: host after host, address after address, with TLS and without.
//!
//! The next *address* when one cannot be reached; the next *host* when one answers but gives no service (RFC 5321 §5.1).
//! When nothing is left, that is a fact about the site: its mail waits.
//!
//! That holds for a 5xx to our greeting or EHLO, too. RFC 5321 §3.1 and §4.3.2 let a host answer 554 there, and it mostly
//! means "not from you" or "not now": a blocklist, a wrong name in DNS, a maintenance. It is no verdict on the message, and
//! mending it takes hours, so the next host is tried and then the mail is kept, as Postfix does (`smtp_skip_5xx_greeting`).
//! Only 521 says that the host never takes any mail (RFC 7504 §3); when every host says that, the message fails. 556 is
//! about a recipient's domain (RFC 7504 §4), comes in reply to RCPT, and fails that recipient like any other 5xx there.

use std::collections::HashSet;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dns::Resolver;
use envelope::{Class, Diagnosis, Outcome, SenderTls, TlsFailure, TlsFinding};
use smtp::Capabilities;

use crate::connection::Connection;
use crate::egress::{NoSource, Sources};
use crate::memory::{HostMemory, Trouble};
use crate::mx::{DNS_TROUBLE, MailHost};
use crate::opening::{NoTls, OpenError, Opening};
use crate::patience::Patience;
use crate::peer::{Endpoint, Peer};
use crate::plan::{Hosts, Planner, SiteKey};
use crate::policy::{NOT_PROTECTED, Security};
use crate::settings::Settings;
use crate::tls::Clients;

/// Makes connections.
#[derive(Debug)]
pub(crate) struct Reacher<R> {
    settings: Arc<Settings>,
    planner: Planner<R>,
    session: Arc<smtp::client::Settings>,
    clients: Clients,
    sources: Sources,
}

/// What came of it.
#[derive(Debug)]
pub(crate) enum Reached {
    /// A connection; the session is ready.
    Connected(Box<Connection>),
    /// No host can be talked to now: a fact about the site. With a time if all our addresses that could rest until then.
    Nobody(Diagnosis, Option<Instant>),
    /// All our addresses have the connections that they may have.
    Busy,
    /// The message cannot go there, whatever the state of the site.
    Refused(Outcome),
}

/// What the attempts so far have met.
#[derive(Debug, Default)]
struct Met {
    /// The last thing that a later try may not meet again.
    passing: Option<Diagnosis>,
    /// The last host that never takes mail.
    never: Option<Diagnosis>,
    /// Anything but that there was no TLS as it is wanted.
    other: bool,
    /// We had no address to come from for one, and why.
    no_source: Option<NoSource>,
    /// Hosts that answered: their other addresses would say the same.
    answered: HashSet<usize>,
}

/// One address to try.
#[derive(Debug)]
struct Target {
    /// The host's place in the plan.
    host: usize,
    peer: Peer,
    security: Security,
}

impl<R: Resolver> Reacher<R> {
    pub(crate) fn new(settings: Arc<Settings>, planner: Planner<R>) -> Self {
        let session = smtp::client::Settings {
            hello_name: settings.hello_name.to_string(),
            eight_bit_anyway: settings.eight_bit_anyway,
            timeouts: settings.timeouts,
        };
        Self {
            clients: Clients::new(settings.roots.clone()),
            settings,
            planner,
            session: Arc::new(session),
            sources: Sources::default(),
        }
    }

    pub(crate) fn planner(&self) -> &Planner<R> {
        &self.planner
    }

    /// A connection to the best host of the site that is `enough` for what is to be sent; one that lacks an extension for
    /// it when there is no other, starting with `second_best`. What TLS was like on the way is `found`.
    pub(crate) async fn reach(
        &self,
        site: &SiteKey,
        enough: impl Fn(&Capabilities) -> bool,
        memory: &HostMemory,
        patience: &Patience,
        second_best: Option<Box<Connection>>,
        found: &mut Vec<TlsFinding>,
    ) -> Reached {
        let hosts = match self.planner.hosts(site).await {
            Ok(hosts) => hosts,
            Err(outcome) => {
                return second_best.map_or_else(|| no_plan(outcome), Reached::Connected);
            }
        };
        let mut met = Met::default();
        let mut second_best = second_best;
        let known = second_best.as_ref().map(|old| old.address().clone());
        for Target {
            host,
            peer,
            security,
        } in targets(&hosts, memory)
        {
            if Some(&peer.address) == known.as_ref() || met.answered.contains(&host) {
                continue;
            }
            let opening = Opening {
                session: Arc::clone(&self.session),
                tls: None,
                security,
                login: site.hosts.login().cloned(),
                source: None,
                bind: self.source(&peer.address),
                connect_timeout: self.settings.connect_timeout,
                patience: patience.clone(),
            };
            match self.open(site, peer, opening, memory, found).await {
                Ok(connection) => {
                    met.answered.insert(host);
                    if enough(connection.capabilities()) {
                        part(second_best);
                        return Reached::Connected(Box::new(connection));
                    }
                    // The one that was there stays: no better is no reason to change.
                    let spare = match &second_best {
                        None => second_best.replace(Box::new(connection)),
                        Some(_) => Some(Box::new(connection)),
                    };
                    part(spare);
                }
                Err(error) => met.note(host, error),
            }
        }
        match second_best {
            Some(connection) => Reached::Connected(connection),
            None => met.sum_up(site, memory),
        }
    }

    /// One address, from the next of our sources that is on this machine.
    async fn open(
        &self,
        site: &SiteKey,
        peer: Peer,
        mut opening: Opening,
        memory: &HostMemory,
        found: &mut Vec<TlsFinding>,
    ) -> Result<Connection, OpenError> {
        let egress = self.settings.egress_of(site);
        let Some((egress, to)) = egress.zip(peer.address.tcp()) else {
            return self.open_so(site, peer, opening, memory, found).await;
        };
        loop {
            let taken = self.sources.take(egress, to.ip(), memory).await;
            let taken = taken.map_err(OpenError::NoSource)?;
            let source = taken.source.address;
            // Each source has a name of its own.
            opening.session = Arc::new(smtp::client::Settings {
                hello_name: taken.source.hello.to_string(),
                ..(*self.session).clone()
            });
            (opening.bind, opening.source) = (Some(source), Some(Arc::new(taken)));
            let (peer, opening) = (peer.clone(), opening.clone());
            match self.open_so(site, peer, opening, memory, found).await {
                Err(OpenError::Unbound(_)) => {
                    tracing::error!(%source, egress = %egress.name, "not an address of this machine: mail leaves from the others of its egress");
                    self.sources.absent(source, Instant::now());
                }
                opened => return opened,
            }
        }
    }

    /// With TLS, and where that may be, in clear over a new connection when the handshake fails.
    async fn open_so(
        &self,
        site: &SiteKey,
        peer: Peer,
        mut opening: Opening,
        memory: &HostMemory,
        found: &mut Vec<TlsFinding>,
    ) -> Result<Connection, OpenError> {
        let address = &peer.address.clone();
        let security = &opening.security;
        let may_be_clear = security.may_be_clear();
        let no_tls = || memory.knows(address, Trouble::NoTls, Instant::now());
        let in_clear = *security == Security::Clear || (may_be_clear && no_tls());
        if !in_clear {
            opening.tls = Some(self.clients.of(security).map_err(OpenError::NoService)?);
        }
        let mut result = Connection::open(peer.clone(), &opening).await;
        found.extend(self.finding(site, &opening, &peer, &result));
        if let Err(OpenError::Tls(why)) = &result
            && may_be_clear
        {
            tracing::debug!(%peer, reason = why.reason, "TLS failed, trying in clear");
            let kept = self.settings.tls_failure_kept;
            memory.remember(address, Trouble::NoTls, Instant::now(), kept);
            opening.tls = None;
            result = Connection::open(peer, &opening).await;
        }
        match result {
            Ok(_) => memory.forget(address, Trouble::Unreachable),
            Err(OpenError::Unbound(_)) => {}
            Err(_) => memory.remember(
                address,
                Trouble::Unreachable,
                Instant::now(),
                UNREACHABLE_KEPT,
            ),
        }
        result
    }

    /// What the try says of TLS with the host. Nothing if it did not come to that, or for a route: whose policy that is kept is our own.
    fn finding(
        &self,
        site: &SiteKey,
        opening: &Opening,
        peer: &Peer,
        result: &Result<Connection, OpenError>,
    ) -> Option<TlsFinding> {
        if opening.tls.is_none() || !matches!(site.hosts, Hosts::Mx(_) | Hosts::Implicit(_)) {
            return None;
        }
        let failure = match result {
            Ok(connection) if connection.tls().is_some() => {
                self.observed(site, opening, peer, connection)
            }
            Ok(_) => Some((TlsFailure::StarttlsNotSupported, "not offered".to_owned())),
            Err(OpenError::Tls(why)) => Some((why.failure, why.reason.clone())),
            Err(_) => return None,
        };
        Some(TlsFinding {
            policy: Arc::new(site.policy.published(&opening.security)),
            host: peer.name.clone(),
            address: peer.address.tcp().map(|address| address.ip()),
            source: opening.bind,
            failure,
        })
    }

    /// What a policy that is only tested would have stopped.
    fn observed(
        &self,
        site: &SiteKey,
        opening: &Opening,
        peer: &Peer,
        connection: &Connection,
    ) -> Option<(TlsFailure, String)> {
        let is_dane = matches!(opening.security, Security::Dane(_));
        let sts = site.policy.tested().filter(|_| !is_dane)?;
        let name = peer.name.as_ref()?;
        let why = match sts.allows(name) {
            true => {
                let error = self.clients.verify(connection.chain(), name).err()?;
                NoTls::handshake(&io::Error::other(error))
            }
            false => NoTls::new(TlsFailure::ValidationFailure, "the policy does not name it"),
        };
        Some((why.failure, why.reason))
    }

    fn source(&self, address: &Endpoint) -> Option<IpAddr> {
        self.settings.source(address.tcp()?.ip())
    }
}

impl Met {
    fn note(&mut self, host: usize, error: OpenError) {
        let diagnosis = match &error {
            OpenError::Unreachable(diagnosis)
            | OpenError::Unbound(diagnosis)
            | OpenError::NoService(diagnosis)
            | OpenError::Tls(NoTls { diagnosis, .. }) => diagnosis,
            OpenError::NoSource(why) => {
                self.no_source = self.no_source.max(Some(*why));
                return;
            }
        };
        self.other |= !matches!(error, OpenError::Tls(_));
        let mut diagnosis = diagnosis.clone();
        let code = diagnosis.reply.as_ref().map(|reply| reply.code);
        if code == Some(NO_MAIL_EVER) {
            self.never = Some(diagnosis);
        } else {
            diagnosis.status.class = Class::Transient;
            self.passing = Some(diagnosis);
        }
        if matches!(error, OpenError::NoService(_) | OpenError::Tls(_)) {
            self.answered.insert(host);
        }
    }

    fn sum_up(self, site: &SiteKey, memory: &HostMemory) -> Reached {
        let is_private = site.policy.sender == SenderTls::Required;
        let nobody = |text| Diagnosis::local(DNS_TROUBLE, text);
        match (self.passing, self.no_source, self.never) {
            // RFC 8689 §4.2.1: its sender would rather have it back.
            (Some(reason), None, None) if is_private && !self.other => {
                let status = NOT_PROTECTED;
                Reached::Refused(Outcome::Failed(Diagnosis { status, ..reason }))
            }
            (Some(reason), ..) => Reached::Nobody(reason, None),
            (_, Some(NoSource::Busy), _) => Reached::Busy,
            (_, Some(NoSource::Until(at)), _) => {
                let why = memory
                    .why_rests(Instant::now())
                    .unwrap_or_else(|| nobody(ABSENT));
                Reached::Nobody(why, Some(at.0))
            }
            (_, _, Some(reason)) => Reached::Refused(Outcome::Failed(reason)),
            (_, Some(NoSource::Family), _) => Reached::Nobody(nobody(NO_FAMILY), None),
            (None, None, None) => Reached::Nobody(nobody("no host to try"), None),
        }
    }
}

/// The addresses in order; those that could not be reached a moment ago come last.
fn targets(hosts: &[MailHost], memory: &HostMemory) -> Vec<Target> {
    let target = |number: usize, host: &MailHost, address: &Endpoint| Target {
        host: number,
        peer: Peer {
            name: host.name.clone(),
            address: address.clone(),
            lmtp: host.lmtp,
        },
        security: host.security.clone(),
    };
    let mut targets = Vec::new();
    for (number, host) in hosts.iter().enumerate() {
        targets.extend(host.addresses.iter().map(|a| target(number, host, a)));
    }
    let now = Instant::now();
    let failed = |t: &Target| memory.knows(&t.peer.address, Trouble::Unreachable, now);
    targets.sort_by_cached_key(failed);
    targets.truncate(TARGETS_MAX);
    targets
}

/// What a site without hosts means: trouble is the site's, a permanent reason is the message's.
fn no_plan(outcome: Outcome) -> Reached {
    match outcome {
        Outcome::Deferred(reason) => Reached::Nobody(reason, None),
        outcome => Reached::Refused(outcome),
    }
}

/// Says QUIT on a connection that is not needed, without waiting for it here.
pub(crate) fn part(connection: Option<Box<Connection>>) {
    if let Some(connection) = connection {
        tokio::spawn(connection.quit());
    }
}

const ABSENT: &str = "none of our addresses for it is on this machine";
const NO_FAMILY: &str = "our egress has no address of the family of its hosts";
/// RFC 7504 §3.
const NO_MAIL_EVER: u16 = 521;
/// Addresses tried for one connection at most.
const TARGETS_MAX: usize = 10;
/// How long an address that failed is tried after the others.
const UNREACHABLE_KEPT: Duration = Duration::from_mins(2);
