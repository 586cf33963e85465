//! [`Spool`]'s operations on the embedded engine.
//!
//! Durable ones wait for the log; the others change the state under its lock and hand their record to the log under the
//! same lock, so that the log's order is the order of the changes.

use std::sync::Arc;
use std::time::Duration;

use envelope::{Claim, Destination, Lease, LegId, MessageId, Timestamp};
use spool::{
    Action, Arrival, BodyWriter, By, Changed, Counts, Disk, Dsn, Entry, Error, Filter,
    LAST_OCTETS_MAX, OpenError, Overdue, Page, Settlement, Spool, Summary, Token, Update, Want,
    summarise,
};
use tokio::sync::{oneshot, watch};

use crate::engine::{LogSpool, Shared, answered};
use crate::fault;
use crate::index::state::{Effect, Guards, State};
use crate::log::codec::{Change, LegState};
use crate::log::committer::Answer;
use crate::log::record::{Kind, Payload};
use crate::new_commit::new_commit;
use crate::open::inline_max;
use crate::read::LogReader;
use crate::tokens::Place;
use crate::write::LogWriter;

impl Spool for LogSpool {
    type Writer = LogWriter;
    type Reader = LogReader;

    async fn begin(&self, id: MessageId) -> Result<LogWriter, Error> {
        self.shared.check_space().await?;
        self.relieve().await?;
        Ok(self.begin_anyway(id))
    }

    async fn commit(&self, writer: LogWriter, arrival: Arrival) -> Result<Vec<Claim>, Error> {
        let id = arrival.message.id;
        debug_assert_eq!(writer.id(), id, "the writer is another message's");
        if self.is_queued(id).await? {
            return Ok(Vec::new());
        }
        let parts = writer.finish().await?;
        let (sender, leased) = oneshot::channel();
        let until = arrival.lease.map(|lease| self.clock().now().plus(lease));
        let guards = Guards {
            lease: until.map(|until| (until, sender)),
            ..Guards::default()
        };
        self.append(arrival, parts, guards, |_| ()).await?;
        // Without a lease nothing comes.
        Ok(leased.await.unwrap_or_default())
    }

    async fn claim(&self, want: &Want) -> Result<Vec<Claim>, Error> {
        let now = self.clock().now();
        self.lease(|state, in_memory| state.claim(want, now, in_memory))
            .await
    }

    async fn park(&self, destinations: &[(Destination, bool)]) {
        for some in destinations.chunks(PARKED_AT_ONCE) {
            self.shared.state.lock().window.park(some);
            tokio::task::yield_now().await;
        }
    }

    async fn overdue(&self, max: usize, lease: Duration) -> Result<Vec<Overdue>, Error> {
        let now = self.clock().now();
        self.lease(|state, in_memory| state.overdue(max, lease, now, in_memory))
            .await
    }

    async fn extend(&self, leases: &[Lease], lease: Duration) -> Vec<Result<(), Error>> {
        let until = self.clock().now().plus(lease);
        let mut results = Vec::with_capacity(leases.len());
        for some in leases.chunks(EXTENDED_AT_ONCE) {
            let mut state = self.shared.state.lock();
            results.extend(some.iter().map(|lease| state.extend(lease, until)));
        }
        results
    }

    async fn settle(&self, legs: Vec<(Lease, Settlement)>) -> Vec<Result<(), Error>> {
        // All records are handed over before any is waited for: one fdatasync makes all of them durable.
        let mut handed_over = Vec::with_capacity(legs.len());
        let mut moved = false;
        for (lease, settlement) in legs {
            moved |= matches!(settlement, Settlement::Reschedule(..));
            handed_over.push(self.hand_over(&lease, settlement).await);
        }
        let mut results = Vec::with_capacity(handed_over.len());
        for result in handed_over {
            results.push(match result {
                Ok(Some(answer)) => answered(answer.await).map(|_| ()),
                Ok(None) => Ok(()),
                Err(error) => Err(error),
            });
        }
        if moved {
            self.changes.send_replace(());
        }
        results
    }

    async fn open_body(&self, id: MessageId) -> Result<LogReader, OpenError> {
        let shared = &self.shared;
        let opened = match open_in_memory(shared, id) {
            Some(opened) => opened,
            None => {
                let shared = Arc::clone(shared);
                self.ask(move |keeper| {
                    // Since we looked, the compactor may have loaded and moved it; then sled's row is of yesterday.
                    if let Some(opened) = open_in_memory(&shared, id) {
                        return opened;
                    }
                    let row = keeper.tree.message(id).map_err(OpenError::Unavailable)?;
                    let found = row.ok_or(OpenError::NotFound)?;
                    LogReader::of_extents(&shared, &found.row.message, &found.row.body)
                })
                .await
                .unwrap_or_else(|e| Err(OpenError::Unavailable(e.to_string())))
            }
        };
        if let Err(OpenError::Damaged(reason)) = &opened {
            shared.body_damaged(id, reason);
        }
        opened
    }

