//! Pressure: how much of the mail for a site or a mailbox that takes less than comes stays with its senders, by a 451 at RCPT.
//!
//! What we queue for a site that throttles us waits here, and makes us look like a flood when it goes out; the sender's own queue
//! holds it as well, and tells him. The share grows with the time that it lasts and with what waits already, and
//! is never more than what the site left of all that came: it does not idle because of us. Pure; the clock comes in.

use std::time::{Duration, Instant};

use envelope::{Claim, Outcome, ReplyClass};

/// A site or a mailbox that takes less than comes.
#[derive(Debug, Clone)]
pub(crate) struct Pressure {
    since: Instant,
    /// When it last put mail off.
    last: Instant,
    /// Messages for it, with those that were put off; and legs that it took or refused for good. Both fade, the older the more.
    asked: f64,
    taken: f64,
    counted: Instant,
    /// Legs that were put off at their first attempt and have not gone since.
    queued: u32,
}

/// What an outcome says of the site and of the mailbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sign {
    /// The site wants less.
    SiteThrottled,
    /// The mailbox is full, or wants less.
    MailboxFull,
    /// The leg has ended, well or not.
    Ended,
    /// Nothing.
    None,
}

impl Sign {
    pub(crate) fn of(outcome: &Outcome) -> Self {
        if matches!(outcome, Outcome::Delivered(_)) {
            return Self::Ended;
        }
        match (outcome.diagnosis().class(), outcome) {
            (ReplyClass::MailboxFull | ReplyClass::MailboxBusy, _) => Self::MailboxFull,
            (_, Outcome::Failed(_)) => Self::Ended,
            (ReplyClass::Throttled | ReplyClass::Blocked, _) => Self::SiteThrottled,
            _ => Self::None,
        }
    }
}

impl Pressure {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            since: now,
            last: now,
            asked: 0.0,
            taken: 0.0,
            counted: now,
            queued: 0,
        }
    }

    /// It put this leg off.
    pub(crate) fn put_off(&mut self, claim: &Claim, now: Instant) {
        self.last = now;
        if claim.attempts == 0 {
            self.queued = self.queued.saturating_add(1);
        }
    }

    /// It took this leg, or refused it for good. Tells whether the pressure is over: it took mail for some time without putting any
    /// off.
    pub(crate) fn ended(&mut self, claim: &Claim, now: Instant) -> bool {
        self.fade(now);
        self.taken += 1.0;
        if claim.attempts > 0 {
            self.queued = self.queued.saturating_sub(1);
        }
        now.saturating_duration_since(self.last) > OVER
    }

    /// A message for it has come, which stands for so many.
    pub(crate) fn asked(&mut self, messages: f64, now: Instant) {
        self.fade(now);
        self.asked += messages;
    }

    /// Whether it is too old to say anything.
    pub(crate) fn is_stale(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.last) > KEPT
    }

    /// The share of RCPTs to put off: percent.
    pub(crate) fn share(&self, now: Instant) -> u8 {
        let lasts = now.saturating_duration_since(self.since);
        if lasts < GRACE || self.is_stale(now) {
            return 0;
        }
        let by_time = (lasts - GRACE).div_duration_f64(GROWN);
        let by_queue = f64::from(self.queued) / QUEUED_MUCH;
        let left = match self.asked > 0.0 {
            true => 1.0 - self.taken / self.asked,
            false => 1.0,
        };
        let share = (SHARE_MAX * (by_time + by_queue).min(1.0)).min(left.max(0.0));
        (share * 100.0) as u8
    }

    /// Both counts halve in the same time, so that their ratio is that of the last minutes.
    fn fade(&mut self, now: Instant) {
        let age = now.saturating_duration_since(self.counted);
        let kept = 0.5f64.powf(age.div_duration_f64(HALVED));
        self.asked *= kept;
        self.taken *= kept;
        self.counted = now;
    }
}

