//! A message and its legs in memory, and what follows from a leg's state alone: its place in the order, its deadline.

use std::sync::Arc;

use envelope::{Message, Timestamp};
use spool::{Action, Deadlines, State as LegStanding};

use crate::index::window::{HELD, NEVER};
use crate::log::codec::{Commit, Dates, Extent, LegRow, LegState, MessageRow};
use crate::log::record::{Header, Position};

/// A message in memory.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) message: Arc<Message>,
    pub(crate) since: u32,
    pub(crate) commit_segment: u32,
    pub(crate) commit_octets: u32,
    pub(crate) body: Arc<[Extent]>,
    pub(crate) deadlines: Option<Deadlines>,
    /// Open legs in the order of their numbers; empty: the message is over, and only its rows in sled remain to be
    /// removed. A vector: nearly all messages have one leg, and a map's node has room for eleven.
    legs: Vec<LegEntry>,
    pub(crate) stored: Stored,
    pub(crate) dirty: bool,
}

/// What sled has of a message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Stored {
    /// Whether it has a row.
    pub(crate) row: bool,
    /// Legs with rows of their own, in order.
    pub(crate) apart: Vec<u32>,
}

/// A leg in memory.
#[derive(Debug)]
pub(crate) struct LegEntry {
    pub(crate) row: LegRow,
    /// The token of the newest lease.
    pub(super) token: u64,
    /// When that ends, while it lasts.
    pub(crate) leased: Option<Timestamp>,
    /// Whether a row of its own in sled, if it has one, is not this.
    pub(crate) dirty: bool,
}

impl Entry {
    pub(crate) fn new(row: MessageRow, legs: Vec<LegRow>, stored: Stored, dirty: bool) -> Self {
        let leg = |row: LegRow| LegEntry {
            row,
            token: 0,
            leased: None,
            dirty,
        };
        let mut legs: Vec<LegEntry> = legs.into_iter().map(leg).collect();
        legs.sort_by_key(|leg| leg.row.number);
        legs.dedup_by_key(|leg| leg.row.number);
        Self {
            message: Arc::new(row.message),
            since: row.since,
            commit_segment: row.commit_segment,
            commit_octets: row.commit_octets,
            body: row.body.into(),
            deadlines: row.deadlines,
            legs,
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
            deadlines: self.deadlines,
        }
    }

    pub(crate) fn dates(&self) -> Dates {
        (self.message.arrived, self.deadlines)
    }

    /// Its open legs.
    pub(crate) fn legs(&self) -> &[LegEntry] {
        &self.legs
    }

    pub(crate) fn legs_mut(&mut self) -> &mut [LegEntry] {
        &mut self.legs
    }

    pub(crate) fn leg(&self, number: u32) -> Option<&LegEntry> {
        self.legs.get(self.place(number)?)
    }

    pub(crate) fn leg_mut(&mut self, number: u32) -> Option<&mut LegEntry> {
        let place = self.place(number)?;
        self.legs.get_mut(place)
    }

    /// Says whether it was there.
    pub(crate) fn remove_leg(&mut self, number: u32) -> bool {
        let place = self.place(number);
        place.map(|place| self.legs.remove(place)).is_some()
    }

    fn place(&self, number: u32) -> Option<usize> {
        let found = self
            .legs
            .binary_search_by_key(&number, |leg| leg.row.number);
        found.ok()
    }

    /// Whether its commit record or a part of its body is in a segment.
    pub(crate) fn needs(&self, segment: u32) -> bool {
        self.commit_segment == segment || self.body.iter().any(|extent| extent.segment == segment)
    }

    /// Also a leg whose lease ran out is kept here: its owner may still settle it, while nobody else has claimed it.
    pub(crate) fn evictable(&self) -> bool {
        let is_free = |leg: &LegEntry| leg.leased.is_none() && leg.token == 0;
        !self.dirty && self.stored.row && self.legs.iter().all(is_free)
    }
}

/// Where a leg stands, for an operator.
pub(crate) fn standing(state: &LegState, leased: bool, now: Timestamp) -> LegStanding {
    match () {
        () if leased => LegStanding::Active,
        () if state.held => LegStanding::Held,
        // No attempt waits for it, whatever its due time: as it is counted.
        () if state.bounced => LegStanding::Deferred,
        () if state.due <= now => LegStanding::Ready,
        () => LegStanding::Deferred,
    }
}

/// What an operator asked for that has not come about yet.
pub(crate) fn pending(state: &LegState, leased: bool) -> Option<Action> {
    match () {
        () if state.held && leased => Some(Action::Hold),
        () if state.bounced => Some(Action::Bounce),
        () => None,
    }
}

/// A leg's place in its host's order.
pub(super) fn place(state: &LegState) -> Timestamp {
    match () {
        () if state.held => HELD,
        // Not for delivery any more: it comes out by its deadline.
        () if state.bounced => NEVER,
        () => state.due,
    }
}

pub(super) fn deadline(
    Deadlines { warn, expire }: Deadlines,
    state: &LegState,
) -> Option<Timestamp> {
    if state.held && !state.damaged {
        return None;
    }
    Some(match () {
        // Nobody waits for a next attempt: there is no delay to tell of, but an end.
        () if state.damaged => expire,
        () if state.bounced => Timestamp::from_unix_millis(0),
        () if state.warned => expire,
        () => warn.min(expire),
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
