//! Rates: the generic cell rate algorithm, as in the crate `governor`.
//!
//! A key has one number: the time at which all that was counted for it would have flowed off at the limit's rate. What keeps
//! that time within `per` of now fits. So a quiet key has `max` at once, and nobody ever has more than `max` + `max`/`per` · t in a time t.
//! The algorithm is a few lines of our own because `governor` can neither look without taking, nor count what has already happened, nor
//! give one key a rate of its own (0.10).
//!
//! All keys are hashed with a secret of the process, so that no one can choose names that collide. What is kept lives in memory
//! only, and is bounded (`forgetful.rs`); a key whose time is past is as good as new, and is forgotten.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use crate::forgetful::Forgetful;
use crate::key::Key;
use crate::limit::Limit;

/// All rates, what recipients usually get, and which senders they know.
#[derive(Debug)]
pub struct Counters {
    secret: RandomState,
    /// The time of each key and limit, in nanoseconds.
    rates: Forgetful,
    /// What each recipient got: a [`Usual`].
    usual: Forgetful,
    /// For each sender of a recipient, the last and the first time in seconds.
    known: Forgetful,
}

/// A count that decays, and when it was last brought up to date.
#[derive(Debug, Clone, Copy, Default)]
struct Usual {
    secs: u32,
    count: f32,
}

impl Counters {
    /// Nothing is counted yet. The time that is handed in starts near zero.
    pub fn new() -> Self {
        Self {
            secret: RandomState::new(),
            rates: Forgetful::new(KEYS_MAX),
            usual: Forgetful::new(KEYS_MAX),
            known: Forgetful::new(KEYS_MAX),
        }
    }

    /// How much still fits.
    pub fn left(&self, limit: &Limit, key: &Key, now: Duration) -> u64 {
        let rate = self.rate(limit, key, now);
        let time = self.rates.find(self.hash(limit, key)).unwrap_or(0);
        let free = rate.per.saturating_sub(time.saturating_sub(rate.now));
        let left = u128::from(free) * u128::from(rate.max) / u128::from(rate.per);
        u64::try_from(left).unwrap_or(u64::MAX)
    }

    /// How much of it is used up: 1 is all.
    pub fn used(&self, limit: &Limit, key: &Key, now: Duration) -> f64 {
        let rate = self.rate(limit, key, now);
        let time = self.rates.find(self.hash(limit, key)).unwrap_or(0);
        time.saturating_sub(rate.now) as f64 / rate.per as f64
    }

    /// Whether so much more fits.
    pub fn fits(&self, limit: &Limit, key: &Key, n: u64, now: Duration) -> bool {
        self.left(limit, key, now) >= n
    }

    /// Counts so much if it fits; false if it does not.
    pub fn take(&self, limit: &Limit, key: &Key, n: u64, now: Duration) -> bool {
        let rate = self.rate(limit, key, now);
        self.count(limit, key, n, &rate, |time| rate.with(time, n))
    }

    /// Counts what has happened, whether it fits or not; false if it was too much. Twice the limit is the most that is held
    /// against anyone.
    pub fn add(&self, limit: &Limit, key: &Key, n: u64, now: Duration) -> bool {
        let rate = self.rate(limit, key, now);
        let mut fits = true;
        self.count(limit, key, n, &rate, |time| {
            fits = rate.with(time, n).is_some();
            Some(rate.after(time, n))
        });
        fits
    }

    /// Nothing is held against this key any more.
    pub fn forget(&self, limit: &Limit, key: &Key) {
        self.rates.remove(self.hash(limit, key));
    }

    /// A recipient got mail from this sender, who will be known in time.
    pub fn meet(&self, recipient: &Key, sender: &Key, now: Duration) {
        let now = secs(now);
        let is_stale = |seen: u64| now.saturating_sub(high(seen)) > KNOWN_FOR.as_secs() as u32;
        let seen = |before: Option<u64>| Some(pair(now, before.map_or(now, low)));
        self.known
            .replace(self.hash(recipient, sender), is_stale, seen);
    }

    /// Whether the recipient had mail from this sender a day ago or earlier. In the days after a start the half of the time
    /// that has passed must do: who wrote in the first half of it is known.
    pub fn knows(&self, recipient: &Key, sender: &Key, now: Duration) -> bool {
        let long = KNOWN_AFTER.min(now / 2);
        let seen = self.known.find(self.hash(recipient, sender));
        seen.is_some_and(|seen| secs(now).saturating_sub(low(seen)) >= secs(long))
    }

