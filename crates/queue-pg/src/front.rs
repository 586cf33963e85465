//! What this node knows of the queue without asking: which destinations have legs, and when the first of them is due.
//!
//! It makes a claim cost what it gives: only destinations that have something are asked for. It is a hint, right for what this node
//! did itself, and brought up to date by a look at the whole every few seconds: other nodes work on the same queue.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

/// By destination, as the tables name it.
#[derive(Debug, Default)]
pub(crate) struct Front {
    places: HashMap<Arc<str>, Place>,
    parked: HashSet<Box<str>>,
    /// What happens where, in order: first where nothing is parked, then the leases where it is.
    events: BTreeSet<(bool, i64, Arc<str>)>,
    /// The moment of the last claim.
    seen: Option<i64>,
    /// Destinations that it asked for, and that may have something due all the same: it failed, or passed it by.
    left: usize,
}

#[derive(Debug, Clone, Copy, Default)]
struct Place {
    /// When the first of its legs may be claimed.
    ready: Option<i64>,
    /// When the first lease of this node ends there.
    lease_end: Option<i64>,
}

impl Place {
    fn events(self, is_parked: bool) -> impl Iterator<Item = i64> {
        let ready = self.ready.filter(|_| !is_parked);
        ready.into_iter().chain(self.lease_end)
    }
}

impl Front {
    /// All there is, as the database has it: by destination, when the first may be claimed. Whether something is due that was not
    /// known to be.
    pub(crate) fn load(&mut self, rows: Vec<(Arc<str>, i64)>, now: i64) -> bool {
        let (mut before, mut news) = (std::mem::take(&mut self.places), false);
        self.events.clear();
        for (destination, ready) in rows {
            let known = before.remove(&destination).unwrap_or_default();
            let was_due = known.ready.is_some_and(|known| known <= now);
            news |= ready <= now && !was_due && !self.parked.contains(&*destination);
            let place = Place {
                ready: Some(ready),
                ..known
            };
            self.put(destination, place);
        }
        news
    }

    /// A leg may be claimed then.
    pub(crate) fn note(&mut self, destination: &str, ready: i64) {
        self.change(destination, |place| {
            place.ready = Some(place.ready.map_or(ready, |known| known.min(ready)));
        });
    }

    /// Legs of a destination were claimed until `until`, if any were; the first of the others may be claimed at `ready`.
    pub(crate) fn claimed(&mut self, destination: &str, until: Option<i64>, ready: Option<i64>) {
        let seen = self.seen;
        if ready > seen || ready.is_none() {
            self.left = self.left.saturating_sub(1);
        }
        self.change(destination, |place| {
            let running = place.lease_end.filter(|end| Some(*end) > seen);
            place.lease_end = running.into_iter().chain(until).min();
            place.ready = ready;
        });
    }

    pub(crate) fn park(&mut self, destination: Box<str>, is_parked: bool) {
        let place = self.take(&destination);
        match is_parked {
            true => drop(self.parked.insert(destination.clone())),
            false => drop(self.parked.remove(&destination)),
        }
        self.put(destination.into(), place);
    }

    /// The destinations to ask for, the one that has waited for longest first, at most `max`. A claim follows. It costs what it
    /// gives, however many there are.
    pub(crate) fn due(&mut self, now: i64, max: usize) -> Vec<Box<str>> {
        self.seen = Some(now);
        let waiting = self.events.iter();
        let waiting = waiting.take_while(|(is_parked, at, _)| !is_parked && *at <= now);
        // One that waits twice is there by the earlier.
        let first = waiting.filter(|(_, at, destination)| {
            let place = self.places.get(destination);
            place.and_then(|place| place.events(false).min()) == Some(*at)
        });
        let asked: Vec<_> = first.take(max).map(|(_, _, it)| (&**it).into()).collect();
        self.left = asked.len();
        asked
    }

