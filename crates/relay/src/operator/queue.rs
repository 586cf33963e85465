//! What is queued: looked at, and changed.

use std::collections::HashSet;
use std::fmt::Display;
use std::sync::Arc;

use control::ask::{QueueAct, QueueList, QueueShow, QueueSummary};
use control::{
    Answers, Count, Fault, LegRow, LegState, MessageDetails, PAGE_ROWS_MAX, Page, QueueAction,
    Summary, SummaryBy, SummaryRow,
};
use envelope::{BodyKind, LegId};
use journal::{Event, Journal};
use spool::{AGE_MINUTES, Action, Ages, By, Changed, Entry, Filter, Spool, State};

use super::{Operator, fault};

impl<S: Spool> Answers<QueueList> for Operator<S> {
    async fn answer(&self, ask: QueueList, _uid: u32) -> Result<Page, Fault> {
        let QueueList {
            filter,
            cursor,
            limit,
        } = ask;
        let cursor = cursor.map(|text| text.parse()).transpose();
        let cursor =
            cursor.map_err(|_| Fault::new("the cursor is not one that a page ended with"))?;
        let Some(filter) = self.meant(filter).await? else {
            return Ok(Page::default());
        };
        let page = self.spool.list(&filter, cursor, limit as usize).await;
        let page = page.map_err(fault)?;
        Ok(Page {
            legs: page.entries.iter().map(|entry| self.row(entry)).collect(),
            next: page.next.map(|id| id.to_string()),
        })
    }
}

impl<S: Spool> Answers<QueueSummary> for Operator<S> {
    async fn answer(&self, ask: QueueSummary, _uid: u32) -> Result<Summary, Fault> {
        let by = match ask.by {
            SummaryBy::Site | SummaryBy::Domain => By::Host,
            SummaryBy::Sender => By::Sender,
            SummaryBy::Error => By::Error,
        };
        let counted = match self.meant(ask.filter).await? {
            Some(filter) => self.spool.summary(&filter, by, NAMES_MAX).await,
            None => Ok(spool::Summary::default()),
        };
        let counted = counted.map_err(fault)?;
        Ok(summary(counted, ask.limit as usize))
    }
}

impl<S: Spool> Answers<QueueShow> for Operator<S> {
    async fn answer(
        &self,
        QueueShow { id }: QueueShow,
        _uid: u32,
    ) -> Result<MessageDetails, Fault> {
        let whole = self.whole(&id).await?;
        let id = whole.ok_or_else(|| not_queued(&id))?.message();
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
            None => return Err(not_queued(&id)),
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
            legs: legs.iter().map(|entry| self.row(entry)).collect(),
            history: self.history_of(id).await,
        })
    }
}

impl<S: Spool> Answers<QueueAct> for Operator<S> {
    async fn answer(&self, ask: QueueAct, uid: u32) -> Result<Count, Fault> {
        let Some(filter) = self.meant(ask.selector).await? else {
            return Ok(Count::default());
        };
        let (mut count, mut hosts, mut cursor) = (Count::default(), HashSet::new(), None);
        let filter = Arc::new(filter);
        let reason: Arc<str> = ask.reason.into();
        loop {
            let changed = match ask.dry_run {
                true => self.would_change(&filter, ask.action, cursor).await,
                false => {
                    self.change(&filter, ask.action, cursor, (uid, &reason))
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
            let targets = changed.entries.into_iter().map(|entry| entry.leg.target);
            hosts.extend(targets.map(|target| target.host().clone()));
            cursor = changed.next;
            if cursor.is_none() {
                break;
            }
        }
        // All pages together: one probe a site, and only once its legs are due.
        if ask.action == QueueAction::Retry && count.done > 0 && !ask.dry_run {
            (self.probe_now)(&hosts);
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
        (uid, reason): (u32, &Arc<str>),
    ) -> Result<Changed, Fault> {
        let (spool, journal) = (Arc::clone(&self.spool), self.journal.clone());
        let (filter, reason) = (Arc::clone(filter), Arc::clone(reason));
        let acting = tokio::spawn(async move {
            let changed = spool.admin(&filter, asked(action), cursor, PAGE).await?;
            record(&journal, action, uid, &reason, &changed.entries);
            Ok(changed)
        });
        let changed = acting.await;
        let changed = changed.map_err(|error| Fault::new(error.to_string()))?;
        changed.map_err(fault)
    }

    /// What [`Operator::change`] would say.
    async fn would_change(
        &self,
        filter: &Filter,
        action: QueueAction,
        cursor: Option<LegId>,
    ) -> Result<Changed, Fault> {
        let page = self.spool.list(filter, cursor, PAGE).await.map_err(fault)?;
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

fn summary(counted: spool::Summary, rows_max: usize) -> Summary {
    let row = |name: String, ages: &Ages| SummaryRow {
        name,
        legs: ages.legs(),
        oldest: ages.oldest,
        ages: ages.buckets.to_vec(),
    };
    let total = row("total".to_owned(), &counted.total);
    let (mut others, mut rest) = counted.others;
    let rows_max = rows_max.min(counted.rows.len());
    for (_, ages) in &counted.rows[rows_max..] {
        others += 1;
        rest.merge(ages);
    }
    let rows = counted.rows[..rows_max].iter();
    Summary {
        age_minutes: AGE_MINUTES.to_vec(),
        rows: rows
            .map(|(name, ages)| row(name.to_string(), ages))
            .collect(),
        others: (others > 0).then(|| row(format!("({others} others)"), &rest)),
        total,
    }
}

/// Notes each leg that an action changed.
pub(super) fn record(
    journal: &Journal,
    action: QueueAction,
    uid: u32,
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
            uid,
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
        expires: entry.expires.filter(|_| state != LegState::Held),
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

pub(super) fn not_queued(id: &impl Display) -> Fault {
    Fault::new(format!("message {id} is not in the queue")).with_hint(format!(
        "delivered, bounced and removed messages leave the queue: see `onward trace {id}`"
    ))
}

/// Legs read or changed in one go.
const PAGE: usize = 1000;
/// Names that a summary tells apart before they are rolled up to sites.
const NAMES_MAX: usize = 10_000;
