//! Sums by the hour, after a day by the day: what statistics are read from. They are smaller than the mail they count, and are kept
//! for longer.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::ops::Range;

use control::StatsBy;
use envelope::{EnhancedStatus, Reply, Timestamp};
use rusqlite::{Connection, Result};

/// What is counted; also its place in [`Sums`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Received,
    Refused,
    Delivered,
    Deferred,
    Failed,
}

/// How often each kind happened, and octets.
pub(crate) type Sums = [i64; 6];

/// What is to be added to the sums of the file.
#[derive(Default)]
pub(crate) struct Tallies {
    /// By the hash of all that names it: most are added to, few are made.
    tallies: HashMap<u64, Tally>,
    hasher: RandomState,
    /// What comes is counted already.
    pub(crate) is_closed: bool,
}

struct Tally {
    by: StatsBy,
    hour: i64,
    name: String,
    /// Of what was not taken; 0: it was.
    code: i64,
    sums: Sums,
}

impl Tallies {
    /// Adds to a sum. `names` are one, or two as [`split`] gives them back.
    pub(crate) fn add(
        &mut self,
        (by, at): (StatsBy, Timestamp),
        names: [&str; 2],
        (kind, code): (Kind, i64),
        (n, octets): (u64, u64),
    ) {
        if self.is_closed {
            return;
        }
        let hour = hour(at);
        let hash = self.hasher.hash_one((by, hour, names, code));
        let tally = self.tallies.entry(hash).or_insert_with(|| Tally {
            by,
            hour,
            name: joined(by, names),
            code,
            sums: Sums::default(),
        });
        tally.sums[kind as usize] += n.cast_signed();
        tally.sums[5] += octets.cast_signed();
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.tallies.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.tallies.len()
    }

    pub(crate) fn clear(&mut self) {
        self.tallies.clear();
    }

    /// Adds all to what the file has.
    pub(crate) fn write(&self, connection: &Connection) -> Result<()> {
        let mut tallies: Vec<_> = self.tallies.values().collect();
        let place = |tally: &Tally| (number(tally.by), tally.hour);
        // In the order of the table, neighbours are written together.
        tallies.sort_unstable_by(|a, b| (place(a), &a.name).cmp(&(place(b), &b.name)));
        let mut upsert = connection.prepare_cached(UPSERT)?;
        for tally in tallies {
            let ([a, b, c, d, e, f], (by, hour)) = (tally.sums, place(tally));
            upsert.execute((by, hour, &tally.name, tally.code, a, b, c, d, e, f))?;
        }
        Ok(())
    }
}

pub(crate) fn joined(by: StatsBy, [name, second]: [&str; 2]) -> String {
    // What was refused is no address yet.
    let mut joined = crate::clip(name, NAME_OCTETS_MAX).replace(BETWEEN, " ");
    if !second.is_empty() {
        joined += BETWEEN;
        joined += &second[..second.floor_char_boundary(NAME_OCTETS_MAX)];
    }
    if by != StatsBy::Reply {
        joined.make_ascii_lowercase();
    }
    joined
}

/// Makes the sums of hours before `hour` sums of their days, some of them. How many.
pub(crate) fn roll_up(connection: &Connection, by: StatsBy, hour: i64) -> Result<usize> {
    let by = number(by);
    let mut first = connection.prepare_cached(FIRST_TO_ROLL_UP)?;
    let first: Option<i64> = first.query_row((by, hour), |row| row.get(0))?;
    let Some(first) = first else { return Ok(0) };
    let some = (by, first, ROLLED_AT_ONCE);
    connection.prepare_cached(ROLL_UP)?.execute(some)?;
    connection.prepare_cached(ROLLED_UP)?.execute(some)
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
pub(crate) fn codes(beginning: &str) -> Option<Range<i64>> {
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
    Some(first..first + width)
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
    crate::clip(shape, SHAPE_OCTETS_MAX)
}

const UPSERT: &str = "INSERT INTO tally VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)
    ON CONFLICT DO UPDATE SET received = received + ?5, refused = refused + ?6, delivered = delivered + ?7,
    deferred = deferred + ?8, failed = failed + ?9, octets = octets + ?10";
/// From one hour to the next: there are few, of many sums each.
const FIRST_TO_ROLL_UP: &str = "WITH RECURSIVE hours(at) AS (SELECT min(hour) FROM tally WHERE by = ?1
    UNION ALL SELECT (SELECT min(hour) FROM tally WHERE by = ?1 AND hour > at) FROM hours WHERE at < ?2)
    SELECT min(at) FROM hours WHERE at < ?2 AND at % 24 > 0";
const ROLL_UP: &str = "INSERT INTO tally SELECT by, hour / 24 * 24, name, code, received, refused, delivered, deferred, failed, octets
    FROM tally WHERE by = ?1 AND hour = ?2 ORDER BY name, code LIMIT ?3
    ON CONFLICT DO UPDATE SET received = received + excluded.received, refused = refused + excluded.refused,
    delivered = delivered + excluded.delivered, deferred = deferred + excluded.deferred, failed = failed + excluded.failed,
    octets = octets + excluded.octets";
const ROLLED_UP: &str = "DELETE FROM tally WHERE (by, hour, name, code) IN
    (SELECT by, hour, name, code FROM tally WHERE by = ?1 AND hour = ?2 ORDER BY name, code LIMIT ?3)";

/// Sums that are rolled up in one go.
const ROLLED_AT_ONCE: i64 = 500;

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
        let policy = codes("4.7").unwrap();
        assert!(policy.contains(&of("4.7.28")));
        assert!(!policy.contains(&of("4.8.0")) && !policy.contains(&of("5.7.28")));
        assert!(codes("5").unwrap().contains(&of("5.0.0")));
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
