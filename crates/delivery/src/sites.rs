//! All that is known of sites, and the legs in memory that wait for them. One lock guards it (`dispatcher`).
//!
//! Pure: nothing here waits, looks up or connects. Facts go in (claims came, a connection failed, time passed) with the
//! clock; what is to be done about them comes out as [`Todo`].
//!
//! Which hosts are *excluded* from claims is kept here too: those whose site is being looked up, is down with its probe
//! not due, or has enough legs waiting. So a site that is down or slow fills neither memory nor the dispatcher's time.

mod steps;
mod upkeep;

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use envelope::{Claim, Diagnosis, Host};
use rand::Rng;
use tokio::sync::Notify;

use crate::health::{Failure, Health};
use crate::memory::HostMemory;
use crate::parcel::Parcel;
use crate::plan::SiteKey;
use crate::settings::Settings;
use crate::work::{SiteEvent, Want};

/// A site's number; never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct SiteId(u64);

/// What the caller has to do, outside the lock.
#[derive(Debug, Default)]
pub(crate) struct Todo {
    /// Hosts of which the site is to be looked up.
    pub(crate) resolve: Vec<Host>,
    /// Sites that get one lane more, for each time they are named.
    pub(crate) lanes: Vec<SiteId>,
    /// Legs to give back untried.
    pub(crate) release: Vec<Claim>,
    /// What operators should see.
    pub(crate) events: Vec<SiteEvent>,
    /// More legs may be claimed than before.
    pub(crate) wake: bool,
}

/// The next thing for a lane with an open connection.
#[derive(Debug)]
pub(crate) enum Next {
    /// Deliver this.
    Parcel(Parcel),
    /// Nothing to do: keep the connection for a while.
    Idle,
    /// Nothing to do, and the connection is wanted elsewhere, or all is ending.
    Close,
}

/// The sites of a dispatcher.
#[derive(Debug)]
pub(crate) struct Sites {
    settings: Arc<Settings>,
    hosts: HashMap<Host, Routing>,
    sites: HashMap<SiteId, Site>,
    by_key: HashMap<SiteKey, SiteId>,
    sites_made: u64,
    exclude: Arc<HashSet<Host>>,
    /// Down sites by the time of their next probe.
    probes: BTreeSet<(Instant, SiteId)>,
    /// Sites that would have one lane more, were there connections left.
    starved: VecDeque<SiteId>,
    /// Wakes one idle lane anywhere, so that its connection can be used for a starved site.
    crowded: Arc<Notify>,
    /// Legs in memory, waiting or running.
    held: usize,
    lanes: usize,
    stopping: bool,
}

#[derive(Debug)]
enum Routing {
    /// Being looked up; these wait for it.
    Pending(Vec<Claim>),
    Known {
        site: SiteId,
        until: Instant,
    },
}

#[derive(Debug)]
struct Site {
    key: SiteKey,
    health: Health,
    queue: VecDeque<Parcel>,
    /// Legs in `queue`.
    waiting: usize,
    /// Lanes with nothing to do.
    idle: usize,
    wake: Arc<Notify>,
    hosts: HashSet<Host>,
    /// Its hosts are excluded.
    closed: bool,
    memory: HostMemory,
}

/// What a lane needs to know of its site.
#[derive(Debug, Clone)]
pub(crate) struct LaneSite {
    pub(crate) key: SiteKey,
    pub(crate) wake: Arc<Notify>,
    pub(crate) crowded: Arc<Notify>,
    pub(crate) memory: HostMemory,
}

impl Sites {
    pub(crate) fn new(settings: Arc<Settings>) -> Self {
        Self {
            settings,
            hosts: HashMap::new(),
            sites: HashMap::new(),
            by_key: HashMap::new(),
            sites_made: 0,
            exclude: Arc::default(),
            probes: BTreeSet::new(),
            starved: VecDeque::new(),
            crowded: Arc::default(),
            held: 0,
            lanes: 0,
            stopping: false,
        }
    }

    /// What to claim now; `None` while memory holds enough.
    pub(crate) fn want(&self) -> Option<Want> {
        let room = self.room();
        let worth_it = (self.settings.legs_max / ROOM_SHARE).max(1);
        (room >= worth_it).then(|| Want {
            max: room.min(CLAIM_MAX),
            per_host: self.enough(),
            exclude: Arc::clone(&self.exclude),
        })
    }

