//! A source of message ids: ordered by time, unique across hosts, growing within a process.
//!
//! The 80 bits behind the milliseconds are 48 random ones, drawn once for the process, and a counter of 32. It does
//! *not* read the clock: `now` is passed in; should that step back, ids go on from the latest moment seen.

use envelope::{MessageId, Timestamp};
use parking_lot::Mutex;

/// Makes ids. Share one in a process.
#[derive(Debug)]
pub struct IdSource {
    process: u128,
    last: Mutex<(Timestamp, u32)>,
}

impl IdSource {
    /// A source with randomness of its own.
    pub fn new() -> Self {
        Self::from_random(rand::random())
    }

    /// A source whose random part is `random`, for tests.
    pub fn from_random(random: u64) -> Self {
        Self {
            process: u128::from(random & ((1 << 48) - 1)) << 32,
            last: Mutex::new((Timestamp::from_unix_millis(0), 0)),
        }
    }

    /// The next id; greater than every one before.
    pub fn next(&self, now: Timestamp) -> MessageId {
        let mut last = self.last.lock();
        let (moment, count) = *last;
        *last = if now > moment {
            (now, 0)
        } else if count < u32::MAX {
            (moment, count + 1)
        } else {
            (moment.plus(std::time::Duration::from_millis(1)), 0)
        };
        // The counter stands below the random part: within a millisecond it alone grows.
        MessageId::new(last.0, self.process | u128::from(last.1))
    }
}

impl Default for IdSource {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_grow_whatever_the_clock_does() {
        let source = IdSource::from_random(u64::MAX);
        let moments = [5, 5, 6, 3, 3, 7];
        let ids = moments.map(|millis| source.next(Timestamp::from_unix_millis(millis)));
        assert!(ids.is_sorted_by(|a, b| a < b), "{ids:?}");
        assert_eq!(ids[3].timestamp().unix_millis(), 6);
    }

    #[test]
    fn processes_differ() {
        let now = Timestamp::from_unix_millis(1);
        let (a, b) = (IdSource::from_random(1), IdSource::from_random(2));
        assert_ne!(a.next(now), b.next(now));
    }
}
