//! The index in memory: messages that changed since they were last written to sled, or that are being worked on.
//!
//! All of it is behind one lock that is held for map operations only. Records are handed to the log under the same lock,
//! so that the log's order is the order of the changes.

use std::collections::BTreeMap;

use bytes::Bytes;
use envelope::{Claim, LegId, MessageId, Timestamp};
use spool::{Deadlines, Lifetime};
use tokio::sync::oneshot;

use crate::cache::BodyCache;
use crate::index::drafts::{Draft, Drafts};
use crate::index::entry::{Entry, LegEntry, Stored, deadline, place, placed};
use crate::index::reclaim::Notes;
use crate::index::row::Glance;
use crate::index::settling::{Mark, Settling};
use crate::index::window::{About, Due, Window};
use crate::log::codec::{Change, Commit, Dates};
use crate::log::record::Position;
use crate::tokens::Fresh;

/// What the log applies here when a record is durable.
#[derive(Debug)]
pub(crate) enum Effect {
    /// A new message, and its body for the cache.
    Commit(Box<Commit>, Option<Bytes>, Guards),
    /// A message's records were written anew.
    Moved(Box<Commit>),
    /// Nothing: the change was made already, of a message with this `since`.
    Changed(u32),
}

/// What a commit on its way to the disk keeps others away from, until it is applied or has failed.
#[derive(Debug, Default)]
pub(crate) struct Guards {
    /// The leg that a notice speaks of.
    pub(crate) leg: Option<Mark>,
    /// The chunks of its body.
    pub(crate) body: Option<Draft>,
    /// Its legs are leased as it comes in, until then, before anybody can claim them; and who waits for them.
    pub(crate) lease: Option<(Timestamp, oneshot::Sender<Vec<Claim>>)>,
}

/// The index in memory.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) messages: BTreeMap<MessageId, Entry>,
    pub(crate) window: Window,
    /// Changed since the last checkpoint; may name messages that are gone.
    pub(crate) dirty: Vec<MessageId>,
    pub(crate) tokens: Fresh,
    /// Messages found damaged while not in memory, with the reason: for the keeper.
    pub(crate) damaged: Vec<(MessageId, String)>,
    pub(crate) settling: Settling,
    /// Bodies that are being written to the log.
    pub(crate) drafts: Drafts,
    /// Octets in each segment that live messages need. A hint: the compactor looks for itself.
    pub(crate) live: BTreeMap<u32, i64>,
    pub(crate) notes: Notes,
    /// All of the log before this is applied here.
    pub(crate) end: Position,
    /// What sled vouches for, durably.
    pub(crate) checkpointed: Position,
    pub(crate) cache: BodyCache,
    pub(crate) owner: u64,
    /// Every message that is in sled and not here has this id or a smaller one.
    pub(crate) stored_max: MessageId,
    /// The moment of the last claim: what became due since has not been seen.
    pub(crate) claimed_at: Timestamp,
    pub(super) next_token: u64,
    lifetime: Lifetime,
}

impl State {
    pub(crate) fn new(owner: u64, cache: BodyCache, lifetime: Lifetime) -> Self {
        Self {
            messages: BTreeMap::new(),
            window: Window::default(),
            dirty: Vec::new(),
            tokens: Fresh::default(),
            damaged: Vec::new(),
            settling: Settling::default(),
            drafts: Drafts::default(),
            live: BTreeMap::new(),
            notes: Notes::default(),
            end: Position::default(),
            checkpointed: Position::default(),
            cache,
            owner,
            claimed_at: Timestamp::from_unix_millis(0),
            stored_max: MessageId::from_bits(0),
            // Unique within the owner, and that is unique per process run.
            next_token: 1,
            lifetime,
        }
    }

    /// Messages, and tokens as what they take, that a checkpoint takes out of memory.
    pub(crate) fn held(&self) -> usize {
        self.messages.len() + self.tokens.len() / TOKENS_PER_MESSAGE
    }

    /// Whether the message is in memory and has open legs.
    pub(crate) fn is_open(&self, id: MessageId) -> bool {
        self.messages
            .get(&id)
            .is_some_and(|entry| !entry.legs().is_empty())
    }

