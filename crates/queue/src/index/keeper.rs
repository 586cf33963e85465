//! The keeper: the one thread that moves messages between memory and sled.
//!
//! A *checkpoint* writes all that changed since the last one, and the log position up to which sled is then current.
//! Its order is the proof: rows are taken from memory first; then a barrier makes every record behind them durable;
//! then sled is written, flushed, fdatasynced; only then are segments given back on its word. A message that came and
//! went between two checkpoints never touches sled.
//!
//! Whoever needs sled asks with a job (a closure); nothing else touches it.

use std::cell::Cell;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use envelope::MessageId;
use parking_lot::{Mutex, MutexGuard};
use sled::Batch;
use spool::{Clock, Token};

use crate::fault;
use crate::index::compact::Compactor;
use crate::index::damage::set_aside;
use crate::index::purge::Purge;
use crate::index::renew::Renewal;
use crate::index::row;
use crate::index::state::{Effect, State};
use crate::index::tree::{self, Tree};
use crate::log::committer::LogHandle;
use crate::log::record::Position;
use crate::log::segment::Segments;
use crate::quarantine::Quarantine;
use crate::tokens::Tokens;

/// Work for the keeper.
pub(crate) type Job = Box<dyn FnOnce(&mut Keeper) + Send>;

/// What the keeper has.
pub(crate) struct Keeper {
    pub(crate) state: Arc<Mutex<State>>,
    pub(crate) segments: Arc<Segments>,
    pub(crate) tokens: Arc<Tokens>,
    pub(crate) tree: Tree,
    /// Messages in it.
    pub(crate) rows: u64,
    pub(super) renewal: Option<Renewal>,
    /// Segments of which no message needed anything at the last checkpoint.
    pub(super) unneeded: Cell<Vec<u32>>,
    /// `None` while the log is replayed.
    pub(crate) log: Option<LogHandle<Effect>>,
    pub(crate) clock: Clock,
    /// Written into sled beside the position; an index made under others is not used.
    pub(crate) settings: Vec<u8>,
    /// Rows taken from memory and not yet written, in order.
    pub(super) pending: Vec<(Batch, usize)>,
    /// The rows that vouch for the log's position; written after `pending`.
    pub(super) proof: Batch,
    /// Messages that are over and whose rows are removed by `pending`.
    over: Vec<MessageId>,
    /// What sled vouches for, durably.
    pub(crate) position: Position,
    /// From where on the log was read at the start.
    pub(crate) replayed_from: Position,
    pub(crate) quarantine: Arc<Quarantine>,
    /// A body up to this is kept in its commit record.
    pub(crate) inline_max: usize,
    /// See [`Settings::index_waste_bytes`](crate::Settings::index_waste_bytes).
    pub(crate) waste_bytes: u64,
    compactor: Compactor,
    /// sled has failed: nothing is written to it or dropped from memory until it is open anew.
    pub(super) broken: Cell<bool>,
    /// When that was last tried.
    reopened: Option<Instant>,
}

impl Keeper {
    pub(crate) fn new(
        state: Arc<Mutex<State>>,
        segments: Arc<Segments>,
        tokens: Arc<Tokens>,
        tree: Tree,
        quarantine: Arc<Quarantine>,
        settings: Vec<u8>,
        inline_max: usize,
    ) -> Self {
        Self {
            state,
            segments,
            tokens,
            tree,
            rows: 0,
            renewal: None,
            unneeded: Cell::default(),
            log: None,
            clock: Clock::real(),
            settings,
            pending: Vec::new(),
            proof: Batch::default(),
            over: Vec::new(),
            position: Position::default(),
            replayed_from: Position::default(),
            quarantine,
            inline_max,
            waste_bytes: u64::MAX,
            compactor: Compactor::default(),
            broken: Cell::new(false),
            reopened: None,
        }
    }

