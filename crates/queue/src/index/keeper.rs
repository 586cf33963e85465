//! The keeper: the one thread that moves messages between memory and sled.
//!
//! A *checkpoint* writes all that changed since the last one, and the log position up to which sled is then current.
//! Its order is the proof: rows are taken from memory first; then a barrier makes every record behind them durable;
//! then sled is written, flushed, fdatasynced; only then are segments given back on its word. A message that came and
//! went between two checkpoints never touches sled.
//!
//! Whoever needs sled asks with a job (a closure); nothing else touches it.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use envelope::{Host, MessageId};
use parking_lot::{Mutex, MutexGuard};
use sled::Batch;

use crate::index::compact::Compactor;
use crate::index::damage::set_aside;
use crate::index::entry::{Entry, StoredLeg};
use crate::index::state::{Effect, State};
use crate::index::tree::{self, Tree};
use crate::index::window::Due;
use crate::log::committer::LogHandle;
use crate::log::record::Position;
use crate::log::segment::Segments;
use crate::quarantine::Quarantine;

/// Work for the keeper.
pub(crate) type Job = Box<dyn FnOnce(&mut Keeper) + Send>;

/// What the keeper has.
pub(crate) struct Keeper {
    pub(crate) state: Arc<Mutex<State>>,
    pub(crate) segments: Arc<Segments>,
    pub(crate) tree: Tree,
    /// `None` while the log is replayed.
    pub(crate) log: Option<LogHandle<Effect>>,
    /// Written into sled beside the position; an index made under others is not used.
    pub(crate) settings: Vec<u8>,
    /// Rows taken from memory and not yet written, in order.
    pending: Vec<Batch>,
    /// Messages that are over and whose rows are removed by `pending`.
    over: Vec<MessageId>,
    /// What sled vouches for, durably.
    pub(crate) position: Position,
    pub(crate) quarantine: Arc<Quarantine>,
    /// A body up to this is kept in its commit record.
    pub(crate) inline_max: usize,
    compactor: Compactor,
    /// sled has failed: nothing is written to it or dropped from memory until the next start rebuilds it.
    broken: bool,
}

impl Keeper {
    pub(crate) fn new(
        state: Arc<Mutex<State>>,
        segments: Arc<Segments>,
        tree: Tree,
        quarantine: Arc<Quarantine>,
        settings: Vec<u8>,
        inline_max: usize,
    ) -> Self {
        Self {
            state,
            segments,
            tree,
            log: None,
            settings,
            pending: Vec::new(),
            over: Vec::new(),
            position: Position::default(),
            quarantine,
            inline_max,
            compactor: Compactor::default(),
            broken: false,
        }
    }

    /// Serves jobs and makes checkpoints until the other side is dropped; then a last checkpoint.
    pub(crate) fn run(mut self, jobs: &Receiver<Job>, every: Duration) {
        let mut last = Instant::now();
        loop {
            let before = self.position;
            let pause = match self.compactor.is_busy() {
                true => Duration::ZERO,
                false => every.saturating_sub(last.elapsed()),
            };
            match jobs.recv_timeout(pause) {
                Ok(job) => job(&mut self),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if last.elapsed() >= every {
                self.hold_damaged();
                self.checkpoint();
                last = Instant::now();
            }
            if self.compactor.is_busy() || self.position != before {
                self.compact();
            }
        }
        self.checkpoint();
    }

    /// Holds what was found damaged while it was not in memory.
    pub(crate) fn hold_damaged(&self) {
        let found = std::mem::take(&mut self.state.lock().damaged);
        for (id, reason) in found {
            if let Some(log) = self.log.as_ref().filter(|_| self.load(id)) {
                if let Ok(mut state) = self.settled(log, id) {
                    set_aside(&mut state, log, id, &reason);
                }
            }
        }
    }

    /// The state, with no leg of this message on its way to the disk: what it shows may be written behind.
    pub(crate) fn settled(
        &self,
        log: &LogHandle<Effect>,
        id: MessageId,
    ) -> Result<MutexGuard<'_, State>, crate::Error> {
        loop {
            let state = self.state.lock();
            if !state.settling.has_message(id) {
                return Ok(state);
            }
            drop(state);
            let barrier = log.barrier().blocking_recv();
            barrier.map_err(|_| crate::Error::Closed)??;
        }
    }

