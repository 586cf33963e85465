//! What operators ask for over the control socket: put to the queue, to delivery and to the relay.

mod body;
mod freezes;
pub mod srs;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use control::{
    Count, Explanation, Fault, FreezePage, LegRow, LegState, Lift, Lifted, Mail, MessageDetails,
    Page, Part, QueueAction, QueueCounts, Reloaded, Request, Selector, SrsAnswer, Status,
};
use envelope::{BodyKind, Host, MessageId, Timestamp};
use journal::{Counters, Counts, Event, Journal};
use spool::{Action, Clock, Entry, Filter, Spool, State};

use crate::counting::Counting;
use crate::inbound::Inbound;
use crate::routing::Shared;
use body::Body;

/// What the operator can reach.
pub struct Operator<S> {
    /// What is queued.
    pub spool: Arc<S>,
    /// What happened since the start.
    pub counters: Counters,
    /// Knows who is frozen.
    pub counting: Arc<Counting>,
    /// What decides on mail.
    pub inbound: Arc<Inbound<S>>,
    /// What SRS addresses are made with.
    pub routing: Shared,
    /// Reads the configuration again.
    pub reload: Reload,
    /// Tells the time.
    pub clock: Clock,
    /// Where actions are noted.
    pub journal: Journal,
    /// The version of the program.
    pub version: &'static str,
    /// Where connections are taken.
    pub listeners: Vec<String>,
    /// When the program was started.
    pub started: Timestamp,
    /// Makes delivery probe the sites of these hosts at once, if they are down.
    pub probe_now: ProbeNow,
}

/// What `onward reload` does; see [`control::Operator::reload`] for the flags. What was done, or what stands in the way.
pub type Reload = Arc<dyn Fn(bool, bool) -> Result<Reloaded, String> + Send + Sync>;

/// See [`Operator::probe_now`].
pub type ProbeNow = Box<dyn Fn(&HashSet<Host>) + Send + Sync>;

impl<S: Spool> control::Operator for Operator<S> {
    type Body = Body<S::Reader>;

    fn asked(&self, request: &Request, uid: u32) {
        let (action, of) = match request {
            Request::QueueAction { action, selector } => (action.name(), selector.to_string()),
            Request::Reload { .. } => ("reload", String::new()),
            Request::FreezeLift(lift) => ("freeze-lift", lift.key.clone().unwrap_or_default()),
            Request::SrsEncode { address } => ("srs-encode", address.clone()),
            Request::SrsDecode { address } => ("srs-decode", address.clone()),
            // The others only look.
            _ => return,
        };
        self.journal
            .record(Event::OperatorAsked { uid, action, of });
    }

    async fn status(&self) -> Result<Status, Fault> {
        let counts = self.spool.counts().await.map_err(fault)?;
        let Counts { events, missed } = self.counters.counts();
        let named = |(name, count): (&str, u64)| (name.to_owned(), count);
        Ok(Status {
            version: self.version.to_owned(),
            hostname: self.routing.load().hostname().to_string(),
            pid: std::process::id(),
            started: self.started,
            listeners: self.listeners.clone(),
            queue: QueueCounts {
                waiting: counts.ready + counts.deferred,
                active: counts.active,
                held: counts.held,
            },
            events: events.into_iter().map(named).collect(),
            events_missed: missed,
            frozen: self.counting.freezes.len() as u64,
            blocklists: self.inbound.blocklist_counts(),
            filters: self.inbound.filter_counts(),
        })
    }

    async fn reload(&self, force: bool, dry_run: bool) -> Result<Reloaded, Fault> {
        let reload = Arc::clone(&self.reload);
        // Reading half a million lines takes its time: not on a thread that serves connections.
        tokio::task::spawn_blocking(move || reload(force, dry_run))
            .await
            .map_err(|error| Fault::new(error.to_string()))?
            .map_err(Fault::new)
    }

