//! From a host in an address to the site that takes its mail, and from a site to the hosts to try: DNS and routes.
//!
//! Two steps, because the first is made once per domain and the second once per connection: domains with the same MX
//! set share a site, and the addresses behind it change at their own pace (the resolver keeps them by their TTL).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;

use dns::{Mx, Resolver};
use envelope::{Destination, Diagnosis, Domain, EnhancedStatus, Host, Outcome, SenderTls, TlsUse};
use sts::Policies;
use tokio::task::JoinSet;

use crate::allowed::Allowed;
use crate::login::Login;
use crate::mx::{self, Candidate, DNS_TROUBLE, MailHost};
use crate::peer::Endpoint;
use crate::policy::{NOT_PROTECTED, Policy, Security};
use crate::route::{HopHost, Hops, NextHop};
use crate::settings::Settings;
use crate::tls::dane;

/// What domains have in common that share connections, limits and back-off: the hosts, and how these are to be talked to.
///
/// The policy is part of the key, so that it is found before domains are rolled up: a domain with a stricter one never shares
/// a connection with its neighbours. [`Planner::site`] is the one place where keys are made.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct SiteKey {
    pub(crate) hosts: Hosts,
    pub(crate) policy: Policy,
    /// The egress that we talk to them from; none: from where the system says, or `bind`.
    pub(crate) egress: Option<Arc<str>>,
}

/// The hosts of a site, as configuration or DNS names them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Hosts {
    /// The same set of MX records, sorted.
    Mx(Arc<[Mx]>),
    /// A domain without MX: it is its own host (RFC 5321 §5.1, implicit MX).
    Implicit(Domain),
    /// A static route.
    Route(Arc<Hops>),
    /// An address literal.
    Literal(IpAddr),
}

/// Looks up sites and hosts.
#[derive(Debug)]
pub(crate) struct Planner<R> {
    settings: Arc<Settings>,
    resolver: Arc<R>,
    /// None: MTA-STS is not followed.
    sts: Option<Arc<Policies<R>>>,
}

impl<R: Resolver> Planner<R> {
    pub(crate) fn new(
        settings: Arc<Settings>,
        resolver: Arc<R>,
        sts: Option<Arc<Policies<R>>>,
    ) -> Self {
        Self {
            settings,
            resolver,
            sts,
        }
    }

    /// The site of a destination; otherwise the outcome for all such mail.
    pub(crate) async fn site(&self, to: &Destination) -> Result<SiteKey, Outcome> {
        let route = match &to.host {
            Host::Domain(domain) => self.settings.routes.find(domain),
            Host::Literal(_) => None,
        };
        let egress = self.settings.egress_for(&to.way, route)?;
        let (hosts, dane) = match route {
            Some(route) => (Hosts::Route(Arc::clone(&route.hops)), Some(Arc::from([]))),
            None => self.hosts_of(&to.host).await?,
        };
        let sender = to.way.sender_tls();
        let sts = self.sts(&to.host, &hosts).await;
        let mut key = SiteKey {
            policy: Policy {
                tls: self.settings.tls,
                dane: None,
                sender,
                sts: sts.and_then(|found| found.policy().cloned()),
            },
            hosts,
            egress,
        };
        let wished = to.way.get("tls").and_then(|wish| wish.parse().ok());
        let shaped = self.settings.shaping.tls(&key);
        let asked = (sender == SenderTls::Required).then_some(TlsUse::Verified);
        let wishes = [wished, shaped, asked, route.map(|route| route.tls)];
        let wishes = wishes.into_iter().flatten();
        key.policy.tls = wishes.fold(key.policy.tls, TlsUse::max);
        // RFC 8689 §4.2.1: a certificate proves nothing of a host that anybody may have named.
        let is_proven = dane.is_some() || key.policy.enforced().is_some();
        if sender == SenderTls::Required && matches!(key.hosts, Hosts::Mx(_)) && !is_proven {
            let why = "nothing proves which hosts take its domain's mail, which its sender wants (REQUIRETLS)";
            return Err(Outcome::Failed(Diagnosis::local(NOT_PROTECTED, why)));
        }
        key.policy.settle(dane.filter(|_| self.settings.dane));
        Ok(key)
    }

