//! [`Sites`] as operators see them.

use std::collections::BTreeSet;
use std::time::Instant;

use envelope::Host;

use super::{Routing, Site, Sites};
use crate::orders::{Order, SiteMatch};
use crate::view::{Reach, SiteView};

impl Sites {
    /// See [`Dispatcher::sites`](crate::Dispatcher::sites).
    pub(crate) fn views(&self, of: Option<&SiteMatch>, now: Instant) -> Vec<SiteView> {
        let is_meant = |site: &&Site| of.is_none_or(|of| of.matches(&site.key, site.hosts.iter()));
        let takes = of.map_or(0, |_| TAKES_SHOWN);
        let sites = self.sites.values().filter(is_meant);
        sites.map(|site| self.view(site, takes, now)).collect()
    }

    /// See [`Dispatcher::orders`](crate::Dispatcher::orders).
    pub(crate) fn orders(&self) -> Vec<(Order, Vec<String>)> {
        let with_sites = |order: &Order| (order.clone(), self.matching(&order.of));
        self.orders.all().map(with_sites).collect()
    }

    /// See [`Dispatcher::matching`](crate::Dispatcher::matching).
    pub(crate) fn matching(&self, of: &SiteMatch) -> Vec<String> {
        let is_meant = |site: &&Site| of.matches(&site.key, site.hosts.iter());
        let sites = self.sites.values().filter(is_meant);
        let names: BTreeSet<_> = sites.map(|site| site.key.to_string()).collect();
        names.into_iter().collect()
    }

    /// See [`Dispatcher::site_of`](crate::Dispatcher::site_of).
    pub(crate) fn site_of(
        &self,
        host: &Host,
        now: Instant,
    ) -> Option<(String, Reach, Option<Order>)> {
        let Some(Routing::Known { site, .. }) = self.hosts.get(host) else {
            return None;
        };
        let site = self.sites.get(site)?;
        Some((
            site.key.to_string(),
            site.health.reach(now),
            self.pause_of(site),
        ))
    }

    /// Connections open or being made.
    pub(crate) fn connections(&self) -> usize {
        self.admission.taken()
    }

    fn pause_of(&self, site: &Site) -> Option<Order> {
        if !site.health.is_paused() {
            return None;
        }
        self.orders.of(&site.key, site.hosts.iter()).0.cloned()
    }

    fn view(&self, site: &Site, takes: usize, now: Instant) -> SiteView {
        SiteView {
            key: site.key.clone(),
            takes: site.hosts.iter().take(takes).cloned().collect(),
            takes_count: site.hosts.len(),
            reach: site.health.reach(now),
            pause: self.pause_of(site),
            limit: site.health.ordered(),
            connections: site.health.connections(),
            window: site.health.window(),
            waiting: site.waiting,
        }
    }
}

/// A provider has many customers.
const TAKES_SHOWN: usize = 20;
