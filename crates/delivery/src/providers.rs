//! What the sites of one provider have together: those that one layer of `shaping` names. Pure; the clock comes in.
//!
//! Each limit, rule and pause counts for the layer that says it. How many connections a site can bear, and whether it can be
//! reached, is its own matter; so is what a layer for all sites says.

use std::collections::BTreeMap;
use std::iter;
use std::time::Instant;

use envelope::Diagnosis;

use crate::health::Rate;
use crate::orders::SiteMatch;
use crate::plan::SiteKey;
use crate::shaping::Tally;

/// What counts for some sites together, or for one.
#[derive(Debug, Default)]
pub(crate) struct Provider {
    pub(crate) rate: Rate,
    pub(crate) tally: Tally,
    /// A rule wants nothing sent before this, and why.
    pub(crate) pause: Option<(Instant, Diagnosis)>,
}

/// By what names their sites.
#[derive(Debug, Default)]
pub(crate) struct Providers(BTreeMap<SiteMatch, Provider>);

impl Providers {
    /// That of the layer which names sites so; `own` where it is each site's.
    pub(crate) fn of<'a>(&'a self, named: Option<&SiteMatch>, own: &'a Provider) -> &'a Provider {
        named.and_then(|of| self.0.get(of)).unwrap_or(own)
    }

    /// The same, made if there is none.
    pub(crate) fn of_mut<'a>(
        &'a mut self,
        named: Option<&SiteMatch>,
        own: &'a mut Provider,
    ) -> &'a mut Provider {
        match named {
            Some(of) => self.0.entry(of.clone()).or_default(),
            None => own,
        }
    }

    /// A rule wants a pause of all these sites.
    pub(crate) fn pause(&mut self, of: &SiteMatch, until: Instant, why: Diagnosis) {
        self.0.entry(of.clone()).or_default().pause = Some((until, why));
    }

    /// The pauses that hold for a site.
    pub(crate) fn pauses_of(
        &self,
        site: &SiteKey,
        now: Instant,
    ) -> impl Iterator<Item = (Instant, &Diagnosis)> {
        let named = self
            .0
            .iter()
            .filter(|(of, _)| of.matches(site, iter::empty()));
        let pauses = named.filter_map(|(_, provider)| provider.pause.as_ref());
        let holding = pauses.filter(move |(until, _)| *until > now);
        holding.map(|(until, why)| (*until, why))
    }
}