    /// Takes claimed legs: to the queue of their site, or to wait until that is looked up.
    pub(crate) fn accept(&mut self, claims: Vec<Claim>, now: Instant) -> Todo {
        let mut todo = Todo::default();
        self.held += claims.len();
        let mut touched = BTreeSet::new();
        for claim in claims {
            let host = claim.leg.target.host();
            match self.hosts.get_mut(host) {
                Some(Routing::Pending(waiting)) => waiting.push(claim),
                Some(Routing::Known { site, until }) if now < *until => {
                    let site = *site;
                    self.enqueue(site, claim, now, &mut todo);
                    touched.insert(site);
                }
                Some(_) | None => self.begin_lookup(claim, &mut todo),
            }
        }
        for id in touched {
            self.stir(id, now, &mut todo);
        }
        self.let_go(&mut todo);
        todo
    }

    /// The site of `host` is known.
    pub(crate) fn resolved(&mut self, host: Host, key: SiteKey, now: Instant) -> Todo {
        let mut todo = Todo::default();
        let id = self.site_for(key);
        let known = Routing::Known {
            site: id,
            until: now + self.settings.routing_kept,
        };
        let waiting = match self.hosts.insert(host.clone(), known) {
            Some(Routing::Pending(waiting)) => waiting,
            Some(Routing::Known { .. }) | None => Vec::new(),
        };
        let Some(site) = self.sites.get_mut(&id) else {
            unreachable!("site_for made it")
        };
        if !site.closed {
            Arc::make_mut(&mut self.exclude).remove(&host);
            todo.wake = true;
        }
        site.hosts.insert(host);
        waiting
            .into_iter()
            .for_each(|claim| self.enqueue(id, claim, now, &mut todo));
        self.stir(id, now, &mut todo);
        self.let_go(&mut todo);
        todo
    }

    /// There is no site for `host`: the legs that waited for it, to be settled by the caller, who tells
    /// [`Sites::finished`] then.
    pub(crate) fn unresolved(&mut self, host: &Host) -> Vec<Claim> {
        Arc::make_mut(&mut self.exclude).remove(host);
        match self.hosts.remove(host) {
            Some(Routing::Pending(waiting)) => waiting,
            Some(Routing::Known { .. }) | None => Vec::new(),
        }
    }

    /// Legs were settled. Tells whether more may be claimed now than before.
    pub(crate) fn finished(&mut self, legs: usize) -> bool {
        let worth_it = (self.settings.legs_max / ROOM_SHARE).max(1);
        let before = self.room() >= worth_it;
        self.held -= legs;
        !before && self.room() >= worth_it
    }

    fn room(&self) -> usize {
        self.settings.legs_max.saturating_sub(self.held)
    }

    /// What a lane that was just started works with.
    pub(crate) fn lane_site(&self, id: SiteId) -> Option<LaneSite> {
        let site = self.sites.get(&id)?;
        Some(LaneSite {
            key: site.key.clone(),
            wake: Arc::clone(&site.wake),
            crowded: Arc::clone(&self.crowded),
            memory: site.memory.clone(),
        })
    }

    /// The first parcel of a lane that has no connection yet.
    pub(crate) fn first_parcel(&mut self, id: SiteId) -> (Option<Parcel>, Todo) {
        let mut todo = Todo::default();
        (self.take(id, &mut todo), todo)
    }

    /// The next thing for a lane with a connection that has nothing to do.
    pub(crate) fn next(&mut self, id: SiteId) -> (Next, Todo) {
        let mut todo = Todo::default();
        if self.stopping {
            return (Next::Close, todo);
        }
        let next = match self.take(id, &mut todo) {
            Some(parcel) => Next::Parcel(parcel),
            None if !self.starved.is_empty() => Next::Close,
            None => {
                // Counted under the same lock that saw the empty queue, so that no parcel slips in between unseen.
                if let Some(site) = self.sites.get_mut(&id) {
                    site.idle += 1;
                }
                Next::Idle
            }
        };
        (next, todo)
    }

