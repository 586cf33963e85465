//! What operators ask of a dispatcher, and order.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use dns::Resolver;
use envelope::{Destination, Diagnosis, Host, Mailbox, Share, Timestamp};

use super::Dispatcher;
use crate::orders::{Change, Order, SiteMatch};
use crate::sites::facts::Fact;
use crate::view::SiteView;
use crate::work::Work;

impl<W: Work, R: Resolver> Dispatcher<W, R> {
    /// Why the site of this destination is down, if it is, or that it is paused: for the notice about a leg.
    pub fn trouble(&self, to: &Destination) -> Option<Diagnosis> {
        self.sites.lock().trouble(to)
    }

    /// Percent of the RCPTs for this target that are to be put off, since its site or the mailbox takes less than comes. `messages`
    /// count as come: none to ask only; one that was let in stands for those that were not.
    pub fn pressure(&self, target: &Mailbox, to: &Destination, messages: f64) -> u8 {
        let now = Instant::now();
        self.sites.lock().pressure(target, to, messages, now)
    }

    /// Whether there is pressure on any site or mailbox: who asks often need not ask for each target.
    pub fn pressed(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.pressed)
    }

    /// Somebody knows better, or cannot wait: sites of these hosts that are down are probed as soon as a leg for them is
    /// due, and not only after their pause. One connection a site, however many legs wait; none beside a probe that
    /// already runs. A probe that fails is followed by the next longer pause.
    pub fn probe_now(&self, hosts: &HashSet<Host>) {
        if self.sites.lock().probe_now(hosts, Instant::now()) {
            self.changed.notify_one();
        }
    }

    /// Makes a change of what operators order; `wall` is now. Returns what held before.
    pub async fn order(self: &Arc<Self>, change: Change, wall: Timestamp) -> Option<Order> {
        let (before, todo) = self.sites.lock().order(change, wall, Instant::now());
        self.perform(todo).await;
        before
    }

    /// What is ordered of a dispatcher that does not run yet.
    pub fn restore(&self, orders: impl IntoIterator<Item = Change>, wall: Timestamp) {
        for order in orders {
            self.sites.lock().order(order, wall, Instant::now());
        }
    }

    /// What was known of sites before this dispatcher, which does not run yet.
    pub fn recall(&self, facts: &[String], wall: Timestamp) {
        self.sites.lock().recall(facts, wall, Instant::now());
    }

    /// What is known of sites that the next dispatcher should know, a line each.
    pub fn facts(&self, wall: Timestamp) -> Vec<String> {
        self.sites.lock().facts(wall, Instant::now())
    }

    /// Waits until a site has gone down or recovered here that other nodes should know of; all of them. `wall` tells the time.
    pub async fn news(&self, wall: impl Fn() -> Timestamp) -> Vec<Fact> {
        self.news.notified().await;
        self.sites.lock().news(wall(), Instant::now())
    }

    /// Takes over what another node has found; `wall` is now.
    pub async fn learn(self: &Arc<Self>, facts: &[Fact], wall: Timestamp) {
        let now = Instant::now();
        let todo = self.sites.lock().learn(facts, wall, now, &mut rand::rng());
        self.perform(todo).await;
    }

    /// This is one of several nodes that have what operators order of sites together.
    pub async fn share(self: &Arc<Self>, share: Share) {
        let todo = self.sites.lock().share(share, Instant::now());
        self.perform(todo).await;
    }

    /// How often that changed, but for mere connections.
    pub fn turns(&self) -> u64 {
        self.sites.lock().turns()
    }

    /// All orders, with the names of the sites that each holds for at present.
    pub fn orders(&self) -> Vec<(Order, Vec<String>)> {
        self.sites.lock().orders()
    }

    /// Connections open or being made.
    pub fn connections(&self) -> usize {
        self.sites.lock().connections()
    }

    /// The names of the sites that this means at present.
    pub fn matching(&self, of: &SiteMatch) -> Vec<String> {
        self.sites.lock().matching(of)
    }

    /// What is known of these sites, or of all.
    pub fn sites(&self, of: Option<&SiteMatch>) -> Vec<SiteView> {
        self.sites.lock().views(of, Instant::now())
    }

    /// The site of a destination, if it is known.
    pub fn site_of(&self, to: &Destination) -> Option<SiteView> {
        self.sites.lock().site_of(to, Instant::now())
    }
}