    async fn next_due(&self) -> Option<Duration> {
        let state = self.shared.state.lock();
        let next = state.window.next_event(state.claimed_at)?;
        Some(next.since(self.clock().now()))
    }

    fn changed(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }

    async fn bring_back(&self, writer: LogWriter, legs: Vec<Entry>) -> Result<bool, Error> {
        self.take_back(writer, legs).await
    }

    async fn list(&self, filter: &Filter, cursor: Option<LegId>, n: usize) -> Result<Page, Error> {
        let now = self.clock().now();
        let filter = filter.clone();
        self.ask(move |keeper| keeper.list(&filter, cursor, n, now))
            .await
    }

    async fn counts(&self) -> Result<Counts, Error> {
        let now = self.clock().now();
        self.ask(move |keeper| keeper.counts(now)).await
    }

    async fn summary(&self, filter: &Filter, by: By, n: usize) -> Result<Summary, Error> {
        let now = self.clock().now();
        match *filter == Filter::default() {
            true => self.ask(move |keeper| keeper.summary(by, n, now)).await,
            false => summarise(self, filter, by, n, now).await,
        }
    }

    fn disk(&self) -> Disk {
        let settings = &self.shared.settings;
        let free = self.shared.segments.store.free(&settings.dir);
        Disk {
            free: free.ok().map(|free| free.bytes),
            free_min: settings.min_free_bytes,
        }
    }

    async fn admin(
        &self,
        filter: &Filter,
        action: Action,
        cursor: Option<LegId>,
        n: usize,
    ) -> Result<Changed, Error> {
        let now = self.clock().now();
        let filter = filter.clone();
        let changed = self
            .ask(move |keeper| keeper.admin(&filter, action, cursor, n, now))
            .await?;
        self.changes.send_replace(());
        changed
    }

    fn token(&self, value: &str, expires: Timestamp) -> Token {
        self.shared.tokens.name(value, expires)
    }

    async fn recall(&self, name: &str) -> Result<Option<String>, Error> {
        let found = match Place::parse(name) {
            Some(place) => self.read_token(place).await?,
            // An older Onward's, or nobody's.
            None => {
                let name = name.to_owned();
                self.ask(move |keeper| keeper.tree.token(&name)).await?
            }
        };
        let now = self.clock().now();
        let found = found.filter(|token| token.expires > now);
        Ok(found.map(|token| token.value.into()))
    }
}

impl LogSpool {
    /// Brings what `take` lacks from sled until it has all, or until no more comes. Loading comes first, leasing last and at
    /// once: who drops this future loses no lease.
    async fn lease<T>(
        &self,
        take: impl Fn(&mut State, bool) -> Result<Vec<T>, Vec<MessageId>>,
    ) -> Result<Vec<T>, Error> {
        for _ in 0..LOADS_MAX {
            let absent = match take(&mut self.shared.state.lock(), false) {
                Ok(leased) => return Ok(leased),
                Err(absent) => absent,
            };
            if !self.ask(move |keeper| keeper.load_all(absent)).await? {
                break;
            }
        }
        Ok(take(&mut self.shared.state.lock(), true).unwrap_or_default())
    }

    /// Whether the message is in the queue already, from an earlier life of the process perhaps. Ids grow with time: one that
    /// is above all that sled alone knows is new, and costs no look there.
    pub(crate) async fn is_queued(&self, id: MessageId) -> Result<bool, Error> {
        {
            let state = self.shared.state.lock();
            if id > state.stored_max || state.messages.contains_key(&id) {
                return Ok(state.is_open(id));
            }
        }
        let loaded = self.ask(move |keeper| keeper.try_load(id)).await?;
        loaded.map_err(|e| Error::Unknown(e.to_owned()))?;
        Ok(self.shared.state.lock().is_open(id))
    }

    async fn read_token(&self, place: Place) -> Result<Option<Token>, Error> {
        if let Some(fresh) = self.shared.state.lock().tokens.get(place) {
            return Ok(Some(fresh.clone()));
        }
        let tokens = Arc::clone(&self.shared.tokens);
        let read = tokio::task::spawn_blocking(move || tokens.read(place)).await;
        let read = read.map_err(|e| Error::Unknown(e.to_string()))?;
        read.map_err(|e| Error::Unknown(format!("a token cannot be read: {e}")))
    }

