//! Segments that are known to be of no more use, without being read: those of this run, of which everything was counted.
//!
//! A segment is spent when no message needs an octet of it, no token is in it, and no end of a leg that is in it must
//! outlive a commit record in an older segment. Of segments that an earlier run wrote, too little is known: the compactor
//! reads them.

use std::collections::BTreeMap;

use crate::index::keeper::Keeper;

/// What segments hold beside messages.
#[derive(Debug)]
pub(crate) struct Notes {
    /// The first segment of this run; all ones until that is known.
    pub(crate) own_from: u32,
    segments: BTreeMap<u32, Note>,
}

#[derive(Debug, Clone, Copy)]
struct Note {
    /// The oldest segment that a change in this one speaks of.
    since: u32,
    tokens: bool,
}

impl Default for Notes {
    fn default() -> Self {
        Self {
            own_from: u32::MAX,
            segments: BTreeMap::new(),
        }
    }
}

impl Notes {
    /// A change is in the segment, of a leg of a message that may have commit records from `since` on.
    pub(crate) fn change(&mut self, segment: u32, since: u32) {
        let note = self.note(segment);
        note.since = note.since.min(since);
    }

    pub(crate) fn token(&mut self, segment: u32) {
        self.note(segment).tokens = true;
    }

    pub(crate) fn forget(&mut self, segment: u32) {
        self.segments.remove(&segment);
    }

    /// Whether a segment that no message needs is of no use at all, while the segments `standing` are there.
    pub(crate) fn is_spent(&self, segment: u32, standing: &[u32]) -> bool {
        let note = self.segments.get(&segment);
        let older = |note: &Note| standing.iter().any(|n| (note.since..segment).contains(n));
        segment >= self.own_from && note.is_none_or(|note| !note.tokens && !older(note))
    }

    fn note(&mut self, segment: u32) -> &mut Note {
        self.segments.entry(segment).or_insert(Note {
            since: segment,
            tokens: false,
        })
    }
}

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
            own_from: 3,
            ..Notes::default()
        };
        notes.change(5, 5);
        notes.change(6, 4);
        notes.change(6, 6);
        notes.token(7);
        let spent = |standing: &[u32]| [2, 3, 5, 6, 7].map(|n| notes.is_spent(n, standing));
        assert_eq!(spent(&[3, 4, 5, 6]), [false, true, true, false, false]);
        assert_eq!(spent(&[3, 6, 7]), [false, true, true, true, false]);
    }
}