    /// What a domain has published, unless its mail goes by a route. That it has no MX may be what somebody wants us to believe.
    pub(crate) async fn sts(&self, host: &Host, hosts: &Hosts) -> Option<sts::Found> {
        match (&self.sts, host, hosts) {
            (Some(sts), Host::Domain(domain), Hosts::Mx(_) | Hosts::Implicit(_)) => {
                Some(sts.of(domain).await)
            }
            _ => None,
        }
    }

    /// The hosts, and whether their TLSA records count: see [`Policy::dane`].
    async fn hosts_of(&self, host: &Host) -> Result<(Hosts, Option<Arc<[Domain]>>), Outcome> {
        let no_names = || Some(Arc::from([]));
        let domain = match host {
            Host::Literal(address) => return Ok((Hosts::Literal(*address), None)),
            Host::Domain(domain) => domain,
        };
        match self.resolver.mx(domain.as_str()).await {
            Ok(mut answer) => {
                let records = &mut answer.records;
                records.sort();
                records.dedup();
                // The best ones: nobody has more, but who makes up DNS answers may.
                records.truncate(EXCHANGES_MAX);
                let names = answer.proof.is_secure.then(|| dane::names(domain, &answer));
                Ok((Hosts::Mx(answer.records.into()), names))
            }
            Err(dns::Error::NoRecords) => Ok((Hosts::Implicit(domain.clone()), no_names())),
            Err(error) => Err(unresolved(domain, &error)),
        }
    }

    /// The hosts to try for a site. A deferred outcome is a fact about the site, like a host that cannot be reached.
    pub(crate) async fn hosts(&self, site: &SiteKey) -> Result<Vec<MailHost>, Outcome> {
        let policy = &site.policy;
        let mut hosts = match &site.hosts {
            Hosts::Mx(records) => self.exchanges(records, policy).await?,
            Hosts::Implicit(domain) => self.implicit(domain, policy).await?,
            Hosts::Literal(address) => {
                if self.is_ourselves(None, &[*address]) {
                    return Err(mx::loops_back());
                }
                let mut refused = None;
                mx::usable(None, vec![*address], self.allowed(), &mut refused);
                if let Some(refused) = refused {
                    return Err(refused);
                }
                let address = SocketAddr::new(*address, self.settings.port);
                vec![unnamed(address.into(), policy.security())]
            }
            // A route is an order, not a finding: it is followed even to an address of this machine.
            Hosts::Route(hops) => self.route(hops, policy).await?,
        };
        policy.retain_named(&mut hosts)?;
        Ok(hosts)
    }

    /// Where a connection for a site goes first, as far as that can be told now.
    pub(crate) async fn first_address(&self, site: &SiteKey) -> Option<SocketAddr> {
        let hosts = self.hosts(site).await.ok()?;
        let first = hosts.first()?.addresses.first()?;
        // Sockets of this machine count together.
        Some(first.tcp().unwrap_or(SOCKETS))
    }

    async fn exchanges(&self, records: &[Mx], policy: &Policy) -> Result<Vec<MailHost>, Outcome> {
        let candidates = self.candidates(records, policy).await;
        let ours = |name: &Domain, addresses: &[IpAddr]| self.is_ourselves(Some(name), addresses);
        let port = self.settings.port;
        mx::select(candidates, port, ours, self.allowed(), &mut rand::rng())
    }

    /// All exchanges with their addresses, looked up at the same time: whether one of them is us must be known
    /// before any is tried.
    async fn candidates(&self, records: &[Mx], policy: &Policy) -> Vec<Candidate> {
        let mut lookups = JoinSet::new();
        for record in records {
            let (resolver, policy) = (Arc::clone(&self.resolver), policy.clone());
            let (record, port) = (record.clone(), self.settings.port);
            lookups.spawn(async move { candidate(&*resolver, record, port, &policy).await });
        }
        lookups.join_all().await
    }

