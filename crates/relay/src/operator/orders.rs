//! What operators order of sites, and the drain.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use control::ask::{Drain, Drained, SiteLimit, SitePause, SiteResume};
use control::{Answers, DrainState, Fault, Ordered};
use delivery::{Change, Dispatcher, Limit, Order, SiteMatch, Wanted};
use envelope::{Actor, Timestamp};
use journal::Event;
use linefile::LineFile;
use parking_lot::Mutex;
use spool::{Clock, Note, Rule, Spool};
use tokio_util::sync::CancellationToken;

use super::Operator;
use crate::on_disk::on_disk;
use crate::outbound::Outbound;

/// What is ordered of sites, as the file `sites` of the spool has it, and what delivery knows of them, as `site-facts` has it; by default in memory only.
#[derive(Debug, Default)]
pub struct OrdersFile {
    file: Option<Mutex<LineFile<Change>>>,
    holding: Vec<Change>,
    facts_file: Option<Mutex<LineFile<String>>>,
    facts: Vec<String>,
}

impl OrdersFile {
    /// What the file in this directory says. What it cannot say is logged and left out. Orders that several nodes share are on their
    /// board.
    pub fn open(dir: &Path, now: Timestamp, is_shared: bool) -> Self {
        let (facts_file, facts) =
            LineFile::open(&dir.join("site-facts"), "so every site counts as up");
        let facts_file = Some(Mutex::new(facts_file));
        if is_shared {
            return Self {
                facts_file,
                facts,
                ..Self::default()
            };
        }
        let (file, changes) = LineFile::open(&dir.join("sites"), "so no site is paused or limited");
        let holding = delivery::holding(changes, now);
        Self {
            file: Some(Mutex::new(file.compacted(&holding))),
            holding,
            facts_file,
            facts,
        }
    }

    /// What it says, as the board has it.
    pub(crate) fn notes(&self) -> Vec<Note> {
        self.holding.iter().map(note).collect()
    }

    /// Has the file in this directory hold these orders and no others. It blocks.
    pub(crate) fn rewrite(dir: &Path, told: Vec<Change>, now: Timestamp) -> io::Result<()> {
        let holding = delivery::holding(told, now);
        let (mut file, _) = LineFile::open(&dir.join("sites"), "so it is written anew");
        file.compact(&holding)
    }

    /// Orders what was ordered before the start, and says what was known.
    pub(crate) fn restore<S: Spool>(
        &self,
        delivery: &Dispatcher<Outbound<S>, dns::Backend>,
        now: Timestamp,
    ) {
        delivery.restore(self.holding.iter().cloned(), now);
        delivery.recall(&self.facts, now);
    }

    /// Writes what is known of sites down: within a minute after one went down, was throttled or recovered, and at the end.
    pub(crate) async fn keep_facts<S: Spool>(
        self: Arc<Self>,
        delivery: Arc<Dispatcher<Outbound<S>, dns::Backend>>,
        clock: Clock,
        stopped: CancellationToken,
    ) {
        let mut written = 0;
        loop {
            let is_end = tokio::time::timeout(FACTS_EVERY, stopped.cancelled())
                .await
                .is_ok();
            let turns = delivery.turns();
            if is_end || turns != written {
                let (this, facts) = (Arc::clone(&self), delivery.facts(clock.now()));
                let write = move || {
                    let file = this.facts_file.as_ref();
                    file.map_or(Ok(()), |file| file.lock().compact(&facts))
                };
                match on_disk(write).await {
                    Ok(()) => written = turns,
                    Err(error) => {
                        tracing::error!(%error, "cannot write down what is known of sites")
                    }
                }
            }
            if is_end {
                return;
            }
        }
    }

    /// It blocks, until the change is on disk.
    fn write(&self, change: Change) -> io::Result<()> {
        let file = self.file.as_ref();
        file.map_or(Ok(()), |file| file.lock().append(&[change]))
    }
}

