//! Sums by the hour: what statistics are read from. They are smaller than the mail they count, and are kept for longer.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use control::StatsBy;
use envelope::{EnhancedStatus, Reply, Timestamp};
use rusqlite::{Connection, Result};

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    Received,
    Refused,
    Delivered,
    Deferred,
    Failed,
}

/// What is added to the sums of one batch.
#[derive(Default)]
pub(crate) struct Tallies {
    /// By the hash of all that names a sum: most are added to, few are made.
    sums: HashMap<u64, Tally>,
    hasher: RandomState,
}

struct Tally {
    by: StatsBy,
    hour: i64,
    name: String,
    kind: Kind,
    code: i64,
    n: u64,
    octets: u64,
}

impl Tallies {
    /// Adds `n` to a sum. `names` are one, or two as [`split`] gives them back.
    pub(crate) fn add(
        &mut self,
        (by, at): (StatsBy, Timestamp),
        names: [&str; 2],
        (kind, code): (Kind, i64),
        (n, octets): (u64, u64),
    ) {
        let hour = hour(at);
        let hash = self.hasher.hash_one((by, hour, names, kind, code));
        let tally = self.sums.entry(hash).or_insert_with(|| {
            let [mut name, second] = names.map(|name| match by {
                StatsBy::Reply => crate::clip(name, NAME_OCTETS_MAX),
                _ => crate::clip(name, NAME_OCTETS_MAX).to_ascii_lowercase(),
            });
            if !second.is_empty() {
                name.extend([BETWEEN, &second]);
            }
            Tally {
                by,
                hour,
                name,
                kind,
                code,
                n: 0,
                octets: 0,
            }
        });
        tally.n += n;
        tally.octets += octets;
    }

    /// Adds all to what the file has.
    pub(crate) fn write(self, connection: &Connection) -> Result<()> {
        let mut upsert = connection.prepare_cached(
            "INSERT INTO tally VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT DO UPDATE SET n = n + ?6, octets = octets + ?7",
        )?;
        for sum in self.sums.into_values() {
            let (n, octets) = (sum.n.cast_signed(), sum.octets.cast_signed());
            let (by, kind) = (number(sum.by), sum.kind as i64);
            upsert.execute((by, sum.hour, sum.name, kind, sum.code, n, octets))?;
        }
        Ok(())
    }
}

/// As the file has it: no change to what is told may change these.
pub(crate) const fn number(by: StatsBy) -> i64 {
    match by {
        StatsBy::Client => 0,
        StatsBy::SenderDomain => 1,
        StatsBy::RecipientDomain => 2,
        StatsBy::Site => 3,
        StatsBy::Forward => 4,
        StatsBy::Hosted => 5,
        StatsBy::Rule => 6,
        StatsBy::Reply => 7,
    }
}

/// The name of a sum, and the second one if there is.
pub(crate) fn split(name: &str) -> (String, Option<String>) {
    match name.split_once(BETWEEN) {
        Some((first, second)) => (first.to_owned(), Some(second.to_owned())),
        None => (name.to_owned(), None),
    }
}

/// Hours since the epoch.
pub(crate) fn hour(at: Timestamp) -> i64 {
    (at.unix_secs() / 3600).cast_signed()
}

/// An enhanced status as a number in the same order: 4.7.1 is 4007001.
pub(crate) fn code(status: EnhancedStatus) -> i64 {
    let class = i64::from(status.class.digit());
    let [subject, detail] = [status.subject, status.detail].map(|part| i64::from(part.min(999)));
    class * 1_000_000 + subject * 1000 + detail
}

/// The code of a reply of ours.
pub(crate) fn code_of(reply: &Reply) -> i64 {
    let plain = i64::from(reply.code / 100) * 1_000_000;
    reply.status.map_or(plain, code)
}

/// The codes that begin so, as a range without its end: `4`, `4.7` or `4.7.1`.
pub(crate) fn codes(beginning: &str) -> Option<(i64, i64)> {
    let parts: Vec<i64> = beginning
        .split('.')
        .map(|part| part.parse().ok().filter(|n| (0..1000).contains(n)))
        .collect::<Option<_>>()?;
    let (first, width) = match parts[..] {
        [class] => (class * 1_000_000, 1_000_000),
        [class, subject] => (class * 1_000_000 + subject * 1000, 1000),
        [class, subject, detail] => (class * 1_000_000 + subject * 1000 + detail, 1),
        _ => return None,
    };
    Some((first, first + width))
}

/// A code as it is written.
pub(crate) fn written(code: i64) -> String {
    format!(
        "{}.{}.{}",
        code / 1_000_000,
        code / 1000 % 1000,
        code % 1000
    )
}

/// A reply without what is of one message only: words with digits or an `@`, behind its code and status.
pub(crate) fn shape(reply: &str) -> String {
    let mut shape = String::new();
    for (place, word) in reply.split_ascii_whitespace().enumerate() {
        let is_own = word.contains('@') || word.bytes().any(|octet| octet.is_ascii_digit());
        let word = if place > 1 && is_own { "*" } else { word };
        if word == "*" && shape.ends_with('*') {
            continue;
        }
        if !shape.is_empty() {
            shape.push(' ');
        }
        shape.push_str(word);
        if shape.len() > SHAPE_OCTETS_MAX {
            break;
        }
    }
    crate::clip(&shape, SHAPE_OCTETS_MAX)
}

/// No address has it.
const BETWEEN: &str = "\t";

/// More of a name is cut off: that of a domain fits, and that of any address that is in use.
const NAME_OCTETS_MAX: usize = 320;

/// Octets of a reply that tell replies apart.
const SHAPE_OCTETS_MAX: usize = 120;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_have_the_order_of_their_parts() {
        let of = |text: &str| code(text.parse().unwrap());
        assert_eq!(written(of("4.7.28")), "4.7.28");
        let (first, end) = codes("4.7").unwrap();
        assert!((first..end).contains(&of("4.7.28")));
        assert!(!(first..end).contains(&of("4.8.0")) && !(first..end).contains(&of("5.7.28")));
        assert!(codes("5").unwrap().0 <= of("5.0.0"));
        for bad in ["", "x", "4.", "4.7.1.1", "-4", "4.1000"] {
            assert_eq!(codes(bad), None, "{bad}");
        }
    }

    #[test]
    fn replies_that_differ_in_numbers_are_one() {
        let google = "421 4.7.28 [192.0.2.7 15] Our system has detected an unusual rate. 5b1f17b1804b1-43 - gsmtp";
        let shape = shape(google);
        assert_eq!(
            shape,
            "421 4.7.28 * Our system has detected an unusual rate. * - gsmtp"
        );
        assert_eq!(
            super::shape("550 5.1.1 <a@b.example> gone"),
            "550 5.1.1 * gone"
        );
        assert!(super::shape(&"é ".repeat(1000)).len() <= SHAPE_OCTETS_MAX);
    }
}
