//! What operators order of [`Sites`], and its end; and other shaping.

use std::collections::BTreeMap;
use std::iter;
use std::sync::Arc;
use std::time::Instant;

use envelope::{Host, Share, Timestamp};

use super::{Site, SiteId, Sites, Todo};
use crate::orders::{Change, Limit, Order};
use crate::providers::{Provider, Providers};
use crate::work::SiteEvent;

impl Sites {
    /// Makes a change of what is ordered; `now` is `wall` of another clock. Returns what held before.
    pub(crate) fn order(
        &mut self,
        change: Change,
        wall: Timestamp,
        now: Instant,
    ) -> (Option<Order>, Todo) {
        let mut todo = Todo {
            // There may be a new time to wake up at.
            wake: true,
            ..Todo::default()
        };
        let before = self.orders.change(change, wall, now);
        self.obey_all(now, &mut todo);
        self.let_go(&mut todo);
        (before, todo)
    }

    /// What is ordered holds for several nodes together from now on, of which this is one.
    pub(crate) fn share(&mut self, share: Share, now: Instant) -> Todo {
        let mut todo = Todo::default();
        if std::mem::replace(&mut self.share, share) != share {
            self.obey_all(now, &mut todo);
            self.let_go(&mut todo);
        }
        todo
    }

    /// Ends what was ordered until now.
    pub(super) fn end_orders(&mut self, now: Instant) -> Todo {
        let mut todo = Todo::default();
        let ended = self.orders.take_ended(now);
        if !ended.is_empty() {
            self.obey_all(now, &mut todo);
            todo.events
                .extend(ended.into_iter().map(SiteEvent::PauseOver));
        }
        todo
    }

    /// A site takes this host's mail from now on: what is ordered for the host holds for the site.
    pub(super) fn obey_for(&mut self, id: SiteId, host: &Host, now: Instant, todo: &mut Todo) {
        let Some(site) = self.sites.get(&id) else {
            return;
        };
        let (pause, limit) = self.orders.of(&site.key, iter::once(host));
        let paused = site.health.is_ordered_to_pause() || pause.is_some();
        let limit = site.health.ordered().and(limit);
        self.obey(id, paused, limit, now, todo);
    }

    /// Sites whose limit lets more messages go now.
    pub(super) fn go_on(&mut self, now: Instant, todo: &mut Todo) {
        let due = self.limited.extract_if(.., |_, at| *at <= now);
        let mut due: Vec<_> = due.map(|(id, _)| id).collect();
        // Sites that have a limit together take turns.
        due.sort_by_key(|id| self.sites.get(id).and_then(|site| site.sent_at));
        let mut left = BTreeMap::new();
        for id in due {
            let site = self.sites.get(&id).filter(|site| !site.queue.is_empty());
            if let Some((site, of)) = site.and_then(|site| Some((site, site.rules.messages_of()?)))
            {
                let allowance = site.allowance(&self.providers, now);
                let left = left.entry(of.clone()).or_insert(allowance);
                if *left == 0 {
                    self.look_again(id, now, todo);
                    continue;
                }
                *left -= 1;
            }
            self.stir(id, now, todo);
        }
    }

    /// The site has more to send than its limit lets go now.
    pub(super) fn look_again(&mut self, id: SiteId, now: Instant, todo: &mut Todo) {
        if let Some(site) = self.sites.get(&id)
            && !self.limited.contains_key(&id)
        {
            let shaped = self.providers.of(site.rules.messages_of(), &site.own);
            let ordered = site.health.rate.allows_more_at(now);
            let at = ordered.max(shaped.rate.allows_more_at(now));
            self.limited.insert(id, at);
            todo.wake = true;
        }
    }

    /// Sees to it that what shaping says now holds for all sites.
    pub(super) fn reshape(&mut self, now: Instant, todo: &mut Todo) {
        let layers = self.settings.shaping.layers();
        if Arc::ptr_eq(
            &std::mem::replace(&mut self.shaped, Arc::clone(&layers)),
            &layers,
        ) {
            return;
        }
        self.providers = Providers::default();
        for id in self.sites.keys().copied().collect::<Vec<_>>() {
            let rules = self.settings.shaping.of(&self.sites[&id].key);
            let limits = self.limits(&rules);
            if let Some(site) = self.sites.get_mut(&id).filter(|site| *site.rules != rules) {
                let probe_at = |site: &Site| site.health.down().map(|(at, _)| (at, id));
                let before = probe_at(site);
                site.health.reshape(limits, now);
                if before.is_some_and(|probe| self.probes.remove(&probe)) {
                    self.probes.extend(probe_at(site));
                }
                self.admission.shape(&mut site.pass, rules.connections());
                (site.rules, site.own) = (Arc::new(rules), Provider::default());
                site.wake.notify_waiters();
                self.stir(id, now, todo);
            }
        }
    }

    fn obey_all(&mut self, now: Instant, todo: &mut Todo) {
        for id in self.sites.keys().copied().collect::<Vec<_>>() {
            let site = &self.sites[&id];
            let (pause, limit) = self.orders.of(&site.key, site.hosts());
            self.obey(id, pause.is_some(), limit, now, todo);
        }
    }

    fn obey(&mut self, id: SiteId, paused: bool, limit: Limit, now: Instant, todo: &mut Todo) {
        let Some(site) = self.sites.get_mut(&id) else {
            return;
        };
        let health = &mut site.health;
        if !health.obey(paused, limit, self.share) {
            return;
        }
        let paused = health.is_paused();
        let rests = health.is_resting(now);
        // Idle lanes see for themselves whether they may stay.
        site.wake.notify_waiters();
        if paused {
            self.close(id);
            self.give_back(id, todo);
        } else if !rests {
            self.open(id);
            self.stir(id, now, todo);
            todo.wake = true;
        }
    }
}
