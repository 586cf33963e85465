//! The steps that the facts of [`Sites`] are put together from.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use envelope::{Claim, Destination, Diagnosis};
use rand::{Rng, RngExt};
use tokio::sync::Notify;

use super::{Routing, Site, SiteId, Sites, Todo};
use crate::admission::Pass;
use crate::health::{Health, Limits, per_minute};
use crate::memory::HostMemory;
use crate::orders::SiteMatch;
use crate::parcel::Parcel;
use crate::plan::SiteKey;
use crate::providers::Provider;
use crate::shaping::Rules;
use crate::turns::Turns;
use crate::work::SiteEvent;

impl Sites {
    /// The site of this key, made if there is none.
    pub(super) fn site_for(
        &mut self,
        key: SiteKey,
        address: Option<SocketAddr>,
        now: Instant,
    ) -> SiteId {
        if let Some(id) = self.by_key.get(&key) {
            return *id;
        }
        let id = SiteId(self.sites_made);
        self.sites_made += 1;
        let rules = self.settings.shaping.of(&key);
        let mut health = self.begin(&key, Health::new(self.limits(&rules)));
        for (until, why) in self.providers.pauses_of(&key, now) {
            health.pause_with_others(until, why, now);
        }
        let mut pass = Pass::new(address, key.egress.clone());
        self.admission.shape(&mut pass, rules.connections());
        let probe_at = health.down().map(|(at, _)| at);
        self.probes.extend(probe_at.map(|at| (at, id)));
        let is_down = probe_at.is_some();
        let site = Site {
            key: key.clone(),
            health,
            rules: Arc::new(rules),
            own: Provider::default(),
            acted: None,
            pass,
            queue: Turns::default(),
            last: None,
            sent_at: None,
            waiting: 0,
            idle: 0,
            wake: Arc::new(Notify::new()),
            destinations: HashSet::new(),
            closed: is_down,
            told_down: is_down,
            pressure: None,
            memory: HostMemory::default(),
        };
        self.sites.insert(id, site);
        self.by_key.insert(key, id);
        id
    }

    /// What the settings and the rules of a site say of it.
    pub(super) fn limits(&self, rules: &Rules) -> Limits {
        let connections = rules.shape.connections;
        Limits {
            concurrency: connections.map_or(self.settings.concurrency, |n| n as usize),
            probe_first: self.settings.probe_first,
            probe_longest: self.settings.probe_longest,
        }
    }

    /// The claim waits for a lookup of its site, which is to be made. No more of that destination until it is done.
    pub(super) fn begin_lookup(&mut self, to: Destination, claim: Claim, todo: &mut Todo) {
        let pending = Routing::Pending(vec![claim]);
        if let Some(Routing::Known { site, .. }) = self.destinations.insert(to.clone(), pending)
            && let Some(site) = self.sites.get_mut(&site)
        {
            site.destinations.remove(&to);
        }
        self.turned.insert(to.clone());
        todo.resolve.push(to);
    }

    /// Puts a leg to the others of its site; back to the queue when the site is down or has far too many already
    /// (legs of destinations that were not known to be its own when they were claimed).
    pub(super) fn enqueue(&mut self, id: SiteId, claim: Claim, now: Instant, todo: &mut Todo) {
        let enough = self.enough_for(id, now);
        let Some(site) = self.sites.get_mut(&id) else {
            unreachable!("a site with destinations is kept")
        };
        let recipients_max = site
            .rules
            .shape
            .recipients
            .map_or(self.settings.recipients_per_transaction, |n| n as usize);
        let health = &site.health;
        let rests = health.is_resting(now) || health.is_paused();
        if self.stopping || rests || site.waiting >= 2 * enough {
            todo.release.push(claim);
            self.close(id);
            return;
        }
        site.waiting += 1;
        site.queue.add(claim, recipients_max);
        // Memory may have become free since that many were asked for.
        if site.waiting >= enough.min(self.asked) {
            self.close(id);
        }
    }