    /// Makes the change and hands its record to the log; an answer comes only when somebody must wait for that to be durable.
    async fn hand_over(
        &self,
        lease: &Lease,
        settlement: Settlement,
    ) -> Result<Option<oneshot::Receiver<Answer>>, Error> {
        let (again, dsn) = match settlement {
            Settlement::Complete(dsn) => (None, dsn),
            Settlement::Reschedule(due, mut update) => {
                let dsn = update.dsn.take();
                (Some((due, update)), dsn)
            }
            Settlement::Release => {
                return self.shared.state.lock().release(lease).map(|()| None);
            }
        };
        let new = |old: &LegState| Some(rescheduled(old, again.as_ref()?));
        match dsn {
            None => self.change(lease, new).map(|()| None),
            Some(dsn) => self.append_dsn(lease, dsn, new).await.map(Some),
        }
    }

    /// A notice and the change it comes with, in one record.
    async fn append_dsn(
        &self,
        lease: &Lease,
        dsn: Dsn,
        state: impl FnOnce(&LegState) -> Option<LegState>,
    ) -> Result<oneshot::Receiver<Answer>, Error> {
        let Dsn { arrival, body } = dsn;
        let mut writer = self.begin_anyway(arrival.message.id);
        writer.reserved = true;
        writer.write(body).await?;
        let mut parts = writer.finish().await?;
        let mut commit = new_commit(arrival, &self.shared.settings, &mut parts)?;
        fault::point("notice.before_record");
        let index = self.shared.state.lock();
        let (entry, leg) = index.leased(lease)?;
        commit.also = Some(Change {
            leg: lease.leg,
            since: entry.since,
            state: state(&leg.row.state),
        });
        let (payload, commit) = commit.into_payload(parts.inline.clone());
        self.check_payload(&payload)?;
        // Until the record is durable the leg stays as it is, but nobody may write its state behind the record.
        let mark = index.settling.mark(lease.leg);
        let mark = mark.ok_or(Error::Fenced(lease.leg))?;
        let guards = Guards {
            leg: Some(mark),
            ..Guards::default()
        };
        let effect = parts.into_effect(commit, guards);
        Ok(self.shared.log.append(payload, Some(effect)))
    }

    pub(crate) fn check_payload(&self, payload: &Payload) -> Result<(), Error> {
        let max = self.shared.settings.segment_bytes / 2;
        match payload.octets > max {
            true => Err(Error::TooLarge {
                what: "message with its recipients",
                max: max as usize,
            }),
            false => Ok(()),
        }
    }

    fn begin_anyway(&self, id: MessageId) -> LogWriter {
        LogWriter::new(
            Arc::clone(&self.shared),
            id,
            inline_max(self.shared.settings.segment_bytes),
        )
    }

    fn change(
        &self,
        lease: &Lease,
        state: impl FnOnce(&LegState) -> Option<LegState>,
    ) -> Result<(), Error> {
        let mut index = self.shared.state.lock();
        let (entry, leg) = index.leased(lease)?;
        if index.settling.has_leg(lease.leg) {
            return Err(Error::Fenced(lease.leg));
        }
        let change = Change {
            leg: lease.leg,
            since: entry.since,
            state: state(&leg.row.state),
        };
        index.apply_change(&change);
        fault::point("change.before_record");
        // Under the state's lock, so that the log has changes in the order in which they were made.
        let payload = Payload::new(Kind::Change, vec![change.encode()]);
        let effect = Effect::Changed(change.since);
        self.shared.log.append_lazily(payload, effect);
        drop(index);
        if change.state.is_none() {
            self.shared.completed.note(change.leg);
        }
        fault::point("change.recorded");
        Ok(())
    }
}

fn rescheduled(old: &LegState, (due, update): &(Timestamp, Update)) -> LegState {
    LegState {
        due: *due,
        attempts: update.attempts,
        warned: update.warned,
        // That its message is damaged says more than what an attempt came to over it.
        last: match old.damaged {
            true => old.last.clone(),
            false => {
                let last = update.last.clone();
                last.map(|last| Box::new(last.clipped(LAST_OCTETS_MAX)))
            }
        },
        damaged: old.damaged,
        // What the operator wanted meanwhile stands.
        held: old.held,
        bounced: old.bounced,
    }
}

/// The body of a message that is in memory; `None` when it is not.
fn open_in_memory(shared: &Arc<Shared>, id: MessageId) -> Option<Result<LogReader, OpenError>> {
    let state = shared.state.lock();
    let entry = state.messages.get(&id)?;
    let message = &entry.message;
    Some(match state.cache.body(id) {
        _ if entry.legs().is_empty() => Err(OpenError::NotFound),
        Some(body) => Ok(LogReader::of_cached(shared, message, body)),
        // Under the lock: the compactor cannot move the body before its files are open.
        None => LogReader::of_extents(shared, message, &entry.body),
    })
}

/// Rounds of loading before a claim makes do with what is in memory.
const LOADS_MAX: usize = 8;
/// Leases extended under one lock.
const EXTENDED_AT_ONCE: usize = 100;
/// Hosts parked under one lock: some 50 µs.
const PARKED_AT_ONCE: usize = 100;
