//! MX selection (RFC 5321 §5.1): which hosts to try, in which order. Pure: answers, "is that us?" and randomness come in.
//!
//! It does *not* look anything up (`plan`) and remembers nothing.

use std::cmp::min;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

use envelope::{Diagnosis, Domain, EnhancedStatus, Outcome};
use rand::Rng;
use rand::seq::SliceRandom;

use crate::allowed::{Allowed, Space};
use crate::peer::Endpoint;
use crate::policy::Security;

/// A host that an MX record names, or the domain itself, with what DNS says of its addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) preference: u16,
    pub(crate) name: Domain,
    pub(crate) addresses: Result<Vec<IpAddr>, dns::Error>,
    /// How it is to be talked to, if that could be found out.
    pub(crate) security: Result<Security, dns::Error>,
}

/// A host to try: its addresses in order, both families in turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MailHost {
    /// Its name; none for an address literal.
    pub(crate) name: Option<Domain>,
    /// Never empty.
    pub(crate) addresses: Vec<Endpoint>,
    /// How it is to be talked to.
    pub(crate) security: Security,
    /// Whether it speaks LMTP.
    pub(crate) lmtp: bool,
}

/// The hosts to try, best first: never empty.
///
/// Hosts of equal preference come in random order, which spreads the load (§5.1). A host that is ourselves drops out
/// with all of its preference and worse, because sending to those would make a loop; nothing left is a permanent
/// failure. Hosts without addresses are skipped, as are addresses that strangers may not send us to ([`Allowed`]), and hosts
/// whose TLSA records cannot be looked up; when none is left, trouble with DNS defers and absence fails.
pub(crate) fn select(
    mut candidates: Vec<Candidate>,
    port: u16,
    is_ourselves: impl Fn(&Domain, &[IpAddr]) -> bool,
    allowed: Allowed,
    rng: &mut impl Rng,
) -> Result<Vec<MailHost>, Outcome> {
    let ourselves = |c: &Candidate| is_ourselves(&c.name, c.addresses.as_deref().unwrap_or(&[]));
    let own = candidates.iter().filter(|c| ourselves(c));
    if let Some(own) = own.map(|c| c.preference).min() {
        candidates.retain(|c| c.preference < own);
        if candidates.is_empty() {
            return Err(loops_back());
        }
    }
    // Shuffled first: the sort is stable, so only equals keep the random order.
    candidates.shuffle(rng);
    candidates.sort_by_key(|c| c.preference);
    let mut hosts = Vec::with_capacity(candidates.len());
    let mut trouble = None;
    let mut refused = None;
    for Candidate {
        name,
        addresses,
        security,
        ..
    } in candidates
    {
        match addresses.and_then(|addresses| Ok((addresses, security?))) {
            Ok((addresses, security)) => {
                let addresses = usable(Some(&name), addresses, allowed, &mut refused);
                let endpoint = |address| SocketAddr::new(address, port).into();
                hosts.extend((!addresses.is_empty()).then(|| MailHost {
                    name: Some(name),
                    addresses: in_turn(addresses).into_iter().map(endpoint).collect(),
                    security,
                    lmtp: false,
                }));
            }
            Err(dns::Error::Trouble(reason)) => {
                trouble.get_or_insert_with(|| host_trouble(&name, &reason));
            }
            Err(_) => {}
        }
    }
    if !hosts.is_empty() {
        return Ok(hosts);
    }
    Err(trouble.or(refused).unwrap_or_else(no_address))
}

/// The addresses that may be connected to, in canonical form; `refused` tells of the first that may not.
pub(crate) fn usable(
    name: Option<&Domain>,
    addresses: Vec<IpAddr>,
    allowed: Allowed,
    refused: &mut Option<Outcome>,
) -> Vec<IpAddr> {
    let mut usable = Vec::with_capacity(addresses.len());
    for address in addresses.into_iter().map(|address| address.to_canonical()) {
        match allowed.refuses(address) {
            None => usable.push(address),
            Some(space) => {
                refused.get_or_insert_with(|| refused_address(name, address, space));
            }
        }
    }
    usable
}

