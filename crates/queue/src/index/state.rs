//! The index in memory: messages that changed since they were last written to sled, or that are being worked on.
//!
//! All of it is behind one lock that is held for map operations only. Records are handed to the log under the same lock,
//! so that the log's order is the order of the changes.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use envelope::{Claim, Host, Lease, LegId, Message, MessageId, Timestamp};

use crate::cache::BodyCache;
use crate::index::window::{Due, HELD, NEVER, Window};
use crate::log::codec::{Change, Commit, Extent, LegRow, LegState, MessageRow, Token};
use crate::log::record::{Header, Position};
use crate::spool::{Error, Overdue, State as LegStanding, Want, Why};

/// What the log applies here when a record is durable.
#[derive(Debug)]
pub(crate) enum Effect {
    /// A new message, and its body for the cache.
    Commit(Box<Commit>, Option<Bytes>),
    /// A message's records were written anew.
    Moved(Box<Commit>),
    /// A token.
    Token(Token),
}

/// The index in memory.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) messages: BTreeMap<MessageId, Entry>,
    pub(crate) window: Window,
    /// Changed since the last checkpoint; may name messages that are gone.
    pub(crate) dirty: Vec<MessageId>,
    /// Tokens not yet in sled, with the segment they are in.
    pub(crate) tokens: HashMap<Box<str>, (Token, u32)>,
    /// Bodies that are being written: the segment of their first chunk.
    pub(crate) drafts: HashMap<MessageId, u32>,
    /// Octets in each segment that live messages need. A hint: the compactor looks for itself.
    pub(crate) live: BTreeMap<u32, i64>,
    /// All of the log before this is applied here.
    pub(crate) end: Position,
    pub(crate) cache: BodyCache,
    pub(crate) owner: u64,
    /// The latest `now` that a caller named: the index has no clock of its own.
    pub(crate) now: Timestamp,
    next_token: u64,
    warn_after: Duration,
    expire: Duration,
}

/// A message in memory.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) message: Arc<Message>,
    pub(crate) since: u32,
    pub(crate) commit_segment: u32,
    pub(crate) commit_octets: u32,
    pub(crate) body: Arc<[Extent]>,
    /// Open legs by number; empty: the message is over, and only its rows in sled remain to be removed.
    pub(crate) legs: BTreeMap<u32, LegEntry>,
    /// The rows that sled has of it.
    pub(crate) stored: Vec<StoredLeg>,
    pub(crate) dirty: bool,
}

/// A leg in memory.
#[derive(Debug)]
pub(crate) struct LegEntry {
    pub(crate) row: LegRow,
    /// The token of the newest lease.
    token: u64,
    /// When that ends, while it lasts.
    pub(crate) leased: Option<Timestamp>,
    /// Whether sled's row is not this.
    pub(crate) dirty: bool,
}

/// What sled knows of a leg.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredLeg {
    pub(crate) number: u32,
    pub(crate) host: Host,
    pub(crate) due: Timestamp,
    pub(crate) deadline: Option<Timestamp>,
}

impl State {
    pub(crate) fn new(
        owner: u64,
        cache: BodyCache,
        warn_after: Duration,
        expire: Duration,
    ) -> Self {
        Self {
            messages: BTreeMap::new(),
            window: Window::default(),
            dirty: Vec::new(),
            tokens: HashMap::new(),
            drafts: HashMap::new(),
            live: BTreeMap::new(),
            end: Position::default(),
            cache,
            owner,
            now: Timestamp::from_unix_millis(0),
            // Unique within the owner, and that is unique per process run.
            next_token: 1,
            warn_after,
            expire,
        }
    }

    /// Whether the message is in memory and has open legs.
    pub(crate) fn is_open(&self, id: MessageId) -> bool {
        self.messages
            .get(&id)
            .is_some_and(|entry| !entry.legs.is_empty())
    }

    /// Applies one effect whose record is at `position`.
    pub(crate) fn apply(&mut self, position: Position, effect: Effect) {
        match effect {
            Effect::Commit(commit, body) => {
                if let Some(also) = &commit.also {
                    self.apply_change(also);
                }
                let id = commit.row.message.id;
                if !self.is_open(id) {
                    self.insert(*commit, position);
                    body.into_iter()
                        .for_each(|body| self.cache.insert(id, body));
                }
            }
            Effect::Moved(commit) => self.relocate(*commit, position),
            Effect::Token(token) => {
                let segment = position.segment();
                self.tokens.insert(token.token.clone(), (token, segment));
            }
        }
    }