    /// How many numbers are kept.
    pub fn len(&self) -> usize {
        self.rates.len() + self.usual.len() + self.known.len()
    }

    /// Whether nothing is counted.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn count(
        &self,
        limit: &Limit,
        key: &Key,
        n: u64,
        rate: &Rate,
        other: impl FnOnce(Option<u64>) -> Option<u64>,
    ) -> bool {
        let is_stale = |time| time <= rate.now;
        let counted = self.rates.replace(self.hash(limit, key), is_stale, other);
        if counted && limit.usual > 0 {
            let is_stale = |number| Usual::of(number).at(secs_of(rate.now)).count < USUAL_MIN;
            self.usual
                .replace(self.hash("usual", key), is_stale, |number| {
                    let before = number.map_or_else(Usual::default, Usual::of);
                    let mut usual = before.at(secs_of(rate.now));
                    usual.count += n as f32;
                    Some(usual.number())
                });
        }
        counted
    }

    /// What holds for this key. In the time after a start, what has come since counts as usual: everything is let through at first.
    fn rate(&self, limit: &Limit, key: &Key, now: Duration) -> Rate {
        let mut max = limit.max;
        if limit.usual > 0 {
            let found = self.usual.find(self.hash("usual", key));
            let count = found.map_or(0.0, |number| Usual::of(number).at(secs(now)).count);
            let memory = USUAL_OVER.as_secs_f32();
            let watched = memory * (1.0 - (-now.as_secs_f32() / memory).exp());
            let usual = count * limit.per.as_secs_f32() / watched.max(1.0);
            max = max.max((usual * limit.usual as f32) as u64);
        }
        Rate {
            now: nanos(now),
            per: nanos(limit.per).max(1),
            max: max.max(1),
        }
    }

    fn hash(&self, of: impl std::hash::Hash, key: &Key) -> u64 {
        self.secret.hash_one((of, key))
    }
}

impl Default for Counters {
    fn default() -> Self {
        Self::new()
    }
}

/// A limit as it holds for one key now.
struct Rate {
    now: u64,
    per: u64,
    max: u64,
}

impl Rate {
    /// The time of a key with `n` more; none if they do not fit.
    fn with(&self, time: Option<u64>, n: u64) -> Option<u64> {
        let then = self.after(time, n);
        (then - self.now <= self.per).then_some(then)
    }

    /// The same, whether they fit or not. A time far ahead can only come of a clock that ran backwards.
    fn after(&self, time: Option<u64>, n: u64) -> u64 {
        let cost = u128::from(n) * u128::from(self.per) / u128::from(self.max);
        let cost = u64::try_from(cost).unwrap_or(u64::MAX);
        let time = time.unwrap_or(0).max(self.now);
        let longest = self.now.saturating_add(self.per.saturating_mul(2));
        time.saturating_add(cost).min(longest)
    }
}

impl Usual {
    fn of(number: u64) -> Self {
        Self {
            secs: high(number),
            count: f32::from_bits(low(number)),
        }
    }

    fn number(self) -> u64 {
        pair(self.secs, self.count.to_bits())
    }

    /// What is left of it at this time.
    fn at(self, now: u32) -> Self {
        let age = now.saturating_sub(self.secs) as f32;
        Self {
            secs: now.max(self.secs),
            count: self.count * (-age / USUAL_OVER.as_secs_f32()).exp(),
        }
    }
}

fn pair(high: u32, low: u32) -> u64 {
    u64::from(high) << 32 | u64::from(low)
}

fn high(number: u64) -> u32 {
    (number >> 32) as u32
}

fn low(number: u64) -> u32 {
    number as u32
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn secs(time: Duration) -> u32 {
    u32::try_from(time.as_secs()).unwrap_or(u32::MAX)
}

fn secs_of(nanos: u64) -> u32 {
    secs(Duration::from_nanos(nanos))
}

/// Numbers of each sort.
const KEYS_MAX: usize = 2_000_000;
/// How fast what is usual changes.
const USUAL_OVER: Duration = Duration::from_hours(7 * 24);
/// Less than this is as good as nothing.
const USUAL_MIN: f32 = 0.05;
/// From when on a sender is known, and for how long after its last mail.
const KNOWN_AFTER: Duration = Duration::from_hours(24);
const KNOWN_FOR: Duration = Duration::from_hours(60 * 24);

#[cfg(test)]
mod tests;