impl<S: Spool> Answers<SitePause> for Operator<S> {
    async fn answer(&self, ask: SitePause, by: Actor) -> Result<Ordered, Fault> {
        let span = ask.for_secs.map(Duration::from_secs);
        if span.is_some_and(|span| span > PAUSE_MAX) {
            return Err(Fault::new("a pause ends within a year")
                .with_hint("without a span it holds until `onward site resume`"));
        }
        let until = span.map(|span| self.clock.now().plus(span));
        let wanted = Wanted::Pause { until };
        self.give(&ask.site, wanted, ask.reason, by).await
    }
}

impl<S: Spool> Answers<SiteLimit> for Operator<S> {
    async fn answer(&self, ask: SiteLimit, by: Actor) -> Result<Ordered, Fault> {
        let limit = Limit {
            connections: ask.connections,
            per_minute: ask.per_minute,
        };
        if limit == Limit::default() {
            let end = Change::Unlimit(named(&ask.site)?);
            return self.order(end, ask.reason, by).await;
        }
        if limit.connections == Some(0) || limit.per_minute == Some(0) {
            let fault = Fault::new("a limit of 0 lets nothing through");
            return Err(fault.with_hint("`onward site pause` sends nothing"));
        }
        let wanted = Wanted::Limit(limit);
        self.give(&ask.site, wanted, ask.reason, by).await
    }
}

impl<S: Spool> Answers<SiteResume> for Operator<S> {
    async fn answer(&self, ask: SiteResume, by: Actor) -> Result<Ordered, Fault> {
        let end = Change::Resume(named(&ask.site)?);
        self.order(end, ask.reason, by).await
    }
}

impl<S: Spool> Answers<Drain> for Operator<S> {
    async fn answer(&self, Drain { on, reason }: Drain, by: Actor) -> Result<DrainState, Fault> {
        if self.inbound.drained.swap(on, Ordering::Relaxed) != on {
            let by = by.clone();
            self.journal.record(Event::Drained { on, by, reason });
        }
        self.answer(Drained {}, by).await
    }
}

impl<S: Spool> Answers<Drained> for Operator<S> {
    async fn answer(&self, _: Drained, _by: Actor) -> Result<DrainState, Fault> {
        // In this order: what ends is seen in one of them at least.
        let transactions = self.inbound.transactions() as u64;
        let due = self.spool.next_due().await;
        let counts = self.spool.counts().await.map_err(Fault::of)?;
        // What is due, and is not this node's, may be any other's.
        let (active, due) = match self.spool.board() {
            Some(_) => (self.outbound.working_on(), None),
            None => (counts.active, due),
        };
        Ok(DrainState {
            on: self.inbound.drained.load(Ordering::Relaxed),
            transactions,
            active,
            due: due.is_some_and(|due| due.is_zero()),
            waiting: counts.ready + counts.deferred,
            held: counts.held,
        })
    }
}

impl<S: Spool> Operator<S> {
    async fn give(
        &self,
        site: &str,
        wanted: Wanted,
        reason: String,
        by: Actor,
    ) -> Result<Ordered, Fault> {
        if self.delivery.orders().len() >= ORDERS_MAX {
            let fault = Fault::new(format!("{ORDERS_MAX} pauses and limits hold already"));
            return Err(fault.with_hint("`onward site list` shows them"));
        }
        let order = Order {
            of: named(site)?,
            wanted,
            since: self.clock.now(),
            by: by.clone(),
            reason: reason.clone(),
        };
        self.order(Change::Give(order), reason, by).await
    }