    /// Serves jobs and makes checkpoints until the other side is dropped; then a last checkpoint.
    pub(crate) fn run(mut self, jobs: &Receiver<Job>, every: Duration) {
        let mut last = Instant::now();
        let mut purge = Purge::default();
        // Recovery made a checkpoint: what it sets free goes now. Each start begins a segment, and a relay that is killed
        // within `every` again and again would fill the disk with them.
        self.compact();
        loop {
            let before = self.position;
            let busy = self.compactor.is_busy() || self.is_renewing() || purge.is_busy();
            let pause = match busy {
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
            if self.is_renewing() && !self.is_broken() {
                self.renew();
            }
            purge.step(&mut self);
        }
        self.checkpoint();
    }

    /// Holds what was found damaged while it was not in memory.
    pub(crate) fn hold_damaged(&self) {
        let found = std::mem::take(&mut self.state.lock().damaged);
        for (id, reason) in found {
            if let Some(log) = self.log.as_ref().filter(|_| self.load(id))
                && let Ok(mut state) = self.settled(log, id)
            {
                set_aside(&mut state, log, id, &reason);
            }
        }
    }

    /// The state, with no leg of this message on its way to the disk: what it shows may be written behind.
    pub(crate) fn settled(
        &self,
        log: &LogHandle<Effect>,
        id: MessageId,
    ) -> Result<MutexGuard<'_, State>, spool::Error> {
        loop {
            let state = self.state.lock();
            if !state.settling.has_message(id) {
                return Ok(state);
            }
            drop(state);
            let barrier = log.barrier().blocking_recv();
            barrier.map_err(|_| spool::Error::Closed)??;
        }
    }

    /// Whether sled has failed.
    pub(crate) fn is_broken(&self) -> bool {
        self.broken.get()
    }

    fn compact(&mut self) {
        if !self.broken.get() {
            let mut compactor = std::mem::take(&mut self.compactor);
            compactor.step(self);
            self.compactor = compactor;
        }
    }

    /// Brings sled up to date; what fails is tried again with the next.
    pub(crate) fn checkpoint(&mut self) {
        if self.broken.get() && !self.reopen() {
            return;
        }
        let (end, mut dirty, (proof, unneeded)) = {
            let mut state = self.state.lock();
            let dirty = std::mem::take(&mut state.dirty);
            (state.end, dirty, self.proof_of(&state))
        };
        if dirty.is_empty() && self.pending.is_empty() && end == self.position {
            return;
        }
        self.proof = proof;
        // Neighbours in sled's tree are written together.
        dirty.sort_unstable();
        for ids in dirty.chunks(SLICE) {
            let batch = self.take_rows(ids);
            self.pending.push((batch, ids.len()));
        }
        fault::point("checkpoint.before_barrier");
        if let Some(log) = &self.log
            && let Ok(Err(e)) | Err(e) = log
                .barrier()
                .blocking_recv()
                .map_err(|_| spool::Error::Closed)
            && e != spool::Error::Closed
        {
            tracing::warn!(error = %e, "index waits: the log cannot be written");
            return;
        }
        if let Err(e) = self.write_tokens() {
            tracing::warn!(error = %e, "index waits: the token files cannot be written");
            return;
        }
        match self.write_pending() {
            Ok(()) => {
                self.position = end;
                self.state.lock().checkpointed = end;
                self.unneeded.set(unneeded);
                self.finish_renewal();
                self.forget_over();
                self.evict();
                self.begin_renewal();
            }
            Err(e) => {
                tracing::error!(error = %e, "spool index cannot be written; it is opened anew");
                self.broken.set(true);
            }
        }
    }

    /// Opens sled anew after it has failed (a full disk, an I/O error): mail goes on without it meanwhile. It must have all that
    /// it vouched for; what came since is in `pending` and in memory.
    fn reopen(&mut self) -> bool {
        if self
            .reopened
            .is_some_and(|last| last.elapsed() < REOPEN_EVERY)
        {
            return false;
        }
        self.reopened = Some(Instant::now());
        let reopened = self.tree.reopen();
        let at = reopened.map(|()| self.tree.position(&self.settings));
        match at {
            Ok(at) if at.unwrap_or_default() >= self.position => {
                tracing::warn!("spool index is open again");

                self.broken.set(false);
                true
            }
            Ok(_) => {
                tracing::error!("spool index has lost what it had: the next start rebuilds it");
                false
            }
            Err(e) => {
                tracing::warn!(error = %e, "spool index cannot be opened anew yet");
                false
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
                let before = u64::from(entry.stored.row);
                row::write(*id, &mut entry, &mut batch);
                self.rows = (self.rows + u64::from(entry.stored.row)).saturating_sub(before);
                if entry.legs().is_empty() {
                    self.over.push(*id);
                }
            }
            state.messages.insert(*id, entry);
        }
        batch
    }