    async fn implicit(&self, domain: &Domain, policy: &Policy) -> Result<Vec<MailHost>, Outcome> {
        let candidate = self.alone(domain, self.settings.port, policy).await;
        if let Err(error) = &candidate.addresses {
            return Err(unresolved(domain, error));
        }
        let ours = |name: &Domain, addresses: &[IpAddr]| self.is_ourselves(Some(name), addresses);
        let (port, candidates) = (self.settings.port, vec![candidate]);
        mx::select(candidates, port, ours, self.allowed(), &mut rand::rng())
    }

    async fn route(&self, hops: &Hops, policy: &Policy) -> Result<Vec<MailHost>, Outcome> {
        let (mut hosts, mut trouble) = (Vec::new(), None);
        for hop in &hops.hosts {
            let found = self.hop(hop, policy).await;
            let found = found.map_err(|error| trouble = Some(error));
            hosts.extend(found.into_iter().flatten().map(|host| MailHost {
                lmtp: hop.lmtp,
                ..host
            }));
        }
        match trouble {
            Some(outcome) if hosts.is_empty() => Err(outcome),
            _ => Ok(hosts),
        }
    }

    async fn hop(&self, hop: &NextHop, policy: &Policy) -> Result<Vec<MailHost>, Outcome> {
        let port = hop.port.unwrap_or(self.settings.port);
        let name = match &hop.host {
            HopHost::Address(address) => {
                let address = SocketAddr::new(*address, port);
                return Ok(vec![unnamed(address.into(), policy.security())]);
            }
            // Nobody listens between us and a socket of this machine.
            HopHost::Socket(path) => {
                let socket = Endpoint::Unix(Arc::clone(path));
                return Ok(vec![unnamed(socket, Security::Clear)]);
            }
            HopHost::Name(name) => name,
        };
        let candidate = self.alone(name, port, policy).await;
        // A route whose host has no address is a mistake of ours: mail waits for its repair.
        if let Err(error) = &candidate.addresses {
            return Err(mx::host_trouble(name, error));
        }
        let nobody = |_: &Domain, _: &[IpAddr]| false;
        let candidates = vec![candidate];
        mx::select(candidates, port, nobody, Allowed::ALL, &mut rand::rng())
    }

    /// A host that no MX record names.
    async fn alone(&self, name: &Domain, port: u16, policy: &Policy) -> Candidate {
        let record = Mx {
            preference: 0,
            exchange: name.clone(),
        };
        candidate(&*self.resolver, record, port, policy).await
    }

    fn allowed(&self) -> Allowed {
        Allowed::by(&self.settings)
    }

    /// Whether connecting to such a host would reach this relay (RFC 5321 §5.1).
    fn is_ourselves(&self, name: Option<&Domain>, addresses: &[IpAddr]) -> bool {
        name == Some(&self.settings.hello_name) || addresses.iter().any(|a| self.is_our_address(*a))
    }

    fn is_our_address(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let mut listeners = self.settings.listeners.iter();
        listeners.any(|listener| {
            let on = listener.ip().to_canonical();
            listener.port() == self.settings.port
                && (on == address || (on.is_unspecified() && is_of_this_machine(address)))
        })
    }
}

impl Hosts {
    /// How to log in with them.
    pub(crate) fn login(&self) -> Option<&Login> {
        match self {
            Self::Route(hops) => hops.login.as_ref(),
            _ => None,
        }
    }

    /// What operators call them.
    pub(crate) fn shown(&self) -> Vec<String> {
        match self {
            Self::Route(hops) => hops.hosts.iter().map(ToString::to_string).collect(),
            _ => self.names().into_iter().map(Domain::to_string).collect(),
        }
    }

    /// What DNS or configuration calls them.
    pub(crate) fn names(&self) -> Vec<&Domain> {
        match self {
            Self::Mx(records) => records.iter().map(|mx| &mx.exchange).collect(),
            Self::Implicit(domain) => vec![domain],
            Self::Route(hops) => {
                let hosts = hops.hosts.iter().map(|hop| &hop.host);
                let names = hosts.filter_map(|host| match host {
                    HopHost::Name(name) => Some(name),
                    HopHost::Address(_) | HopHost::Socket(_) => None,
                });
                names.collect()
            }
            Self::Literal(_) => Vec::new(),
        }
    }
}

