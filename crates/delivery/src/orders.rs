//! What operators order of sites: a pause, or a limit, each for the sites that a [`SiteMatch`] names. Pure; the clock comes in.
//!
//! An order holds for sites that are found later, too. Its [`Display`](fmt::Display) is the line by which it outlives a restart:
//!
//! ```text
//! pause 2026-11-21T12:34:56.789Z UNTIL|- BY SITE REASON
//! limit 2026-11-21T12:34:56.789Z CONNECTIONS|- MESSAGES-A-MINUTE|- BY SITE REASON
//! resume SITE
//! unlimit SITE
//! ```

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Instant;

use envelope::{Actor, Domain, Host, Timestamp};

use crate::plan::{Hosts, SiteKey};

/// Which sites: `mx.example.net` (its name, or an MX host), `example.net` (what its MX hosts' names end in, or a domain that it takes
/// mail for), `example` (a part of their names).
///
/// Only the hosts of the best preference count: who merely has a provider as a backup is not that provider.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SiteMatch(Box<str>);

/// A text that can name no site.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "not the name of a site: one word of at most {SITE_OCTETS_MAX} octets, such as `mx.example.net` or `example`"
)]
pub struct NotASite;

/// What is ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// No mail goes there.
    Pause {
        /// To this moment; none: until somebody resumes it.
        until: Option<Timestamp>,
    },
    /// Less of it than delivery would choose.
    Limit(Limit),
}

/// At most so much; none: as much as delivery chooses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limit {
    /// Connections at once.
    pub connections: Option<u32>,
    /// Messages.
    pub per_minute: Option<u32>,
}

/// An order, by whom and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// For these sites.
    pub of: SiteMatch,
    /// This.
    pub wanted: Wanted,
    /// Since when.
    pub since: Timestamp,
    /// Who ordered it.
    pub by: Actor,
    /// Why; may be empty.
    pub reason: String,
}

/// A change of the orders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Instead of the order of its kind for the same sites, if there is one.
    Give(Order),
    /// No pause any more.
    Resume(SiteMatch),
    /// No limit any more.
    Unlimit(SiteMatch),
}

/// All orders that hold.
#[derive(Debug, Default)]
pub(crate) struct Orders(BTreeMap<(Kind, SiteMatch), Held>);

/// An order, and when it ends.
type Held = (Order, Option<Instant>);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Pause,
    Limit,
}

/// The orders that still hold after these changes.
pub fn holding(changes: Vec<Change>, wall: Timestamp) -> Vec<Change> {
    let (mut orders, now) = (Orders::default(), Instant::now());
    for change in changes {
        orders.change(change, wall, now);
    }
    orders.take_ended(now);
    orders.all().cloned().map(Change::Give).collect()
}

impl Orders {
    /// Makes a change; `now` is `wall` of another clock. Returns what held before.
    pub(crate) fn change(
        &mut self,
        change: Change,
        wall: Timestamp,
        now: Instant,
    ) -> Option<Order> {
        let before = match change {
            Change::Resume(of) => self.0.remove(&(Kind::Pause, of)),
            Change::Unlimit(of) => self.0.remove(&(Kind::Limit, of)),
            Change::Give(order) => {
                let (kind, until) = match order.wanted {
                    Wanted::Pause { until } => (Kind::Pause, until),
                    Wanted::Limit(_) => (Kind::Limit, None),
                };
                let end = until.map(|until| now + until.since(wall));
                self.0.insert((kind, order.of.clone()), (order, end))
            }
        };
        before.map(|(order, _)| order)
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Order> {
        self.0.values().map(|(order, _)| order)
    }

    pub(crate) fn next_end(&self) -> Option<Instant> {
        self.0.values().filter_map(|(_, end)| *end).min()
    }

    /// Takes out those whose time is over.
    pub(crate) fn take_ended(&mut self, now: Instant) -> Vec<Order> {
        let ended = self
            .0
            .extract_if(.., |_, (_, end)| end.is_some_and(|end| end <= now));
        ended.map(|(_, (order, _))| order).collect()
    }

    /// What holds for a site: the pause, if there is one, and the narrowest limit.
    pub(crate) fn of<'a>(
        &self,
        site: &SiteKey,
        hosts: impl Iterator<Item = &'a Host> + Clone,
    ) -> (Option<&Order>, Limit) {
        let (mut pause, mut limit) = (None, Limit::default());
        for order in self
            .all()
            .filter(|order| order.of.matches(site, hosts.clone()))
        {
            match order.wanted {
                Wanted::Pause { .. } => pause = Some(order),
                Wanted::Limit(more) => limit = limit.and(more),
            }
        }
        (pause, limit)
    }
}