    /// Puts a committed message in, in the place of an older state of it (replay).
    pub(crate) fn insert(&mut self, commit: Commit, position: Position) {
        let legs = commit.legs.clone();
        let row = placed(commit, position);
        let id = row.message.id;
        let stored = match self.take_out(id) {
            Some(old) => old.stored,
            None => Vec::new(),
        };
        self.account(&row, 1);
        let entry = Entry::new(row, legs, stored, true);
        self.put_in(id, entry);
        self.mark(id);
    }

    fn relocate(&mut self, commit: Commit, position: Position) {
        let row = placed(commit, position);
        let id = row.message.id;
        let Some(entry) = self
            .messages
            .get_mut(&id)
            .filter(|entry| !entry.legs.is_empty())
        else {
            return;
        };
        let old = entry.row();
        entry.since = row.since;
        entry.commit_segment = row.commit_segment;
        entry.commit_octets = row.commit_octets;
        entry.body = row.body.clone().into();
        self.account(&old, -1);
        self.account(&row, 1);
        self.mark(id);
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
                if let Some(leg) = entry.legs.get_mut(&id.number) {
                    leg.row.state = state.clone();
                    leg.leased = None;
                    leg.dirty = true;
                    // Whoever had it is done with it.
                    leg.token = 0;
                }
                self.index(id);
            }
            None => {
                entry.legs.remove(&id.number);
                if entry.legs.is_empty() {
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
        let Some(row) = self.messages.get(&id).map(Entry::row) else {
            return;
        };
        self.account(&row, -1);
        if self
            .messages
            .get(&id)
            .is_some_and(|entry| entry.stored.is_empty())
        {
            self.messages.remove(&id);
        }
    }

    fn account(&mut self, row: &MessageRow, sign: i64) {
        let mut add = |segment, octets: u32| {
            *self.live.entry(segment).or_default() += sign * i64::from(octets);
        };
        add(row.commit_segment, row.commit_octets);
        for extent in &row.body {
            add(extent.segment, extent.octets);
        }
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
        let numbers: Vec<u32> = entry.legs.keys().copied().collect();
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
        let (numbers, row) = (entry.legs.keys().copied().collect::<Vec<_>>(), entry.row());
        if !numbers.is_empty() {
            self.account(&row, -1);
        }
        for number in numbers {
            self.unindex(LegId {
                message: id,
                number,
            });
        }
        self.messages.remove(&id)
    }

    /// Sends an unchanged, unleased message to sled alone.
    pub(crate) fn evict(&mut self, id: MessageId) {
        let Some(entry) = self.messages.get(&id).filter(|entry| entry.evictable()) else {
            return;
        };
        for leg in &entry.stored {
            let name = LegId {
                message: id,
                number: leg.number,
            };
            self.window.store(&leg.host, (leg.due, name));
            if let Some(deadline) = leg.deadline {
                self.window.store_deadline((deadline, name));
            }
        }
        self.messages.remove(&id);
    }

    fn index(&mut self, id: LegId) {
        if let Some((message, leg)) = leg_of(&self.messages, id) {
            if let Some(until) = leg.leased {
                self.window.leases.insert((until, id));
                return;
            }
            self.window
                .add(leg.row.leg.target.host(), (place(&leg.row.state), id));
            let deadline = deadline(message, &leg.row.state, self.warn_after, self.expire);
            self.window.deadlines.extend(deadline.map(|at| (at, id)));
        }
    }

    fn unindex(&mut self, id: LegId) {
        if let Some((message, leg)) = leg_of(&self.messages, id) {
            if let Some(until) = leg.leased {
                self.window.leases.remove(&(until, id));
                return;
            }
            self.window
                .remove(leg.row.leg.target.host(), (place(&leg.row.state), id));
            if let Some(at) = deadline(message, &leg.row.state, self.warn_after, self.expire) {
                self.window.deadlines.remove(&(at, id));
            }
        }
    }

    /// Changes who has a leg, and its place in the orders with it.
    fn set_lease(&mut self, id: LegId, leased: Option<Timestamp>, token: Option<u64>) {
        self.unindex(id);
        let entry = self.messages.get_mut(&id.message);
        if let Some(leg) = entry.and_then(|entry| entry.legs.get_mut(&id.number)) {
            leg.leased = leased;
            leg.token = token.unwrap_or(leg.token);
        }
        self.index(id);
    }

    fn expire_leases(&mut self, now: Timestamp) {
        self.now = self.now.max(now);
        while let Some((until, id)) = self.window.leases.first().copied() {
            if until > now {
                break;
            }
            self.window.leases.remove(&(until, id));
            // The token stays: until somebody else claims it, its owner may still end it.
            self.set_lease(id, None, None);
        }
    }

    /// Hosts that sled must be asked about before `want` can be met in order.
    pub(crate) fn hosts_to_load(&mut self, want: &Want, now: Timestamp) -> Vec<Host> {
        self.expire_leases(now);
        let n = want.per_host.min(want.max);
        let mut hosts = self.hosts_wanted(want, now);
        hosts.retain(|host| self.window.needs_load(host, n, now));
        hosts
    }

    fn hosts_wanted(&self, want: &Want, now: Timestamp) -> Vec<Host> {
        match &want.only {
            Some(host) if want.exclude.contains(host) => Vec::new(),
            Some(host) => vec![host.clone()],
            None => {
                let due = self.window.due_hosts(now);
                let wanted = due.filter(|host| !want.exclude.contains(*host));
                wanted.take(want.max).cloned().collect()
            }
        }
    }

    /// Leases what is due and in memory.
    pub(crate) fn claim(&mut self, want: &Want, now: Timestamp) -> Vec<Claim> {
        self.expire_leases(now);
        let mut claims = Vec::new();
        for host in self.hosts_wanted(want, now) {
            let most = want.per_host.min(want.max - claims.len());
            for _ in 0..most {
                let Some((_, id)) = self.window.next(&host, now) else {
                    break;
                };
                let Some(claim) = self.lease(id, now.plus(want.lease)) else {
                    debug_assert!(false, "a leg in the order is in memory");
                    break;
                };
                claims.push(claim);
            }
            if claims.len() >= want.max {
                break;
            }
        }
        claims
    }

    fn lease(&mut self, id: LegId, expires: Timestamp) -> Option<Claim> {
        let token = self.next_token;
        self.next_token += 1;
        self.set_lease(id, Some(expires), Some(token));
        let (message, leg) = leg_of(&self.messages, id)?;
        Some(Claim {
            lease: Lease {
                leg: id,
                owner: self.owner,
                token,
                expires,
            },
            message: Arc::clone(message),
            leg: leg.row.leg.clone(),
            attempts: leg.row.state.attempts,
            warned: leg.row.state.warned,
        })
    }

    /// Leases what is past a deadline and in memory.
    pub(crate) fn overdue(&mut self, max: usize, lease: Duration, now: Timestamp) -> Vec<Overdue> {
        self.expire_leases(now);
        let past = |due: &&Due| due.0 <= now;
        let due: Vec<Due> = self
            .window
            .deadlines
            .iter()
            .take_while(past)
            .take(max)
            .copied()
            .collect();
        due.into_iter()
            .filter_map(|(_, id)| {
                let claim = self.lease(id, now.plus(lease))?;
                let (message, leg) = leg_of(&self.messages, id)?;
                let state = &leg.row.state;
                let why = if state.bounced {
                    Why::Bounced
                } else if now >= message.arrived.plus(self.expire) {
                    Why::Expired
                } else {
                    Why::Warn
                };
                Some(Overdue {
                    claim,
                    why,
                    due: state.due,
                    last: state.last.to_string(),
                })
            })
            .collect()
    }

    /// The leg that a lease is for, if it still is.
    pub(crate) fn leased(&self, lease: &Lease) -> Result<(&Entry, &LegEntry), Error> {
        let fenced = Error::Fenced(lease.leg);
        let entry = self
            .messages
            .get(&lease.leg.message)
            .ok_or_else(|| fenced.clone())?;
        let leg = entry
            .legs
            .get(&lease.leg.number)
            .ok_or_else(|| fenced.clone())?;
        if lease.owner == self.owner && lease.token == leg.token {
            Ok((entry, leg))
        } else {
            Err(fenced)
        }
    }

    pub(crate) fn extend(&mut self, lease: &mut Lease, until: Timestamp) -> Result<(), Error> {
        self.leased(lease)?;
        self.set_lease(lease.leg, Some(until), None);
        lease.expires = until;
        Ok(())
    }

    pub(crate) fn release(&mut self, lease: &Lease) -> Result<(), Error> {
        self.leased(lease)?;
        self.set_lease(lease.leg, None, Some(0));
        Ok(())
    }

    /// What sled should hold of a leg.
    pub(crate) fn stored_leg(&self, message: &Message, row: &LegRow) -> StoredLeg {
        StoredLeg {
            number: row.number,
            host: row.leg.target.host().clone(),
            due: place(&row.state),
            deadline: deadline(message, &row.state, self.warn_after, self.expire),
        }
    }
}

impl Entry {
    pub(crate) fn new(
        row: MessageRow,
        legs: Vec<LegRow>,
        stored: Vec<StoredLeg>,
        dirty: bool,
    ) -> Self {
        let leg = |row: LegRow| {
            let leg = LegEntry {
                row,
                token: 0,
                leased: None,
                dirty,
            };
            (leg.row.number, leg)
        };
        Self {
            message: Arc::new(row.message),
            since: row.since,
            commit_segment: row.commit_segment,
            commit_octets: row.commit_octets,
            body: row.body.into(),
            legs: legs.into_iter().map(leg).collect(),
            stored,
            dirty,
        }
    }