/// A site's name for logs: its best host.
impl fmt::Display for SiteKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.hosts {
            Hosts::Mx(records) => match records.first() {
                Some(best) => best.exchange.fmt(f),
                None => f.write_str("(none)"),
            },
            Hosts::Implicit(domain) => domain.fmt(f),
            Hosts::Route(hops) => hops.fmt(f),
            Hosts::Literal(address) => Host::Literal(*address).fmt(f),
        }
    }
}

/// A host with its addresses, and how it is to be talked to.
async fn candidate(resolver: &impl Resolver, record: Mx, port: u16, policy: &Policy) -> Candidate {
    let name = record.exchange;
    let mut addresses = resolver.addresses(name.as_str()).await;
    let security = match &mut addresses {
        Ok(answer) => {
            answer.records.truncate(ADDRESSES_MAX);
            policy.of_host(resolver, (&name, port), answer).await
        }
        Err(_) => Ok(policy.security()),
    };
    Candidate {
        preference: record.preference,
        name,
        addresses: addresses.map(|answer| answer.records),
        security,
    }
}

fn unnamed(address: Endpoint, security: Security) -> MailHost {
    MailHost {
        name: None,
        addresses: vec![address],
        security,
        lmtp: false,
    }
}

/// What a failed lookup of a recipient's domain means for its mail.
fn unresolved(domain: &Domain, error: &dns::Error) -> Outcome {
    let (status, text) = match error {
        dns::Error::NoSuchDomain => (BAD_DOMAIN, format!("no such domain: {domain}")),
        dns::Error::NoRecords => (
            BAD_DOMAIN,
            format!("{domain} has neither MX nor address records"),
        ),
        dns::Error::NullMx => (NULL_MX, format!("{domain} takes no mail (null MX)")),
        dns::Error::Trouble(reason) => {
            let text = format!("cannot look up {domain}: {reason}");
            return Outcome::Deferred(Diagnosis::local(DNS_TROUBLE, text));
        }
    };
    Outcome::Failed(Diagnosis::local(status, text))
}

/// Whether the address is one of this machine's: then the system would use the same one as the source.
/// Connecting a UDP socket sends nothing; it only chooses the route.
fn is_of_this_machine(address: IpAddr) -> bool {
    if address.is_loopback() {
        return true;
    }
    let any: IpAddr = match address {
        IpAddr::V4(_) => IpAddr::from([0u8; 4]),
        IpAddr::V6(_) => IpAddr::from([0u8; 16]),
    };
    let source = UdpSocket::bind((any, 0)).and_then(|socket| {
        socket.connect(SocketAddr::new(address, DISCARD_PORT))?;
        socket.local_addr()
    });
    source.is_ok_and(|source| source.ip() == address)
}

/// RFC 3463 §3.2: bad destination system address.
const BAD_DOMAIN: EnhancedStatus = EnhancedStatus::permanent(1, 2);
/// RFC 7505 §4.1.
const NULL_MX: EnhancedStatus = EnhancedStatus::permanent(1, 10);
/// MX records looked at.
const EXCHANGES_MAX: usize = 20;
/// Addresses of one exchange looked at.
const ADDRESSES_MAX: usize = 8;
/// What sockets of this machine count as.
const SOCKETS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
/// Any will do; nothing is sent to it.
const DISCARD_PORT: u16 = 9;

#[cfg(test)]
mod tests {
    use dns::Fixed;

    use super::*;
    use crate::route::{Route, Routes};

    fn d(name: &str) -> Domain {
        name.parse().unwrap()
    }

    fn route(domain: &str, hosts: &[&str]) -> Route {
        Route::parse(domain, hosts, None, None).unwrap()
    }