    fn compact(&mut self) {
        if !self.broken {
            let mut compactor = std::mem::take(&mut self.compactor);
            compactor.step(self);
            self.compactor = compactor;
        }
    }

    /// Brings sled up to date; what fails is tried again with the next.
    pub(crate) fn checkpoint(&mut self) {
        if self.broken {
            return;
        }
        let (end, dirty) = {
            let mut state = self.state.lock();
            (state.end, std::mem::take(&mut state.dirty))
        };
        if dirty.is_empty() && self.pending.is_empty() && end == self.position {
            return;
        }
        for ids in dirty.chunks(SLICE) {
            let batch = self.take_rows(ids);
            self.pending.push(batch);
        }
        self.take_tokens(end);
        if let Some(log) = &self.log
            && let Ok(Err(e)) | Err(e) = log
                .barrier()
                .blocking_recv()
                .map_err(|_| crate::Error::Closed)
            && e != crate::Error::Closed
        {
            tracing::warn!(error = %e, "index waits: the log cannot be written");
            return;
        }
        match self.write_pending() {
            Ok(()) => {
                self.position = end;
                self.state.lock().checkpointed = end;
                self.forget_over();
                self.evict();
            }
            Err(e) => {
                tracing::error!(error = %e, "spool index cannot be written; it will be rebuilt at the next start");
                self.broken = true;
            }
        }
    }

    fn take_rows(&mut self, ids: &[MessageId]) -> Batch {
        let mut batch = Batch::default();
        let mut state = self.state.lock();
        for id in ids {
            let Some(mut entry) = state.messages.remove(id) else {
                continue;
            };
            if entry.dirty {
                write_entry(&state, *id, &mut entry, &mut batch);
                if entry.legs.is_empty() {
                    self.over.push(*id);
                }
            }
            state.messages.insert(*id, entry);
        }
        batch
    }

    fn take_tokens(&mut self, end: Position) {
        let mut batch = Batch::default();
        let state = self.state.lock();
        for (token, segment) in state.tokens.values() {
            tree::put_token(&mut batch, token, *segment);
        }
        tree::put_live(&mut batch, state.live.iter().map(|(s, n)| (*s, *n)));
        tree::put_position(&mut batch, &self.settings, end);
        self.pending.push(batch);
    }

    fn write_pending(&mut self) -> Result<(), String> {
        for batch in self.pending.drain(..) {
            self.tree.apply(batch, 4 * SLICE)?;
        }
        self.tree.sync(&self.segments.store)
    }

    /// What is over and out of sled leaves memory; so do tokens that sled now has.
    fn forget_over(&mut self) {
        let mut state = self.state.lock();
        for id in self.over.drain(..) {
            if state
                .messages
                .get(&id)
                .is_some_and(|entry| entry.legs.is_empty())
            {
                state.messages.remove(&id);
            }
        }
        let tree = &self.tree;
        state.tokens.retain(|name, (token, segment)| {
            tree.token(name).as_ref() != Some(&(token.clone(), *segment))
        });
    }

    fn evict(&self) {
        let ids: Vec<MessageId> = {
            let state = self.state.lock();
            if state.messages.len() <= CACHED_MAX {
                return;
            }
            let excess = state.messages.len() - CACHED_MAX / 2;
            // The newest first: the oldest are the ones that come due next.
            let newest = state.messages.iter().rev();
            let free = newest.filter(|(_, entry)| entry.evictable());
            free.map(|(id, _)| *id).take(excess).collect()
        };
        for some in ids.chunks(SLICE) {
            let mut state = self.state.lock();
            some.iter().for_each(|id| state.evict(*id));
        }
    }

    /// Brings a message into memory; says whether it is there now.
    pub(crate) fn load(&self, id: MessageId) -> bool {
        self.try_load(id).unwrap_or(false)
    }

