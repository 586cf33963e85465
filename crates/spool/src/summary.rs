//! The queue counted by what its legs have in common, each with its ages, as Postfix's qshape does.
//!
//! The age is that of the message's id, so that an engine need not look at the message. A leg that moves while it is counted
//! may be missed, or counted twice: it is a picture, not an account.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::HashMap;

use envelope::{Diagnosis, Host, Leg, ReversePath, Timestamp};

use crate::error::Error;
use crate::nouns::Filter;
use crate::spool::Spool;

/// What a summary tells legs apart by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum By {
    /// The host of the target.
    Host,
    /// See [`sender_name`].
    Sender,
    /// See [`error_name`].
    Error,
}

/// How many legs are how old.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ages {
    /// Up to so many minutes as [`AGE_MINUTES`] says, each less those before; the last: all that are older.
    pub buckets: [u64; AGE_MINUTES.len() + 1],
    /// When the oldest came in; none: there are no legs.
    pub oldest: Option<Timestamp>,
}

/// See [`Spool::summary`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// By name; the most legs first.
    pub rows: Vec<(Box<str>, Ages)>,
    /// The names that found no room among the rows: how many, and their legs.
    pub others: (u64, Ages),
    /// All legs.
    pub total: Ages,
}

/// Counts legs one by one.
#[derive(Debug)]
pub struct Tally {
    now: Timestamp,
    rows: HashMap<Box<str>, Ages>,
}

impl By {
    /// The name that a leg is counted by: a leg, its message's reverse path as it came in, and what the last attempt came to.
    pub fn name<'a>(
        self,
        leg: &'a Leg,
        sender: &'a ReversePath,
        last: Option<&Diagnosis>,
    ) -> Cow<'a, str> {
        match self {
            Self::Host => host_name(leg.target.host()),
            Self::Sender => sender_name(sender),
            Self::Error => error_name(last).into(),
        }
    }
}

impl Ages {
    /// All legs.
    pub fn legs(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// Adds those that another has counted.
    pub fn merge(&mut self, other: &Self) {
        for (own, more) in self.buckets.iter_mut().zip(other.buckets) {
            *own += more;
        }
        self.oldest = self.oldest.into_iter().chain(other.oldest).min();
    }

    /// Counts a leg.
    pub fn add(&mut self, arrived: Timestamp, now: Timestamp) {
        let minutes = now.since(arrived).as_secs() / 60;
        let bucket = AGE_MINUTES.partition_point(|most| minutes >= *most);
        self.buckets[bucket] += 1;
        self.oldest = Some(self.oldest.map_or(arrived, |oldest| oldest.min(arrived)));
    }
}

impl Summary {
    /// The `n` names with the most legs, and the rest together.
    pub fn of(rows: impl IntoIterator<Item = (Box<str>, Ages)>, n: usize) -> Self {
        let mut summary = Self {
            rows: rows.into_iter().collect(),
            ..Self::default()
        };
        let order = |(name, ages): &(Box<str>, Ages)| (Reverse(ages.legs()), name.clone());
        summary.rows.sort_by_cached_key(order);
        summary
            .rows
            .iter()
            .for_each(|(_, ages)| summary.total.merge(ages));
        for (_, ages) in summary.rows.drain(n.min(summary.rows.len())..) {
            summary.others.0 += 1;
            summary.others.1.merge(&ages);
        }
        summary
    }
}

impl Tally {
    /// Of nothing yet.
    pub fn new(now: Timestamp) -> Self {
        Self {
            now,
            rows: HashMap::new(),
        }
    }

    /// Counts a leg.
    pub fn add(&mut self, name: &str, arrived: Timestamp) {
        let mut one = Ages::default();
        one.add(arrived, self.now);
        self.merge(name, &one);
    }

    /// Counts several.
    pub fn merge(&mut self, name: &str, ages: &Ages) {
        match self.rows.get_mut(name) {
            Some(own) => own.merge(ages),
            None if ages.oldest.is_none() => {}
            None => drop(self.rows.insert(name.into(), *ages)),
        }
    }

