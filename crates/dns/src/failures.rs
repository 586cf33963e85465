//! A short memory of lookups that failed without an answer, so that a domain with broken DNS and a long queue does not
//! cost a timeout a message (RFC 2308 §7.1 allows up to five minutes). Hickory caches answers, but never failures.
//!
//! Bounded in time and number. The caller passes the clock in.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use envelope::Domain;

/// Failures by name and kind of record.
#[derive(Debug)]
pub(crate) struct Failures {
    lifetime: Duration,
    known: Mutex<HashMap<(Domain, Kind), (Instant, String)>>,
}

/// Which records were asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    Mx,
    Addresses,
    Txt,
}

impl Failures {
    pub(crate) fn new(lifetime: Duration) -> Self {
        Self {
            lifetime,
            known: Mutex::default(),
        }
    }

    /// The reason, when the same lookup failed a moment ago.
    pub(crate) fn recall(&self, now: Instant, name: &Domain, kind: Kind) -> Option<String> {
        let known = self.lock();
        let (until, reason) = known.get(&(name.clone(), kind))?;
        (now < *until).then(|| reason.clone())
    }

    /// Keeps a failure for a while.
    pub(crate) fn remember(&self, now: Instant, name: &Domain, kind: Kind, reason: &str) {
        let mut known = self.lock();
        if known.len() >= FAILURES_MAX {
            known.retain(|_, (until, _)| now < *until);
        }
        // Still full of fresh ones: forgetting is always right, since a new lookup tells again.
        if known.len() >= FAILURES_MAX {
            known.clear();
        }
        let until = now + self.lifetime;
        known.insert((name.clone(), kind), (until, reason.to_owned()));
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(Domain, Kind), (Instant, String)>> {
        // Nothing in here can be left half done by a panic.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Entries kept at most: some 200 bytes each.
const FAILURES_MAX: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forgets_in_time_and_by_number() {
        let name = |i: usize| format!("d{i}.example").parse::<Domain>().unwrap();
        let start = Instant::now();
        let failures = Failures::new(Duration::from_secs(5));
        failures.remember(start, &name(0), Kind::Mx, "timeout");
        let recall =
            |secs, kind| failures.recall(start + Duration::from_secs(secs), &name(0), kind);
        assert_eq!(recall(4, Kind::Mx).as_deref(), Some("timeout"));
        assert_eq!(recall(4, Kind::Txt), None);
        assert_eq!(recall(5, Kind::Mx), None);
        for i in 0..=FAILURES_MAX {
            failures.remember(start, &name(i), Kind::Addresses, "timeout");
        }
        assert!(failures.lock().len() <= FAILURES_MAX);
    }
}