    /// Writes the tokens of all records before the checkpoint's end to their files.
    fn write_tokens(&self) -> std::io::Result<()> {
        // Twice: should the last time have failed, what it was at comes first.
        for _ in 0..2 {
            let batch = self.state.lock().tokens.begin();
            self.tokens.write(&batch)?;
            self.state.lock().tokens.written();
        }
        Ok(())
    }

    /// Puts a token of an older Onward into sled; its record is not needed after the next checkpoint.
    pub(crate) fn keep_old_token(&mut self, token: &Token) {
        let mut batch = Batch::default();
        tree::put_token(&mut batch, token);
        self.pending.push((batch, 1));
        if self.pending.len() >= PENDING_MAX {
            self.checkpoint();
        }
    }

    /// What vouches for the log up to the state's end, and segments of which no message needs anything. Both of this one
    /// moment: what is counted of a later record would be counted again when that is replayed.
    fn proof_of(&self, state: &State) -> (Batch, Vec<u32>) {
        // A message that ended before now was ended by a record before the barrier that comes.
        let mut unneeded = self.segments.numbers();
        unneeded.retain(|n| *n < state.end.segment() && state.is_unneeded(*n));
        let mut proof = Batch::default();
        tree::put_live(&mut proof, state.live.iter().map(|(s, n)| (*s, *n)));
        tree::put_notes(&mut proof, &state.notes);
        tree::put_position(&mut proof, &self.settings, state.end);
        (proof, unneeded)
    }

    fn write_pending(&mut self) -> Result<(), String> {
        fault::point("checkpoint.before_index");
        for n in 0..self.pending.len() {
            let (batch, rows) = &self.pending[n];
            let renewal = self.renewal.as_ref();
            let copied = renewal.map_or(Ok(()), |r| r.fresh.apply(batch.clone(), *rows));
            self.tree.apply(batch.clone(), *rows)?;
            if let Err(e) = copied {
                self.abandon_renewal(&e);
            }
        }
        self.tree.apply(self.proof.clone(), 1)?;
        fault::point("checkpoint.before_sync");
        self.tree.sync(&self.segments.store)?;
        fault::point("checkpoint.synced");
        // Only now: should sled forget what it was told, it is told again.
        self.pending.clear();
        Ok(())
    }

    /// What is over and out of sled leaves memory.
    fn forget_over(&mut self) {
        let mut state = self.state.lock();
        for id in self.over.drain(..) {
            if state
                .messages
                .get(&id)
                .is_some_and(|entry| entry.legs().is_empty())
            {
                state.messages.remove(&id);
            }
        }
    }

    fn evict(&self) {
        let messages = self.state.lock().messages.len();
        if messages <= CACHED_MAX {
            return;
        }
        let mut excess = messages - CACHED_MAX / 2;
        // The newest first: the oldest are the ones that come due next. Few may be free, so that all are walked: mail comes in between.
        let mut end = Bound::Unbounded;
        while excess > 0 {
            let mut state = self.state.lock();
            let newest = state.messages.range((Bound::Unbounded, end)).rev();
            let some = newest
                .take(SLICE)
                .map(|(id, entry)| (*id, entry.evictable()));
            let some: Vec<_> = some.collect();
            let Some((last, _)) = some.last() else { return };
            end = Bound::Excluded(*last);
            let free = some.iter().filter(|(_, evictable)| *evictable);
            for (id, _) in free.take(excess) {
                state.evict(*id);
                excess -= 1;
            }
        }
    }
}

/// How often sled is opened anew when it has failed.
const REOPEN_EVERY: Duration = Duration::from_secs(2);
/// Old tokens that wait while the log is replayed.
const PENDING_MAX: usize = 1_000;
/// Messages written under one lock.
const SLICE: usize = 64;
/// Messages kept in memory when they could as well be in sled alone.
const CACHED_MAX: usize = 5_000;

#[cfg(test)]
mod tests;