    /// Makes a change, writes it down, and says what holds for that site then.
    async fn order(&self, change: Change, reason: String, by: Actor) -> Result<Ordered, Fault> {
        let board = self.spool.board();
        if let Some(board) = &board {
            let put = board.put(vec![note(&change)], Rule::Replace).await;
            put.map_err(|error| {
                let fault = Fault::new(format!(
                    "it is not known whether the nodes were told of that: {error}"
                ));
                fault.with_hint("`onward site list` shows what holds; see to the database of the spool, and ask again")
            })?;
        }
        let before = self.delivery.order(change.clone(), self.clock.now()).await;
        let (event, of, now) = match &change {
            Change::Give(order) => match order.wanted {
                Wanted::Pause { .. } => ("site-paused", &order.of, Some(order)),
                Wanted::Limit(_) => ("site-limited", &order.of, Some(order)),
            },
            Change::Resume(of) => ("site-resumed", of, None),
            Change::Unlimit(of) => ("site-unlimited", of, None),
        };
        let sites = self.delivery.matching(of);
        let ordered = Ordered {
            now: now.map(|order| row(order.clone(), sites.clone())),
            before: before.map(|order| row(order, Vec::new())),
        };
        if ordered == Ordered::default() {
            return Ok(ordered);
        }
        let now = ordered.now.as_ref();
        self.journal.record(Event::SiteOrdered {
            event,
            site: of.to_string(),
            until: now.and_then(|now| now.until),
            connections: now.and_then(|now| now.connections),
            per_minute: now.and_then(|now| now.per_minute),
            reason,
            sites: sites[..sites.len().min(SITES_LOGGED)].join(","),
            by: Some(by),
        });
        if board.is_some() {
            return Ok(ordered);
        }
        let file = Arc::clone(&self.orders);
        match on_disk(move || file.write(change)).await {
            Ok(()) => Ok(ordered),
            Err(error) => {
                let fault = Fault::new(format!("done, but a restart forgets it: {error}"));
                Err(fault.with_hint("see to the disk of the spool, and ask again"))
            }
        }
    }

    /// Those that hold for sites of which this is true.
    pub(super) fn orders_of(&self, is_meant: impl Fn(&[String]) -> bool) -> Vec<control::Order> {
        let orders = self.delivery.orders().into_iter();
        let meant = orders.filter(|(_, sites)| is_meant(sites));
        meant.map(|(order, sites)| row(order, sites)).collect()
    }
}

/// A change as the board has it: the order of a kind for a site, or that there is none.
fn note(change: &Change) -> Note {
    let (order, of, text) = match change {
        Change::Resume(of) => (PAUSE, of, None),
        Change::Unlimit(of) => (LIMIT, of, None),
        Change::Give(order) => match order.wanted {
            Wanted::Pause { .. } => (PAUSE, &order.of, Some(change.to_string())),
            Wanted::Limit(_) => (LIMIT, &order.of, Some(change.to_string())),
        },
    };
    Note::new(KIND, format!("{order} {of}"), text)
}

/// The change that a note tells of; none if it is of a later version.
pub(crate) fn told(name: &str, text: Option<&str>, now: Timestamp) -> Option<Change> {
    let given: Option<Change> = text.map(|text| text.parse().ok()).unwrap_or_default();
    if text.is_some() && given.is_none() {
        return None;
    }
    let holding = delivery::holding(given.into_iter().collect(), now).pop();
    let (order, of) = name.split_once(' ')?;
    let of = of.parse().ok()?;
    Some(holding.unwrap_or(match order {
        LIMIT => Change::Unlimit(of),
        _ => Change::Resume(of),
    }))
}

/// The kind of notes that tell what is ordered of a site.
pub(crate) const KIND: &str = "order";
const PAUSE: &str = "pause";
const LIMIT: &str = "limit";

pub(super) fn named(site: &str) -> Result<SiteMatch, Fault> {
    site.parse()
        .map_err(|error| Fault::new(format!("`{site}` is {error}")))
}

fn row(order: Order, sites: Vec<String>) -> control::Order {
    let (name, until, limit) = match order.wanted {
        Wanted::Pause { until } => ("pause", until, Limit::default()),
        Wanted::Limit(limit) => ("limit", None, limit),
    };
    control::Order {
        order: name.to_owned(),
        site: order.of.to_string(),
        since: order.since,
        until,
        connections: limit.connections,
        per_minute: limit.per_minute,
        by: order.by.in_words(),
        reason: order.reason,
        sites,
    }
}

/// How often it is seen to that the facts about sites are written down.
const FACTS_EVERY: Duration = Duration::from_mins(1);
/// Names in one line of the log.
const SITES_LOGGED: usize = 20;
/// Each is looked at for each site that is found.
const ORDERS_MAX: usize = 200;

/// Longer spans are mistakes, and their ends cannot be told as a date.
const PAUSE_MAX: Duration = Duration::from_hours(366 * 24);