    pub(crate) fn row(&self) -> MessageRow {
        MessageRow {
            message: (*self.message).clone(),
            since: self.since,
            commit_segment: self.commit_segment,
            commit_octets: self.commit_octets,
            body: self.body.to_vec(),
        }
    }

    /// Whether its commit record or a part of its body is in a segment.
    pub(crate) fn needs(&self, segment: u32) -> bool {
        self.commit_segment == segment || self.body.iter().any(|extent| extent.segment == segment)
    }

    pub(crate) fn evictable(&self) -> bool {
        !self.dirty && !self.stored.is_empty() && self.legs.values().all(|leg| leg.leased.is_none())
    }
}

/// Where a leg stands, for an operator.
pub(crate) fn standing(state: &LegState, leased: bool, now: Timestamp) -> LegStanding {
    match () {
        () if leased => LegStanding::Active,
        () if state.held => LegStanding::Held,
        () if state.due <= now => LegStanding::Ready,
        () => LegStanding::Deferred,
    }
}

fn leg_of(messages: &BTreeMap<MessageId, Entry>, id: LegId) -> Option<(&Arc<Message>, &LegEntry)> {
    let entry = messages.get(&id.message)?;
    Some((&entry.message, entry.legs.get(&id.number)?))
}

/// A leg's place in its host's order.
fn place(state: &LegState) -> Timestamp {
    match () {
        () if state.held => HELD,
        // Not for delivery any more: it comes out by its deadline.
        () if state.bounced => NEVER,
        () => state.due,
    }
}

fn deadline(
    message: &Message,
    state: &LegState,
    warn_after: Duration,
    expire: Duration,
) -> Option<Timestamp> {
    if state.held {
        return None;
    }
    Some(match () {
        () if state.bounced => Timestamp::from_unix_millis(0),
        () if state.warned => message.arrived.plus(expire),
        () => message.arrived.plus(warn_after.min(expire)),
    })
}

/// The row of a commit whose record is at `position`.
pub(crate) fn placed(commit: Commit, position: Position) -> MessageRow {
    let Commit {
        mut row, inline, ..
    } = commit;
    row.commit_segment = position.segment();
    row.commit_octets = Header::OCTETS as u32;
    if row.since == 0 {
        row.since = position.segment();
    }
    if let Some((range, crc)) = inline {
        let start = Header::OCTETS + range.start;
        row.commit_octets = start as u32;
        row.body = vec![Extent {
            segment: position.segment(),
            offset: position.offset() + start as u32,
            octets: range.len() as u32,
            crc,
        }];
    }
    row
}