    async fn queue_list(
        &self,
        filter: Selector,
        cursor: Option<String>,
        limit: usize,
    ) -> Result<Page, Fault> {
        let cursor = cursor.map(|text| text.parse()).transpose();
        let cursor =
            cursor.map_err(|_| Fault::new("the cursor is not one that a page ended with"))?;
        let page = self.spool.list(&meant(filter), cursor, limit).await;
        let page = page.map_err(fault)?;
        Ok(Page {
            legs: page.entries.iter().map(row).collect(),
            next: page.next.map(|id| id.to_string()),
        })
    }

    async fn queue_show(&self, id: MessageId) -> Result<MessageDetails, Fault> {
        let filter = Filter::only(id);
        let mut legs = Vec::new();
        let mut cursor = None;
        loop {
            let page = self
                .spool
                .list(&filter, cursor, PAGE)
                .await
                .map_err(fault)?;
            legs.extend(page.entries);
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
        let message = match legs.first() {
            Some(entry) => Arc::clone(&entry.message),
            None => return Err(not_queued(id)),
        };
        Ok(MessageDetails {
            id,
            arrived: message.arrived,
            reverse_path: message.reverse_path.to_string(),
            origin: message.origin.name().to_owned(),
            size: message.size,
            eight_bit: message.body == BodyKind::EightBitMime,
            smtputf8: message.smtputf8,
            envid: message.envid.as_deref().map(str::to_owned),
            legs: legs.iter().map(row).collect(),
        })
    }

    async fn queue_cat(&self, id: MessageId, part: Part) -> Result<Body<S::Reader>, Fault> {
        let reader = self
            .spool
            .open_body(id)
            .await
            .map_err(|error| match error {
                spool::OpenError::NotFound => not_queued(id),
                error => Fault::new(error.to_string()),
            })?;
        Ok(Body::new(reader, part))
    }

    async fn queue_action(
        &self,
        action: QueueAction,
        selector: Selector,
        uid: u32,
    ) -> Result<Count, Fault> {
        let filter = Arc::new(meant(selector));
        let (mut count, mut hosts, mut cursor) = (Count::default(), HashSet::new(), None);
        loop {
            let (spool, filter, journal) = (
                Arc::clone(&self.spool),
                Arc::clone(&filter),
                self.journal.clone(),
            );
            // As a task: what it does is recorded, even if nobody waits for the answer any more.
            let acting = tokio::spawn(async move {
                let changed = spool.admin(&filter, asked(action), cursor, PAGE).await?;
                record(&journal, action, uid, &changed.entries);
                Ok(changed)
            });
            let changed = acting
                .await
                .map_err(|error| Fault::new(error.to_string()))?;
            let changed = changed.map_err(fault)?;
            let pending = changed.entries.iter().filter(|e| is_pending(action, e));
            let pending = pending.count() as u64;
            count.matched += changed.matched;
            count.pending += pending;
            count.done += changed.entries.len() as u64 - pending;
            let targets = changed.entries.into_iter().map(|entry| entry.leg.target);
            hosts.extend(targets.map(|target| target.host().clone()));
            cursor = changed.next;
            if cursor.is_none() {
                break;
            }
        }
        // All pages together: one probe a site, and only once its legs are due.
        if action == QueueAction::Retry && count.done > 0 {
            (self.probe_now)(&hosts);
        }
        Ok(count)
    }

    async fn freeze_list(&self, cursor: Option<String>, limit: usize) -> Result<FreezePage, Fault> {
        self.frozen(cursor, limit)
    }

    async fn freeze_lift(&self, lift: Lift, uid: u32) -> Result<Lifted, Fault> {
        self.lift(lift, uid).await
    }

    async fn explain(
        &self,
        mail: Mail,
        message: Option<&mut (impl control::Body + Sync)>,
    ) -> Result<Explanation, Fault> {
        self.inbound.explain(&mail, message).await
    }

    async fn srs_encode(&self, address: String) -> Result<SrsAnswer, Fault> {
        srs::encode(&self.routing.load().forwarder, &address, self.clock.now())
            .map(|result| SrsAnswer { address, result })
            .map_err(|error| Fault::new(error.to_string()))
    }

    async fn srs_decode(&self, address: String) -> Result<SrsAnswer, Fault> {
        let result = srs::decode(
            &self.routing.load(),
            &*self.spool,
            &address,
            self.clock.now(),
        )
        .await;
        result
            .map(|result| SrsAnswer { address, result })
            .map_err(|error| Fault::new(error.to_string()))
    }
}

/// Notes each leg that an action changed.
fn record(journal: &Journal, action: QueueAction, uid: u32, changed: &[Entry]) {
    for entry in changed {
        let outcome = match is_pending(action, entry) {
            true => "pending",
            false => "done",
        };
        journal.record(Event::Operator {
            id: entry.id,
            action: action.name(),
            outcome,
            uid,
            recipient: entry.leg.recipient.clone(),
            target: entry.leg.target.clone(),
        });
    }
}

/// Whether an attempt may still end the leg in its own way. A release takes back what was asked for, and that is all.
fn is_pending(action: QueueAction, changed: &Entry) -> bool {
    changed.state == State::Active && action != QueueAction::Release
}

fn meant(selector: Selector) -> Filter {
    let states = |state| match state {
        LegState::Waiting => vec![State::Ready, State::Deferred],
        LegState::Active => vec![State::Active],
        LegState::Held => vec![State::Held],
    };
    Filter {
        ids: selector.ids,
        to: selector.to,
        from: selector.from,
        states: selector.state.map(states).unwrap_or_default(),
        older_than: selector.older_than_secs.map(Duration::from_secs),
        ..Filter::default()
    }
}

pub(crate) fn row(entry: &Entry) -> LegRow {
    let state = leg_state(entry.state);
    LegRow {
        leg: entry.id,
        state,
        reverse_path: entry.message.reverse_path.to_string(),
        origin: entry.message.origin.name().to_owned(),
        sender: entry.leg.reverse_path.to_string(),
        recipient: entry.leg.recipient.to_string(),
        target: entry.leg.target.to_string(),
        size: entry.message.size,
        arrived: entry.message.arrived,
        next_try: (state == LegState::Waiting).then_some(entry.due),
        attempts: entry.attempts,
        options: entry.leg.options.as_str().to_owned(),
        last: entry.last_words(),
        diagnosis: entry.last.as_ref().map(Into::into),
        pending: entry.pending.and_then(pending),
    }
}

/// Where a leg stands, as operators see it.
pub fn leg_state(state: State) -> LegState {
    match state {
        State::Ready | State::Deferred => LegState::Waiting,
        State::Active => LegState::Active,
        State::Held => LegState::Held,
    }
}

fn asked(action: QueueAction) -> Action {
    match action {
        QueueAction::Retry => Action::RetryNow,
        QueueAction::Hold => Action::Hold,
        QueueAction::Release => Action::Release,
        QueueAction::Remove => Action::Remove,
        QueueAction::Bounce => Action::Bounce,
    }
}

/// Only these two can wait for an attempt to end.
pub fn pending(action: Action) -> Option<QueueAction> {
    match action {
        Action::Hold => Some(QueueAction::Hold),
        Action::Bounce => Some(QueueAction::Bounce),
        Action::Release | Action::RetryNow | Action::Remove => None,
    }
}

fn not_queued(id: MessageId) -> Fault {
    Fault::new(format!("message {id} is not in the queue")).with_hint(
        "delivered, bounced and removed messages leave the queue; the mail log has their history",
    )
}

fn fault(error: spool::Error) -> Fault {
    Fault::new(error.to_string())
}

/// Legs read or changed in one go.
const PAGE: usize = 1000;
