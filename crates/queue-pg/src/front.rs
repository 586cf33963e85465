//! What this node knows of the queue without asking: which destinations have legs, and when the first of them is due.
//!
//! It makes a claim cost what it gives: only destinations that have something are asked for. It is a hint, right for what this node
//! did itself, and brought up to date by a look at the whole every few seconds: other nodes work on the same queue.

use std::collections::{HashMap, HashSet};

/// By destination, as the tables name it.
#[derive(Debug, Default)]
pub(crate) struct Front {
    places: HashMap<Box<str>, Place>,
    parked: HashSet<Box<str>>,
    /// The moment of the last claim.
    seen: Option<i64>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Place {
    /// When the first of its legs may be claimed.
    ready: Option<i64>,
    /// When the first lease of this node ends there.
    lease_end: Option<i64>,
}

impl Front {
    /// All there is, as the database has it: by destination, when the first may be claimed. Whether something is due that was not
    /// known to be.
    pub(crate) fn load(&mut self, rows: Vec<(Box<str>, i64)>, now: i64) -> bool {
        let (mut before, mut news) = (std::mem::take(&mut self.places), false);
        for (destination, ready) in rows {
            let known = before.remove(&destination).unwrap_or_default();
            let was_due = known.ready.is_some_and(|known| known <= now);
            news |= ready <= now && !was_due && !self.parked.contains(&destination);
            let place = Place {
                ready: Some(ready),
                ..known
            };
            self.places.insert(destination, place);
        }
        news
    }

    /// A leg may be claimed then.
    pub(crate) fn note(&mut self, destination: &str, ready: i64) {
        let place = self.place(destination);
        place.ready = Some(place.ready.map_or(ready, |known| known.min(ready)));
    }

    /// Legs of a destination were claimed until `until`, if any were; the first of the others may be claimed at `ready`.
    pub(crate) fn claimed(&mut self, destination: &str, until: Option<i64>, ready: Option<i64>) {
        let seen = self.seen;
        let place = self.place(destination);
        let running = place.lease_end.filter(|end| Some(*end) > seen);
        place.lease_end = running.into_iter().chain(until).min();
        place.ready = ready;
        if place.ready.is_none() && place.lease_end.is_none() {
            self.places.remove(destination);
        }
    }

    pub(crate) fn park(&mut self, destination: Box<str>, is_parked: bool) {
        match is_parked {
            true => drop(self.parked.insert(destination)),
            false => drop(self.parked.remove(&destination)),
        }
    }

    /// The destinations to ask for, the one that has waited for longest first, at most `max`. A claim follows.
    pub(crate) fn due(&mut self, now: i64, max: usize) -> Vec<Box<str>> {
        self.seen = Some(now);
        let waiting = self.places.iter().filter_map(|(destination, place)| {
            let first = place.ready.into_iter().chain(place.lease_end).min()?;
            (first <= now && !self.parked.contains(destination)).then_some((first, destination))
        });
        let mut waiting: Vec<_> = waiting.collect();
        waiting.sort_unstable();
        let first = waiting.into_iter().take(max);
        first.map(|(_, destination)| destination.clone()).collect()
    }

    /// When something will be due that was not at the last claim.
    pub(crate) fn next(&self) -> Option<i64> {
        let events = self.places.iter().flat_map(|(destination, place)| {
            let waits = place.ready.filter(|_| !self.parked.contains(destination));
            waits.into_iter().chain(place.lease_end)
        });
        events
            .filter(|at| self.seen.is_none_or(|seen| *at > seen))
            .min()
    }

    fn place(&mut self, destination: &str) -> &mut Place {
        self.places.entry(destination.into()).or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due(front: &mut Front, now: i64) -> Vec<String> {
        front.due(now, 9).into_iter().map(Into::into).collect()
    }

    #[test]
    fn who_has_waited_longest_is_asked_first_and_the_parked_are_not() {
        let mut front = Front::default();
        front.note("b", 5);
        front.note("a", 7);
        front.note("a", 9);
        front.note("late", 100);
        assert_eq!(due(&mut front, 10), ["b", "a"]);
        front.park("b".into(), true);
        assert_eq!(due(&mut front, 10), ["a"]);
        front.park("b".into(), false);
        assert_eq!(front.next(), Some(100));
        front.claimed("a", Some(70), None);
        front.claimed("b", None, None);
        assert_eq!((due(&mut front, 60), front.next()), (vec![], Some(70)));
        // The look at the whole forgets what is gone, and no lease.
        assert!(!front.load(vec![("a".into(), 80)], 60));
        assert!(front.load(vec![("a".into(), 80), ("new".into(), 50)], 60));
        front.claimed("new", None, None);
        assert_eq!(front.next(), Some(70));
        assert_eq!(due(&mut front, 100), ["a"]);
    }
}
