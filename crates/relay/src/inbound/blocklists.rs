//! DNS blocklists are asked here: with a time limit, and with a record of how each of them does.
//!
//! A list that does not answer refuses nobody. That it fails is said once, and again when it answers; what fails in between
//! is counted. Answers are kept by the resolver, as long as their TTL says.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use control::BlocklistCounts;
use dns::{Error, Resolver};
use envelope::network_of;
use futures_util::future::join_all;
use journal::{Event, Journal};
use moka::sync::Cache;
use parking_lot::Mutex;
use policy::Name;
use tokio::time::timeout;

use crate::dnsbl::{Dnsbl, Meaning, Subject};

/// What is remembered of them, and whom to ask.
pub(super) struct Blocklists {
    resolver: dns::Backend,
    journal: Journal,
    health: Mutex<BTreeMap<Name, Health>>,
    /// Clients that were refused for a list, by their networks.
    refused: Cache<(Name, IpAddr), ()>,
}

#[derive(Default)]
struct Health {
    counts: BlocklistCounts,
    failed_in_a_row: u64,
}

/// The first of those asked about who is listed, if any; or why the list could not be asked.
pub(super) type Found<'a> = Result<Option<&'a Subject>, String>;

impl Blocklists {
    /// Asks this resolver.
    pub(super) fn new(resolver: dns::Backend, journal: Journal) -> Self {
        let refused = Cache::builder()
            .max_capacity(REFUSED_MAX)
            .time_to_live(REFUSED_KEPT);
        Self {
            resolver,
            journal,
            health: Mutex::default(),
            refused: refused.build(),
        }
    }

    /// Asks one list about all of these at once. One who is listed counts, even if the list said nothing about another.
    pub(super) async fn find<'a>(&self, list: &Dnsbl, subjects: &'a [Subject]) -> Found<'a> {
        let answers = subjects
            .iter()
            .map(|subject| is_listed(&self.resolver, list, subject));
        let answers = join_all(answers).await;
        match answers.iter().position(|answer| *answer == Ok(true)) {
            Some(at) => Ok(Some(&subjects[at])),
            None => answers
                .into_iter()
                .find(Result::is_err)
                .map_or(Ok(None), |failed| failed.map(|_| None)),
        }
    }

    /// What the list says of one whom it lists; any octets.
    pub(super) async fn text(&self, list: &Dnsbl, subject: &Subject) -> Option<Vec<u8>> {
        let question = list.question(subject);
        let answer = timeout(TEXT_WITHIN, self.resolver.txt(&question)).await;
        answer.ok()?.ok()?.into_iter().next()
    }

    /// Whether the list has not made us refuse this client within a day. From now on it has, if this counts.
    pub(super) fn is_first(&self, list: &Name, client: IpAddr, counts: bool) -> bool {
        let key = (Name::clone(list), network_of(client));
        let is_first = !self.refused.contains_key(&key);
        if is_first && counts {
            self.refused.insert(key, ());
        }
        is_first
    }

    /// Counts what came of asking.
    pub(super) fn count(&self, list: &Name, found: &Found<'_>) {
        let mut health = self.health.lock();
        let Health {
            counts,
            failed_in_a_row,
        } = health.entry(Name::clone(list)).or_default();
        counts.asked += 1;
        let name = || list.to_string();
        match found {
            Err(error) => {
                counts.failed += 1;
                *failed_in_a_row += 1;
                if *failed_in_a_row == SAID_AFTER {
                    let error = error.clone();
                    self.journal.record(Event::DnsblDown {
                        name: name(),
                        error,
                    });
                }
            }
            Ok(listed) => {
                counts.listed += u64::from(listed.is_some());
                let failed = std::mem::take(failed_in_a_row);
                if failed >= SAID_AFTER {
                    self.journal.record(Event::DnsblUp {
                        name: name(),
                        failed,
                    });
                }
            }
        }
    }

    /// How each did since the start.
    pub(super) fn counts(&self) -> BTreeMap<String, BlocklistCounts> {
        let health = self.health.lock();
        let each = health.iter();
        each.map(|(name, health)| (name.to_string(), health.counts))
            .collect()
    }
}

/// Asks one list about one.
pub(crate) async fn is_listed(
    resolver: &impl Resolver,
    list: &Dnsbl,
    subject: &Subject,
) -> Result<bool, String> {
    let question = list.question(subject);
    match timeout(ANSWER_WITHIN, resolver.ipv4(&question)).await {
        Ok(Ok(answer)) => match list.meaning(&answer) {
            Meaning::Listed => Ok(true),
            Meaning::NotListed => Ok(false),
            Meaning::Error(code) => Err(format!("answers {code}, which reports an error")),
        },
        Ok(Err(Error::NoSuchDomain | Error::NoRecords)) => Ok(false),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no answer within {} s", ANSWER_WITHIN.as_secs())),
    }
}

