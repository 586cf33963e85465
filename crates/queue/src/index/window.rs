//! Order by due time: per destination, over all destinations, by deadline, by end of lease.
//!
//! Every open leg is here, whether its message is in memory or in sled alone: some 100 octets each, so that sled need not
//! keep an order (random writes all over its tree) and an attempt at a leg costs one row there.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;
use std::ops::Bound;

use envelope::{Destination, Diagnosis, LegId, MessageId, Timestamp};

use crate::index::labels::{Labels, Names};

/// A leg and when it is due, as octets that sort: time, message, number. 28 octets where the pair takes 48.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Due([u8; 28]);

impl Due {
    pub(crate) fn new(at: Timestamp, leg: LegId) -> Self {
        let mut out = [0; 28];
        out[..8].copy_from_slice(&at.unix_millis().to_be_bytes());
        out[8..24].copy_from_slice(&leg.message.bits().to_be_bytes());
        out[24..].copy_from_slice(&leg.number.to_be_bytes());
        Self(out)
    }

    /// Before all legs that are due at `at` or later.
    fn from(at: Timestamp) -> Self {
        Self::new(at, FIRST_LEG)
    }

    pub(crate) fn at(&self) -> Timestamp {
        Timestamp::from_unix_millis(u64::from_be_bytes(self.octets(0)))
    }

    pub(crate) fn leg(&self) -> LegId {
        LegId {
            message: MessageId::from_bits(u128::from_be_bytes(self.octets(8))),
            number: u32::from_be_bytes(self.octets(24)),
        }
    }

    fn octets<const N: usize>(&self, from: usize) -> [u8; N] {
        std::array::from_fn(|n| self.0[from + n])
    }
}

impl fmt::Debug for Due {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.leg(), self.at().unix_millis())
    }
}

/// The orders.
#[derive(Debug, Default)]
pub(crate) struct Window {
    destinations: HashMap<Destination, Legs>,
    /// How many of their legs are due in which span of time, so that nobody walks all legs to count them.
    spans: BTreeMap<u64, u64>,
    /// Destinations that claims pass by. They are not in `by_due`, so that a claim costs what it gives, however many there are.
    parked: HashSet<Destination>,
    /// The destination is always there; `None` stands before all of them in a search.
    by_due: BTreeSet<(Timestamp, Option<Destination>)>,
    pub(crate) deadlines: BTreeSet<Due>,
    pub(crate) leases: BTreeSet<Due>,
    pub(crate) senders: Names,
    pub(crate) errors: Names,
}

/// What a summary tells a leg by.
#[derive(Debug, Clone, Copy)]
pub(crate) struct About<'a> {
    pub(crate) sender: &'a str,
    pub(crate) last: Option<&'a Diagnosis>,
}

/// A destination's legs that nobody has leased. The first stands apart: many destinations have but one.
#[derive(Debug)]
struct Legs {
    first: (Due, Labels),
    rest: BTreeMap<Due, Labels>,
}

impl Legs {
    /// Gives back the labels that the leg had there, if it was there.
    fn add(&mut self, due: Due, labels: Labels) -> Option<Labels> {
        let new = (due, labels);
        match due.cmp(&self.first.0) {
            Ordering::Equal => Some(std::mem::replace(&mut self.first.1, labels)),
            Ordering::Greater => self.rest.insert(due, labels),
            Ordering::Less => {
                let (due, labels) = std::mem::replace(&mut self.first, new);
                self.rest.insert(due, labels)
            }
        }
    }

    /// The same; and says whether it is empty now.
    fn remove(&mut self, due: Due) -> (Option<Labels>, bool) {
        if due != self.first.0 {
            return (self.rest.remove(&due), false);
        }
        let labels = Some(self.first.1);
        match self.rest.pop_first() {
            Some(next) => {
                self.first = next;
                (labels, false)
            }
            None => (labels, true),
        }
    }

