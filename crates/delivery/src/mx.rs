//! MX selection (RFC 5321 §5.1): which hosts to try, in which order. Pure: answers, "is that us?" and randomness come in.
//!
//! It does *not* look anything up (`plan`) and remembers nothing.

use std::cmp::min;
use std::fmt;
use std::net::IpAddr;

use envelope::{Diagnosis, Domain, EnhancedStatus, Outcome};
use rand::Rng;
use rand::seq::SliceRandom;

/// A host that an MX record names, or the domain itself, with what DNS says of its addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) preference: u16,
    pub(crate) name: Domain,
    pub(crate) addresses: Result<Vec<IpAddr>, dns::Error>,
}

/// A host to try: its addresses in order, both families in turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MailHost {
    /// Its name; none for an address literal.
    pub(crate) name: Option<Domain>,
    /// Never empty.
    pub(crate) addresses: Vec<IpAddr>,
}

/// The hosts to try, best first: never empty.
///
/// Hosts of equal preference come in random order, which spreads the load (§5.1). A host that is ourselves drops out
/// with all of its preference and worse, because sending to those would make a loop; nothing left is a permanent
/// failure. Hosts without addresses are skipped, as are addresses where no mail host can be ([`usable`]); when none is
/// left, trouble with DNS defers and absence fails.
pub(crate) fn select(
    mut candidates: Vec<Candidate>,
    is_ourselves: impl Fn(&Domain, &[IpAddr]) -> bool,
    allow_loopback: bool,
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
    for candidate in candidates {
        let addresses = candidate.addresses;
        match addresses.map(|addresses| usable(addresses, allow_loopback)) {
            Ok(addresses) if !addresses.is_empty() => hosts.push(MailHost {
                name: Some(candidate.name),
                addresses: in_turn(addresses),
            }),
            Err(dns::Error::Trouble(reason)) => {
                trouble.get_or_insert_with(|| host_trouble(&candidate.name, &reason));
            }
            Ok(_) | Err(_) => {}
        }
    }
    match (hosts.is_empty(), trouble) {
        (false, _) => Ok(hosts),
        (true, Some(outcome)) => Err(outcome),
        (true, None) => Err(no_address()),
    }
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
pub(crate) fn no_address() -> Outcome {
    let text = "no host for its mail has an address";
    Outcome::Failed(Diagnosis::local(NO_ROUTE, text))
}

/// Drops what is no other host's address, whatever DNS or an address literal says.
///
/// Whoever controls a domain could otherwise have this relay talk to what listens on this machine or on its link alone,
/// and trusts it for that. The unspecified address would reach this machine, too. Addresses of private networks are
/// kept: hosts behind one's own firewall are often found by DNS.
pub(crate) fn usable(mut addresses: Vec<IpAddr>, allow_loopback: bool) -> Vec<IpAddr> {
    addresses.iter_mut().for_each(|a| *a = a.to_canonical());
    addresses.retain(|address| {
        let (broadcast, link_local) = match address {
            IpAddr::V4(v4) => (v4.is_broadcast(), v4.is_link_local()),
            IpAddr::V6(v6) => (false, v6.is_unicast_link_local()),
        };
        let nowhere = address.is_unspecified() || address.is_multicast() || broadcast;
        !nowhere && !link_local && (allow_loopback || !address.is_loopback())
    });
    addresses
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
const LOOP: EnhancedStatus = EnhancedStatus::permanent(4, 6);

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
        }
    }

    fn run(candidates: &[&str], seed: u64) -> String {
        let is_ourselves = |name: &Domain, addresses: &[IpAddr]| {
            name.as_str() == "us.test" || addresses.iter().any(|a| a.to_string() == "192.0.2.99")
        };
        let candidates = candidates.iter().map(|text| candidate(text)).collect();
        let mut rng = SmallRng::seed_from_u64(seed);
        match select(candidates, is_ourselves, false, &mut rng) {
            Ok(hosts) => hosts
                .iter()
                .map(|host| {
                    let addresses: Vec<_> = host.addresses.iter().map(IpAddr::to_string).collect();
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
        check(&["10 a.test 0.0.0.0 :: 224.0.0.1 255.255.255.255"], nowhere);
        check(
            &["10 a.test 127.0.0.1 127.9.9.9 ::1 ::ffff:127.0.0.1"],
            nowhere,
        );
        check(&["10 a.test 169.254.169.254 fe80::1"], nowhere);
        check(
            &["10 a.test 127.0.0.1 10.0.0.1 fd00::1", "20 b.test ::1"],
            "a.test fd00::1 10.0.0.1",
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
