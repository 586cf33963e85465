//! All that is known of sites, and the legs in memory that wait for them. One lock guards it (`dispatcher`).
//!
//! Pure: nothing here waits, looks up or connects. Facts go in (claims came, a connection failed, time passed) with the
//! clock; what is to be done about them comes out as [`Todo`].
//!
//! Which destinations are *parked*, passed by in claims, is said here too: those whose site is being looked up, is down with its
//! probe not due, is paused, or has enough legs waiting. So a site that is down or slow fills neither memory nor the dispatcher's time.

pub(crate) mod facts;
mod lanes;
mod orders;
mod pressure;
mod steps;
mod timers;
mod views;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::iter;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use envelope::{Claim, Destination, Diagnosis, Host, Mailbox, Share};
use tokio::sync::Notify;

use crate::admission::{Admission, Pass};
use crate::health::Health;
use crate::memory::HostMemory;
use crate::orders::{Orders, SiteMatch};
use crate::parcel::Parcel;
use crate::plan::SiteKey;
use crate::pressure::Pressure;
use crate::providers::{Provider, Providers};
use crate::settings::Settings;
use crate::shaping::{Layer, Rules};
use crate::turns::Turns;
use crate::work::{SiteEvent, Want};

/// A site's number; never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct SiteId(u64);

#[cfg(test)]
impl SiteId {
    pub(crate) fn numbered(n: u64) -> Self {
        Self(n)
    }
}

/// What the caller has to do, outside the lock.
#[derive(Debug, Default)]
pub(crate) struct Todo {
    /// Destinations of which the site is to be looked up.
    pub(crate) resolve: Vec<Destination>,
    /// Sites that get one lane more, for each time they are named.
    pub(crate) lanes: Vec<SiteId>,
    /// Legs to give back untried.
    pub(crate) release: Vec<Claim>,
    /// What operators should see.
    pub(crate) events: Vec<SiteEvent>,
    /// More legs may be claimed than before.
    pub(crate) wake: bool,
    /// Something is known of a site that other nodes should know.
    pub(crate) news: bool,
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

/// Why a lane got no connection.
#[derive(Debug)]
pub(crate) struct NoConnection {
    pub(crate) reason: Diagnosis,
    /// It took long to find out.
    pub(crate) slow: bool,
    /// There will be none before this; none: nobody knows.
    pub(crate) back_at: Option<Instant>,
}

/// The sites of a dispatcher.
#[derive(Debug)]
pub(crate) struct Sites {
    settings: Arc<Settings>,
    destinations: HashMap<Destination, Routing>,
    sites: HashMap<SiteId, Site>,
    by_key: HashMap<SiteKey, SiteId>,
    sites_made: u64,
    /// Destinations that were parked or let in again since the last claim.
    turned: HashSet<Destination>,
    /// Down sites by the time of their next probe.
    probes: BTreeSet<(Instant, SiteId)>,
    orders: Orders,
    share: Share,
    /// As they hold for the sites.
    shaped: Arc<[Layer]>,
    providers: Providers,
    /// What was known of sites before the start, until they are found: window and outage.
    recalled: HashMap<Box<str>, facts::Known>,
    /// Sites that went down, were throttled, or recovered: how often, and which since somebody asked.
    turns: u64,
    turned_sites: HashSet<SiteId>,
    /// Sites that wait for their limit of messages to let the next one go.
    limited: BTreeMap<SiteId, Instant>,
    admission: Admission,
    /// Wakes one idle lane anywhere, so that its connection can be used for a site that waits for one.
    crowded: Arc<Notify>,
    /// Legs in memory, waiting or running.
    held: usize,
    /// Legs of one destination that were last asked for: who gave so many may have more.
    asked: usize,
    /// Mailboxes that take less than comes.
    full: HashMap<Mailbox, Pressure>,
    /// There is pressure somewhere.
    pressed: Arc<AtomicBool>,
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
    rules: Arc<Rules>,
    /// What it does not have together with others.
    own: Provider,
    /// Which sites the rule of `shaping` was for that acted last, if not for all.
    acted: Option<SiteMatch>,
    pass: Pass,
    queue: Turns,
    /// Whom its last parcel was for.
    last: Option<Mailbox>,
    /// When that was taken.
    sent_at: Option<Instant>,
    /// Legs in `queue`.
    waiting: usize,
    /// Lanes with nothing to do.
    idle: usize,
    wake: Arc<Notify>,
    destinations: HashSet<Destination>,
    /// They are parked.
    closed: bool,
    /// Other nodes have heard that it is down, and not yet that it is not.
    told_down: bool,
    /// It takes less than comes.
    pressure: Option<Pressure>,
    memory: HostMemory,
}

/// What a lane needs to know of its site.
#[derive(Debug, Clone)]
pub(crate) struct LaneSite {
    pub(crate) key: SiteKey,
    pub(crate) wake: Arc<Notify>,
    pub(crate) crowded: Arc<Notify>,
    pub(crate) memory: HostMemory,
    /// Messages over one connection at most.
    pub(crate) messages_max: u64,
}

impl Sites {
    pub(crate) fn new(settings: Arc<Settings>) -> Self {
        Self {
            admission: Admission::new(&settings),
            shaped: settings.shaping.layers(),
            providers: Providers::default(),
            recalled: HashMap::new(),
            turns: 0,
            turned_sites: HashSet::new(),
            settings,
            destinations: HashMap::new(),
            sites: HashMap::new(),
            by_key: HashMap::new(),
            sites_made: 0,
            turned: HashSet::new(),
            probes: BTreeSet::new(),
            orders: Orders::default(),
            share: Share::default(),
            limited: BTreeMap::new(),
            crowded: Arc::default(),
            held: 0,
            asked: usize::MAX,
            full: HashMap::new(),
            pressed: Arc::default(),
            stopping: false,
        }
    }