    fn planner() -> Planner<Fixed> {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let resolver = Fixed::new()
            .with_mx(d("a.test"), 10, d("mx.test"))
            .with_mx(d("a.test"), 20, d("mx2.test"))
            .with_mx(d("b.test"), 20, d("mx2.test"))
            .with_mx(d("b.test"), 10, d("mx.test"))
            .with_mx(d("own.test"), 10, d("us.test"))
            .with_mx(d("ownip.test"), 10, d("alias.test"))
            .with_mx(d("loopback.test"), 10, d("lo.test"))
            .with_address(d("mx.test"), ip("203.0.113.1"))
            .with_address(d("mx.test"), ip("2001:db8::1"))
            .with_address(d("mx2.test"), ip("203.0.113.2"))
            .with_address(d("us.test"), ip("203.0.113.3"))
            .with_address(d("alias.test"), ip("203.0.113.99"))
            .with_address(d("lo.test"), ip("127.0.0.5"))
            .with_address(d("link.test"), ip("fe80::1"))
            .with_address(d("plain.test"), ip("203.0.113.4"))
            .with_txt("empty.test", "x")
            .with_null_mx(d("null.test"))
            .with_trouble(d("ill.test"), "SERVFAIL");
        let mut settings = Settings::new(d("us.test"));
        settings.listeners = vec![
            "203.0.113.99:25".parse().unwrap(),
            "[::]:25".parse().unwrap(),
            "203.0.113.4:587".parse().unwrap(),
        ];
        settings.routes = Routes::new(vec![
            route("routed.test", &["10.0.0.5:2525"]),
            route("named.test", &["mx.test"]),
            route("wrong.test", &["nope.test"]),
            route("filter.test", &["lo.test:10025"]),
            route("several.test", &["nope.test", "mx2.test:26", "10.0.0.5"]),
            route("store.test", &["lmtp:unix:/run/lmtp", "lmtp:mx2.test:24"]),
        ]);
        Planner::new(Arc::new(settings), Arc::new(resolver), None)
    }

    async fn plan(host: &str) -> String {
        let planner = planner();
        let hosts = match planner.site(&host.parse().unwrap()).await {
            Ok(site) => planner.hosts(&site).await,
            Err(outcome) => Err(outcome),
        };
        match hosts {
            Ok(hosts) => {
                let addresses = hosts.iter().flat_map(|host| {
                    let lmtp = if host.lmtp { "lmtp:" } else { "" };
                    host.addresses.iter().map(move |at| format!("{lmtp}{at}"))
                });
                addresses.collect::<Vec<_>>().join(" ")
            }
            Err(outcome) => format!(
                "{} {}",
                outcome.diagnosis().status,
                outcome.diagnosis().text
            ),
        }
    }

    #[tokio::test]
    async fn an_egress_that_is_not_there_keeps_mail_waiting() {
        let to = Destination {
            host: "plain.test".parse().unwrap(),
            way: "egress=gone".parse().unwrap(),
        };
        let Err(Outcome::Deferred(why)) = planner().site(&to).await else {
            panic!("it would leave from elsewhere");
        };
        assert_eq!(
            why.text,
            "there is no [[egress]] `gone` for it to leave from"
        );
    }

    #[tokio::test]
    async fn every_kind_of_destination() {
        for (host, expected) in [
            ("a.test", "[2001:db8::1]:25 203.0.113.1:25 203.0.113.2:25"),
            ("plain.test", "203.0.113.4:25"),
            ("routed.test", "10.0.0.5:2525"),
            ("named.test", "[2001:db8::1]:25 203.0.113.1:25"),
            (
                "wrong.test",
                "4.4.3 cannot look up the host for its mail: no such domain",
            ),
            ("filter.test", "127.0.0.5:10025"),
            ("several.test", "203.0.113.2:26 10.0.0.5:25"),
            ("store.test", "lmtp:unix:/run/lmtp lmtp:203.0.113.2:24"),
            (
                "link.test",
                "5.4.4 the address of the host for its mail is no host's",
            ),
            (
                "[IPv6:fe80::7]",
                "5.4.4 the address of the host for its mail is no host's",
            ),
            (
                "[10.0.0.7]",
                "5.4.4 the host for its mail is in a private or reserved network, which is refused (delivery.allow_private)",
            ),
            ("[203.0.113.7]", "203.0.113.7:25"),
            ("[IPv6:2001:db8::7]", "[2001:db8::7]:25"),
            ("[203.0.113.99]", "5.4.6 mail loops back to myself"),
            ("own.test", "5.4.6 mail loops back to myself"),
            ("ownip.test", "5.4.6 mail loops back to myself"),
            ("loopback.test", "5.4.6 mail loops back to myself"),
            ("null.test", "5.1.10 null.test takes no mail (null MX)"),
            ("nope.test", "5.1.2 no such domain: nope.test"),
            (
                "empty.test",
                "5.1.2 empty.test has neither MX nor address records",
            ),
            ("ill.test", "4.4.3 cannot look up ill.test: SERVFAIL"),
        ] {
            assert_eq!(plan(host).await, expected, "{host}");
        }
    }

