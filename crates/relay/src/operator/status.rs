//! The daemon at a glance.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use control::{
    Answers, Connections, Delays, Disk, Fault, ForwardsState, LastReload, QueueCounts,
    RESULTS_SHOWN, ReceivedCount, RefusedCount, ResultCount, SITES_SHOWN, SiteRow, SourceDown,
    Status, ask,
};
use delivery::SiteView;
use envelope::{Actor, Timestamp};
use journal::{Counts, Recent, Tally};
use spool::{Filter, Spool};

use super::Operator;
use crate::Routing;

impl<S: Spool> Answers<ask::Status> for Operator<S> {
    async fn answer(&self, _: ask::Status, _by: Actor) -> Result<Status, Fault> {
        let now = self.clock.now();
        let counts = self.counters.counts();
        let routing = self.routing.load();
        let disk = self.spool.disk();
        let queue = self.spool.counts().await.map_err(Fault::of)?;
        let (sites, sites_in_trouble) = in_trouble(self.sites_with(&queue, None));
        let stats = routing.table.stats();
        Ok(Status {
            version: self.version.to_owned(),
            hostname: routing.hostname().to_string(),
            pid: std::process::id(),
            now,
            started: self.started,
            listeners: self.listeners.clone(),
            queue: self.queue(&queue).await?,
            events: events(&counts, |tally| tally.total),
            minute: events(&counts, |tally| tally.minute(now)),
            received: received(&counts),
            refused: refused(&counts, now),
            results: results(&counts, now, RESULTS_SHOWN),
            delays: delays(&counts.delays),
            commits: delays(&self.inbound.commits()),
            connections: Connections {
                incoming: self.inbound.connections() as u64,
                incoming_max: self.connections_max.0 as u64,
                outgoing: self.delivery.connections() as u64,
                outgoing_max: self.connections_max.1 as u64,
            },
            sites,
            sites_in_trouble,
            certificates: self.doctor.certificates(),
            issuing: self.doctor.issuing.as_ref().map(|now| now.lock().clone()),
            disk: Disk {
                free: disk.free,
                free_min: disk.free_min,
            },
            forwards: ForwardsState {
                lines: stats.lines as u64,
                domains: stats.domains as u64,
                digest: format!("{:016x}", routing.table.digest()),
                sources_down: sources_down(&counts, &routing, now),
            },
            srs_secrets: routing.forwarder.srs().secrets() as u64,
            reload: counts
                .reload
                .clone()
                .map(|(at, error)| LastReload { at, error }),
            log_lines_lost: self.journal.lines_lost(),
            events_missed: counts.missed,
            drained: self.inbound.drained.load(Ordering::Relaxed),
            frozen: self.counting.freezes.len() as u64,
            blocklists: self.inbound.blocklist_counts(),
            filters: self.inbound.filter_counts(),
            history: self.health_of_history().await,
        })
    }
}

impl<S: Spool> Answers<ask::Results> for Operator<S> {
    async fn answer(&self, _: ask::Results, _by: Actor) -> Result<Vec<ResultCount>, Fault> {
        let counts = self.counters.counts();
        Ok(results(&counts, self.clock.now(), usize::MAX))
    }
}

impl<S: Spool> Operator<S> {
    async fn queue(&self, counts: &spool::Counts) -> Result<QueueCounts, Fault> {
        // Ids are in the order of time.
        let oldest = self.spool.list(&Filter::default(), None, 1).await;
        let oldest = oldest.map_err(Fault::of)?.entries;
        Ok(QueueCounts {
            waiting: counts.ready + counts.deferred,
            active: counts.active,
            held: counts.held,
            oldest: oldest.first().map(|entry| entry.message.arrived),
        })
    }
}

/// Snapshots as was told of them, as long as the table has them; look-ups as they are.
fn sources_down(counts: &Counts, routing: &Routing, now: Timestamp) -> Vec<SourceDown> {
    let has = |name: &str| routing.table.files().any(|(file, _)| file == name);
    let down = counts.sources_down.iter().filter(|(name, _)| has(name));
    let down = down.map(|(name, (since, error))| SourceDown {
        name: name.clone(),
        since: *since,
        error: error.clone(),
    });
    let looked_up = routing.lookups.down().map(|down| SourceDown {
        name: down.name,
        since: now.minus(down.span),
        error: down.error,
    });
    down.chain(looked_up).collect()
}

fn events(counts: &Counts, count: impl Fn(&Tally) -> u64) -> BTreeMap<String, u64> {
    let events = counts.events.iter();
    events
        .map(|(name, tally)| ((*name).to_owned(), count(tally)))
        .collect()
}

fn received(counts: &Counts) -> Vec<ReceivedCount> {
    let received = counts.received.iter();
    let received = received.map(|((listener, tls), total)| ReceivedCount {
        listener: listener.to_string(),
        tls: (*tls).to_owned(),
        total: *total,
    });
    received.collect()
}

fn refused(counts: &Counts, now: Timestamp) -> Vec<RefusedCount> {
    let rules = counts.refused.iter();
    let rules = rules.map(|((stage, rule), tally)| RefusedCount {
        stage: (*stage).to_owned(),
        rule: (*rule).to_owned(),
        total: tally.total,
        minute: tally.minute(now),
    });
    let mut rules: Vec<_> = rules.collect();
    rules.sort_by_key(|row| Reverse((row.minute, row.total)));
    rules
}

fn results(counts: &Counts, now: Timestamp, max: usize) -> Vec<ResultCount> {
    let results = counts.attempts.iter();
    let results = results.map(|((site, result, class), tally)| ResultCount {
        site: site.to_string(),
        result: (*result).to_owned(),
        class: (*class).to_owned(),
        total: tally.total,
        minute: tally.minute(now),
    });
    let mut results: Vec<_> = results.collect();
    results.sort_by_key(|row| Reverse((row.minute, row.total)));
    results.truncate(max);
    results
}

/// Those that most mail waits for, and how many they are in all.
fn in_trouble(sites: Vec<(SiteRow, SiteView)>) -> (Vec<SiteRow>, u64) {
    let wrong = |row: &SiteRow| matches!(&*row.state, "down" | "paused" | "deferring");
    let sites = sites.into_iter().map(|(row, _)| row);
    let mut sites: Vec<_> = sites.filter(wrong).collect();
    let count = sites.len() as u64;
    sites.sort_by_key(|row| Reverse(row.queued));
    sites.truncate(SITES_SHOWN);
    (sites, count)
}

fn delays(recent: &Recent) -> Delays {
    let percentile = |percent| recent.percentile(percent).map(envelope::millis);
    Delays {
        p50_ms: percentile(50),
        p99_ms: percentile(99),
    }
}