impl Limit {
    /// Both.
    pub(crate) fn and(self, other: Self) -> Self {
        let narrower = |a: Option<u32>, b: Option<u32>| a.into_iter().chain(b).min();
        Self {
            connections: narrower(self.connections, other.connections),
            per_minute: narrower(self.per_minute, other.per_minute),
        }
    }
}

impl SiteMatch {
    /// Whether a site is meant that takes the mail of these hosts.
    pub(crate) fn matches<'a>(
        &self,
        site: &SiteKey,
        mut hosts: impl Iterator<Item = &'a Host>,
    ) -> bool {
        let wanted = &*self.0;
        let below = |name: &Domain| match name.as_str().strip_suffix(wanted) {
            Some(before) => before.is_empty() || before.ends_with('.'),
            None => false,
        };
        // The last part of a name is not meant: `com` is nobody's.
        let has_part = |name: &Domain| {
            let parts = name
                .as_str()
                .rsplit_once('.')
                .map_or("", |(parts, _)| parts);
            parts.split('.').any(|part| part == wanted)
        };
        let is_word = !wanted.contains('.');
        let mut names = best_names(&site.hosts).into_iter();
        site.to_string().eq_ignore_ascii_case(wanted)
            || names.any(|name| {
                name.as_str() == wanted || if is_word { has_part(name) } else { below(name) }
            })
            || hosts.any(|host| host.to_string() == wanted)
    }
}

/// The hosts that get the mail while all is well.
fn best_names(hosts: &Hosts) -> Vec<&Domain> {
    let Hosts::Mx(records) = hosts else {
        return hosts.names();
    };
    let best = records.first().map(|mx| mx.preference);
    let best = records.iter().take_while(|mx| Some(mx.preference) == best);
    best.map(|mx| &mx.exchange).collect()
}

impl FromStr for SiteMatch {
    type Err = NotASite;

    fn from_str(text: &str) -> Result<Self, NotASite> {
        let is_odd = |c: char| c.is_whitespace() || c.is_control();
        if text.is_empty() || text.len() > SITE_OCTETS_MAX || text.contains(is_odd) {
            return Err(NotASite);
        }
        // As names in DNS are kept: one of other letters is written in ASCII there.
        Ok(match text.parse::<Host>() {
            Ok(host) => Self(host.to_string().into()),
            Err(_) => Self(text.to_lowercase().into()),
        })
    }
}

impl fmt::Display for SiteMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fn or_dash(value: Option<impl ToString>) -> String {
            value.map_or_else(|| "-".to_owned(), |value| value.to_string())
        }
        let order = match self {
            Self::Resume(of) => return write!(f, "resume {of}"),
            Self::Unlimit(of) => return write!(f, "unlimit {of}"),
            Self::Give(order) => order,
        };
        match order.wanted {
            Wanted::Pause { until } => write!(f, "pause {} {}", order.since, or_dash(until))?,
            Wanted::Limit(limit) => {
                let [connections, rate] = [limit.connections, limit.per_minute].map(or_dash);
                write!(f, "limit {} {connections} {rate}", order.since)?;
            }
        }
        // It must stay on its line.
        let reason = order.reason.replace(char::is_control, " ");
        write!(f, " {} {} {reason}", order.by, order.of)
    }
}