    /// The usual planner, with policies that were kept: `DOMAIN MODE[ MX]…`.
    fn planner_with(policies: &[&str]) -> Planner<Fixed> {
        let mut planner = planner();
        let kept = policies.iter().filter_map(|policy| {
            let (domain, policy) = policy.split_once(' ')?;
            let line = format!("{domain} 1 2026-11-29T09:00:00.000Z 604800 {policy}");
            Some(line.parse().unwrap())
        });
        let fetch: sts::Fetch = Box::new(|_| Box::pin(std::future::pending()));
        let now = || "2026-11-30T09:00:00Z".parse().unwrap();
        let resolver = planner.resolver.as_ref().clone();
        let policies = Policies::new(resolver, fetch, kept.collect(), now);
        planner.sts = Some(Arc::new(policies));
        planner
    }

    /// What is asked of which hosts.
    async fn followed(policy: &str, host: &str, way: &str) -> String {
        let planner = planner_with(&[policy]);
        let to = Destination {
            host: host.parse().unwrap(),
            way: way.parse().unwrap(),
        };
        let hosts = match planner.site(&to).await {
            Ok(site) => planner.hosts(&site).await,
            Err(outcome) => Err(outcome),
        };
        match hosts {
            Ok(hosts) => {
                let mut words = vec![format!("{:?}", hosts[0].security)];
                let names = hosts.iter().filter_map(|host| host.name.as_ref());
                words.extend(names.map(ToString::to_string));
                words.join(" ")
            }
            Err(outcome) => {
                let Diagnosis { status, text, .. } = outcome.diagnosis();
                format!("{status} {text}")
            }
        }
    }

    #[tokio::test]
    async fn what_follows_from_a_policy() {
        let both = "Opportunistic mx.test mx2.test";
        let unnamed = "4.7.5 its domain's MTA-STS policy names no host that takes its mail";
        for (policy, host, tls, expected) in [
            ("", "a.test", "", both),
            ("a.test none", "a.test", "", both),
            ("a.test testing mx.test", "a.test", "", both),
            ("a.test testing no.test", "a.test", "", both),
            ("b.test enforce mx.test", "a.test", "", both),
            (
                "a.test testing mx.test",
                "a.test",
                "tls=required",
                "Required mx.test mx2.test",
            ),
            (
                "a.test enforce mx.test mx2.test",
                "a.test",
                "",
                "Verified mx.test mx2.test",
            ),
            (
                "a.test enforce mx2.test",
                "a.test",
                "tls=required",
                "Verified mx2.test",
            ),
            ("a.test enforce *.mx.test test", "a.test", "", unnamed),
            (
                "plain.test enforce *.test",
                "plain.test",
                "",
                "Verified plain.test",
            ),
            ("plain.test enforce mx.test", "plain.test", "", unnamed),
            (
                "named.test enforce no.test",
                "named.test",
                "",
                "Opportunistic mx.test",
            ),
            (
                "a.test enforce no.test",
                "[203.0.113.7]",
                "",
                "Opportunistic",
            ),
        ] {
            assert_eq!(
                followed(policy, host, tls).await,
                expected,
                "{policy}: {host} {tls}"
            );
        }
    }

