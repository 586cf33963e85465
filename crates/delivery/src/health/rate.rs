//! How many messages a site may be sent now, where an operator or `shaping` limits them.

use std::time::{Duration, Instant};

use super::Health;

impl Health {
    /// Messages that may go now.
    pub(crate) fn allowance(&self, now: Instant) -> usize {
        let (Some(interval), Some(next_at)) = (self.interval(), self.next_at) else {
            // The first of a limit; or there is none.
            return self.interval().map_or(usize::MAX, |_| 1);
        };
        match now.checked_duration_since(next_at) {
            Some(since) => 1 + (since.min(SAVED).as_nanos() / interval.as_nanos()) as usize,
            None => 0,
        }
    }

    /// A message is about to go.
    pub(crate) fn sends(&mut self, now: Instant) {
        if let Some(interval) = self.interval() {
            let earliest = now.checked_sub(SAVED).unwrap_or(now);
            let next_at = self.next_at.map_or(now, |at| at.max(earliest));
            self.next_at = Some(next_at + interval);
        }
    }

    /// When to look again whether more messages may go.
    pub(crate) fn allows_more_at(&self, now: Instant) -> Instant {
        self.next_at.unwrap_or(now).max(now + LOOK_AGAIN)
    }

    /// Between two messages.
    fn interval(&self) -> Option<Duration> {
        let ordered = self.ordered.per_minute;
        let ordered = ordered.map(|messages| Duration::from_mins(1) / messages.max(1));
        let shaped = self.limits.per_hour;
        let shaped = shaped.map(|messages| Duration::from_hours(1) / messages.max(1));
        ordered.max(shaped)
    }

    /// Messages that a limit lets go in a minute, if there is one.
    pub(crate) fn per_minute(&self) -> Option<usize> {
        let interval = self.interval()?;
        Some((Duration::from_mins(1).as_nanos() / interval.as_nanos().max(1)) as usize)
    }
}

/// What a limit of messages did not use may be used for so long.
const SAVED: Duration = Duration::from_secs(1);
/// Under a high limit messages go in small groups: each look costs as much as a message.
const LOOK_AGAIN: Duration = Duration::from_millis(200);
