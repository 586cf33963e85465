//! A message and its legs in memory, and what follows from a leg's state alone: its place in the order, its deadline.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use envelope::{Host, Message, Timestamp};

use crate::index::window::{HELD, NEVER};
use crate::log::codec::{Commit, Extent, LegRow, LegState, MessageRow};
use crate::log::record::{Header, Position};
use crate::spool::State as LegStanding;

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
    pub(super) token: u64,
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
    message: &Message,
    state: &LegState,
    warn_after: Duration,
    expire: Duration,
) -> Option<Timestamp> {
    if state.held && !state.damaged {
        return None;
    }
    Some(match () {
        // Nobody waits for a next attempt: there is no delay to tell of, but an end.
        () if state.damaged => message.arrived.plus(expire),
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
