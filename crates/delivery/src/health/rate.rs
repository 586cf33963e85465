//! How many messages may be sent now, where an operator or `shaping` limits them.

use std::time::{Duration, Instant};

use super::Health;

/// Messages under a limit: the time between two of them is said with each question.
#[derive(Debug, Default)]
pub(crate) struct Rate {
    /// When the next one may go.
    next_at: Option<Instant>,
}

impl Rate {
    /// Messages that may go now.
    pub(crate) fn allowance(&self, interval: Option<Duration>, now: Instant) -> usize {
        let (Some(interval), Some(next_at)) = (interval, self.next_at) else {
            // The first of a limit; or there is none.
            return interval.map_or(usize::MAX, |_| 1);
        };
        match now.checked_duration_since(next_at) {
            Some(since) => 1 + (since.min(SAVED).as_nanos() / interval.as_nanos()) as usize,
            None => 0,
        }
    }

    /// A message is about to go.
    pub(crate) fn sends(&mut self, interval: Option<Duration>, now: Instant) {
        if let Some(interval) = interval {
            let earliest = now.checked_sub(SAVED).unwrap_or(now);
            let next_at = self.next_at.map_or(now, |at| at.max(earliest));
            self.next_at = Some(next_at + interval);
        }
    }

    /// When to look again whether more messages may go.
    pub(crate) fn allows_more_at(&self, now: Instant) -> Instant {
        self.next_at.unwrap_or(now).max(now + LOOK_AGAIN)
    }
}

impl Health {
    /// Between two messages, if an operator limits them.
    pub(crate) fn interval(&self) -> Option<Duration> {
        let ordered = self.ordered.per_minute;
        ordered.map(|messages| Duration::from_mins(1) * self.share.nodes / messages.max(1))
    }
}

/// Messages that a limit lets go in a minute.
pub(crate) fn per_minute(interval: Duration) -> usize {
    (Duration::from_mins(1).as_nanos() / interval.as_nanos().max(1)) as usize
}

/// What a limit of messages did not use may be used for so long.
const SAVED: Duration = Duration::from_secs(1);
/// Under a high limit messages go in small groups: each look costs as much as a message.
const LOOK_AGAIN: Duration = Duration::from_millis(200);
