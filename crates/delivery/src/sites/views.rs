//! [`Sites`] as operators see them.

use std::collections::BTreeSet;
use std::time::Instant;

use envelope::Destination;

use super::{Site, Sites};
use crate::orders::{Order, SiteMatch};
use crate::view::SiteView;

impl Sites {
    /// See [`Dispatcher::sites`](crate::Dispatcher::sites).
    pub(crate) fn views(&self, of: Option<&SiteMatch>, now: Instant) -> Vec<SiteView> {
        let shown = of.map_or(0, |_| NAMES_SHOWN);
        let sites = self.meant(of);
        sites.map(|site| self.view(site, shown, now)).collect()
    }

    /// See [`Dispatcher::orders`](crate::Dispatcher::orders).
    pub(crate) fn orders(&self) -> Vec<(Order, Vec<String>)> {
        let with_sites = |order: &Order| (order.clone(), self.matching(&order.of));
        self.orders.all().map(with_sites).collect()
    }

    /// See [`Dispatcher::matching`](crate::Dispatcher::matching).
    pub(crate) fn matching(&self, of: &SiteMatch) -> Vec<String> {
        let sites = self.meant(Some(of));
        let names: BTreeSet<_> = sites.map(|site| site.key.to_string()).collect();
        names.into_iter().collect()
    }

    /// See [`Dispatcher::site_of`](crate::Dispatcher::site_of).
    pub(crate) fn site_of(&self, to: &Destination, now: Instant) -> Option<SiteView> {
        Some(self.view(self.sites.get(&self.known(to)?)?, 0, now))
    }

    /// Connections open or being made.
    pub(crate) fn connections(&self) -> usize {
        self.admission.taken()
    }

    fn meant(&self, of: Option<&SiteMatch>) -> impl Iterator<Item = &Site> {
        let sites = self.sites.values();
        sites.filter(move |site| of.is_none_or(|of| of.matches(&site.key, site.hosts())))
    }

    fn view(&self, site: &Site, shown: usize, now: Instant) -> SiteView {
        let (health, hosts) = (&site.health, site.key.hosts.shown());
        let pause = health.is_paused().then(|| {
            let (pause, _) = self.orders.of(&site.key, site.hosts());
            pause.cloned()
        });
        SiteView {
            name: site.key.to_string(),
            mx: hosts.into_iter().take(shown).collect(),
            takes: site.hosts().take(shown).cloned().collect(),
            takes_count: site.destinations.len(),
            tls: site.key.policy.words(),
            egress: site.key.egress.clone(),
            resting: {
                let rests = site.memory.resting(now).into_iter().take(shown);
                rests.map(|(source, until)| (source, until - now)).collect()
            },
            reach: health.reach(now),
            pause: pause.flatten(),
            limit: health.ordered(),
            shape: site.rules.to_string(),
            connections: health.connections(),
            window: health.window(),
            waiting: site.waiting,
        }
    }
}

/// A provider has many customers.
const NAMES_SHOWN: usize = 20;
