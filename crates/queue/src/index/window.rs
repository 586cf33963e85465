//! Order by due time: per host, over all hosts, by deadline, by end of lease.
//!
//! Legs of messages in memory are here one by one. Of the others only a bound is kept, per host: `stored`, at or behind
//! which all legs lie that are in sled alone. So a host with a million waiting legs costs as much as one with none.

use std::collections::{BTreeSet, HashMap};

use envelope::{Host, LegId, Timestamp};

/// A leg and when it is due; the order within a host.
pub(crate) type Due = (Timestamp, LegId);

/// The orders.
#[derive(Debug, Default)]
pub(crate) struct Window {
    hosts: HashMap<Host, HostQueue>,
    /// The host is always there; `None` stands before all hosts in a search.
    by_due: BTreeSet<(Timestamp, Option<Host>)>,
    pub(crate) deadlines: BTreeSet<Due>,
    /// As [`HostQueue::stored`], for deadlines.
    pub(crate) deadlines_stored: Option<Due>,
    pub(crate) leases: BTreeSet<Due>,
}

#[derive(Debug, Default)]
struct HostQueue {
    waiting: BTreeSet<Due>,
    /// Nothing that is in sled alone is before this; `None`: nothing is.
    stored: Option<Due>,
}

impl HostQueue {
    fn first(&self) -> Option<Timestamp> {
        let waiting = self.waiting.first().map(|due| due.0);
        let stored = self.stored.map(|due| due.0);
        waiting.into_iter().chain(stored).min()
    }
}

impl Window {
    pub(crate) fn add(&mut self, host: &Host, due: Due) {
        self.change(host, |queue| {
            queue.waiting.insert(due);
        });
    }

    pub(crate) fn remove(&mut self, host: &Host, due: Due) {
        self.change(host, |queue| {
            queue.waiting.remove(&due);
        });
    }

    /// A leg goes to sled alone.
    pub(crate) fn store(&mut self, host: &Host, due: Due) {
        self.change(host, |queue| {
            queue.waiting.remove(&due);
            queue.stored = Some(queue.stored.map_or(due, |stored| stored.min(due)));
        });
    }

    pub(crate) fn stored(&self, host: &Host) -> Option<Due> {
        self.hosts.get(host).and_then(|queue| queue.stored)
    }

    pub(crate) fn set_stored(&mut self, host: &Host, stored: Option<Due>) {
        self.change(host, |queue| queue.stored = stored);
    }

    pub(crate) fn store_deadline(&mut self, due: Due) {
        self.deadlines.remove(&due);
        self.deadlines_stored = Some(self.deadlines_stored.map_or(due, |stored| stored.min(due)));
    }

    /// Hosts with something due at `now`, the earliest first.
    pub(crate) fn due_hosts(&self, now: Timestamp) -> impl Iterator<Item = &Host> {
        self.by_due
            .iter()
            .take_while(move |(due, _)| *due <= now)
            .filter_map(|(_, host)| host.as_ref())
    }

    /// Whether sled must be asked before `n` legs of this host can be named in order.
    pub(crate) fn needs_load(&self, host: &Host, n: usize, now: Timestamp) -> bool {
        self.hosts.get(host).is_some_and(|queue| {
            queue.stored.is_some_and(|stored| {
                stored.0 <= now && queue.waiting.range(..stored).take(n).count() < n
            })
        })
    }

    /// The next leg of a host that is due, unless one in sled comes before it.
    pub(crate) fn next(&self, host: &Host, now: Timestamp) -> Option<Due> {
        let queue = self.hosts.get(host)?;
        let first = queue.waiting.first()?;
        let in_order = queue.stored.is_none_or(|stored| *first < stored);
        (first.0 <= now && in_order).then_some(*first)
    }

    /// The earliest moment after `now` at which anything happens.
    pub(crate) fn next_event(&self, now: Timestamp) -> Option<Timestamp> {
        let after = |set: &BTreeSet<Due>| {
            let later = set.range((now.plus(TICK), FIRST_LEG)..);
            later.map(|due| due.0).next()
        };
        let hosts = self.by_due.range((now.plus(TICK), None)..);
        let host = hosts.map(|(due, _)| *due).next();
        let stored = self.deadlines_stored.map(|due| due.0.max(now.plus(TICK)));
        let events = [host, after(&self.deadlines), stored, after(&self.leases)];
        let first = events.into_iter().flatten().min();
        first.filter(|due| *due < NEVER)
    }

    fn change(&mut self, host: &Host, f: impl FnOnce(&mut HostQueue)) {
        if !self.hosts.contains_key(host) {
            self.hosts.insert(host.clone(), HostQueue::default());
        }
        let Some(queue) = self.hosts.get_mut(host) else {
            return;
        };
        let before = queue.first();
        f(queue);
        let after = queue.first();
        if before != after {
            if let Some(before) = before {
                self.by_due.remove(&(before, Some(host.clone())));
            }
            if let Some(after) = after {
                self.by_due.insert((after, Some(host.clone())));
            }
        }
        if after.is_none() {
            self.hosts.remove(host);
        }
    }
}

const TICK: std::time::Duration = std::time::Duration::from_millis(1);
const FIRST_LEG: LegId = LegId {
    message: envelope::MessageId::from_bits(0),
    number: 0,
};
/// Due times from here on are no times: the leg is on hold, or is to be bounced.
pub(crate) const NEVER: Timestamp = Timestamp::from_unix_millis(u64::MAX - 1);
/// The due time of a held leg in the order.
pub(crate) const HELD: Timestamp = Timestamp::from_unix_millis(u64::MAX);
