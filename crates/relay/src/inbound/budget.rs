//! How many messages a day go back to one sender by our SRS addresses.
//!
//! Whoever has seen a valid SRS address can have us send to the sender behind it for three weeks, from our own addresses.
//! Bounces are few; so each sender has a budget, which all of its SRS addresses share.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use envelope::Mailbox;
use moka::sync::Cache;

/// What is left for today. A sender's day begins with its first message.
pub(super) struct Budget {
    per_day: u32,
    taken: Cache<String, Arc<AtomicU32>>,
}

impl Budget {
    /// For so many messages a day to each sender.
    pub(super) fn new(per_day: u32) -> Self {
        let taken = Cache::builder()
            .max_capacity(SENDERS_MAX)
            .time_to_live(DAY)
            .build();
        Self { per_day, taken }
    }

    /// Whether nothing is left for this sender.
    pub(super) fn is_used_up(&self, sender: &Mailbox) -> bool {
        let taken = self.taken.get(&key(sender));
        taken.is_some_and(|taken| taken.load(Ordering::Relaxed) >= self.per_day)
    }

    /// Takes one message of it; false when nothing was left.
    pub(super) fn take(&self, sender: &Mailbox) -> bool {
        let taken = self.taken.get_with(key(sender), Arc::default);
        taken.fetch_add(1, Ordering::Relaxed) < self.per_day
    }
}

/// Relays on the way may fold the case.
fn key(sender: &Mailbox) -> String {
    sender.to_string().to_lowercase()
}

const DAY: Duration = Duration::from_hours(24);
/// Senders that are counted at once; who wants more counted must have an SRS address of each.
const SENDERS_MAX: u64 = 100_000;