    /// How many there are, and how many of them are due from one moment to another.
    fn count(&self, from: Due, end: Due) -> (u64, u64) {
        let first = usize::from((from..end).contains(&self.first.0));
        let between = self.rest.range(from..end).count() + first;
        (self.rest.len() as u64 + 1, between as u64)
    }

    /// Those before this.
    fn before(&self, end: Due) -> impl DoubleEndedIterator<Item = Due> {
        let first = Some(self.first.0).filter(|first| *first < end);
        let rest = self.rest.range(..end).map(|(due, _)| *due);
        first.into_iter().chain(rest)
    }

    /// From behind a leg on.
    fn labelled(&self, after: Option<Due>) -> impl Iterator<Item = (Due, Labels)> {
        let first = after.is_none().then_some(self.first);
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let rest = self.rest.range((from, Bound::Unbounded));
        first
            .into_iter()
            .chain(rest.map(|(due, labels)| (*due, *labels)))
    }
}

impl Window {
    pub(crate) fn add(&mut self, to: &Destination, due: Due, about: About<'_>) {
        let labels = Labels {
            sender: self.senders.take(about.sender),
            error: self.errors.take(&spool::error_name(about.last)),
        };
        let Some(queue) = self.destinations.get_mut(to) else {
            let queue = Legs {
                first: (due, labels),
                rest: BTreeMap::new(),
            };
            self.destinations.insert(to.clone(), queue);
            *self.spans.entry(span(due.at())).or_default() += 1;
            self.enter(to, due.at());
            return;
        };
        let before = queue.first.0.at();
        let replaced = queue.add(due, labels);
        let after = queue.first.0.at();
        if replaced.is_none() {
            *self.spans.entry(span(due.at())).or_default() += 1;
        }
        self.forget(replaced);
        self.move_destination(to, before, Some(after));
    }

    fn forget(&mut self, labels: Option<Labels>) {
        if let Some(Labels { sender, error }) = labels {
            self.senders.give_back(sender);
            self.errors.give_back(error);
        }
    }

    pub(crate) fn remove(&mut self, to: &Destination, due: Due) {
        let Some(queue) = self.destinations.get_mut(to) else {
            return;
        };
        let before = queue.first.0.at();
        let (labels, is_empty) = queue.remove(due);
        let after = (!is_empty).then(|| queue.first.0.at());
        if after.is_none() {
            self.destinations.remove(to);
        }
        if labels.is_some() {
            self.count_out(due);
        }
        self.forget(labels);
        self.move_destination(to, before, after);
    }

    fn count_out(&mut self, due: Due) {
        let span = span(due.at());
        if let Some(legs) = self.spans.get_mut(&span) {
            *legs -= 1;
            if *legs == 0 {
                self.spans.remove(&span);
            }
        }
    }

    fn move_destination(&mut self, to: &Destination, before: Timestamp, after: Option<Timestamp>) {
        if after == Some(before) {
            return;
        }
        self.by_due.remove(&(before, Some(to.clone())));
        if let Some(after) = after {
            self.enter(to, after);
        }
    }

    fn enter(&mut self, to: &Destination, at: Timestamp) {
        if !self.parked.contains(to) {
            self.by_due.insert((at, Some(to.clone())));
        }
    }

    /// Takes destinations out of their order (`true`), or lets them in again.
    pub(crate) fn park(&mut self, destinations: &[(Destination, bool)]) {
        for (to, parked) in destinations {
            let first = self.destinations.get(to).map(|queue| queue.first.0.at());
            if *parked {
                self.parked.insert(to.clone());
                first.map(|first| self.by_due.remove(&(first, Some(to.clone()))));
            } else if self.parked.remove(to)
                && let Some(first) = first
            {
                self.enter(to, first);
            }
        }
    }