    /// Whether the last claim is worth another; it is said once.
    pub(crate) fn take_left(&mut self) -> bool {
        std::mem::take(&mut self.left) > 0
    }

    /// When something will be due that was not at the last claim.
    pub(crate) fn next(&self) -> Option<i64> {
        let seen = self.seen.map_or(i64::MIN, |seen| seen.saturating_add(1));
        let next = |is_parked| {
            let mut later = self.events.range((is_parked, seen, "".into())..);
            later.next().filter(|it| it.0 == is_parked).map(|it| it.1)
        };
        next(false).into_iter().chain(next(true)).min()
    }

    fn change(&mut self, destination: &str, change: impl FnOnce(&mut Place)) {
        let mut place = self.take(destination);
        change(&mut place);
        self.put(destination.into(), place);
    }

    fn take(&mut self, destination: &str) -> Place {
        let Some((key, place)) = self.places.remove_entry(destination) else {
            return Place::default();
        };
        let is_parked = self.parked.contains(destination);
        for at in place.events(is_parked) {
            self.events.remove(&(is_parked, at, Arc::clone(&key)));
        }
        place
    }

    fn put(&mut self, destination: Arc<str>, place: Place) {
        let is_parked = self.parked.contains(&*destination);
        let events = place.events(is_parked);
        self.events
            .extend(events.map(|at| (is_parked, at, Arc::clone(&destination))));
        if place.events(false).next().is_some() {
            self.places.insert(destination, place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due(front: &mut Front, now: i64) -> Vec<String> {
        front.due(now, 9).into_iter().map(Into::into).collect()
    }

    /// What the order of the events has to come to.
    fn check(front: &mut Front, now: i64) {
        let waiting = front.places.iter().filter_map(|(destination, place)| {
            let first = place.ready.into_iter().chain(place.lease_end).min()?;
            let is_due = first <= now && !front.parked.contains(&**destination);
            is_due.then(|| (first, destination.to_string()))
        });
        let mut waiting: Vec<_> = waiting.collect();
        waiting.sort_unstable();
        let names = waiting.into_iter().map(|(_, destination)| destination);
        assert_eq!(names.take(9).collect::<Vec<_>>(), due(front, now));
        let events = front.places.iter().flat_map(|(destination, place)| {
            let waits = place.ready;
            let waits = waits.filter(|_| !front.parked.contains(&**destination));
            waits.into_iter().chain(place.lease_end)
        });
        assert_eq!(events.filter(|at| *at > now).min(), front.next());
    }

    #[test]
    fn whatever_happens_the_order_is_that_of_the_places() {
        let mut random = 1u64;
        let mut draw = |below: u64| {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (random >> 33) % below
        };
        let mut front = Front::default();
        for now in 0..3000 {
            let (name, at) = (format!("d{}", draw(20)), now + draw(60).cast_signed() - 30);
            let maybe = (draw(2) == 0).then_some(at);
            match draw(9) {
                0..4 => front.note(&name, at),
                4..6 => front.claimed(&name, maybe, (draw(2) == 0).then_some(at + 9)),
                6..8 => front.park(name.into(), maybe.is_some()),
                _ => drop(front.load(
                    (0..9).map(|n| (format!("d{n}").into(), at + n)).collect(),
                    now,
                )),
            }
            check(&mut front, now);
        }
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

    #[test]
    fn what_a_claim_has_left_is_worth_another() {
        let mut front = Front::default();
        front.note("a", 5);
        front.note("b", 7);
        assert!(!front.take_left());
        // It fails.
        due(&mut front, 10);
        assert!(front.take_left() && !front.take_left());
        // It passes something by.
        due(&mut front, 10);
        front.claimed("a", Some(60), Some(60));
        front.claimed("b", None, Some(7));
        assert!(front.take_left());
        due(&mut front, 10);
        front.claimed("b", Some(60), None);
        assert!(!front.take_left());
    }
}