    /// RFC 8689 §4.2.1: what names the hosts must be proven.
    #[tokio::test]
    async fn who_requires_tls_goes_to_no_host_that_anybody_may_have_named() {
        let unproven = "5.7.30 nothing proves which hosts take its domain's mail, which its sender wants (REQUIRETLS)";
        for (policy, host, expected) in [
            ("", "a.test", unproven),
            ("a.test testing mx.test", "a.test", unproven),
            ("a.test enforce mx.test", "a.test", "Verified mx.test"),
            ("", "plain.test", "Verified plain.test"),
            ("", "named.test", "Verified mx.test"),
        ] {
            assert_eq!(
                followed(policy, host, "requiretls=yes").await,
                expected,
                "{policy}: {host}"
            );
        }
    }

    #[tokio::test]
    async fn domains_with_another_policy_have_another_site() {
        let planner = planner_with(&["a.test enforce mx.test", "b.test testing mx.test"]);
        let site = async |name: &str| planner.site(&name.parse().unwrap()).await.unwrap();
        assert_ne!(site("a.test").await, site("b.test").await);
        let planner = planner_with(&["a.test enforce mx.test", "b.test enforce mx.test"]);
        let site = async |name: &str| planner.site(&name.parse().unwrap()).await.unwrap();
        assert_eq!(site("a.test").await, site("b.test").await);
    }

    #[tokio::test]
    async fn a_wish_that_changes_nothing_makes_no_site() {
        let planner = planner_with(&["a.test enforce mx.test", "b.test testing mx.test"]);
        for (host, is_same) in [("a.test", false), ("b.test", true)] {
            let site = async |way: &str| {
                let (host, way) = (host.parse().unwrap(), way.parse().unwrap());
                planner.site(&Destination { host, way }).await.unwrap()
            };
            let is_one = site("").await == site("requiretls=no").await;
            assert_eq!(is_one, is_same, "{host}");
        }
    }

    /// RFC 8461 §2: DANE before MTA-STS; RFC 8689 §5: neither, where the sender does not want TLS.
    #[tokio::test]
    async fn dane_comes_before_sts() {
        let tlsa = |usage| dns::Tlsa {
            usage,
            selector: 1,
            matching: 1,
            data: vec![0; 32],
        };
        let unnamed = "4.7.5";
        for (usage, sts, way, expected) in [
            (3, "a.test enforce no.test", "", "dane tlsa"),
            (3, "a.test enforce mx.test", "", "dane tlsa"),
            (1, "a.test enforce mx.test", "", "verified sts"),
            (1, "a.test enforce no.test", "", unnamed),
            (1, "a.test testing mx.test", "", "required tlsa"),
            (
                3,
                "a.test enforce no.test",
                "requiretls=no",
                "opportunistic sts",
            ),
            (3, "", "requiretls=yes", "dane tlsa"),
            (1, "", "requiretls=yes", "verified no-policy-found"),
        ] {
            let host = "_25._tcp.mx.test";
            let mut planner = planner_with(&[sts]);
            let resolver = Fixed::new()
                .with_mx(d("a.test"), 10, d("mx.test"))
                .with_address(d("mx.test"), "203.0.113.1".parse().unwrap())
                .with_tlsa(host, tlsa(usage));
            let names = ["a.test", "mx.test", host];
            let resolver = names.into_iter().fold(resolver, Fixed::with_proof);
            planner.resolver = Arc::new(resolver);
            let to = Destination {
                host: "a.test".parse().unwrap(),
                way: way.parse().unwrap(),
            };
            let site = planner.site(&to).await.unwrap();
            let got = match planner.hosts(&site).await {
                Ok(hosts) => {
                    let security = &hosts[0].security;
                    let kind = site.policy.published(security).kind;
                    format!("{} {}", security.name(), kind.name())
                }
                Err(outcome) => outcome.diagnosis().status.to_string(),
            };
            assert_eq!(got, expected, "{usage} {sts} {way}");
        }
    }