    /// Destinations with something due at `now` and not parked, the earliest first.
    pub(crate) fn due_destinations(&self, now: Timestamp) -> impl Iterator<Item = &Destination> {
        self.by_due
            .iter()
            .take_while(move |(due, _)| *due <= now)
            .filter_map(|(_, to)| to.as_ref())
    }

    /// The legs of a destination that are due, in order.
    pub(crate) fn due_legs(
        &self,
        to: &Destination,
        now: Timestamp,
    ) -> impl DoubleEndedIterator<Item = LegId> {
        let (legs, end) = (self.destinations.get(to), Due::from(now.plus(TICK)));
        let due = legs.into_iter().flat_map(move |legs| legs.before(end));
        due.map(|due| due.leg())
    }

    /// All legs that nobody has leased: how many are on hold, how many were due before the span of `now`, how many are neither.
    pub(crate) fn count(&self, now: Timestamp) -> (u64, u64, u64) {
        let all: u64 = self.spans.values().sum();
        let held = self.spans.get(&span(HELD)).copied().unwrap_or_default();
        let due = self.spans.range(..span(now)).map(|(_, legs)| legs).sum();
        (held, due, all - held - due)
    }

    /// Those of a destination, and how many of them are due in the span of `now` and by now.
    pub(crate) fn count_of(&self, to: &Destination, now: Timestamp) -> (u64, u64) {
        let from = Timestamp::from_unix_millis(span(now) << SPAN_BITS);
        let legs = self.destinations.get(to);
        legs.map_or((0, 0), |legs| {
            legs.count(Due::from(from), Due::from(now.plus(TICK)))
        })
    }

    /// The legs of a destination that nobody has leased, in order, from behind a leg on, with their labels.
    pub(crate) fn labelled(
        &self,
        to: &Destination,
        after: Option<Due>,
    ) -> impl Iterator<Item = (Due, Labels)> {
        let queue = self.destinations.get(to).into_iter();
        queue.flat_map(move |queue| queue.labelled(after))
    }

    /// All destinations with such legs.
    pub(crate) fn destinations(&self) -> impl Iterator<Item = &Destination> {
        self.destinations.keys()
    }

    /// The legs past their deadlines at `now`, in order.
    pub(crate) fn overdue(&self, now: Timestamp) -> impl Iterator<Item = LegId> {
        let past = self.deadlines.iter().take_while(move |due| due.at() <= now);
        past.map(Due::leg)
    }

    /// The earliest moment after `now` at which a claim may find more than before: what is parked does not count.
    pub(crate) fn next_event(&self, now: Timestamp) -> Option<Timestamp> {
        let later = now.plus(TICK);
        let after = |set: &BTreeSet<Due>| set.range(Due::from(later)..).next().map(Due::at);
        let destinations = self.by_due.range((later, None)..);
        let first_due = destinations.map(|(due, _)| *due).next();
        let first = first_due.into_iter().chain(after(&self.leases)).min();
        first.filter(|due| *due < NEVER)
    }
}

/// Of some seconds; what has no due time has one of its own.
fn span(at: Timestamp) -> u64 {
    match at {
        HELD | NEVER => at.unix_millis(),
        at => at.unix_millis() >> SPAN_BITS,
    }
}

/// Spans of 16 s: 26,000 in five days.
const SPAN_BITS: u32 = 14;
const TICK: std::time::Duration = std::time::Duration::from_millis(1);
const FIRST_LEG: LegId = LegId {
    message: MessageId::from_bits(0),
    number: 0,
};
/// Due times from here on are no times: the leg is on hold, or is to be bounced.
pub(crate) const NEVER: Timestamp = Timestamp::from_unix_millis(u64::MAX - 1);
/// The due time of a held leg in the order.
pub(crate) const HELD: Timestamp = Timestamp::from_unix_millis(u64::MAX);

#[cfg(test)]
mod tests {
    use super::*;

