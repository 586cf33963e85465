//! When a leg is tried again: pure arithmetic over the retry list.
//!
//! It does *not* draw the jitter, read a clock, or know legs: all of it is passed in.

use std::time::Duration;

use envelope::{Diagnosis, ReplyClass, Timestamp};

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
/// The retry list decides, as far as the class of the last answer does not ask for something else (`suited`).
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
    let pause = schedule.retry.get(step).copied().unwrap_or(FALLBACK);
    let longest = schedule.retry.iter().max().copied().unwrap_or(FALLBACK);
    let pause = suited(pause, attempts, last).min(longest);
    let factor = 1.0 + schedule.jitter.clamp(0.0, 0.9) * (chance.clamp(0.0, 1.0) * 2.0 - 1.0);
    let due = now.plus(pause.mul_f64(factor));
    match now < deadline {
        true => due.min(deadline),
        false => due,
    }
}

/// The pause of the list, as it suits what the last attempt met.
fn suited(pause: Duration, attempts: u32, last: &Diagnosis) -> Duration {
    let doubled = |first: Duration, times: u32| first * 2u32.pow(times.min(DOUBLINGS_MAX));
    match last.class() {
        ReplyClass::Greylisted if attempts <= GREYLISTED_FIRST => GREYLISTED,
        // Its site is probed, apart from its messages: what waits is to be due when the site takes mail again.
        ReplyClass::Throttled | ReplyClass::Blocked => pause.min(PROBED),
        ReplyClass::Unreachable if last.status.detail == NO_ANSWER => pause.min(PROBED),
        ReplyClass::Dns => pause.min(DNS),
        ReplyClass::MailboxFull => pause.max(doubled(HARDLY_SOON, attempts.saturating_sub(1))),
        ReplyClass::MailboxBusy => pause.max(MAILBOX_BUSY),
        // The first two by the list: it may be greylisting in other words.
        ReplyClass::Policy | ReplyClass::Content if attempts > POLICY_FIRST => {
            pause.max(doubled(HARDLY_SOON, attempts - POLICY_FIRST - 1))
        }
        _ => pause,
    }
}

const FALLBACK: Duration = Duration::from_hours(1);
/// Five minutes are the usual time of greylisting, and some begin again with who comes earlier.
const GREYLISTED: Duration = Duration::from_mins(6);
const GREYLISTED_FIRST: u32 = 3;
/// As long as the longest usual pause between the probes of a site.
const PROBED: Duration = Duration::from_mins(10);
/// RFC 3463 §3.5: no answer from host.
const NO_ANSWER: u16 = 1;
const DNS: Duration = Duration::from_mins(30);
/// A full mailbox is not emptied within minutes, nor is a policy changed; longer each time.
const HARDLY_SOON: Duration = Duration::from_hours(1);
const MAILBOX_BUSY: Duration = Duration::from_mins(5);
const POLICY_FIRST: u32 = 2;
/// Longer than any list; keeps the power from overflowing.
const DOUBLINGS_MAX: u32 = 10;

#[cfg(test)]
mod tests {
    use envelope::{EnhancedStatus, Reply};

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

    /// The pauses in minutes after so many attempts with this answer.
    #[track_caller]
    fn check_class(retry_minutes: &[u64], answer: &str, expected: &[u64]) {
        let minutes = |n: &u64| Duration::from_secs(60 * n);
        let schedule = Schedule {
            retry: retry_minutes.iter().map(minutes).collect(),
            ..Schedule::default()
        };
        let reply = Reply::parse_refusal(answer, (0, 0)).unwrap();
        let last = Diagnosis {
            reply: Some(reply.clone()),
            ..Diagnosis::local(reply.status.unwrap(), "")
        };
        let zero = Timestamp::from_unix_millis(0);
        let pause = |attempts| {
            let due = next_due(attempts, &last, zero, zero, &schedule, 0.5);
            due.unix_millis() / MINUTE
        };
        let pauses: Vec<_> = (1..).map(pause).take(expected.len()).collect();
        assert_eq!(pauses, expected, "{answer}");
    }

    #[test]
    fn the_class_of_the_answer_changes_the_list() {
        let usual = [1, 5, 15, 30, 60, 120, 240];
        check_class(&usual, "450 4.2.0 not now", &usual);
        check_class(&usual, "450 4.2.0 greylisted", &[6, 6, 6, 30, 60]);
        let throttled = "421 4.7.28 unusual rate of unsolicited mail";
        check_class(&usual, throttled, &[1, 5, 10, 10, 10, 10, 10, 10]);
        check_class(&usual, "452 4.2.2 full", &[60, 120, 240, 240, 240, 240]);
        check_class(
            &usual,
            "450 4.2.1 the user you are trying to contact is receiving mail too quickly",
            &[5, 5, 15],
        );
        check_class(&usual, "450 4.7.25 no PTR", &[1, 5, 60, 120, 240, 240]);
        check_class(&usual, "451 4.4.3 cannot look up", &[1, 5, 15, 30, 30, 30]);
    }

    #[test]
    fn the_longest_pause_of_the_list_is_the_longest_of_all() {
        check_class(&[1, 5, 120], "452 4.2.2 full", &[60, 120, 120]);
        check_class(&[1, 5], "452 4.2.2 full", &[5, 5]);
        check_class(&[], "452 4.2.2 full", &[60, 60]);
        check_class(&[1], "450 4.2.0 greylisted", &[1, 1]);
        check_class(&[1, 2], "450 4.7.1 no", &[1, 2, 2]);
    }

    #[test]
    fn who_cannot_be_reached_is_due_when_a_probe_may_be() {
        let check = |detail, expected| {
            let schedule = Schedule::default();
            let zero = Timestamp::from_unix_millis(0);
            let due = next_due(7, &deferral(4, detail), zero, zero, &schedule, 0.5);
            assert_eq!(due.unix_millis() / MINUTE, expected);
        };
        check(1, 10);
        check(3, 30);
        // It may be this message that breaks the connection.
        check(2, 240);
    }

    #[test]
    fn an_empty_list_is_no_storm() {
        let schedule = Schedule {
            retry: Vec::new(),
            ..Schedule::default()
        };
        let zero = Timestamp::from_unix_millis(0);
        let due = next_due(3, &deferral(3, 0), zero, zero, &schedule, 0.5);
        assert_eq!(due.unix_secs(), 3600);
    }
}