/// What is said of mail whose host cannot be looked up. The name is not in the text, but where hosts are named: a sender
/// may not be told where a forward goes.
pub(crate) fn host_trouble(name: &Domain, reason: &dyn fmt::Display) -> Outcome {
    let text = format!("cannot look up the host for its mail: {reason}");
    Outcome::Deferred(Diagnosis {
        host: Some(name.to_string()),
        ..Diagnosis::local(DNS_TROUBLE, text)
    })
}

/// What is said of mail that would come back to us.
pub(crate) fn loops_back() -> Outcome {
    Outcome::Failed(Diagnosis::local(LOOP, "mail loops back to myself"))
}

/// What is said of mail for a host that is nowhere.
fn no_address() -> Outcome {
    let text = "no host for its mail has an address";
    Outcome::Failed(Diagnosis::local(NO_ROUTE, text))
}

/// What is said of mail for a host where we do not go.
fn refused_address(name: Option<&Domain>, address: IpAddr, space: Space) -> Outcome {
    let name = name.map(Domain::to_string).unwrap_or_default();
    Outcome::Failed(Diagnosis {
        host: Some(format!("{name}[{address}]")),
        ..Diagnosis::local(NO_ROUTE, space.words())
    })
}

/// v6, v4, v6, v4, …: one broken family costs one timeout, not all of them. Within a family the order of the answer is
/// kept (RFC 5321 §5.1).
fn in_turn(addresses: Vec<IpAddr>) -> Vec<IpAddr> {
    let (v6, v4): (Vec<IpAddr>, Vec<IpAddr>) = addresses.iter().partition(|a| a.is_ipv6());
    let common = min(v6.len(), v4.len());
    let pairs = v6.iter().zip(&v4).flat_map(|(six, four)| [*six, *four]);
    let rest = v6[common..].iter().chain(&v4[common..]);
    pairs.chain(rest.copied()).collect()
}

