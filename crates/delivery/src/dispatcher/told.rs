//! What lanes tell a dispatcher.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use dns::Resolver;
use envelope::{Diagnosis, Outcome};
use parking_lot::Mutex;

use super::Dispatcher;
use crate::health::Answer;
use crate::parcel::Parcel;
use crate::shaping::{self, Then};
use crate::sites::{NoConnection, SiteId, Sites, Todo};
use crate::work::{SiteEvent, Work};

impl<W: Work, R: Resolver> Dispatcher<W, R> {
    /// Counts a lane that was told [`Next::Idle`] as idle until this is dropped, in whatever way.
    pub(crate) fn idle(&self, id: SiteId) -> impl Drop + use<'_, W, R> {
        Idle(&self.sites, id)
    }

    /// Tells the sites something, and does what follows.
    pub(crate) async fn tell(self: &Arc<Self>, told: impl FnOnce(&mut Sites, Instant) -> Todo) {
        let todo = told(&mut self.sites.lock(), Instant::now());
        self.perform(todo).await;
    }

    /// Gives the parcel back if this was its attempt.
    pub(crate) async fn connect_failed(
        self: &Arc<Self>,
        id: SiteId,
        parcel: Parcel,
        why: NoConnection,
    ) -> Option<Parcel> {
        let now = Instant::now();
        let (tried, todo) =
            self.sites
                .lock()
                .connect_failed(id, parcel, why, now, &mut rand::rng());
        self.perform(todo).await;
        tried
    }

    /// What a transaction says of the site. What a rule says is to be done about an outcome is done to it. Nothing if all of it
    /// was about our address, which rests there now.
    pub(crate) fn judge(
        &self,
        id: SiteId,
        source: Option<IpAddr>,
        outcomes: &mut [Outcome],
    ) -> Option<Answer> {
        // Most mail is taken, and meets no rule.
        let is_taken = |outcome: &Outcome| matches!(outcome, Outcome::Delivered(_));
        let acts = match outcomes.iter().all(is_taken) {
            true => Vec::new(),
            false => self.acts(id, outcomes),
        };
        let Some(source) = source else {
            return Some(shaping::judge(outcomes, &acts));
        };
        let is_rest = |act: &(usize, Then)| matches!(act.1, Then::Rest(_));
        let (rests, acts): (Vec<_>, Vec<_>) = acts.into_iter().partition(is_rest);
        for (number, then) in &rests {
            self.rest_source(id, source, *then, outcomes[*number].diagnosis());
        }
        // Rules find one thing to do about each.
        if rests.len() == outcomes.len() {
            return None;
        }
        let answer = shaping::judge(outcomes, &acts);
        let numbers = rests.iter().map(|(number, _)| *number);
        numbers.for_each(|number| shaping::put_off(&mut outcomes[number]));
        Some(answer)
    }

    fn rest_source(&self, id: SiteId, source: IpAddr, then: Then, why: &Diagnosis) {
        let Then::Rest(lasts) = then else { return };
        let until = Instant::now() + lasts;
        let begun = self.sites.lock().rest_source(id, source, until, why);
        if let Some(site) = begun {
            self.work.site_changed(&SiteEvent::Down {
                site,
                throttled: false,
                source: Some(source),
                reason: why.clone(),
                failures: 0,
                probe_in: lasts,
            });
        }
    }

    /// What the rules of the site want done about these outcomes.
    fn acts(&self, id: SiteId, outcomes: &[Outcome]) -> Vec<(usize, Then)> {
        let rules = self.sites.lock().rules(id);
        // Peers may say much: not under the lock.
        let hits = rules.hits(outcomes);
        match hits.is_empty() {
            true => Vec::new(),
            false => self.sites.lock().count(id, &hits, Instant::now()),
        }
    }

    /// See [`Sites::is_wanted`].
    pub(crate) fn is_wanted(&self, id: SiteId) -> bool {
        self.sites.lock().is_wanted(id)
    }
}

/// See [`Dispatcher::idle`].
struct Idle<'a>(&'a Mutex<Sites>, SiteId);

impl Drop for Idle<'_> {
    fn drop(&mut self) {
        self.0.lock().idle_ended(self.1);
    }
}
