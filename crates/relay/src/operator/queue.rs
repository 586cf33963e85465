//! What is queued: looked at, and changed.

use std::collections::HashSet;
use std::fmt::Display;
use std::sync::Arc;

use control::ask::{QueueAct, QueueList, QueueShow, QueueSummary};
use control::{
    Answers, Count, Fault, LegRow, LegState, MessageDetails, PAGE_ROWS_MAX, Page, QueueAction,
    Summary,
};
use envelope::{Actor, LegId};
use journal::{Event, Journal};
use spool::{Action, Changed, Entry, Filter, Spool, State};

use super::choice::meant;
use super::{Operator, listing};

impl<S: Spool> Answers<QueueList> for Operator<S> {
    async fn answer(&self, ask: QueueList, _by: Actor) -> Result<Page, Fault> {
        let Some(filter) = self.known(ask.filter).await? else {
            return Ok(Page::default());
        };
        let ask = QueueList { filter, ..ask };
        listing::list(&*self.spool, ask, |entry| self.row(entry)).await
    }
}

impl<S: Spool> Answers<QueueSummary> for Operator<S> {
    async fn answer(&self, ask: QueueSummary, _by: Actor) -> Result<Summary, Fault> {
        let Some(filter) = self.known(ask.filter).await? else {
            return Ok(listing::rows(spool::Summary::default(), ask.limit));
        };
        let ask = QueueSummary { filter, ..ask };
        listing::summary(&*self.spool, ask, |host| self.rolled_up(host)).await
    }
}

impl<S: Spool> Answers<QueueShow> for Operator<S> {
    async fn answer(&self, ask: QueueShow, _by: Actor) -> Result<MessageDetails, Fault> {
        let mut shown = listing::show(&*self.spool, ask, |entry| self.row(entry)).await?;
        shown.history = self.history_of(shown.id).await;
        Ok(shown)
    }
}

impl<S: Spool> Answers<QueueAct> for Operator<S> {
    async fn answer(&self, ask: QueueAct, by: Actor) -> Result<Count, Fault> {
        let filter = match self.known(ask.selector).await? {
            Some(selector) => meant(&*self.spool, selector).await?,
            None => None,
        };
        let Some(filter) = filter else {
            return Ok(Count::default());
        };
        let (mut count, mut hosts, mut cursor) = (Count::default(), HashSet::new(), None);
        let filter = Arc::new(filter);
        let reason: Arc<str> = ask.reason.into();
        loop {
            let changed = match ask.dry_run {
                true => self.would_change(&filter, ask.action, cursor).await,
                false => {
                    self.change(&filter, ask.action, cursor, (&by, &reason))
                        .await
                }
            }?;
            let pending = changed.entries.iter();
            let pending = pending.filter(|e| is_pending(ask.action, e)).count() as u64;
            count.matched += changed.matched;
            count.pending += pending;
            count.done += changed.entries.len() as u64 - pending;
            let room = (ask.limit.min(PAGE_ROWS_MAX) as usize).saturating_sub(count.legs.len());
            count
                .legs
                .extend(changed.entries.iter().take(room).map(row));
            let targets = changed.entries.iter().map(|entry| &entry.leg.target);
            hosts.extend(targets.map(|target| target.host().clone()));
            cursor = changed.next;
            count.more =
                ask.glance && ask.dry_run && cursor.is_some() && room <= changed.entries.len();
            if cursor.is_none() || count.more {
                break;
            }
        }
        // All pages together: one probe a site, and only once its legs are due.
        if ask.action == QueueAction::Retry && count.done > 0 && !ask.dry_run {
            (self.probe_now)(&hosts);
            count.paused = self.paused_sites(&hosts);
        }
        Ok(count)
    }
}

impl<S: Spool> Operator<S> {
    /// As a task: what it does is recorded, even if nobody waits for the answer any more.
    async fn change(
        &self,
        filter: &Arc<Filter>,
        action: QueueAction,
        cursor: Option<LegId>,
        (by, reason): (&Actor, &Arc<str>),
    ) -> Result<Changed, Fault> {
        let (spool, journal) = (Arc::clone(&self.spool), self.journal.clone());
        let (filter, by, reason) = (Arc::clone(filter), by.clone(), Arc::clone(reason));
        let acting = tokio::spawn(async move {
            let changed = spool.admin(&filter, asked(action), cursor, PAGE).await?;
            record(&journal, action, &by, &reason, &changed.entries);
            Ok::<_, spool::Error>(changed)
        });
        acting.await.map_err(Fault::of)?.map_err(Fault::of)
    }

    /// What [`Operator::change`] would say.
    async fn would_change(
        &self,
        filter: &Filter,
        action: QueueAction,
        cursor: Option<LegId>,
    ) -> Result<Changed, Fault> {
        let page = self
            .spool
            .list(filter, cursor, PAGE)
            .await
            .map_err(Fault::of)?;
        let matched = page.entries.len() as u64;
        let mut entries = page.entries;
        entries.retain(|entry| changes(action, entry));
        Ok(Changed {
            matched,
            entries,
            next: page.next,
        })
    }
}

/// Whether an action changes anything about a leg.
fn changes(action: QueueAction, entry: &Entry) -> bool {
    let is_held = entry.state == State::Held || entry.pending == Some(Action::Hold);
    match action {
        QueueAction::Retry => matches!(entry.state, State::Ready | State::Deferred),
        QueueAction::Hold => !is_held,
        QueueAction::Release => is_held,
        QueueAction::Bounce => entry.pending != Some(Action::Bounce),
        QueueAction::Remove => true,
    }
}

/// Notes each leg that an action changed.
pub(super) fn record(
    journal: &Journal,
    action: QueueAction,
    by: &Actor,
    reason: &Arc<str>,
    changed: &[Entry],
) {
    for entry in changed {
        let outcome = match is_pending(action, entry) {
            true => "pending",
            false => "done",
        };
        journal.record(Event::Operator {
            id: entry.id,
            action: action.name(),
            outcome,
            by: by.clone(),
            recipient: entry.leg.recipient.clone(),
            target: entry.leg.target.clone(),
            reason: Arc::clone(reason),
        });
    }
}

/// Whether an attempt may still end the leg in its own way. A release takes back what was asked for, and that is all.
fn is_pending(action: QueueAction, changed: &Entry) -> bool {
    changed.state == State::Active && action != QueueAction::Release
}

/// A leg as the spool alone knows it.
pub fn row(entry: &Entry) -> LegRow {
    let state = leg_state(entry.state);
    let expires = entry.deadlines.map(|at| at.expire);
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
        expires: expires.filter(|_| state != LegState::Held),
        next_try: (state == LegState::Waiting).then_some(entry.due),
        attempts: entry.attempts,
        options: entry.leg.options.as_str().to_owned(),
        last: entry.last_words(),
        waits: None,
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

/// What is said of a message that has left the queue, or was never in it.
pub fn not_queued(id: &impl Display) -> Fault {
    Fault::missing(format!("message {id} is not in the queue")).with_hint(format!(
        "delivered, bounced and removed messages leave the queue: see `onward trace {id}`"
    ))
}

/// Legs read or changed in one go.
pub(super) const PAGE: usize = 1000;