    const NEW: About<'_> = About {
        sender: "a.example",
        last: None,
    };

    fn due(at: u64, message: u128) -> Due {
        let leg = LegId {
            message: MessageId::from_bits(message),
            number: 1,
        };
        Due::new(Timestamp::from_unix_millis(at), leg)
    }

    #[test]
    fn octets_sort_as_what_they_stand_for() {
        let dues = [due(1, u128::MAX), due(2, 1), due(2, 256), due(256, 0)];
        assert!(dues.is_sorted());
        assert_eq!(dues[2].at().unix_millis(), 2);
        assert_eq!(dues[2].leg().message.bits(), 256);
    }

    #[test]
    fn hosts_come_and_go_with_their_legs() {
        let to: Destination = "a.example".parse().unwrap();
        let mut window = Window::default();
        for due in [due(5, 1), due(3, 2), due(4, 3), due(3, 2)] {
            window.add(&to, due, NEW);
        }
        let now = Timestamp::from_unix_millis(4);
        let legs = window.due_legs(&to, now).map(|leg| leg.message.bits());
        assert_eq!(legs.collect::<Vec<_>>(), [2, 3]);
        window.remove(&to, due(3, 2));
        assert_eq!(window.by_due.first().unwrap().0, now);
        window.remove(&to, due(5, 1));
        window.remove(&to, due(4, 3));
        assert_eq!((window.destinations.len(), window.by_due.len()), (0, 0));
        assert!(window.spans.is_empty());
    }

    #[test]
    fn legs_are_counted_to_the_millisecond() {
        let (a, b) = ("a.example".parse().unwrap(), "b.example".parse().unwrap());
        let mut window = Window::default();
        let long_ago = [(&a, due(1, 1)), (&b, due(9, 2)), (&b, due(9, 2))];
        let just = [(&a, due(50_000, 3)), (&a, due(50_001, 4))];
        let later = [(&a, due(50_002, 5)), (&b, due(90_000, 6))];
        let never = [
            (&a, due(NEVER.unix_millis(), 7)),
            (&b, due(HELD.unix_millis(), 8)),
        ];
        for (to, due) in [&long_ago[..], &just, &later, &never].concat() {
            window.add(to, due, NEW);
        }
        let now = Timestamp::from_unix_millis(50_001);
        assert_eq!(window.count(now), (1, 2, 5));
        assert_eq!(window.count_of(&a, now), (5, 2));
        assert_eq!(window.count_of(&b, now), (3, 0));
        for (to, due) in [&long_ago[..], &just, &later, &never].concat() {
            window.remove(to, due);
        }
        assert_eq!((window.count(now), window.spans.len()), ((0, 0, 0), 0));
        assert_eq!(window.count_of(&a, now), (0, 0));
    }

    #[test]
    fn a_parked_host_is_in_no_order_until_it_is_let_in_again() {
        let to: Destination = "a.example".parse().unwrap();
        let now = Timestamp::from_unix_millis(9);
        let mut window = Window::default();
        let is_due = |window: &Window| window.due_destinations(now).count() == 1;
        window.add(&to, due(5, 1), NEW);
        window.park(&[(to.clone(), true)]);
        window.park(&[(to.clone(), true)]);
        assert!(!is_due(&window));
        // What comes, goes and moves meanwhile does not bring it back.
        window.add(&to, due(3, 2), NEW);
        window.remove(&to, due(3, 2));
        window.remove(&to, due(5, 1));
        window.add(&to, due(7, 3), NEW);
        assert!(!is_due(&window) && window.next_event(due(0, 0).at()).is_none());
        window.park(&[(to.clone(), false)]);
        window.park(&[(to.clone(), false)]);
        assert!(is_due(&window) && window.by_due.len() == 1);
        window.remove(&to, due(7, 3));
        window.park(&[(to.clone(), true)]);
        window.park(&[(to.clone(), false)]);
        assert!(window.by_due.is_empty() && window.parked.is_empty());
    }
}
