//! Failed legs that wait until the other legs of their message are done, so that one notice tells of all.
//!
//! They wait a few seconds at most. They are kept in memory only, and stay leased: after a crash they are tried again, and the
//! sender is told then.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bounce::Kind;
use envelope::{Claim, Diagnosis, MessageId, Timestamp};
use futures_util::future::join_all;
use parking_lot::Mutex;
use spool::{Entry, Filter, Page, Spool, State};

use super::Outbound;
use super::notices::Told;
use super::proof::needs_proof;

/// The legs that wait, by message.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    waiting: Mutex<HashMap<MessageId, Waiting>>,
    legs: AtomicUsize,
}

/// The failed legs of one message.
#[derive(Debug)]
struct Waiting {
    since: Timestamp,
    failed: Vec<Failed>,
}

/// A leg, and what its sender may be told.
pub(super) type Failed = (Claim, Diagnosis);

impl Gathered {
    fn add(&self, id: MessageId, failed: Vec<Failed>, now: Timestamp) {
        self.legs.fetch_add(failed.len(), Ordering::Relaxed);
        let mut waiting = self.waiting.lock();
        let of_it = waiting.entry(id).or_insert_with(|| Waiting {
            since: now,
            failed: Vec::new(),
        });
        of_it.failed.extend(failed);
    }

    /// It has waited long enough.
    fn end_wait(&self, id: MessageId) {
        if let Some(of_it) = self.waiting.lock().get_mut(&id) {
            of_it.since = Timestamp::from_unix_millis(0);
        }
    }

    fn count(&self, id: MessageId) -> usize {
        let waiting = self.waiting.lock();
        waiting.get(&id).map_or(0, |of_it| of_it.failed.len())
    }

    fn take(&self, id: MessageId) -> Vec<Failed> {
        let taken = self.waiting.lock().remove(&id);
        let failed = taken.map(|of_it| of_it.failed).unwrap_or_default();
        self.legs.fetch_sub(failed.len(), Ordering::Relaxed);
        failed
    }

    /// Messages that have waited long enough.
    fn due(&self, now: Timestamp) -> Vec<MessageId> {
        let waiting = self.waiting.lock();
        let due = waiting
            .iter()
            .filter(|(_, of_it)| now.since(of_it.since) >= GATHER);
        due.map(|(id, _)| *id).collect()
    }

    fn is_full(&self) -> bool {
        self.legs.load(Ordering::Relaxed) >= WAITING_MAX
    }
}

impl<S: Spool> Outbound<S> {
    /// Takes in what has failed of the message of `claim` (nothing, perhaps), and tells of all that waits of it if nothing else is tried.
    pub(super) async fn gather(&self, claim: &Claim, failed: Vec<Failed>, now: Timestamp) {
        if self.is_whole(claim, failed, now).await {
            self.tell_failed(claim.message.id, now).await;
        }
    }

    /// As [`gather`](Self::gather), for a lane of delivery. It does not wait for the DNS of a sender who has yet to be proved:
    /// some answer slowly on purpose. [`keep_deadlines`](Self::keep_deadlines) tells of those, soon.
    pub(super) async fn gather_in_lane(&self, claim: &Claim, failed: Vec<Failed>, now: Timestamp) {
        if !self.is_whole(claim, failed, now).await {
            return;
        }
        let (id, gathered) = (claim.message.id, &self.notices.gathered);
        match needs_proof(&claim.message) && !gathered.is_full() {
            true => gathered.end_wait(id),
            false => self.tell_failed(id, now).await,
        }
    }

    /// Takes in what has failed; says whether all that is to be told of together is there.
    async fn is_whole(&self, claim: &Claim, failed: Vec<Failed>, now: Timestamp) -> bool {
        let (id, gathered) = (claim.message.id, &self.notices.gathered);
        if !failed.is_empty() {
            gathered.add(id, failed, now);
        }
        let waiting = gathered.count(id);
        waiting > 0 && (gathered.is_full() || !self.is_tried(claim, waiting, now).await)
    }

    /// Tells of what has waited long enough: of many messages at once, so that none waits for the proof of another's sender.
    pub(super) async fn tell_gathered(&self, now: Timestamp) {
        for some in self.notices.gathered.due(now).chunks(TOLD_AT_ONCE) {
            join_all(some.iter().map(|id| self.tell_failed(*id, now))).await;
        }
    }

    /// Tells of all that waits: delivery has ended, and nothing else will be tried.
    pub async fn tell_the_rest(&self) {
        self.tell_gathered(self.clock.now().plus(GATHER)).await;
    }

    async fn tell_failed(&self, id: MessageId, now: Timestamp) {
        let failed = self.notices.gathered.take(id);
        for some in failed.chunks(REPORTS_MAX) {
            let told = some
                .iter()
                .map(|(claim, diagnosis)| Told::new(claim, diagnosis.clone()));
            let told: Vec<_> = told.collect();
            self.tell_together(Kind::Failed, &told, now).await;
        }
    }

    /// Whether legs of the message are tried now, or about to be, beside those that wait here. When its time is over, all that it
    /// has left are about to end.
    async fn is_tried(&self, claim: &Claim, waiting: usize, now: Timestamp) -> bool {
        let mut states = vec![State::Active, State::Ready];
        states.extend((now >= claim.deadline).then_some(State::Deferred));
        let filter = Filter {
            states,
            ..Filter::only(claim.message.id)
        };
        let page = self.spool.list(&filter, None, waiting + 1).await;
        page.is_ok_and(|Page { entries, .. }| {
            let is_due = |entry: &Entry| entry.state != State::Active;
            entries.len() > waiting || entries.iter().any(is_due)
        })
    }
}

/// How long a failed leg waits for the others.
pub(super) const GATHER: Duration = Duration::from_secs(5);
/// Legs that may wait in all.
const WAITING_MAX: usize = 10_000;
/// Messages that are told of at once.
const TOLD_AT_ONCE: usize = 100;
/// Legs in one notice: each text is searched for each private target.
const REPORTS_MAX: usize = 200;
