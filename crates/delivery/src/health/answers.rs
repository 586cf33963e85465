//! What the answers of a peer do to the state of its site.

use std::time::{Duration, Instant};

use envelope::Diagnosis;
use rand::Rng;

use super::{CROWDED_PAUSE, DEFERRALS_TOLD, Health, SLOWED_KEPT};

/// How a peer answered a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It took the mail, for somebody at least.
    Took,
    /// It took it for nobody, and for somebody never will.
    Refused,
    /// Not now, for nobody.
    Deferred(Diagnosis),
    /// Not now, and it ended the session: 421 (RFC 5321 §3.8).
    Ended(Diagnosis),
    /// We send too much, or have too bad a name there.
    Throttled {
        /// In its words.
        reason: Diagnosis,
        /// It took the mail for somebody all the same.
        took: bool,
        /// A rule wants nothing sent for so long.
        pause: Option<Duration>,
    },
}

/// What follows from an answer for the site.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Nothing that others need to know.
    None,
    /// It takes mail again after it took none for some time.
    TakesMail,
    /// The same, but that was told a moment ago.
    Up,
    /// It is throttled, since now or still.
    Throttled { probe_in: Duration },
}

impl Health {
    /// The peer finished a transaction: it gets one connection more, if it put nothing off.
    pub(crate) fn answered(&mut self, answer: Answer, now: Instant, rng: &mut impl Rng) -> Turn {
        if self.is_resting(now) {
            // Under way when the site was throttled.
            return Turn::None;
        }
        let (reason, is_end) = match answer {
            Answer::Took | Answer::Refused => {
                return self.works(answer == Answer::Took, now);
            }
            Answer::Throttled {
                reason,
                took,
                pause,
            } => return self.throttled(reason, took, pause, now, rng),
            Answer::Deferred(reason) => (reason, false),
            Answer::Ended(reason) => (reason, true),
        };
        if let Some(down) = &mut self.down {
            // The bad luck of that message, perhaps: the next one may tell more.
            let probe_in = self.limits.probe_first;
            down.probe_at = now + probe_in;
            self.probing = false;
            return Turn::Throttled { probe_in };
        }
        self.deferrals = self.deferrals.saturating_add(1);
        self.deferred_at = Some(now);
        if is_end {
            self.crowded(self.open.saturating_sub(1), reason, now);
        } else if self.deferrals >= DEFERRALS_TOLD {
            self.slowed = Some((now, reason));
        }
        if self.deferrals == DEFERRALS_TOLD {
            self.window = 1;
        }
        Turn::None
    }

    /// After a throttle the window changes step by step.
    fn may_change(&self, now: Instant) -> bool {
        self.steady_until.is_none_or(|until| now >= until)
    }

    fn works(&mut self, took: bool, now: Instant) -> Turn {
        let lately = |at: Option<Instant>, span| {
            at.is_some_and(|at| now.saturating_duration_since(at) < span)
        };
        self.throttles = 0;
        let was_down = self.down.take().is_some();
        if was_down {
            self.window = 1;
            self.probing = false;
        } else if self.may_change(now) {
            self.window = (self.window + 1).min(self.limits.concurrency.max(1));
            if lately(self.throttled_at, SLOWED_KEPT) {
                self.steady_until = Some(now + CROWDED_PAUSE);
            }
        }
        if was_down || took {
            self.untold |= was_down || self.deferrals >= DEFERRALS_TOLD;
            self.deferrals = 0;
            if self.untold && !lately(self.told_at, TOLD_EVERY) {
                self.untold = false;
                self.told_at = Some(now);
                return Turn::TakesMail;
            }
        }
        if was_down { Turn::Up } else { Turn::None }
    }

    fn throttled(
        &mut self,
        reason: Diagnosis,
        took: bool,
        pause: Option<Duration>,
        now: Instant,
        rng: &mut impl Rng,
    ) -> Turn {
        if took && pause.is_none() && self.down.is_some() {
            return self.works(true, now);
        }
        // What came back to several connections at once is one answer.
        if self.may_change(now) {
            self.crowded(self.window / 2, reason.clone(), now);
            self.throttled_at = Some(now);
            self.steady_until = Some(now + CROWDED_PAUSE);
        }
        self.throttles = if took { 0 } else { self.throttles + 1 };
        if self.down.is_none() && pause.is_none() && self.throttles < THROTTLES_TOLD {
            return Turn::None;
        }
        let (_, probe_in) = self.went_down(reason, pause, now, rng);
        if let Some(down) = &mut self.down {
            down.throttled = true;
        }
        Turn::Throttled { probe_in }
    }
}

/// So many in a row that say that we send too much are no chance.
const THROTTLES_TOLD: u32 = 3;
/// A site that cannot make up its mind has the spool searched once in so long.
const TOLD_EVERY: Duration = Duration::from_mins(1);
