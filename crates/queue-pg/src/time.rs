//! The clock of the database, told by this node: all nodes go by one.
//!
//! Each heartbeat asks for it; in between, the time that goes by is counted. So a clock of this machine that is wrong, or is set,
//! moves no lease.

use std::time::{Duration, Instant};

use envelope::Timestamp;
use parking_lot::Mutex;
use spool::{Clock, Error};

use crate::connect::{Borrowed, trouble};
use crate::settings::WORK_MAX;

/// What the time is.
#[derive(Debug)]
pub(crate) struct Time {
    /// A manual one rules: tests turn it.
    clock: Clock,
    asked: Mutex<(Instant, i64)>,
}

impl Time {
    /// Until the database is asked, by the clock of this machine.
    pub(crate) fn new(clock: Clock) -> Self {
        let asked = Mutex::new((Instant::now(), millis(clock.now())));
        Self { clock, asked }
    }

    /// Asks the database. An answer that took long says too little. `jumped` is called first if another time was to be expected: its
    /// clock was set, or it is another host's.
    pub(crate) async fn ask(&self, client: &Borrowed, jumped: impl FnOnce()) -> Result<(), Error> {
        let statement = client.prepare_cached(CLOCK).await.map_err(trouble)?;
        let asked = Instant::now();
        let row = client.query_one(&statement, &[]).await.map_err(trouble)?;
        let took = asked.elapsed();
        if took < SLOW {
            // It said it about half way.
            let (at, said): (Instant, i64) = (asked + took / 2, row.get(0));
            let mut known = self.asked.lock();
            let expected = known.1.saturating_add(span(at.duration_since(known.0)));
            if said.abs_diff(expected) > JUMP {
                jumped();
            }
            *known = (at, said);
        }
        Ok(())
    }

    /// When work that begins now is given up, by the database's own clock. What it gets to later, as a database does that stood still,
    /// it is not to do: nobody would know.
    pub(crate) fn given_up(&self) -> i64 {
        let (at, said) = *self.asked.lock();
        said.saturating_add(span(at.elapsed() + WORK_MAX))
    }

    /// The clock of this machine.
    pub(crate) fn clock(&self) -> &Clock {
        &self.clock
    }

    /// What this machine's clock calls `at`, as the database's calls it.
    pub(crate) fn translated(&self, at: Timestamp) -> Timestamp {
        timestamp(millis(at).saturating_add(self.ahead()))
    }

    /// The same the other way round.
    pub(crate) fn own(&self, at: i64) -> Timestamp {
        timestamp(at.saturating_sub(self.ahead()))
    }

    /// By how much the database's clock is ahead of this machine's.
    fn ahead(&self) -> i64 {
        self.now().saturating_sub(millis(self.clock.now()))
    }

    /// Milliseconds since 1970.
    pub(crate) fn now(&self) -> i64 {
        if self.clock.is_manual() {
            return millis(self.clock.now());
        }
        let (at, said) = *self.asked.lock();
        said.saturating_add(span(at.elapsed()))
    }
}

/// As the tables have it.
pub(crate) fn millis(at: Timestamp) -> i64 {
    i64::try_from(at.unix_millis()).unwrap_or(i64::MAX)
}

/// A span, as the tables have it.
pub(crate) fn span(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}

/// From the tables.
pub(crate) fn timestamp(millis: i64) -> Timestamp {
    Timestamp::from_unix_millis(u64::try_from(millis).unwrap_or(0))
}

/// A condition, but for the parameter that follows: when that is.
pub(crate) const NOT_GIVEN_UP: &str = "extract(epoch FROM statement_timestamp()) * 1000 <";
const CLOCK: &str = "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::int8";
const SLOW: Duration = Duration::from_secs(1);
/// Milliseconds: less than there is between a node's being lost and its being given up.
const JUMP: u64 = 3000;