impl FromStr for Change {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        fn part<T: FromStr>(text: Option<&str>) -> Result<T, ()> {
            text.ok_or(())?.parse().map_err(|_| ())
        }
        fn or_dash<T: FromStr>(text: Option<&str>) -> Result<Option<T>, ()> {
            if text == Some("-") {
                Ok(None)
            } else {
                part(text).map(Some)
            }
        }
        let (word, rest) = text.split_once(' ').ok_or(())?;
        let fields = match word {
            "pause" => 5,
            "limit" => 6,
            "resume" => return Ok(Self::Resume(part(Some(rest))?)),
            "unlimit" => return Ok(Self::Unlimit(part(Some(rest))?)),
            _ => return Err(()),
        };
        let mut parts = rest.splitn(fields, ' ');
        let since = part(parts.next())?;
        let wanted = match word {
            "pause" => Wanted::Pause {
                until: or_dash(parts.next())?,
            },
            _ => Wanted::Limit(Limit {
                connections: or_dash(parts.next())?,
                per_minute: or_dash(parts.next())?,
            }),
        };
        Ok(Self::Give(Order {
            since,
            wanted,
            by: part(parts.next())?,
            of: part(parts.next())?,
            reason: part(parts.next())?,
        }))
    }
}

const SITE_OCTETS_MAX: usize = 255;

#[cfg(test)]
pub(crate) mod tests {
    use dns::Mx;

    use super::*;
    use crate::policy::Policy;

    pub(crate) fn site(mx: &[(u16, &str)]) -> SiteKey {
        let record = |(preference, name): &(u16, &str)| Mx {
            preference: *preference,
            exchange: name.parse().unwrap(),
        };
        SiteKey {
            hosts: Hosts::Mx(mx.iter().map(record).collect()),
            policy: Policy::default(),
            egress: None,
        }
    }

    #[test]
    fn which_sites_a_word_means() {
        let google = site(&[(5, "aspmx.l.google.com"), (10, "alt1.mx.example")]);
        let hosts: [Host; 1] = ["customer.test".parse().unwrap()];
        for (text, expected) in [
            ("google", true),
            ("Google.COM", true),
            ("aspmx.l.google.com", true),
            ("aspmx", true),
            ("customer.test", true),
            ("com", false),
            ("oogle.com", false),
            ("customer", false),
            ("mx.example", false),
            ("alt1", false),
        ] {
            let matcher: SiteMatch = text.parse().unwrap();
            assert_eq!(matcher.matches(&google, hosts.iter()), expected, "{text}");
        }
        let literal = SiteKey {
            hosts: Hosts::Literal([192, 0, 2, 1].into()),
            ..google
        };
        let matcher: SiteMatch = "[192.0.2.1]".parse().unwrap();
        assert!(matcher.matches(&literal, [].iter()));
        for odd in ["", "a b", "a\n", &"x".repeat(256)] {
            assert_eq!(odd.parse::<SiteMatch>(), Err(NotASite));
        }
    }

    #[test]
    fn what_is_over_is_left_out() {
        let at = |secs: u64| Timestamp::from_unix_millis(secs * 1000);
        let pause = |of: &str, until| {
            let order = Order {
                of: of.parse().unwrap(),
                wanted: Wanted::Pause { until },
                since: at(1),
                by: Actor::Uid(0),
                reason: String::new(),
            };
            Change::Give(order)
        };
        let (a, b, c) = (
            pause("a", Some(at(9))),
            pause("b", Some(at(11))),
            pause("c", None),
        );
        let resumed = Change::Resume("c".parse().unwrap());
        let changes = vec![a, b.clone(), c.clone(), resumed, c.clone()];
        assert_eq!(holding(changes, at(10)), [b, c]);
    }

    #[test]
    fn a_line_says_all_of_an_order() {
        for line in [
            "pause 2026-11-21T12:34:56.789Z - 0 google ",
            "pause 2026-11-21T12:34:56.789Z 2026-11-21T13:34:56.789Z 1000 [192.0.2.1] they asked for it",
            "limit 2026-11-21T12:34:56.789Z 2 - 0 example.net why - not",
            "limit 2026-11-21T12:34:56.789Z - 60 0 example.net ",
            "resume google",
            "unlimit google",
        ] {
            let change: Change = line.parse().unwrap();
            assert_eq!(change.to_string(), line);
        }
        for bad in [
            "pause",
            "pause x - 0 a b",
            "limit 2026-11-21T12:34:56.789Z 2 - 0 a",
            "stop a",
            "resume a b",
        ] {
            assert_eq!(bad.parse::<Change>(), Err(()), "{bad}");
        }
    }
}
