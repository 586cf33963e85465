//! What a site answered lately, for operators. Shared by the lanes of a site; bounded; the clock is passed in.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use envelope::{Diagnosis, EnhancedStatus, Outcome};
use parking_lot::Mutex;

/// A site's answers. Clones share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tally(Arc<Mutex<Answers>>);

/// What was answered since the site is known.
#[derive(Debug, Clone, Default)]
pub struct Answers {
    /// Legs by the code of their reply, 0 without one, and the enhanced status.
    codes: HashMap<(u16, EnhancedStatus), u64>,
    /// The last ones that were not 2xx, the newest first.
    pub refusals: VecDeque<(Instant, Diagnosis)>,
    /// Legs by minute, the newest first.
    minutes: VecDeque<(Instant, Sums)>,
}

/// Legs by what came of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sums {
    /// The site took them.
    pub delivered: u64,
    /// Not now.
    pub deferred: u64,
    /// Never.
    pub failed: u64,
}

impl Tally {
    pub(crate) fn count(&self, outcomes: &[Outcome], now: Instant) {
        let mut answers = self.0.lock();
        for outcome in outcomes {
            answers.count(outcome, now);
        }
    }

    pub(crate) fn answers(&self) -> Answers {
        self.0.lock().clone()
    }

    /// What came of legs in the last ten minutes.
    pub(crate) fn lately(&self, now: Instant) -> Sums {
        self.0.lock().lately(now)
    }

    /// Whether anything was answered lately.
    pub(crate) fn is_fresh(&self, now: Instant) -> bool {
        let answers = self.0.lock();
        let last = answers.minutes.front();
        last.is_some_and(|(begun, _)| now.saturating_duration_since(*begun) < KEPT)
    }
}

impl Answers {
    fn count(&mut self, outcome: &Outcome, now: Instant) {
        let diagnosis = outcome.diagnosis();
        let reply = diagnosis.reply.as_ref();
        let code = (reply.map_or(0, |reply| reply.code), diagnosis.status);
        if self.codes.len() < CODES_MAX || self.codes.contains_key(&code) {
            *self.codes.entry(code).or_default() += 1;
        }
        let age = |at: &Instant| now.saturating_duration_since(*at);
        if self
            .minutes
            .front()
            .is_none_or(|(begun, _)| age(begun) >= MINUTE)
        {
            self.minutes.push_front((now, Sums::default()));
            self.minutes.truncate(MINUTES);
        }
        let sums = &mut self.minutes[0].1;
        match outcome {
            Outcome::Delivered(_) => sums.delivered += 1,
            Outcome::Deferred(_) => sums.deferred += 1,
            Outcome::Failed(_) => sums.failed += 1,
        }
        if !matches!(outcome, Outcome::Delivered(_)) {
            self.refusals
                .push_front((now, diagnosis.clone().clipped(WORDS_OCTETS)));
            self.refusals.truncate(REFUSALS_KEPT);
        }
    }

    /// Legs by code, most first: `451 4.7.1`; without a reply, what it came to: `4.4.2`.
    pub fn codes(&self) -> Vec<(String, u64)> {
        let mut codes: Vec<_> = self.codes.iter().collect();
        codes.sort_by_key(|(code, legs)| (std::cmp::Reverse(**legs), code.0));
        let named = |((code, status), legs): (&(u16, EnhancedStatus), &u64)| match code {
            0 => (status.to_string(), *legs),
            code => (format!("{code} {status}"), *legs),
        };
        codes.into_iter().map(named).collect()
    }

    fn lately(&self, now: Instant) -> Sums {
        let is_late = |at: Instant| now.saturating_duration_since(at) < MINUTE * MINUTES as u32;
        let minutes = self.minutes.iter().filter(|(begun, _)| is_late(*begun));
        minutes.fold(Sums::default(), |all, (_, sums)| Sums {
            delivered: all.delivered + sums.delivered,
            deferred: all.deferred + sums.deferred,
            failed: all.failed + sums.failed,
        })
    }
}

/// Different codes: a peer may make up any number.
const CODES_MAX: usize = 40;
const REFUSALS_KEPT: usize = 5;
/// Octets of the text of each.
const WORDS_OCTETS: usize = 256;
const MINUTE: Duration = Duration::from_mins(1);
const MINUTES: usize = 10;
/// A site that was just forgotten has nothing to show to an operator who asks.
const KEPT: Duration = Duration::from_hours(1);

#[cfg(test)]
mod tests {
    use envelope::Reply;

    use super::*;

    #[test]
    fn counted_and_bounded() {
        let tally = Tally::default();
        let start = Instant::now();
        assert!(!tally.is_fresh(start));
        for n in 0..1000u16 {
            let status = EnhancedStatus::transient(7, n);
            let reply = Some(Reply::new(451, status, "x".repeat(1000)));
            let diagnosis = Diagnosis {
                reply,
                ..Diagnosis::local(status, "later")
            };
            let taken = Diagnosis::local(EnhancedStatus::success(0, 0), "");
            let outcomes = [Outcome::Deferred(diagnosis), Outcome::Delivered(taken)];
            tally.count(&outcomes, start + Duration::from_secs(n.into()));
        }
        let answers = tally.answers();
        assert_eq!(
            (answers.codes.len(), answers.refusals.len()),
            (CODES_MAX, REFUSALS_KEPT)
        );
        assert_eq!(answers.codes()[0], ("2.0.0".to_owned(), 1000));
        assert!(answers.codes().contains(&("451 4.7.1".to_owned(), 1)));
        assert!(answers.refusals[0].1.to_string().len() < 1000);
        let now = start + Duration::from_secs(1000);
        let lately = answers.lately(now);
        assert_eq!(lately.delivered, lately.deferred);
        assert!((500..=600).contains(&lately.deferred), "{lately:?}");
        assert_eq!(
            answers.lately(now + Duration::from_hours(1)),
            Sums::default()
        );
        assert!(tally.is_fresh(now) && !tally.is_fresh(now + KEPT));
    }
}