    /// As [`Keeper::load`], for those who must not take what cannot be read for what is not there.
    pub(crate) fn try_load(&self, id: MessageId) -> Result<bool, &'static str> {
        if self.state.lock().messages.contains_key(&id) {
            return Ok(true);
        }
        let found = self.tree.message(id).map_err(|e| {
            tracing::error!(message = %id, error = %e, "index row cannot be read");
            "the index cannot be read"
        });
        let Some((row, legs)) = found? else {
            return Ok(false);
        };
        let mut state = self.state.lock();
        let stored = legs
            .iter()
            .map(|leg| state.stored_leg(&row.message, leg))
            .collect();
        state.put_in(id, Entry::new(row, legs, stored, false));
        Ok(true)
    }

    /// Brings the next due legs of a host into memory.
    pub(crate) fn load_host(&self, host: &Host, now: envelope::Timestamp) {
        let Some(from) = self.state.lock().window.stored(host) else {
            return;
        };
        let next = self.load_some(self.tree.host(host, from), now);
        self.state.lock().window.set_stored(host, next);
    }

    /// Brings the legs whose deadlines have passed into memory.
    pub(crate) fn load_deadlines(&self, now: envelope::Timestamp) {
        let Some(from) = self.state.lock().window.deadlines_stored else {
            return;
        };
        let next = self.load_some(self.tree.deadlines(Some(from)), now);
        self.state.lock().window.deadlines_stored = next;
    }

    /// Loads the messages of an order; says where what was not loaded begins.
    fn load_some(&self, order: impl Iterator<Item = Due>, now: envelope::Timestamp) -> Option<Due> {
        let mut loaded = 0;
        for due in order {
            let id = due.1.message;
            if self.state.lock().messages.contains_key(&id) {
                continue;
            }
            if due.0 > now || loaded >= LOADED_AT_ONCE {
                return Some(due);
            }
            self.load(id);
            loaded += 1;
        }
        None
    }
}

/// Writes what sled should know of a message, and remembers what it then knows.
fn write_entry(state: &State, id: MessageId, entry: &mut Entry, batch: &mut Batch) {
    let name = |number| envelope::LegId {
        message: id,
        number,
    };
    let stored: Vec<StoredLeg> = entry
        .legs
        .values()
        .map(|leg| state.stored_leg(&entry.message, &leg.row))
        .collect();
    for old in entry.stored.drain(..) {
        let id = name(old.number);
        let new = stored.iter().find(|new| new.number == old.number);
        if new.is_none() {
            batch.remove(&tree::leg_key(id));
        }
        if new.is_none_or(|new| new.due != old.due || new.host != old.host) {
            batch.remove(tree::host_key(&old.host, (old.due, id)));
        }
        if let Some(deadline) = old.deadline
            && new.is_none_or(|new| new.deadline != old.deadline)
        {
            batch.remove(tree::deadline_key((deadline, id)));
        }
    }
    for (leg, row) in stored.iter().zip(entry.legs.values_mut()) {
        if std::mem::take(&mut row.dirty) {
            let id = name(leg.number);
            batch.insert(&tree::leg_key(id), row.row.encode());
            batch.insert(tree::host_key(&leg.host, (leg.due, id)), &[]);
            if let Some(deadline) = leg.deadline {
                batch.insert(tree::deadline_key((deadline, id)), &[]);
            }
        }
    }
    if entry.legs.is_empty() {
        batch.remove(&tree::message_key(id));
    } else {
        batch.insert(&tree::message_key(id), entry.row().encode());
    }
    entry.stored = stored;
    entry.dirty = false;
}

/// The keeper's thread and the way to it.
#[derive(Debug)]
pub(crate) struct KeeperThread {
    jobs: Option<Sender<Job>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl KeeperThread {
    pub(crate) fn start(keeper: Keeper, every: Duration) -> std::io::Result<Self> {
        let (jobs, receiver) = std::sync::mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("spool-index".into())
            .spawn(move || keeper.run(&receiver, every))?;
        Ok(Self {
            jobs: Some(jobs),
            thread: Some(thread),
        })
    }

    pub(crate) fn jobs(&self) -> Option<Sender<Job>> {
        self.jobs.clone()
    }

    /// Ends the thread after what was asked is done. Every clone of the sender must be gone.
    pub(crate) fn stop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // A panic there was reported by the panic hook; the next start rebuilds what it left.
            let _ = thread.join();
        }
    }
}

/// Messages written under one lock.
const SLICE: usize = 64;
/// Messages kept in memory when they could as well be in sled alone.
const CACHED_MAX: usize = 5_000;
/// Messages of one host brought into memory at once.
const LOADED_AT_ONCE: usize = 256;
