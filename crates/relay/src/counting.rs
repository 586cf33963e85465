//! What is counted, and what follows: one place for mail that comes in, mail that fails, and the operator.

use std::sync::Arc;
use std::time::{Duration, Instant};

use counters::{Counters, Freezes, Key, Limit, Of, Then};
use envelope::Timestamp;
use tokio::sync::Notify;

/// The limits of now; a reload brings others, and those it leaves as they are keep their counts.
pub type Limits = Arc<[Limit]>;

/// All counts of a relay.
#[derive(Debug)]
pub struct Counting {
    /// Rates.
    pub counters: Counters,
    /// Who is frozen.
    pub freezes: Freezes,
    /// Called when a freeze is new: it is to be written down, logged and told.
    pub has_frozen: Notify,
    started: Instant,
}

impl Counting {
    /// Nothing is counted yet.
    pub fn new(freezes: Freezes) -> Self {
        Self {
            counters: Counters::new(),
            freezes,
            has_frozen: Notify::new(),
            started: Instant::now(),
        }
    }

    /// The time for rates: it never jumps.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Counts what has happened to these keys: refusals, failures, octets. Those that go over a limit that freezes are frozen.
    pub fn count(&self, limits: &[Limit], of: Of, keys: &[Key], n: u64, now: Timestamp) {
        let elapsed = self.elapsed();
        for limit in limits.iter().filter(|limit| limit.of == of) {
            for key in keys.iter().filter(|key| key.kind() == limit.key) {
                let fits = self.counters.add(limit, key, n, elapsed);
                if !fits && limit.then == Then::Freeze {
                    self.freeze(key, limit, now);
                }
            }
        }
    }

    /// Freezes a key that is over this limit.
    pub fn freeze(&self, key: &Key, limit: &Limit, now: Timestamp) {
        if self.freezes.freeze(key, &limit.name, now) {
            self.has_frozen.notify_one();
        }
    }
}
