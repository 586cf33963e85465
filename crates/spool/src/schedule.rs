//! When a leg is tried again: pure arithmetic over the retry list.
//!
//! It does *not* draw the jitter, read a clock, or know legs: all of it is passed in.

use std::time::Duration;

use envelope::{Diagnosis, Timestamp};

/// The `[queue]` settings that say when a leg is tried again.
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    /// Pauses after the first, second, … attempt; the last repeats. Empty counts as one hour.
    pub retry: Vec<Duration>,
    /// How far a pause may be off, as a share of it: 0.1 is ±10 %. Spreads what failed together.
    pub jitter: f64,
}

impl Default for Schedule {
    fn default() -> Self {
        let minutes = |n: u64| Duration::from_secs(60 * n);
        Self {
            retry: [1, 5, 15, 30, 60, 120, 240].map(minutes).to_vec(),
            jitter: 0.1,
        }
    }
}

/// The `[queue]` settings that say how long a message may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetime {
    /// When the sender is told of the delay, after arrival.
    pub warn_after: Duration,
    /// When we give up, after arrival.
    pub expire: Duration,
}

impl Default for Lifetime {
    fn default() -> Self {
        Self {
            warn_after: Duration::from_hours(4),
            expire: Duration::from_hours(5 * 24),
        }
    }
}

impl Lifetime {
    /// The deadlines of a message that arrived then.
    pub fn deadlines(&self, arrived: Timestamp) -> Deadlines {
        Deadlines {
            warn: arrived.plus(self.warn_after),
            expire: arrived.plus(self.expire),
        }
    }
}

/// When the sender of a message is told of the delay, and when it is given up. Kept with the message: a change of the settings
/// is for mail that comes later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadlines {
    /// Told.
    pub warn: Timestamp,
    /// Given up.
    pub expire: Timestamp,
}

/// When the next attempt is due after `attempts` have failed, the last of them at `now` with `last`. `chance` is a random
/// number in 0..=1 from the caller. Never after the message's `deadline`: the last attempt is made then.
///
/// The retry list decides, whatever the trouble was: greylisting wants a first try soon, and a site that cannot be reached is
/// probed apart from its messages. But a full mailbox is not emptied within minutes, and waits for an hour at least (or the
/// longest pause of the list).
pub fn next_due(
    attempts: u32,
    last: &Diagnosis,
    now: Timestamp,
    deadline: Timestamp,
    schedule: &Schedule,
    chance: f64,
) -> Timestamp {
    let end = schedule.retry.len().saturating_sub(1);
    let step = usize::try_from(attempts.saturating_sub(1)).map_or(end, |step| step.min(end));
    let mut pause = schedule.retry.get(step).copied().unwrap_or(FALLBACK);
    // RFC 3463 §3.3: X.2.2 is "mailbox full".
    if (last.status.subject, last.status.detail) == (2, 2) {
        let longest = schedule.retry.iter().max().copied().unwrap_or(FALLBACK);
        pause = pause.max(longest.min(MAILBOX_FULL));
    }
    let factor = 1.0 + schedule.jitter.clamp(0.0, 0.9) * (chance.clamp(0.0, 1.0) * 2.0 - 1.0);
    let due = now.plus(pause.mul_f64(factor));
    match now < deadline {
        true => due.min(deadline),
        false => due,
    }
}

const FALLBACK: Duration = Duration::from_hours(1);
const MAILBOX_FULL: Duration = Duration::from_hours(1);

#[cfg(test)]
mod tests {
    use envelope::EnhancedStatus;

    use super::*;

    const MINUTE: u64 = 60_000;

    fn deferral(subject: u16, detail: u16) -> Diagnosis {
        Diagnosis::local(EnhancedStatus::transient(subject, detail), "")
    }

    #[track_caller]
    fn check(attempts: u32, now_minutes: u64, chance: f64, expected_millis: u64) {
        let at = |millis| Timestamp::from_unix_millis(millis);
        let due = next_due(
            attempts,
            &deferral(7, 1),
            at(now_minutes * MINUTE),
            at(5 * 24 * 60 * MINUTE),
            &Schedule::default(),
            chance,
        );
        assert_eq!(due.unix_millis(), expected_millis);
    }

    #[test]
    fn pauses_follow_the_list_and_the_last_repeats() {
        check(0, 0, 0.5, MINUTE);
        check(1, 0, 0.5, MINUTE);
        check(2, 1, 0.5, 6 * MINUTE);
        check(7, 100, 0.5, 340 * MINUTE);
        check(u32::MAX, 100, 0.5, 340 * MINUTE);
    }

    #[test]
    fn jitter_stays_within_a_tenth() {
        check(1, 0, 0.0, 54_000);
        check(1, 0, 1.0, 66_000);
        check(1, 0, 7.0, 66_000);
    }

    #[test]
    fn the_last_attempt_is_at_expiry() {
        let expire = 5 * 24 * 60;
        check(9, expire - 10, 0.5, expire * MINUTE);
        check(9, expire, 0.5, (expire + 240) * MINUTE);
    }

    #[track_caller]
    fn check_full(retry_minutes: &[u64], attempts: u32, expected_minutes: u64) {
        let minutes = |n: &u64| Duration::from_secs(60 * n);
        let schedule = Schedule {
            retry: retry_minutes.iter().map(minutes).collect(),
            ..Schedule::default()
        };
        let zero = Timestamp::from_unix_millis(0);
        let due = next_due(attempts, &deferral(2, 2), zero, zero, &schedule, 0.5);
        assert_eq!(due.unix_millis(), expected_minutes * MINUTE);
    }

    #[test]
    fn a_full_mailbox_has_an_hour() {
        check_full(&[1, 5, 120], 1, 60);
        check_full(&[1, 5, 120], 3, 120);
        check_full(&[1, 5], 1, 5);
        check_full(&[], 1, 60);
    }

    #[test]
    fn an_empty_list_is_no_storm() {
        let schedule = Schedule {
            retry: Vec::new(),
            ..Schedule::default()
        };
        let zero = Timestamp::from_unix_millis(0);
        let due = next_due(3, &deferral(4, 1), zero, zero, &schedule, 0.5);
        assert_eq!(due.unix_secs(), 3600);
    }
}
