//! What lanes ask of [`Sites`], and tell it.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use envelope::Diagnosis;
use rand::Rng;

use super::{LaneSite, Next, NoConnection, Site, SiteId, Sites, Todo};
use crate::health::{Answer, Failure, Turn};
use crate::parcel::Parcel;
use crate::shaping::{Hit, Rules, Then};
use crate::work::SiteEvent;

impl Sites {
    /// What a lane that was just started works with.
    pub(crate) fn lane_site(&self, id: SiteId) -> Option<LaneSite> {
        let site = self.sites.get(&id)?;
        Some(LaneSite {
            key: site.key.clone(),
            wake: Arc::clone(&site.wake),
            crowded: Arc::clone(&self.crowded),
            memory: site.memory.clone(),
            messages_max: site
                .rules
                .shape
                .messages_per_connection
                .map_or(self.settings.messages_per_connection as u64, u64::from),
        })
    }

    /// The first parcel of a lane that has no connection yet.
    pub(crate) fn first_parcel(&mut self, id: SiteId, now: Instant) -> (Option<Parcel>, Todo) {
        let mut todo = Todo::default();
        (self.take(id, now, &mut todo), todo)
    }

    /// The next thing for a lane with a connection that has nothing to do.
    pub(crate) fn next(&mut self, id: SiteId, now: Instant) -> (Next, Todo) {
        let mut todo = Todo::default();
        let site = self.sites.get(&id);
        if self.stopping || site.is_none_or(|site| site.health.is_over_window()) {
            return (Next::Close, todo);
        }
        let next = match self.take(id, now, &mut todo) {
            Some(parcel) => Next::Parcel(parcel),
            None if self.is_wanted(id) => Next::Close,
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
        let takes = |site: &&mut Site| {
            !self.stopping && !site.health.is_paused() && !site.health.is_resting(now)
        };
        let Some(site) = self.sites.get_mut(&id).filter(takes) else {
            todo.release = parcel.into_claims();
            self.let_go(&mut todo);
            return todo;
        };
        site.waiting += parcel.len();
        site.queue.put_back(parcel);
        self.stir(id, now, &mut todo);
        todo
    }

    /// A lane has its connection.
    pub(crate) fn connected(&mut self, id: SiteId, now: Instant) -> Todo {
        let mut todo = Todo::default();
        let Some(site) = self.sites.get_mut(&id) else {
            unreachable!("a site with a lane is kept")
        };
        let probe_at = site.health.down().map(|(at, _)| at);
        if let Some(down_for) = site.health.connected(now) {
            if let Some(probe_at) = probe_at {
                self.probes.remove(&(probe_at, id));
            }
            todo.events.push(SiteEvent::Up {
                site: site.key.to_string(),
                down_for,
            });
            self.turned(id, &mut todo);
            self.open(id);
            todo.wake = true;
        }
        self.stir(id, now, &mut todo);
        todo
    }

    /// A lane got no connection from any host, and ends; why is a fact about the site.
    /// When others of its lanes go on, its parcel waits for them; otherwise the parcel comes back to be settled: it had an attempt.
    pub(crate) fn connect_failed(
        &mut self,
        id: SiteId,
        parcel: Parcel,
        NoConnection {
            reason,
            slow,
            back_at,
        }: NoConnection,
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
        if slow {
            self.admission.answered(&mut site.pass, false, now);
        }
        let failure = site
            .health
            .connect_failed(now, reason.clone(), back_at, rng);
        let tried = match failure {
            Failure::Crowded => {
                site.waiting += parcel.len();
                site.queue.put_back(parcel);
                if site.health.is_paused() {
                    self.give_back(id, &mut todo);
                }
                None
            }
            Failure::Down { failures, probe_in } => {
                self.went_down(id, now + probe_in, &mut todo);
                let event = self.down_event(id, reason, failures, probe_in);
                todo.events.extend(event);
                Some(parcel)
            }
        };
        self.let_go(&mut todo);
        self.lane_gone(id, now, &mut todo);
        (tried, todo)
    }

    /// A lane ended without a connection, for a reason that says nothing about the site.
    pub(crate) fn connect_ended(&mut self, id: SiteId, now: Instant) -> Todo {
        let todo = Todo::default();
        if let Some(site) = self.sites.get_mut(&id) {
            site.health.connect_ended();
        }
        self.lane_ended(id, now, todo)
    }

    /// A lane closed its connection and ended.
    pub(crate) fn closed(&mut self, id: SiteId, now: Instant) -> Todo {
        if let Some(site) = self.sites.get_mut(&id) {
            site.health.closed();
        }
        self.lane_ended(id, now, Todo::default())
    }

    fn lane_ended(&mut self, id: SiteId, now: Instant, mut todo: Todo) -> Todo {
        let health = self.sites.get(&id).map(|site| &site.health);
        // The probe of a down site told nothing: the next leg is the probe.
        if health.is_some_and(|health| health.down().is_some() && !health.is_resting(now)) {
            self.open(id);
            todo.wake = true;
        }
        self.lane_gone(id, now, &mut todo);
        todo
    }

    /// The rules for what a site answers.
    pub(crate) fn rules(&self, id: SiteId) -> Arc<Rules> {
        let site = self.sites.get(&id);
        site.map(|site| Arc::clone(&site.rules)).unwrap_or_default()
    }

    /// What is to be done about outcomes that met the rules: see [`Rules::acts`].
    pub(crate) fn count(&mut self, id: SiteId, hits: &[Hit], now: Instant) -> Vec<(usize, Then)> {
        let Some(site) = self.sites.get_mut(&id) else {
            return Vec::new();
        };
        let rules = Arc::clone(&site.rules);
        rules.acts(hits, |of, rule| {
            let shared = self.providers.of_mut(of, &mut site.own);
            let is_due = shared.tally.count(rule, now);
            if is_due && matches!(rule.then, Then::Pause(_) | Then::Rest(_)) {
                site.acted = of.cloned();
            }
            is_due
        })
    }

    /// The peer finished a transaction; `in_time`: as fast as one may expect.
    pub(crate) fn answered(
        &mut self,
        id: SiteId,
        answer: Answer,
        in_time: bool,
        now: Instant,
        rng: &mut impl Rng,
    ) -> Todo {
        let mut todo = Todo::default();
        if let Some(site) = self.sites.get_mut(&id) {
            self.admission.answered(&mut site.pass, in_time, now);
            let probe_at = site.health.down().map(|(at, _)| at);
            let is_by_rule = matches!(&answer, Answer::Throttled { pause: Some(_), .. });
            let turn = site.health.answered(answer, now, rng);
            let acted = site.acted.clone().filter(|_| is_by_rule);
            let site_name = || site.key.to_string();
            let event = match &turn {
                Turn::None | Turn::Up => None,
                Turn::TakesMail => Some(SiteEvent::TakesMail {
                    site: site_name(),
                    hosts: site.hosts().cloned().collect(),
                }),
                Turn::Throttled { probe_in, .. } => {
                    site.health.down().map(|(_, reason)| SiteEvent::Down {
                        site: site_name(),
                        throttled: true,
                        source: None,
                        reason: reason.clone(),
                        failures: 0,
                        probe_in: *probe_in,
                    })
                }
            };
            todo.events.extend(event);
            if let Some(at) = probe_at.filter(|_| turn != Turn::None) {
                self.turned(id, &mut todo);
                self.probes.remove(&(at, id));
                self.open(id);
                todo.wake = true;
            }
            if let Turn::Throttled { probe_in } = turn {
                self.went_down(id, now + probe_in, &mut todo);
                if let Some(of) = acted {
                    self.pause_others(id, &of, now, rng, &mut todo);
                }
                self.let_go(&mut todo);
            }
        }
        self.stir(id, now, &mut todo);
        self.call(now, &mut todo);
        todo
    }

    /// The site's provider blocks this address of ours: no new connection from it before `until`, and none in use takes
    /// another message.
    pub(crate) fn rest_source(
        &self,
        id: SiteId,
        source: IpAddr,
        until: Instant,
        why: &Diagnosis,
    ) -> Option<String> {
        let site = self.sites.get(&id)?;
        let rests = site.memory.rests_until(source, Instant::now()).is_some();
        site.memory.rest_source(source, until, why);
        if let Some(of) = &site.acted {
            let others = self.sites.values().filter(|other| other.is_named(of));
            others.for_each(|other| other.memory.rest_source(source, until, why));
        }
        (!rests).then(|| site.key.to_string())
    }

    /// Whether a connection of this site is wanted for another one.
    pub(crate) fn is_wanted(&self, id: SiteId) -> bool {
        let site = self.sites.get(&id);
        site.is_some_and(|site| self.admission.is_wanted(&site.pass))
    }
}