    /// The site's next parcel. Lets legs in again when half of the waiting ones are gone.
    pub(super) fn take(&mut self, id: SiteId, now: Instant, todo: &mut Todo) -> Option<Parcel> {
        let enough = self.enough_for(id, now);
        let site = self.sites.get_mut(&id)?;
        if site.allowance(&self.providers, now) == 0 {
            self.look_again(id, now, todo);
            return None;
        }
        let parcel = match &site.last {
            Some(last) if site.health.down().is_some() => site.queue.take_for_other(last),
            _ => site.queue.take(),
        }?;
        site.last = Some(parcel.first().leg.target.clone());
        site.sent_at = Some(now);
        site.health.rate.sends(site.health.interval(), now);
        let shaped = self
            .providers
            .of_mut(site.rules.messages_of(), &mut site.own);
        shaped.rate.sends(site.rules.interval(), now);
        site.waiting -= parcel.len();
        let few = site.waiting <= enough / 2;
        if few && site.closed && site.health.down().is_none() {
            self.open(id);
            todo.wake = true;
        }
        Some(parcel)
    }

    /// Sees to it that waiting parcels have lanes: idle ones are woken, then new ones are made, as far as allowed.
    pub(super) fn stir(&mut self, id: SiteId, now: Instant, todo: &mut Todo) {
        let Some(site) = self.sites.get_mut(&id).filter(|_| !self.stopping) else {
            return;
        };
        let sendable = site.queue.len().min(site.allowance(&self.providers, now));
        let is_limited = sendable < site.queue.len();
        let woken = site.idle.min(sendable);
        // The lane that worked last is woken first, so that those beyond need grow old and close.
        (0..woken).for_each(|_| site.wake.notify_last());
        let mut unserved = sendable - woken;
        unserved = unserved.saturating_sub(site.health.attempts());
        let mut probing = false;
        while unserved > 0 && site.health.may_connect(now) {
            if !self.admission.admit(id, &mut site.pass, now) {
                if self.admission.is_full() {
                    self.crowded.notify_one();
                }
                break;
            }
            site.health.connecting();
            unserved -= 1;
            todo.lanes.push(id);
            probing = site.health.down().is_some();
        }
        if is_limited {
            self.look_again(id, now, todo);
        }
        if probing {
            self.close(id);
        }
    }

    /// A lane ended: its connection may be used by a site that waits for one.
    pub(super) fn lane_gone(&mut self, id: SiteId, now: Instant, todo: &mut Todo) {
        if let Some(site) = self.sites.get_mut(&id) {
            self.admission.leave(&mut site.pass);
        }
        self.call(now, todo);
        self.stir(id, now, todo);
    }

    /// Gives what connections there are to the sites that wait for one.
    pub(super) fn call(&mut self, now: Instant, todo: &mut Todo) {
        while let Some(id) = self.admission.call() {
            if let Some(site) = self.sites.get_mut(&id) {
                site.pass.called();
            }
            self.stir(id, now, todo);
        }
    }

    /// No more legs for this site.
    pub(super) fn close(&mut self, id: SiteId) {
        let Some(site) = self.sites.get_mut(&id).filter(|site| !site.closed) else {
            return;
        };
        site.closed = true;
        self.turned.extend(site.destinations.iter().cloned());
    }

    /// Legs for this site may be claimed again.
    pub(super) fn open(&mut self, id: SiteId) {
        let may_open = |site: &&mut Site| site.closed && !site.health.is_paused();
        let Some(site) = self.sites.get_mut(&id).filter(may_open) else {
            return;
        };
        site.closed = false;
        self.turned.extend(site.destinations.iter().cloned());
    }

    /// Legs of one site that may wait here: see [`Settings::legs_per_site`](crate::Settings::legs_per_site).
    pub(super) fn enough(&self, proven: bool) -> usize {
        let share = if proven { 1 } else { UNPROVEN_SHARE };
        let usual = self.settings.legs_per_site / share;
        (usual * self.room() / self.settings.legs_max.max(1)).max(1)
    }