    /// Applies one effect whose record is at `position`.
    pub(crate) fn apply(&mut self, position: Position, effect: Effect) {
        let segment = position.segment();
        match effect {
            Effect::Commit(mut commit, body, mut guards) => {
                let tokens = commit.tokens.drain(..);
                tokens.for_each(|token| self.tokens.insert(token));
                if let Some(also) = &commit.also {
                    self.notes.change(segment, also.since);
                    self.apply_change(also);
                }
                let id = commit.row.message.id;
                if !self.is_open(id) {
                    self.insert(*commit, position);
                    body.into_iter()
                        .for_each(|body| self.cache.insert(id, body));
                    if let Some((until, answer)) = guards.lease.take() {
                        // Who waited may have gone away: the leases run out then.
                        let _ = answer.send(self.lease_all(id, until));
                    }
                }
                // From here on the message itself speaks for its chunks, and the change is made.
                let Guards { leg, body, .. } = guards;
                drop((leg, body));
            }
            Effect::Moved(commit) => self.relocate(*commit, position),
            Effect::Changed(since) => self.notes.change(segment, since),
        }
    }

    /// Puts a committed message in, in the place of an older state of it (replay).
    pub(crate) fn insert(&mut self, commit: Commit, position: Position) {
        let legs = commit.legs.clone();
        let row = placed(commit, position);
        let id = row.message.id;
        let stored = match self.take_out(id) {
            Some(old) => old.stored,
            None => Stored::default(),
        };
        let entry = Entry::new(row, legs, stored, true);
        account(&mut self.live, &entry, 1);
        self.put_in(id, entry);
        self.mark(id);
    }

    fn relocate(&mut self, commit: Commit, position: Position) {
        let row = placed(commit, position);
        let id = row.message.id;
        let Some(entry) = self
            .messages
            .get_mut(&id)
            .filter(|entry| !entry.legs().is_empty())
        else {
            return;
        };
        account(&mut self.live, entry, -1);
        entry.since = row.since;
        entry.commit_segment = row.commit_segment;
        entry.commit_octets = row.commit_octets;
        entry.body = row.body.into();
        account(&mut self.live, entry, 1);
        self.mark(id);
    }

    /// The segment is gone, and with it the oldest commit record of a message: its newest is the only one.
    pub(crate) fn forget_since(&mut self, id: MessageId, segment: u32) {
        if let Some(entry) = self.messages.get_mut(&id)
            && entry.since == segment
        {
            entry.since = entry.commit_segment;
            self.mark(id);
        }
    }

    /// Applies a change of a leg; of one that is gone, nothing. Ends any lease of it.
    pub(crate) fn apply_change(&mut self, change: &Change) {
        let id = change.leg;
        self.unindex(id);
        let Some(entry) = self.messages.get_mut(&id.message) else {
            return;
        };
        match &change.state {
            Some(state) => {
                if let Some(leg) = entry.leg_mut(id.number) {
                    leg.row.state = state.clone();
                    leg.leased = None;
                    leg.dirty = true;
                    // Whoever had it is done with it.
                    leg.token = 0;
                }
                self.index(id);
            }
            None => {
                if entry.remove_leg(id.number) && entry.legs().is_empty() {
                    self.finish(id.message);
                }
            }
        }
        self.mark(id.message);
    }

    /// As [`State::apply_change`], but whoever has the leg keeps it, unless it ends.
    pub(crate) fn apply_admin(&mut self, change: &Change) {
        let lease = leg_of(&self.messages, change.leg).map(|(_, leg)| (leg.leased, leg.token));
        self.apply_change(change);
        if let Some((Some(until), token)) = lease {
            self.set_lease(change.leg, Some(until), Some(token));
        }
    }

    /// The last leg has ended: the message leaves memory, unless sled still has rows of it.
    fn finish(&mut self, id: MessageId) {
        self.cache.remove(id);
        let Some(entry) = self.messages.get(&id) else {
            return;
        };
        account(&mut self.live, entry, -1);
        if !entry.stored.row {
            self.messages.remove(&id);
        }
    }

    /// Whether neither a message nor a body that is being written needs anything of a segment.
    pub(crate) fn is_unneeded(&self, segment: u32) -> bool {
        let live = self.live.get(&segment).is_some_and(|live| *live != 0);
        !live && !self.drafts.need(segment)
    }

    pub(crate) fn mark(&mut self, id: MessageId) {
        if let Some(entry) = self.messages.get_mut(&id)
            && !entry.dirty
        {
            entry.dirty = true;
            self.dirty.push(id);
        }
    }

