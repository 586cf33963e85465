//! The clock of the database, told by this node: all nodes go by one.
//!
//! Each heartbeat asks for it; in between, the time that goes by is counted. So a clock of this machine that is wrong, or is set,
//! moves no lease.

use std::time::Instant;

use envelope::Timestamp;
use parking_lot::Mutex;
use spool::Clock;

/// What the time is.
#[derive(Debug)]
pub(crate) struct Time {
    /// A manual one rules: tests turn it.
    clock: Clock,
    is_manual: bool,
    asked: Mutex<(Instant, i64)>,
}

impl Time {
    /// Until the database is asked, by the clock of this machine.
    pub(crate) fn new(clock: Clock) -> Self {
        let asked = Mutex::new((Instant::now(), millis(clock.now())));
        Self {
            is_manual: clock.is_manual(),
            clock,
            asked,
        }
    }

    /// The database said so, to a question asked at `asked`.
    pub(crate) fn set(&self, asked: Instant, says: i64) {
        // It said it about half way.
        *self.asked.lock() = (asked + asked.elapsed() / 2, says);
    }

    /// Milliseconds since 1970.
    pub(crate) fn now(&self) -> i64 {
        if self.is_manual {
            return millis(self.clock.now());
        }
        let (at, said) = *self.asked.lock();
        said.saturating_add(i64::try_from(at.elapsed().as_millis()).unwrap_or(i64::MAX))
    }
}

/// As the tables have it.
pub(crate) fn millis(at: Timestamp) -> i64 {
    i64::try_from(at.unix_millis()).unwrap_or(i64::MAX)
}

/// From the tables.
pub(crate) fn timestamp(millis: i64) -> Timestamp {
    Timestamp::from_unix_millis(u64::try_from(millis).unwrap_or(0))
}
