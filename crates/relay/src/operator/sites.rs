//! What is known of sites, and what legs wait for.

mod merged;

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::Duration;

use control::ask::{SiteList, SiteShow};
use control::{Answers, Fault, LegRow, SiteDetails, SiteReply, SiteRow, Sites};
use delivery::{Order, Reach, SiteMatch, SiteView, Wanted};
use envelope::{Actor, Host, Timestamp};
use journal::Counts;
use spool::{Entry, Spool, State};

use super::orders::named;
use super::{Operator, queue};
use crate::nodes::Nodes;

impl<S: Spool> Answers<SiteList> for Operator<S> {
    async fn answer(&self, ask: SiteList, _by: Actor) -> Result<Sites, Fault> {
        let Some(nodes) = Nodes::of(&*self.spool).filter(|_| !ask.own) else {
            return self.own_sites().await;
        };
        let said = nodes.ask(ask, self.own_sites()).await?;
        let mut whole = merged::sites(said.into_values());
        whole.silent_nodes = nodes.silent();
        Ok(whole)
    }
}

impl<S: Spool> Answers<SiteShow> for Operator<S> {
    async fn answer(&self, ask: SiteShow, _by: Actor) -> Result<Vec<SiteDetails>, Fault> {
        let Some(nodes) = Nodes::of(&*self.spool) else {
            return self.own_details(&ask.site).await;
        };
        let said = nodes.ask(ask.clone(), self.own_details(&ask.site)).await?;
        Ok(merged::details(said.into_values()))
    }
}

impl<S: Spool> Operator<S> {
    /// Those that this node knows.
    pub(super) async fn own_sites(&self) -> Result<Sites, Fault> {
        let sites = self.sites(None).await?;
        let mut sites: Vec<_> = sites.into_iter().map(|(row, _)| row).collect();
        sort(&mut sites);
        let more = sites.len().saturating_sub(SITES_MAX) as u64;
        sites.truncate(SITES_MAX);
        Ok(Sites {
            sites,
            more,
            orders: self.orders_of(|_| true),
            silent_nodes: Vec::new(),
        })
    }

    /// What this node knows of those that a word means.
    pub(super) async fn own_details(&self, site: &str) -> Result<Vec<SiteDetails>, Fault> {
        let of = named(site)?;
        let sites = self.sites(Some(&of)).await?;
        let sites = sites.into_iter().take(DETAILED_MAX);
        let mut details: Vec<_> = sites.map(|(row, view)| self.details(row, &view)).collect();
        details.sort_by_key(|site| Reverse(site.row.queued));
        Ok(details)
    }

    /// A leg, with what it waits for.
    pub(super) fn row(&self, entry: &Entry) -> LegRow {
        LegRow {
            waits: self.waits(entry),
            ..queue::row(entry)
        }
    }

    /// The site that usually takes this host's mail, if it is known.
    pub(super) fn site_of(&self, host: &Host) -> Option<SiteView> {
        self.delivery.site_of(&host.clone().into())
    }

    /// Those of these hosts' sites that are paused.
    pub(super) fn paused_sites(&self, hosts: &HashSet<Host>) -> Vec<String> {
        let sites = hosts.iter().filter_map(|host| self.site_of(host));
        let paused = sites.filter(|site| site.pause.is_some());
        let names: BTreeSet<_> = paused.map(|site| site.name).collect();
        names.into_iter().collect()
    }

    fn waits(&self, entry: &Entry) -> Option<String> {
        if !matches!(entry.state, State::Ready | State::Deferred) {
            return None;
        }
        let now = self.clock.now();
        let site = self.delivery.site_of(&entry.leg.destination());
        let why = site.and_then(|site| {
            let why = why(&site, now);
            (!why.is_empty()).then(|| format!("site {} {why}", site.name))
        });
        Some(match why {
            Some(why) => why,
            None if entry.due > now => format!("due at {}", entry.due),
            None => "for its turn".to_owned(),
        })
    }

    async fn sites(&self, of: Option<&SiteMatch>) -> Result<Vec<(SiteRow, SiteView)>, Fault> {
        let counts = self.spool.counts().await.map_err(Fault::of)?;
        Ok(self.sites_with(&counts, of))
    }

    pub(super) fn sites_with(
        &self,
        counts: &spool::Counts,
        of: Option<&SiteMatch>,
    ) -> Vec<(SiteRow, SiteView)> {
        let mut queued = HashMap::<String, u64>::new();
        for (host, legs) in &counts.hosts {
            if let Some(site) = self.site_of(host) {
                *queued.entry(site.name).or_default() += legs;
            }
        }
        let now = self.clock.now();
        let counts = self.counters.counts();
        let row = |view: SiteView| {
            let queued = queued.get(&view.name).copied().unwrap_or_default();
            (site_row(&view, queued, &counts, now), view)
        };
        self.delivery.sites(of).into_iter().map(row).collect()
    }