    /// Puts a message into memory and its legs into the orders.
    pub(crate) fn put_in(&mut self, id: MessageId, entry: Entry) {
        let numbers: Vec<u32> = entry.legs().iter().map(|leg| leg.row.number).collect();
        if entry.dirty {
            self.dirty.push(id);
        }
        self.messages.insert(id, entry);
        for number in numbers {
            self.index(LegId {
                message: id,
                number,
            });
        }
    }

    /// Takes a message out of memory and its legs out of the orders.
    fn take_out(&mut self, id: MessageId) -> Option<Entry> {
        let entry = self.messages.get(&id)?;
        let numbers: Vec<u32> = entry.legs().iter().map(|leg| leg.row.number).collect();
        if !numbers.is_empty() {
            account(&mut self.live, entry, -1);
        }
        for number in numbers {
            self.unindex(LegId {
                message: id,
                number,
            });
        }
        self.messages.remove(&id)
    }

    /// Puts a message into memory that came from sled: its legs are in the orders already.
    pub(crate) fn put_back(&mut self, id: MessageId, entry: Entry) {
        self.messages.insert(id, entry);
    }

    /// Sends an unchanged, unleased message to sled alone.
    pub(crate) fn evict(&mut self, id: MessageId) {
        if self.messages.get(&id).is_some_and(Entry::evictable) {
            self.messages.remove(&id);
            self.stored_max = self.stored_max.max(id);
        }
    }

    /// Puts a leg that nobody has leased into the orders.
    pub(crate) fn enter(&mut self, id: LegId, sender: &str, dates: Dates, leg: &Glance) {
        let Glance { to, state, .. } = leg;
        let last = state.last.as_deref();
        let due = Due::new(place(state), id);
        self.window.add(to, due, About { sender, last });
        self.stored_max = self.stored_max.max(id.message);
        let deadline = deadline(self.deadlines(dates), state);
        let deadline = deadline.map(|at| Due::new(at, id));
        self.window.deadlines.extend(deadline);
    }

    /// The deadlines of a message: its own, or as the settings are for one of an older Onward.
    pub(super) fn deadlines(&self, (arrived, own): Dates) -> Deadlines {
        own.unwrap_or_else(|| self.lifetime.deadlines(arrived))
    }

    pub(super) fn index(&mut self, id: LegId) {
        let Some((entry, leg)) = leg_of(&self.messages, id) else {
            return;
        };
        if let Some(until) = leg.leased {
            self.window.leases.insert(Due::new(until, id));
            return;
        }
        let state = &leg.row.state;
        let due = Due::new(place(state), id);
        let deadline = deadline(self.deadlines(entry.dates()), state);
        let about = About {
            sender: &spool::sender_name(&entry.message.reverse_path),
            last: state.last.as_deref(),
        };
        self.window.add(&leg.row.leg.destination(), due, about);
        let deadline = deadline.map(|at| Due::new(at, id));
        self.window.deadlines.extend(deadline);
    }

    pub(super) fn unindex(&mut self, id: LegId) {
        let Some((entry, leg)) = leg_of(&self.messages, id) else {
            return;
        };
        if let Some(until) = leg.leased {
            self.window.leases.remove(&Due::new(until, id));
            return;
        }
        let state = &leg.row.state;
        let due = Due::new(place(state), id);
        self.window.remove(&leg.row.leg.destination(), due);
        if let Some(at) = deadline(self.deadlines(entry.dates()), state) {
            self.window.deadlines.remove(&Due::new(at, id));
        }
    }
}

/// A token takes some 250 octets, a message with its legs some KiB.
const TOKENS_PER_MESSAGE: usize = 8;

/// Counts what a message needs of each segment, or counts it no more.
fn account(live: &mut BTreeMap<u32, i64>, entry: &Entry, sign: i64) {
    let body = entry
        .body
        .iter()
        .map(|extent| (extent.segment, extent.octets));
    for (segment, octets) in body.chain([(entry.commit_segment, entry.commit_octets)]) {
        *live.entry(segment).or_default() += sign * i64::from(octets);
    }
}

pub(crate) fn leg_of(
    messages: &BTreeMap<MessageId, Entry>,
    id: LegId,
) -> Option<(&Entry, &LegEntry)> {
    let entry = messages.get(&id.message)?;
    Some((entry, entry.leg(id.number)?))
}
