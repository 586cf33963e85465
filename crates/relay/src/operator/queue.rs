//! What is queued: looked at, and changed.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use control::ask::{QueueAct, QueueList, QueueShow};
use control::{
    Answers, Count, Fault, LegRow, LegState, MessageDetails, Page, QueueAction, Selector,
};
use envelope::{BodyKind, MessageId};
use journal::{Event, Journal};
use spool::{Action, Entry, Filter, Spool, State};

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
        let page = self
            .spool
            .list(&meant(filter), cursor, limit as usize)
            .await;
        let page = page.map_err(fault)?;
        Ok(Page {
            legs: page.entries.iter().map(row).collect(),
            next: page.next.map(|id| id.to_string()),
        })
    }
}

impl<S: Spool> Answers<QueueShow> for Operator<S> {
    async fn answer(
        &self,
        QueueShow { id }: QueueShow,
        _uid: u32,
    ) -> Result<MessageDetails, Fault> {
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
}

impl<S: Spool> Answers<QueueAct> for Operator<S> {
    async fn answer(
        &self,
        QueueAct { action, selector }: QueueAct,
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
}

/// Notes each leg that an action changed.
pub(super) fn record(journal: &Journal, action: QueueAction, uid: u32, changed: &[Entry]) {
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

pub(super) fn not_queued(id: MessageId) -> Fault {
    Fault::new(format!("message {id} is not in the queue")).with_hint(
        "delivered, bounced and removed messages leave the queue; the mail log has their history",
    )
}

/// Legs read or changed in one go.
const PAGE: usize = 1000;