    fn details(&self, row: SiteRow, view: &SiteView) -> SiteDetails {
        let said = self.counters.said(&row.site);
        let reply = |(at, said): &(Timestamp, envelope::Diagnosis)| SiteReply {
            at: *at,
            text: said.to_string(),
        };
        SiteDetails {
            hosts: view.mx.clone(),
            tls: view.tls.clone(),
            egress: view.egress.as_deref().map(ToOwned::to_owned),
            resting: {
                let now = self.clock.now();
                let rests = view.resting.iter();
                let rests = rests.map(|(source, left)| (*source, moment(now.plus(*left), now)));
                rests.collect()
            },
            domains: view.takes.iter().map(ToString::to_string).collect(),
            domains_count: view.takes_count as u64,
            codes: said.codes(),
            replies: said.last.iter().map(reply).collect(),
            orders: self.orders_of(|sites| sites.contains(&row.site)),
            shape: view.shape.clone(),
            row,
        }
    }
}

/// Those in trouble first, then the busiest.
fn sort(sites: &mut [SiteRow]) {
    sites.sort_by_cached_key(|row| {
        let busy = Reverse((row.queued, row.connections));
        (row.state == UP, busy, row.site.clone())
    });
}

fn site_row(view: &SiteView, queued: u64, counts: &Counts, now: Timestamp) -> SiteRow {
    let state = match &view.reach {
        _ if view.pause.is_some() => "paused",
        Reach::Up => UP,
        Reach::Crowded(_) => "crowded",
        Reach::Deferring(_) => "deferring",
        Reach::Throttled { .. } => "throttled",
        Reach::Down { .. } => "down",
    };
    let lately = |result| {
        let tallies = counts.of_site(&view.name, result);
        tallies.map(|tally| tally.minute(now)).sum()
    };
    SiteRow {
        state: state.to_owned(),
        why: why(view, now),
        connections: view.connections as u64,
        connections_max: view.window as u64,
        per_minute: view.limit.per_minute,
        queued,
        delivered: lately("delivered"),
        deferred: lately("deferred"),
        failed: lately("failed"),
        site: view.name.clone(),
    }
}

/// Why mail to a site waits, in words that follow its name; empty if it does not.
fn why(site: &SiteView, now: Timestamp) -> String {
    if let Some(Order {
        wanted,
        since,
        by,
        reason,
        ..
    }) = &site.pause
    {
        let colon = if reason.is_empty() { "" } else { ": " };
        let end = match wanted {
            Wanted::Pause { until: Some(until) } => format!(" until {}", moment(*until, now)),
            _ => String::new(),
        };
        let (since, by) = (moment(*since, now), by.in_words());
        return format!("paused since {since}{end} by {by}{colon}{reason}");
    }
    match &site.reach {
        Reach::Up => String::new(),
        Reach::Crowded(reason) => format!("wants no more connections: {reason}"),
        Reach::Deferring(reason) => format!("answers \"not now\" to all mail: {reason}"),
        Reach::Down {
            lasts,
            reason,
            probe_in,
        } => {
            let (since, probe) = (moment(now.minus(*lasts), now), whole(*probe_in));
            format!("down since {since}: {reason}, probe in {probe}")
        }
        Reach::Throttled {
            lasts,
            reason,
            probe_in,
        } => {
            let (since, probe) = (moment(now.minus(*lasts), now), whole(*probe_in));
            format!("throttles us since {since}: {reason}, next message in {probe}")
        }
    }
}

/// In seconds at least.
fn whole(span: Duration) -> humantime::FormattedDuration {
    humantime::format_duration(Duration::from_secs(span.as_secs()))
}

/// `15:26Z`, with its date if that is another than today.
fn moment(at: Timestamp, now: Timestamp) -> String {
    let (at, now) = (at.to_string(), now.to_string());
    let minute = at.get(..16).unwrap_or(&at);
    match (at.get(..10), at.get(11..16)) {
        (today, Some(time)) if today == now.get(..10) => format!("{time}Z"),
        _ => format!("{minute}Z"),
    }
}

const UP: &str = "up";
/// Rows of a listing.
const SITES_MAX: usize = 1000;
/// Sites at length: a word may mean many.
const DETAILED_MAX: usize = 20;
