//! Settings of delivery, each with its default and unit.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use envelope::{Domain, TlsUse};
use rustls::pki_types::CertificateDer;
use smtp::client::Timeouts;

use crate::allowed::Allowed;
use crate::egress::Egress;
use crate::plan::SiteKey;
use crate::route::Routes;
use crate::shaping::Shaping;

/// How to deliver.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Our name in EHLO; an MX of this name is ourselves (RFC 5321 §5.1).
    pub hello_name: Domain,
    /// Where this relay itself listens: an MX with one of these addresses, on [`Settings::port`], is ourselves.
    /// An unspecified address (`[::]`) stands for all addresses of this machine.
    pub listeners: Vec<SocketAddr>,
    /// The port of an MX: 25, but in tests.
    pub port: u16,
    /// Source addresses of mail that no pool is named for: the first of the destination's family is used; none leaves the choice
    /// to the system.
    pub bind: Vec<IpAddr>,
    /// Pools of source addresses, with names that differ.
    pub egresses: Vec<Egress>,
    /// The pool of mail that names none; none: `bind`.
    pub egress: Option<Arc<str>>,
    /// How much sites are sent at most, and what their replies change.
    pub shaping: Shaping,
    /// Static routes, looked at before MX.
    pub routes: Routes,
    /// Whether a loopback address that DNS or an address literal names is used. Such a name is an attempt to have us talk
    /// to what listens on this machine alone; tests and demonstrations live there. A route's host may always be one.
    pub allow_loopback: bool,
    /// Whether an address of a private or reserved network that DNS or an address literal names is used, for the same
    /// reason. A route's host may always be one.
    pub allow_private: bool,
    /// Connections to one site at most.
    pub concurrency: usize,
    /// Connections to one address at most, whatever sites lead to it; [`Settings::concurrency`] if that is more. To an
    /// address that has not answered lately it is two, and a quarter of [`Settings::connections`] to all of those.
    pub connections_per_address: usize,
    /// Connections to all sites together at most.
    pub connections: usize,
    /// How long one address may take to accept a connection.
    pub connect_timeout: Duration,
    /// How long to wait for replies (RFC 5321 §4.5.3.2).
    pub timeouts: Timeouts,
    /// How long it may take to get a connection to some host of a site, and then again how long one transaction may
    /// take, however lively the peers are.
    pub attempt_timeout: Duration,
    /// Whether an 8-bit body goes as it is to a peer without 8BITMIME (see [`smtp::client::Settings`]).
    pub eight_bit_anyway: bool,
    /// How long a connection is kept open without work.
    pub idle: Duration,
    /// Messages over one connection at most; a peer's LIMITS MAILMAX counts besides.
    pub messages_per_connection: usize,
    /// Recipients in one transaction at most (RFC 5321 §4.5.3.1.8: a server takes at least 100); a peer's
    /// LIMITS RCPTMAX counts besides.
    pub recipients_per_transaction: usize,
    /// When to use TLS. A forward's options may ask for more.
    pub tls: TlsUse,
    /// Whether domains' MTA-STS policies are followed (RFC 8461).
    pub mta_sts: bool,
    /// The port of policy hosts: 443, but in tests.
    pub mta_sts_port: u16,
    /// Whether the TLSA records of hosts count (RFC 7672), where the resolver proves them.
    pub dane: bool,
    /// Who may sign the certificates of hosts, beside those whom the system trusts.
    pub roots: Vec<CertificateDer<'static>>,
    /// How long a host whose TLS handshake failed is talked to in clear.
    pub tls_failure_kept: Duration,
    /// The pause before the first probe of a site that went down; each further one doubles it.
    pub probe_first: Duration,
    /// The longest pause between probes.
    pub probe_longest: Duration,
    /// How long the answer "this domain's site is that one" is used. Should not be below the TTLs of usual MX records
    /// by much: the resolver keeps those anyway.
    pub routing_kept: Duration,
    /// Legs held in memory at most, waiting and running.
    pub legs_max: usize,
    /// Legs of one site waiting in memory before no more are claimed for it, while the memory is empty: the part of it that
    /// is free counts, and a quarter for a site that has not answered lately. So no number of slow sites fills the memory.
    pub legs_per_site: usize,
    /// How long a peer may keep us waiting, between its greeting and the end of a message, while others wait for the
    /// connection. A message that takes three times as long proves nothing of its site.
    pub patience: Duration,
    /// How long running transactions may go on after shutdown was asked for.
    pub drain: Duration,
}

impl Settings {
    /// The defaults, for a relay of this name.
    pub fn new(hello_name: Domain) -> Self {
        Self {
            hello_name,
            listeners: Vec::new(),
            port: 25,
            bind: Vec::new(),
            egresses: Vec::new(),
            egress: None,
            shaping: Shaping::default(),
            routes: Routes::default(),
            allow_loopback: false,
            allow_private: false,
            concurrency: 20,
            connections_per_address: 100,
            connections: 1000,
            connect_timeout: Duration::from_secs(30),
            timeouts: Timeouts::default(),
            attempt_timeout: Duration::from_mins(60),
            eight_bit_anyway: true,
            idle: Duration::from_secs(10),
            messages_per_connection: 1000,
            recipients_per_transaction: 100,
            tls: TlsUse::default(),
            mta_sts: true,
            mta_sts_port: 443,
            dane: true,
            roots: Vec::new(),
            tls_failure_kept: Duration::from_mins(60),
            probe_first: Duration::from_secs(30),
            probe_longest: Duration::from_mins(10),
            routing_kept: Duration::from_mins(5),
            legs_max: 20_000,
            legs_per_site: 400,
            patience: Duration::from_secs(10),
            drain: Duration::from_secs(30),
        }
    }

    /// Whether a stranger's DNS may lead us to this address.
    pub fn may_be_led_to(&self, address: IpAddr) -> bool {
        Allowed::by(self).refuses(address.to_canonical()).is_none()
    }

    /// The pool that mail for this site leaves from, if there is one.
    pub(crate) fn egress_of(&self, site: &SiteKey) -> Option<&Egress> {
        self.pool(site.egress.as_ref()?)
    }

    /// The pool of this name.
    pub(crate) fn pool(&self, name: &str) -> Option<&Egress> {
        self.egresses.iter().find(|egress| *egress.name == *name)
    }

    /// Our address for a destination, without a pool: the first configured one of its family.
    pub(crate) fn source(&self, destination: IpAddr) -> Option<IpAddr> {
        let same_family = |source: &&IpAddr| source.is_ipv4() == destination.is_ipv4();
        self.bind.iter().find(same_family).copied()
    }
}