/// RFC 3463 §3.5: directory server failure.
pub(crate) const DNS_TROUBLE: EnhancedStatus = EnhancedStatus::transient(4, 3);
/// RFC 3463 §3.5: unable to route.
const NO_ROUTE: EnhancedStatus = EnhancedStatus::permanent(4, 4);
/// RFC 3463 §3.5: routing loop detected.
pub(crate) const LOOP: EnhancedStatus = EnhancedStatus::permanent(4, 6);

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use rand::SeedableRng;
    use rand::rngs::SmallRng;

    use super::*;

    fn candidate(text: &str) -> Candidate {
        let mut words = text.split_whitespace();
        let preference = words.next().unwrap().parse().unwrap();
        let name = words.next().unwrap().parse().unwrap();
        let addresses = match words.clone().next() {
            Some("nxdomain") => Err(dns::Error::NoSuchDomain),
            Some("servfail") => Err(dns::Error::Trouble("SERVFAIL".to_owned())),
            _ => Ok(words.map(|w| w.parse().unwrap()).collect()),
        };
        Candidate {
            preference,
            name,
            addresses,
            security: Ok(Security::default()),
        }
    }

    fn run(candidates: &[&str], seed: u64) -> String {
        let is_ourselves = |name: &Domain, addresses: &[IpAddr]| {
            name.as_str() == "us.test" || addresses.iter().any(|a| a.to_string() == "192.0.2.99")
        };
        let candidates = candidates.iter().map(|text| candidate(text)).collect();
        let mut rng = SmallRng::seed_from_u64(seed);
        let allowed = Allowed {
            loopback: false,
            private: false,
        };
        match select(candidates, 25, is_ourselves, allowed, &mut rng) {
            Ok(hosts) => hosts
                .iter()
                .map(|host| {
                    let addresses = host
                        .addresses
                        .iter()
                        .map(|at| at.tcp().unwrap().ip().to_string());
                    let addresses: Vec<_> = addresses.collect();
                    format!("{} {}", host.name.as_ref().unwrap(), addresses.join(" "))
                })
                .collect::<Vec<_>>()
                .join("; "),
            Err(outcome) => {
                let Diagnosis {
                    status, text, host, ..
                } = outcome.diagnosis();
                let host = host.as_ref().map(|host| format!("{host}: "));
                format!("{status} {}{text}", host.unwrap_or_default())
            }
        }
    }

    #[track_caller]
    fn check(candidates: &[&str], expected: &str) {
        for seed in 0..20 {
            assert_eq!(run(candidates, seed), expected);
        }
    }

    #[test]
    fn by_preference() {
        check(
            &[
                "20 b.test 192.0.2.2",
                "10 a.test 192.0.2.1",
                "30 c.test 192.0.2.3",
            ],
            "a.test 192.0.2.1; b.test 192.0.2.2; c.test 192.0.2.3",
        );
    }

    #[test]
    fn families_in_turn() {
        check(
            &["0 a.test 192.0.2.1 192.0.2.2 2001:db8::1 192.0.2.3"],
            "a.test 2001:db8::1 192.0.2.1 192.0.2.2 192.0.2.3",
        );
        check(
            &["0 a.test 2001:db8::1 2001:db8::2 192.0.2.1"],
            "a.test 2001:db8::1 192.0.2.1 2001:db8::2",
        );
        check(&["0 a.test ::ffff:192.0.2.1"], "a.test 192.0.2.1");
    }

    #[test]
    fn ourselves_and_worse_drop_out() {
        let loops = "5.4.6 mail loops back to myself";
        check(&["10 us.test 192.0.2.1"], loops);
        check(&["10 us.test servfail"], loops);
        check(&["10 other.test 192.0.2.1 192.0.2.99"], loops);
        check(&["10 a.test 192.0.2.1", "10 us.test 192.0.2.2"], loops);
        check(
            &[
                "10 a.test 192.0.2.1",
                "20 b.test 192.0.2.2",
                "20 us.test 192.0.2.3",
                "30 c.test 192.0.2.4",
            ],
            "a.test 192.0.2.1",
        );
        check(
            &["5 a.test servfail", "10 us.test 192.0.2.2"],
            "4.4.3 a.test: cannot look up the host for its mail: SERVFAIL",
        );
    }

    #[test]
    fn hosts_without_addresses() {
        check(
            &[
                "10 a.test servfail",
                "10 b.test nxdomain",
                "20 c.test 192.0.2.3",
            ],
            "c.test 192.0.2.3",
        );
        check(
            &["10 a.test servfail", "20 b.test nxdomain"],
            "4.4.3 a.test: cannot look up the host for its mail: SERVFAIL",
        );
        let nowhere = "5.4.4 no host for its mail has an address";
        check(&["10 a.test nxdomain"], nowhere);
        check(
            &["10 a.test 0.0.0.0 :: 224.0.0.1 255.255.255.255"],
            "5.4.4 a.test[0.0.0.0]: the address of the host for its mail is no host's",
        );
        check(
            &["10 a.test ::ffff:127.0.0.1 127.9.9.9 ::1"],
            "5.4.4 a.test[127.0.0.1]: the host for its mail is on loopback, which is refused (delivery.allow_loopback)",
        );
        check(
            &["10 a.test fd00::1", "20 b.test nxdomain"],
            "5.4.4 a.test[fd00::1]: the host for its mail is in a private or reserved network, which is refused (delivery.allow_private)",
        );
        check(
            &["10 a.test 127.0.0.1 10.0.0.1 192.0.2.1", "20 b.test ::1"],
            "a.test 192.0.2.1",
        );
        check(
            &["10 a.test 127.0.0.1", "20 b.test servfail"],
            "4.4.3 b.test: cannot look up the host for its mail: SERVFAIL",
        );
        check(&[], nowhere);
    }

    #[test]
    fn equals_come_in_every_order() {
        let orders: HashSet<_> = (0..100)
            .map(|seed| run(&["1 a.test 192.0.2.1", "1 b.test 192.0.2.2"], seed))
            .collect();
        assert_eq!(orders.len(), 2);
    }
}
