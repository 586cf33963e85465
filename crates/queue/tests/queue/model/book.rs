//! The model: what a queue is, in the simplest words. The engine must answer as this does.

use std::collections::{BTreeMap, HashMap};

use envelope::{LegId, MessageId};
use spool::{Action, Counts, Why};

/// A leg.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Leg {
    pub(crate) host: usize,
    pub(crate) state: LegState,
    /// The newest claim; none: nobody may end it.
    pub(crate) token: Option<u64>,
    /// When that runs out, while it runs.
    pub(crate) leased: Option<u64>,
    /// What a crash may turn it back to: states since the last durable deed.
    pub(crate) older: Vec<LegState>,
}

/// What the log keeps of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LegState {
    pub(crate) due: u64,
    pub(crate) attempts: u32,
    pub(crate) warned: bool,
    pub(crate) held: bool,
    pub(crate) bounced: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Book {
    pub(crate) legs: BTreeMap<LegId, Leg>,
    /// Ended since the last durable deed: a crash may bring them back, in one of these states.
    pub(crate) ended: BTreeMap<LegId, Leg>,
    pub(crate) arrived: HashMap<MessageId, u64>,
    pub(crate) warn_after: u64,
    pub(crate) expire: u64,
}

impl Book {
    pub(crate) fn expire_leases(&mut self, now: u64) {
        for leg in self.legs.values_mut() {
            if leg.leased.is_some_and(|until| until <= now) {
                leg.leased = None;
            }
        }
    }

    /// The due legs of each host in order, the host with the earliest first.
    pub(crate) fn claimable(
        &self,
        max: usize,
        per_host: usize,
        hosts: &[usize],
        now: u64,
    ) -> Vec<LegId> {
        let mut orders: HashMap<usize, Vec<(u64, LegId)>> = HashMap::new();
        for (id, leg) in &self.legs {
            let state = &leg.state;
            let free = leg.leased.is_none() && !state.held && !state.bounced;
            if free && state.due <= now && hosts.contains(&leg.host) {
                orders.entry(leg.host).or_default().push((state.due, *id));
            }
        }
        let mut orders: Vec<_> = orders.into_iter().collect();
        orders
            .iter_mut()
            .for_each(|(_, order)| order.sort_unstable());
        orders.sort_unstable_by_key(|(host, order)| (order[0].0, *host));
        let mut legs = Vec::new();
        for (_, order) in orders {
            let room = per_host.min(max - legs.len());
            let newest = if order.len() > room { room / 4 } else { 0 };
            let (oldest, last) = (room - newest, order.len() - newest);
            let places = (0..order.len()).filter(|n| *n < oldest || *n >= last);
            legs.extend(places.map(|n| order[n].1));
        }
        legs
    }

    pub(crate) fn deadline(&self, id: LegId) -> Option<u64> {
        let state = &self.legs[&id].state;
        let arrived = self.arrived[&id.message];
        match () {
            () if state.held => None,
            () if state.bounced => Some(0),
            () if state.warned => Some(arrived + self.expire),
            () => Some(arrived + self.warn_after),
        }
    }

    pub(crate) fn overdue(&self, max: usize, now: u64) -> Vec<(LegId, Why)> {
        let free = self.legs.iter().filter(|(_, leg)| leg.leased.is_none());
        let deadlines = free.filter_map(|(id, _)| Some((self.deadline(*id)?, *id)));
        let mut due: Vec<_> = deadlines.filter(|(at, _)| *at <= now).collect();
        due.sort_unstable();
        let why = |id: LegId| match () {
            () if self.legs[&id].state.bounced => Why::Bounced,
            () if now >= self.arrived[&id.message] + self.expire => Why::Expired,
            () => Why::Warn,
        };
        due.into_iter()
            .take(max)
            .map(|(_, id)| (id, why(id)))
            .collect()
    }

    pub(crate) fn lease(&mut self, id: LegId, token: u64, until: u64) {
        if let Some(leg) = self.legs.get_mut(&id) {
            (leg.token, leg.leased) = (Some(token), Some(until));
        }
    }

    /// Whether the claim with this token may still act.
    pub(crate) fn owns(&self, id: LegId, token: u64) -> bool {
        self.legs
            .get(&id)
            .is_some_and(|leg| leg.token == Some(token))
    }

    /// A new state, or the end.
    pub(crate) fn change(&mut self, id: LegId, to: Option<LegState>) {
        match to {
            Some(to) => {
                if let Some(leg) = self.legs.get_mut(&id) {
                    leg.older.push(std::mem::replace(&mut leg.state, to));
                    (leg.token, leg.leased) = (None, None);
                }
            }
            None => {
                if let Some(mut leg) = self.legs.remove(&id) {
                    leg.older.push(leg.state.clone());
                    self.ended.insert(id, leg);
                }
            }
        }
    }

    /// Says whether it does anything.
    pub(crate) fn act(&mut self, id: LegId, action: Action, now: u64) -> bool {
        let Some(leg) = self.legs.get(&id) else {
            return false;
        };
        let mut to = leg.state.clone();
        match action {
            Action::Remove => {
                self.change(id, None);
                return true;
            }
            Action::Hold => to.held = true,
            Action::Release if to.held => (to.held, to.due) = (false, now),
            Action::RetryNow if !to.held && leg.leased.is_none() => to.due = now,
            Action::Bounce => (to.bounced, to.held) = (true, false),
            Action::Release | Action::RetryNow => {}
        }
        if to == leg.state {
            return false;
        }
        // Whoever works on it goes on.
        let lease = (leg.token, leg.leased);
        self.change(id, Some(to));
        if let Some(leg) = self.legs.get_mut(&id).filter(|_| lease.1.is_some()) {
            (leg.token, leg.leased) = lease;
        }
        true
    }

    /// All so far is on the disk.
    pub(crate) fn synced(&mut self) {
        self.ended.clear();
        self.legs.values_mut().for_each(|leg| leg.older.clear());
    }

    pub(crate) fn counts(&self, now: u64) -> Counts {
        let mut counts = Counts::default();
        for leg in self.legs.values() {
            *match () {
                () if leg.leased.is_some() => &mut counts.active,
                () if leg.state.held => &mut counts.held,
                () if leg.state.bounced => &mut counts.deferred,
                () if leg.state.due <= now => &mut counts.ready,
                () => &mut counts.deferred,
            } += 1;
        }
        counts
    }

    /// When a claim may find more, if nothing of these hosts is due.
    pub(crate) fn next_event(&self, hosts: &[usize], now: u64) -> Option<u64> {
        let of = |leg: &Leg| {
            let state = &leg.state;
            let waits = !state.held && !state.bounced && hosts.contains(&leg.host);
            leg.leased.or_else(|| waits.then_some(state.due))
        };
        let events = self.legs.values().filter_map(of);
        events.filter(|at| *at > now).min()
    }
}