    fn enough_for(&self, id: SiteId, now: Instant) -> usize {
        let site = self.sites.get(&id);
        let enough =
            self.enough(site.is_some_and(|site| self.admission.is_proven(&site.pass, now)));
        // More than a limit lets go in a minute would wait here until their leases are over.
        let interval = site.and_then(|site| site.health.interval().max(site.rules.interval()));
        interval.map_or(enough, |interval| enough.min(per_minute(interval)).max(1))
    }

    /// Nothing more for this site until `probe_at`; what waits goes back, and the caller lets go of it.
    pub(super) fn went_down(&mut self, id: SiteId, probe_at: Instant, todo: &mut Todo) {
        self.turned(id, todo);
        self.rest(id, probe_at, todo);
    }

    /// Whether it takes mail is not as it was.
    pub(super) fn turned(&mut self, id: SiteId, todo: &mut Todo) {
        self.turns += 1;
        self.turned_sites.insert(id);
        todo.news = true;
    }

    /// See [`Sites::went_down`].
    pub(super) fn rest(&mut self, id: SiteId, probe_at: Instant, todo: &mut Todo) {
        self.probes.insert((probe_at, id));
        self.close(id);
        self.give_back(id, todo);
        if let Some(site) = self.sites.get(&id) {
            // Idle lanes see for themselves that they may not stay.
            site.wake.notify_waiters();
        }
        // The claiming loop has a new time to wake up at.
        todo.wake = true;
    }

    /// Sites that a rule was for which paused this one have its pause, too; so have those that are found until it is over.
    pub(super) fn pause_others(
        &mut self,
        id: SiteId,
        of: &SiteMatch,
        now: Instant,
        rng: &mut impl Rng,
        todo: &mut Todo,
    ) {
        let down = self.sites.get(&id).and_then(|site| site.health.down());
        let Some((until, why)) = down.map(|(until, why)| (until, why.clone())) else {
            return;
        };
        let is_other = |(other, site): &(&SiteId, &Site)| **other != id && site.is_named(of);
        let others = self.sites.iter().filter(is_other);
        for id in others.map(|(id, _)| *id).collect::<Vec<_>>() {
            let Some(site) = self.sites.get_mut(&id) else {
                continue;
            };
            if let Some((at, _)) = site.health.down() {
                self.probes.remove(&(at, id));
            }
            // Not all of them are to be probed at once.
            let spread = until
                .duration_since(now)
                .mul_f64(rng.random_range(0.0..0.1));
            let probe_at = site.health.pause_with_others(until + spread, &why, now);
            self.went_down(id, probe_at, todo);
        }
        self.providers.pause(of, until, why);
    }

    /// What waits for this site goes back; the caller lets go of it.
    pub(super) fn give_back(&mut self, id: SiteId, todo: &mut Todo) {
        if let Some(site) = self.sites.get_mut(&id) {
            site.waiting = 0;
            todo.release.extend(site.queue.drain());
        }
    }

    /// What operators see of a failed attempt.
    pub(super) fn down_event(
        &self,
        id: SiteId,
        reason: Diagnosis,
        failures: u32,
        probe_in: Duration,
    ) -> Option<SiteEvent> {
        let site = self.sites.get(&id)?.key.to_string();
        Some(SiteEvent::Down {
            site,
            throttled: false,
            source: None,
            reason,
            failures,
            probe_in,
        })
    }

    /// Legs that are about to be released are not held any more.
    pub(super) fn let_go(&mut self, todo: &mut Todo) {
        if !todo.release.is_empty() {
            todo.wake |= self.finished(todo.release.len());
        }
    }
}

/// How much less (one part of so many) a site may have waiting that has not answered lately.
const UNPROVEN_SHARE: usize = 4;