/// For all lists, since they are asked at once.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// The text is only there to help; without it the reply says less.
const TEXT_WITHIN: Duration = Duration::from_secs(1);
/// One lost packet is no news.
const SAID_AFTER: u64 = 3;
const REFUSED_KEPT: Duration = Duration::from_hours(24);
/// Some 100 octets each.
const REFUSED_MAX: u64 = 100_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dnsbl::Kind;
    use dns::Fixed;

    fn list() -> Dnsbl {
        let answers = ["127.0.0.2".to_owned()];
        Dnsbl::new("bl.example", Kind::Address, &answers, "554 no", "451 later").unwrap()
    }

    fn blocklists(dns: Fixed) -> Blocklists {
        Blocklists::new(dns::Backend::Fixed(dns), Journal::default())
    }

    #[track_caller]
    fn check(found: Found<'_>, expected: Result<Option<usize>, &str>, subjects: &[Subject]) {
        let found = found.map(|found| found.cloned());
        let expected = expected.map(|at| at.map(|at| subjects[at].clone()));
        assert_eq!(found, expected.map_err(str::to_owned));
    }

    #[tokio::test]
    async fn the_first_who_is_listed_counts_and_then_any_failure() {
        let at = |name: &str| format!("{name}.bl.example").parse().unwrap();
        let dns = Fixed::new()
            .with_address(at("listed.example"), "127.0.0.2".parse().unwrap())
            .with_address(at("other.example"), "127.0.0.9".parse().unwrap())
            .with_address(at("code.example"), "127.255.255.254".parse().unwrap())
            .with_trouble(at("ill.example"), "SERVFAIL");
        let (lists, list) = (blocklists(dns), list());
        let subjects = |names: &str| -> Vec<Subject> {
            let names = names
                .split(' ')
                .map(|name| format!("{name}.example").parse().unwrap());
            names.map(Subject::Domain).collect()
        };
        for (names, expected) in [
            ("clean", Ok(None)),
            ("other clean", Ok(None)),
            ("clean listed", Ok(Some(1))),
            ("ill listed", Ok(Some(1))),
            ("clean ill", Err("SERVFAIL")),
            (
                "code",
                Err("answers 127.255.255.254, which reports an error"),
            ),
        ] {
            let subjects = subjects(names);
            check(lists.find(&list, &subjects).await, expected, &subjects);
        }
    }

    #[tokio::test]
    async fn a_failing_list_is_said_once_and_so_is_its_return() {
        let lists = blocklists(Fixed::new());
        let (name, mut events) = (Name::from("bl"), lists.journal.subscribe());
        let failed: Found<'_> = Err("no answer".to_owned());
        let subject = Subject::Address("192.0.2.1".parse().unwrap());
        // One failure now and then is counted and not said.
        for found in [
            &failed,
            &Ok(None),
            &failed,
            &Ok(Some(&subject)),
            &failed,
            &failed,
            &failed,
            &failed,
            &Ok(None),
            &Ok(None),
        ] {
            lists.count(&name, found);
        }
        let mut said = Vec::new();
        while let Some(Ok(entry)) = events.try_next() {
            said.push(format!("{:?}", entry.event));
        }
        assert_eq!(
            said,
            [
                "DnsblDown { name: \"bl\", error: \"no answer\" }",
                "DnsblUp { name: \"bl\", failed: 4 }",
            ]
        );
        let counts = lists.counts()["bl"];
        assert_eq!((counts.asked, counts.listed, counts.failed), (10, 1, 6));
    }

    #[test]
    fn a_client_is_known_by_its_network_for_each_list() {
        let lists = blocklists(Fixed::new());
        let check = |list: &str, client: &str, counts, expected| {
            let is_first = lists.is_first(&list.into(), client.parse().unwrap(), counts);
            assert_eq!(is_first, expected, "{list} {client}");
        };
        check("a", "192.0.2.1", false, true);
        check("a", "192.0.2.1", true, true);
        check("a", "192.0.2.1", true, false);
        check("a", "::ffff:192.0.2.1", true, false);
        check("b", "192.0.2.1", true, true);
        check("a", "192.0.2.2", true, true);
        check("a", "2001:db8::1", true, true);
        check("a", "2001:db8::2", true, false);
        check("a", "2001:db8:0:1::1", true, true);
    }
}