    /// See [`Summary::of`].
    pub fn finish(self, n: usize) -> Summary {
        Summary::of(self.rows, n)
    }
}

/// A summary by way of a listing: what an engine does that has no quicker way.
pub async fn summarise(
    spool: &impl Spool,
    filter: &Filter,
    by: By,
    n: usize,
    now: Timestamp,
) -> Result<Summary, Error> {
    let (mut tally, mut cursor) = (Tally::new(now), None);
    loop {
        let page = spool.list(filter, cursor, LISTED_AT_ONCE).await?;
        for entry in &page.entries {
            let name = by.name(&entry.leg, &entry.message.reverse_path, entry.last.as_ref());
            tally.add(&name, entry.id.message.timestamp());
        }
        cursor = page.next;
        if cursor.is_none() {
            return Ok(tally.finish(n));
        }
    }
}

fn host_name(host: &Host) -> Cow<'_, str> {
    match host {
        Host::Domain(domain) => domain.as_str().into(),
        Host::Literal(_) => host.to_string().into(),
    }
}

/// The domain of the reverse path as it came in; `<>` when that is null.
pub fn sender_name(path: &ReversePath) -> Cow<'_, str> {
    match path {
        ReversePath::Null => "<>".into(),
        ReversePath::Mailbox(mailbox) => host_name(mailbox.host()),
    }
}

/// What the last attempt came to, as many legs have it in common: without the host, and with a `*` for each word that is likely
/// to be one leg's own (a number, an id, an address). Empty before the first attempt.
pub fn error_name(last: Option<&Diagnosis>) -> String {
    let Some(last) = last else {
        return String::new();
    };
    let mut name = last.status.to_string();
    for (n, word) in last.words().split_whitespace().enumerate() {
        if name.len() + word.len() >= ERROR_OCTETS_MAX {
            break;
        }
        let is_code = n < CODE_AMONG && word.len() == 3 && word.bytes().all(|b| b.is_ascii_digit());
        let is_own = word.contains('@') || word.bytes().any(|b| b.is_ascii_digit()) && !is_code;
        match is_own {
            true if name.ends_with(" *") => {}
            true => name.push_str(" *"),
            false => {
                name.push(' ');
                name.push_str(word);
            }
        }
    }
    name
}

/// The ages that a summary tells apart, in minutes.
pub const AGE_MINUTES: [u64; 9] = [5, 10, 20, 40, 80, 160, 320, 640, 1280];

const LISTED_AT_ONCE: usize = 1000;
const ERROR_OCTETS_MAX: usize = 80;
/// The words among which a reply's code is: `while sending RCPT TO: 450 …`.
const CODE_AMONG: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_told_apart() {
        let now = Timestamp::from_unix_millis(100_000 * 60_000);
        let mut ages = Ages::default();
        let minutes = [0, 4, 5, 1279, 1280, 99_000];
        for age in minutes {
            ages.add(Timestamp::from_unix_millis((100_000 - age) * 60_000), now);
        }
        // A clock that was set back.
        ages.add(now.plus(std::time::Duration::from_secs(9)), now);
        assert_eq!(ages.buckets, [3, 1, 0, 0, 0, 0, 0, 0, 1, 2]);
        assert_eq!(ages.legs(), 7);
        assert_eq!(
            ages.oldest,
            Some(Timestamp::from_unix_millis(1000 * 60_000))
        );
    }

    #[test]
    fn errors_of_one_kind_have_one_name() {
        let check = |text: &str, reply: Option<&str>, expected: &str| {
            let status = envelope::EnhancedStatus::transient(2, 2);
            let mut last = Diagnosis::local(status, text);
            last.reply = reply.map(|text| envelope::Reply {
                code: 452,
                status: None,
                text: text.to_owned(),
            });
            assert_eq!(error_name(Some(&last)), expected);
        };
        check("connection refused", None, "4.2.2 connection refused");
        let (a, b) = (
            "<a@b.example> full qx17-4 9k",
            "<c@d.example> full rt99-1 2k",
        );
        let name = "4.2.2 while sending RCPT TO: 452 * full *";
        check("while sending RCPT TO", Some(a), name);
        check("while sending RCPT TO", Some(b), name);
        let long = error_name(Some(&Diagnosis::local(
            envelope::EnhancedStatus::transient(2, 2),
            "word ".repeat(1000),
        )));
        assert!(long.len() <= ERROR_OCTETS_MAX, "{long}");
        assert_eq!(error_name(None), "");
    }
}
