//! Segments that are known to be of no more use, without being read: what is in them beside messages is counted.
//!
//! A segment is spent when no message needs an octet of it, and no end of a leg that is in it must
//! outlive a commit record in an older segment. What is counted is kept in the index. Of segments that were read by
//! nobody who counted (an index of an older Onward), too little is known: the compactor reads them.

use std::collections::BTreeMap;

use crate::index::keeper::Keeper;

/// What segments hold beside messages.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Notes {
    /// The first segment of which all is counted; all ones until that is known.
    pub(crate) counted_from: u32,
    segments: BTreeMap<u32, Note>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Note {
    /// The oldest segment that a change in this one speaks of.
    since: u32,
    /// How many changes are in it.
    changes: u32,
    /// Only who reads it knows what must stay of it: a record of a later version, a damaged piece.
    kept: bool,
}

impl Note {
    /// Whether a change in this segment must outlive a commit record that one of the others may hold.
    fn outlives(&self, segment: u32, standing: &[u32]) -> bool {
        standing.iter().any(|n| (self.since..segment).contains(n))
    }
}

impl Default for Notes {
    fn default() -> Self {
        Self {
            counted_from: u32::MAX,
            segments: BTreeMap::new(),
        }
    }
}

impl Notes {
    /// A change is in the segment, of a leg of a message that may have commit records from `since` on.
    pub(crate) fn change(&mut self, segment: u32, since: u32) {
        let note = self.note(segment);
        note.since = note.since.min(since);
        note.changes = note.changes.saturating_add(1);
    }

    /// Octets of changes in a segment, about, that must be written anew for it to go while `standing` are there.
    pub(super) fn octets(&self, segment: u32, standing: &[u32]) -> u64 {
        let note = self.segments.get(&segment);
        let note = note.filter(|note| note.outlives(segment, standing));
        note.map_or(0, |note| u64::from(note.changes) * CHANGE_OCTETS)
    }

    /// Something is in the segment that only who reads it can judge.
    pub(crate) fn keep(&mut self, segment: u32) {
        self.note(segment).kept = true;
    }

    pub(crate) fn forget(&mut self, segment: u32) {
        self.segments.remove(&segment);
    }

    /// Whether a segment that no message needs is of no use at all, while the segments `standing` are there.
    pub(crate) fn is_spent(&self, segment: u32, standing: &[u32]) -> bool {
        let note = self.segments.get(&segment);
        let needed = |note: &Note| note.kept || note.outlives(segment, standing);
        segment >= self.counted_from && !note.is_some_and(needed)
    }

    fn note(&mut self, segment: u32) -> &mut Note {
        self.segments.entry(segment).or_insert(Note {
            since: segment,
            changes: 0,
            kept: false,
        })
    }

    /// `u32` from where on all is counted; then for each segment `u32` segment, `u32` since, `u32` changes, and 1 if it is
    /// kept, else 0.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = self.counted_from.to_be_bytes().to_vec();
        for (segment, note) in &self.segments {
            out.extend_from_slice(&segment.to_be_bytes());
            out.extend_from_slice(&note.since.to_be_bytes());
            out.extend_from_slice(&note.changes.to_be_bytes());
            out.push(u8::from(note.kept));
        }
        out
    }

    /// What is not understood is not known.
    pub(super) fn decode(value: &[u8]) -> Option<Self> {
        let (counted_from, notes) = value.split_first_chunk::<4>()?;
        let (notes, rest) = notes.as_chunks::<NOTE_OCTETS>();
        let number = |note: &[u8; NOTE_OCTETS], at: usize| {
            u32::from_be_bytes(std::array::from_fn(|n| note[at + n]))
        };
        let note = |note: &[u8; NOTE_OCTETS]| {
            let value = Note {
                since: number(note, 4),
                changes: number(note, 8),
                kept: note[12] != 0,
            };
            (number(note, 0), value)
        };
        rest.is_empty().then(|| Self {
            counted_from: u32::from_be_bytes(*counted_from),
            segments: notes.iter().map(note).collect(),
        })
    }
}

const NOTE_OCTETS: usize = 13;
/// An end takes 48 or so, a state more.
const CHANGE_OCTETS: u64 = 64;

/// Gives back what the last checkpoint found spent.
pub(super) fn give_back_spent(keeper: &Keeper) {
    let vouched = keeper.position.segment();
    for segment in keeper.unneeded.take() {
        let standing = keeper.segments.numbers();
        if !keeper.state.lock().notes.is_spent(segment, &standing) {
            continue;
        }
        if let Err(e) = keeper.segments.retire(segment, vouched) {
            tracing::warn!(segment, error = %e, "cannot give a log segment back");
            return;
        }
        let mut state = keeper.state.lock();
        state.live.remove(&segment);
        state.notes.forget(segment);
        tracing::debug!(segment, "spent log segment given back");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_known_to_be_of_no_use_is_spent() {
        let mut notes = Notes {
            counted_from: 3,
            ..Notes::default()
        };
        notes.change(5, 5);
        notes.change(6, 4);
        notes.change(6, 6);
        notes.keep(7);
        let spent = |standing: &[u32]| [2, 3, 5, 6, 7].map(|n| notes.is_spent(n, standing));
        assert_eq!(spent(&[3, 4, 5, 6]), [false, true, true, false, false]);
        assert_eq!(spent(&[3, 6, 7]), [false, true, true, true, false]);
        let octets = |standing: &[u32]| [5, 6].map(|n| notes.octets(n, standing));
        assert_eq!(octets(&[3, 4, 5, 6]), [0, 2 * CHANGE_OCTETS]);
        assert_eq!(octets(&[3, 6, 7]), [0, 0]);
        let kept = notes.encode();
        assert_eq!(Notes::decode(&kept), Some(notes));
        assert_eq!(Notes::decode(&kept[1..]), None);
    }
}
