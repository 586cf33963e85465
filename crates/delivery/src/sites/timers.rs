//! What happens to [`Sites`] as time passes: probes become due, unused sites are forgotten, and the end.

use std::collections::HashSet;
use std::time::Instant;

use envelope::{Destination, Diagnosis, EnhancedStatus, Host};

use super::{Routing, SiteId, Sites, Todo};

impl Sites {
    /// When [`Sites::tick`] is due.
    pub(crate) fn timer(&self) -> Option<Instant> {
        let probe = self.probes.first().map(|(at, _)| *at);
        let limited = self.limited.values().min().copied();
        let times = [probe, limited, self.orders.next_end()];
        times.into_iter().flatten().min()
    }

    /// Opens down sites whose probe is due: the next leg for one of them is its probe. Ends pauses whose time is over, and lets
    /// limited sites go on.
    pub(crate) fn tick(&mut self, now: Instant) -> Todo {
        let mut todo = self.end_orders(now);
        self.reshape(now, &mut todo);
        self.go_on(now, &mut todo);
        while let Some((at, id)) = self.probes.first().copied().filter(|(at, _)| *at <= now) {
            self.probes.remove(&(at, id));
            self.open(id);
            // Legs that were put back while it was down.
            self.stir(id, now, &mut todo);
        }
        todo
    }

    /// Makes the next probe of the down sites of these hosts due. Sites that are up are left alone, and so are those of
    /// which the probe is due or under way. Tells whether any became due, so that [`Sites::tick`] is.
    pub(crate) fn probe_now(&mut self, hosts: &HashSet<Host>, now: Instant) -> bool {
        let mut any = false;
        let meant = self
            .destinations
            .keys()
            .filter(|to| hosts.contains(&to.host));
        let ids: Vec<SiteId> = meant.filter_map(|to| self.known(to)).collect();
        for id in ids {
            let health = self.sites.get_mut(&id).map(|site| &mut site.health);
            if let Some(probe_at) = health.and_then(|health| health.probe_now(now)) {
                self.probes.remove(&(probe_at, id));
                self.probes.insert((now, id));
                any = true;
            }
        }
        any
    }

    /// Forgets what nobody has asked for in a while.
    pub(crate) fn sweep(&mut self, now: Instant) {
        self.sweep_pressure(now);
        let sites = &mut self.sites;
        self.destinations.retain(|to, routing| match routing {
            Routing::Known { site, until } if now >= *until => {
                let Some(site) = sites.get_mut(site) else {
                    return false;
                };
                // Parked destinations stay until their site opens, which lets them in again; those of a site that takes
                // no mail at present, until it does: then what waits for them is wanted.
                let keep = site.closed || site.health.is_deferring(now) || site.pressure.is_some();
                if !keep {
                    site.destinations.remove(to);
                }
                keep
            }
            Routing::Known { .. } | Routing::Pending(_) => true,
        });
        self.admission.sweep(now);
        #[expect(
            clippy::mutable_key_type,
            reason = "a login is compared by its file, which does not change"
        )]
        let by_key = &mut self.by_key;
        sites.retain(|_, site| {
            let used = !site.destinations.is_empty()
                || !site.queue.is_empty()
                || site.health.connections() > 0
                || site.health.is_resting(now)
                || !site.memory.resting(now).is_empty();
            if !used {
                by_key.remove(&site.key);
            }
            used
        });
        let sites = &self.sites;
        self.turned_sites.retain(|id| sites.contains_key(id));
    }

    /// Takes all waiting legs out and starts nothing more: the end.
    pub(crate) fn stop(&mut self) -> Todo {
        self.stopping = true;
        let mut todo = Todo::default();
        for routing in self.destinations.values_mut() {
            if let Routing::Pending(waiting) = routing {
                todo.release.append(waiting);
            }
        }
        for id in self.sites.keys().copied().collect::<Vec<_>>() {
            self.give_back(id, &mut todo);
        }
        let sites = self.sites.values();
        sites.for_each(|site| site.wake.notify_waiters());
        self.let_go(&mut todo);
        todo
    }

    /// Why the site of this destination is down, if it is, or that it is paused: but not why, which is the operator's.
    pub(crate) fn trouble(&self, to: &Destination) -> Option<Diagnosis> {
        let health = &self.sites.get(&self.known(to)?)?.health;
        if health.is_ordered_to_pause() {
            let text = "none, since deliveries to this destination are paused";
            return Some(Diagnosis::local(PAUSED, text));
        }
        let (_, reason) = health.down()?;
        match health.is_throttled() {
            true => Some(reason.of_others()),
            false => Some(reason.clone()),
        }
    }
}

/// RFC 3463 §3.4: system not accepting network messages.
const PAUSED: EnhancedStatus = EnhancedStatus::transient(3, 2);