    /// What to claim now; `None` while memory holds enough.
    pub(crate) fn want(&mut self) -> Option<Want> {
        let room = self.room();
        let worth_it = (self.settings.legs_max / ROOM_SHARE).max(1);
        if room < worth_it {
            return None;
        }
        self.asked = self.enough(true);
        let turned = std::mem::take(&mut self.turned).into_iter();
        let park = turned.map(|to| (to.clone(), self.is_parked(&to)));
        Some(Want {
            max: room.min(CLAIM_MAX),
            per_host: self.asked,
            park: park.collect(),
        })
    }

    /// What a claim came of nothing, and what it was to park is to be said again.
    pub(crate) fn not_claimed(&mut self, want: Want) {
        self.turned.extend(want.park.into_iter().map(|(to, _)| to));
    }

    pub(super) fn is_parked(&self, to: &Destination) -> bool {
        match self.destinations.get(to) {
            Some(Routing::Pending(_)) => true,
            Some(Routing::Known { site, .. }) => {
                self.sites.get(site).is_some_and(|site| site.closed)
            }
            None => false,
        }
    }

    /// The site that takes this host's mail, if that is known.
    fn known(&self, to: &Destination) -> Option<SiteId> {
        match self.destinations.get(to)? {
            Routing::Known { site, .. } => Some(*site),
            Routing::Pending(_) => None,
        }
    }

    /// Takes claimed legs: to the queue of their site, or to wait until that is looked up.
    pub(crate) fn accept(&mut self, claims: Vec<Claim>, now: Instant) -> Todo {
        let mut todo = Todo::default();
        self.held += claims.len();
        let mut touched = BTreeSet::new();
        for claim in claims {
            let to = claim.leg.destination();
            match self.destinations.get_mut(&to) {
                Some(Routing::Pending(waiting)) => waiting.push(claim),
                Some(Routing::Known { site, until }) if now < *until => {
                    let site = *site;
                    self.enqueue(site, claim, now, &mut todo);
                    touched.insert(site);
                }
                Some(_) | None => self.begin_lookup(to, claim, &mut todo),
            }
        }
        for id in touched {
            self.stir(id, now, &mut todo);
        }
        self.let_go(&mut todo);
        todo
    }

    /// How many sites went down, were throttled, or recovered.
    pub(crate) fn turns(&self) -> u64 {
        self.turns
    }

    /// Takes legs that were not claimed, if they would have their turn at once as far as is known.
    pub(crate) fn offer(&mut self, claims: Vec<Claim>, now: Instant) -> Option<Todo> {
        let is_ready = |claim: &Claim| match self.destinations.get(&claim.leg.destination()) {
            Some(Routing::Known { site, .. }) => {
                let site = self.sites.get(site);
                site.is_some_and(|site| {
                    !site.closed
                        && site.health.takes_at_once(now)
                        && site.allowance(&self.providers, now) > 0
                })
            }
            Some(Routing::Pending(_)) | None => true,
        };
        let is_ready = !self.stopping && claims.len() <= self.room() && claims.iter().all(is_ready);
        is_ready.then(|| self.accept(claims, now))
    }

    /// Whether there is a site of this key.
    pub(crate) fn knows(&self, key: &SiteKey) -> bool {
        self.by_key.contains_key(key)
    }

    /// The site of a destination is known, and where a connection for it goes first.
    pub(crate) fn resolved(
        &mut self,
        to: Destination,
        key: SiteKey,
        address: Option<SocketAddr>,
        now: Instant,
    ) -> Todo {
        let mut todo = Todo::default();
        let id = self.site_for(key, address, now);
        let known = Routing::Known {
            site: id,
            until: now + self.settings.routing_kept,
        };
        let waiting = match self.destinations.insert(to.clone(), known) {
            Some(Routing::Pending(waiting)) => waiting,
            Some(Routing::Known { .. }) | None => Vec::new(),
        };
        let Some(site) = self.sites.get_mut(&id) else {
            unreachable!("site_for made it")
        };
        if !site.closed {
            self.turned.insert(to.clone());
            todo.wake = true;
        }
        site.destinations.insert(to.clone());
        self.obey_for(id, &to.host, now, &mut todo);
        waiting
            .into_iter()
            .for_each(|claim| self.enqueue(id, claim, now, &mut todo));
        self.stir(id, now, &mut todo);
        self.let_go(&mut todo);
        todo
    }

    /// There is no site for this destination: the legs that waited for it, to be settled by the caller, who tells
    /// [`Sites::finished`] then.
    pub(crate) fn unresolved(&mut self, to: &Destination) -> Vec<Claim> {
        self.turned.insert(to.clone());
        match self.destinations.remove(to) {
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
}

impl Site {
    /// Messages that may go now.
    fn allowance(&self, providers: &Providers, now: Instant) -> usize {
        let shaped = &providers.of(self.rules.messages_of(), &self.own).rate;
        let ordered = self.health.rate.allowance(self.health.interval(), now);
        ordered.min(shaped.allowance(self.rules.interval(), now))
    }

    /// Whether a layer for these sites holds for it.
    fn is_named(&self, of: &SiteMatch) -> bool {
        of.matches(&self.key, iter::empty())
    }

    fn hosts(&self) -> impl Iterator<Item = &Host> + Clone {
        self.destinations.iter().map(|to| &to.host)
    }
}

/// Legs in one claim at most.
const CLAIM_MAX: usize = 1000;
/// No claim before this share (one in so many) of the memory for legs is free: claims come in batches.
const ROOM_SHARE: usize = 50;

#[cfg(test)]
mod tests;