/// Nothing is put off before: most trouble is over by then.
const GRACE: Duration = Duration::from_mins(1);
/// After so long more, all that the site leaves is put off, whatever waits.
const GROWN: Duration = Duration::from_mins(10);
/// And when so many legs wait, at once.
const QUEUED_MUCH: f64 = 1000.0;
/// What is always let through, so that we learn when it is over, is the rest.
const SHARE_MAX: f64 = 0.9;
const HALVED: Duration = Duration::from_mins(2);
const OVER: Duration = Duration::from_mins(2);
const KEPT: Duration = Duration::from_hours(1);

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use envelope::{Diagnosis, EnhancedStatus, MessageId, Reply};
    use rand::rngs::SmallRng;
    use rand::{RngExt, SeedableRng};
    use testkit::nouns;

    use super::*;

    fn claim(attempts: u32) -> Claim {
        let message = Arc::new(nouns::message(MessageId::from_bits(1), 1));
        Claim {
            attempts,
            ..nouns::claim(&message, 0, nouns::leg("a@x.test"))
        }
    }

    /// The share after so long with so many legs put off, and a part of what came taken.
    #[track_caller]
    fn check(secs: u64, queued: u32, (taken, asked): (u32, u32), expected: u8) {
        let begun = Instant::now();
        let mut pressure = Pressure::new(begun);
        (0..queued).for_each(|_| pressure.put_off(&claim(0), begun));
        let now = begun + Duration::from_secs(secs);
        pressure.asked(asked.into(), now);
        (0..taken).for_each(|_| {
            pressure.ended(&claim(0), now);
        });
        assert_eq!(pressure.share(now), expected, "{secs} s, {queued} queued");
    }

    #[test]
    fn the_share_grows_with_time_and_queue() {
        check(59, 5000, (0, 100), 0);
        check(60, 0, (0, 0), 0);
        check(120, 0, (0, 100), 9);
        check(360, 0, (0, 100), 45);
        check(660, 0, (0, 100), 90);
        check(3600, 0, (0, 0), 90);
        check(3601, 5000, (0, 0), 0);
        check(60, 100, (0, 100), 9);
        check(60, 1000, (0, 100), 90);
        check(360, 500, (0, 100), 90);
    }

    #[test]
    fn what_the_site_takes_is_let_through() {
        check(3000, 5000, (50, 100), 50);
        check(3000, 5000, (99, 100), 1);
        check(3000, 5000, (100, 100), 0);
        // The queue goes out as well.
        check(3000, 5000, (300, 100), 0);
        check(3000, 5000, (2, 100), 90);
    }

    /// A provider that takes 30 a minute of the 90 that come: in the long run it gets what it takes, and the rest stays away.
    #[test]
    fn the_site_never_idles() {
        let (mut now, mut rng) = (Instant::now(), SmallRng::seed_from_u64(1));
        let mut pressure = Pressure::new(now);
        let (mut queue, mut idle, mut let_in) = (0u32, 0, 0);
        // Four hours, of which the last two count.
        for step in 0..7200 {
            let counts = u32::from(step >= 3600);
            for _ in 0..3 {
                let share = pressure.share(now);
                if rng.random_range(0..100) >= share {
                    pressure.asked(100.0 / f64::from(100 - share), now);
                    queue += 1;
                    let_in += counts;
                }
            }
            match queue.checked_sub(1) {
                Some(left) => {
                    queue = left;
                    pressure.ended(&claim(1), now);
                    pressure.put_off(&claim(0), now);
                }
                None => idle += counts,
            }
            now += Duration::from_secs(2);
        }
        assert_eq!(idle, 0);
        assert!(
            (3000..4200).contains(&let_in),
            "{let_in} let in, 3600 taken"
        );
    }

    #[track_caller]
    fn check_sign(line: &str, expected: Sign) {
        let reply = Reply::parse_refusal(line, (0, 0)).unwrap();
        let status = reply.status.unwrap();
        let fails = reply.code >= 500;
        let diagnosis = Diagnosis {
            reply: Some(reply),
            ..Diagnosis::local(status, "while sending RCPT TO")
        };
        let outcome = match fails {
            true => Outcome::Failed(diagnosis),
            false => Outcome::Deferred(diagnosis),
        };
        assert_eq!(Sign::of(&outcome), expected, "{line}");
    }

    #[test]
    fn what_a_reply_is_a_sign_of() {
        check_sign("450 4.7.28 unusual rate of mail", Sign::SiteThrottled);
        check_sign("552 5.2.2 mailbox full", Sign::MailboxFull);
        check_sign("452 4.2.2 mailbox full", Sign::MailboxFull);
        check_sign("550 5.1.1 no such user", Sign::Ended);
        check_sign("554 5.7.1 on our block list", Sign::Ended);
        check_sign("450 4.2.0 greylisted", Sign::None);
        let nobody = Diagnosis::local(EnhancedStatus::transient(4, 1), "refused");
        assert_eq!(Sign::of(&Outcome::Deferred(nobody)), Sign::None);
    }
}