    /// How the host of a.test is talked to. `proven`: the names that DNSSEC vouches for; `tlsa`: usage of the record of the host,
    /// `!`: it cannot be looked up.
    async fn security(proven: &str, tlsa: &str, tls: TlsUse, dane: bool) -> String {
        let host = "_25._tcp.mx.test";
        let mut resolver = Fixed::new()
            .with_mx(d("a.test"), 10, d("mx.test"))
            .with_address(d("mx.test"), "203.0.113.1".parse().unwrap());
        for name in proven.split_whitespace() {
            resolver = resolver.with_proof(if name == "tlsa" { host } else { name });
        }
        if tlsa == "!" {
            resolver = resolver.with_trouble(d(host), "SERVFAIL");
        } else if let Ok(usage) = tlsa.parse() {
            let (selector, matching, data) = (1, 1, vec![0; 32]);
            resolver = resolver.with_tlsa(
                host,
                dns::Tlsa {
                    usage,
                    selector,
                    matching,
                    data,
                },
            );
        }
        let settings = Settings {
            tls,
            dane,
            ..Settings::new(d("us.test"))
        };
        let planner = Planner::new(Arc::new(settings), Arc::new(resolver), None);
        let host = "a.test".parse::<Host>().unwrap();
        let site = planner.site(&host.into()).await.unwrap();
        match planner.hosts(&site).await {
            Ok(hosts) => match &hosts[0].security {
                Security::Dane(host) if host.verifies() => "dane".to_owned(),
                Security::Dane(_) => "encrypted".to_owned(),
                other => format!("{other:?}").to_lowercase(),
            },
            Err(outcome) => outcome.diagnosis().status.to_string(),
        }
    }

    /// The decision table of DANE, as far as DNS goes (RFC 7672 §2).
    #[tokio::test]
    async fn when_tlsa_records_count() {
        use TlsUse::{Never, Opportunistic, Required, Verified};
        let all = "a.test mx.test tlsa";
        for (proven, tlsa, tls, expected) in [
            (all, "3", Opportunistic, "dane"),
            (all, "2", Opportunistic, "dane"),
            (all, "3", Required, "dane"),
            (all, "3", Verified, "dane"),
            (all, "3", Never, "clear"),
            // Nothing that could be used: TLS, with anybody.
            (all, "1", Opportunistic, "encrypted"),
            (all, "0", Required, "encrypted"),
            (all, "1", Verified, "verified"),
            // No records.
            (all, "", Opportunistic, "opportunistic"),
            (all, "", Verified, "verified"),
            // They cannot be looked up.
            (all, "!", Opportunistic, "4.4.3"),
            (all, "!", Never, "clear"),
            // Something on the way is not proven; then they are not even asked for.
            ("mx.test tlsa", "3", Opportunistic, "opportunistic"),
            ("mx.test tlsa", "!", Opportunistic, "opportunistic"),
            ("a.test tlsa", "3", Opportunistic, "opportunistic"),
            ("a.test tlsa", "!", Required, "required"),
            ("a.test mx.test", "3", Opportunistic, "opportunistic"),
            ("", "3", Opportunistic, "opportunistic"),
            ("", "3", Verified, "verified"),
        ] {
            let found = security(proven, tlsa, tls, true).await;
            assert_eq!(found, expected, "{proven}: {tlsa} {tls:?}");
        }
        let off = security(all, "3", Opportunistic, false).await;
        assert_eq!(off, "opportunistic", "delivery.dane = false");
    }

    #[tokio::test]
    async fn domains_with_the_same_mx_set_share_a_site() {
        let planner = planner();
        let site = async |name: &str| planner.site(&name.parse().unwrap()).await.unwrap();
        assert_eq!(site("a.test").await, site("b.test").await);
        assert_eq!(site("a.test").await.to_string(), "mx.test");
        assert_ne!(site("a.test").await, site("plain.test").await);
        let strict = SiteKey {
            policy: Policy {
                tls: TlsUse::Never,
                ..Policy::default()
            },
            ..site("a.test").await
        };
        assert_ne!(site("b.test").await, strict, "another policy, another site");
    }
}