    /// A lane that was told [`Next::Idle`] is not idle any more.
    pub(crate) fn idle_ended(&mut self, id: SiteId) {
        if let Some(site) = self.sites.get_mut(&id) {
            site.idle -= 1;
        }
    }

    /// A parcel comes back to be tried over another connection.
    pub(crate) fn put_back(&mut self, id: SiteId, parcel: Parcel, now: Instant) -> Todo {
        let mut todo = Todo::default();
        let Some(site) = self.sites.get_mut(&id).filter(|_| !self.stopping) else {
            todo.release = parcel.into_claims();
            self.let_go(&mut todo);
            return todo;
        };
        site.waiting += parcel.len();
        site.queue.push_front(parcel);
        self.stir(id, now, &mut todo);
        todo
    }

    /// A lane has its connection.
    pub(crate) fn connected(&mut self, id: SiteId, now: Instant) -> Todo {
        let mut todo = Todo::default();
        let Some(site) = self.sites.get_mut(&id) else {
            unreachable!("a site with a lane is kept")
        };
        if let Some((probe_at, _)) = site.health.down() {
            self.probes.remove(&(probe_at, id));
        }
        if let Some(down_for) = site.health.connected(now) {
            todo.events.push(SiteEvent::Up {
                site: site.key.to_string(),
                down_for,
            });
            self.open(id);
            todo.wake = true;
        }
        self.stir(id, now, &mut todo);
        todo
    }

    /// A lane got no connection from any host, and ends. `reason` is a fact about the site. When others of its lanes
    /// go on, its parcel waits for them; otherwise the parcel comes back to be settled: it had an attempt.
    pub(crate) fn connect_failed(
        &mut self,
        id: SiteId,
        parcel: Parcel,
        reason: Diagnosis,
        now: Instant,
        rng: &mut impl Rng,
    ) -> (Option<Parcel>, Todo) {
        let mut todo = Todo::default();
        let Some(site) = self.sites.get_mut(&id) else {
            unreachable!("a site with a lane is kept")
        };
        if let Some((probe_at, _)) = site.health.down() {
            self.probes.remove(&(probe_at, id));
        }
        let failure = site.health.connect_failed(now, reason.clone(), rng);
        let tried = match failure {
            Failure::Crowded => {
                site.waiting += parcel.len();
                site.queue.push_front(parcel);
                None
            }
            Failure::Down { failures, probe_in } => {
                self.went_down(id, now + probe_in, &mut todo);
                let event = self.down_event(id, reason, failures, probe_in);
                todo.events.extend(event);
                Some(parcel)
            }
        };
        self.lane_gone(id, now, &mut todo);
        (tried, todo)
    }

    /// A lane ended without a connection, for a reason that says nothing about the site.
    pub(crate) fn connect_ended(&mut self, id: SiteId, now: Instant) -> Todo {
        let mut todo = Todo::default();
        if let Some(site) = self.sites.get_mut(&id) {
            site.health.connect_ended();
            // The probe of a down site told nothing: the next leg is the probe.
            if site.health.down().is_some() && !site.health.is_resting(now) {
                self.open(id);
                todo.wake = true;
            }
        }
        self.lane_gone(id, now, &mut todo);
        todo
    }

    /// A lane closed its connection and ended.
    pub(crate) fn closed(&mut self, id: SiteId, now: Instant) -> Todo {
        let mut todo = Todo::default();
        if let Some(site) = self.sites.get_mut(&id) {
            site.health.closed();
        }
        self.lane_gone(id, now, &mut todo);
        todo
    }

    /// The peer finished a transaction, whatever it said of the recipients.
    pub(crate) fn worked(&mut self, id: SiteId, now: Instant) -> Todo {
        let mut todo = Todo::default();
        if let Some(site) = self.sites.get_mut(&id) {
            site.health.worked();
        }
        self.stir(id, now, &mut todo);
        todo
    }
}

/// Legs in one claim at most.
const CLAIM_MAX: usize = 1000;
/// No claim before this share (one in so many) of the memory for legs is free: claims come in batches.
const ROOM_SHARE: usize = 20;

#[cfg(test)]
mod tests;
