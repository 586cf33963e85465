//! What a start misses: segments that the index knows and the log has not, and the messages that lay in them.

use std::collections::BTreeSet;

use envelope::MessageId;

use crate::index::keeper::Keeper;
use crate::index::tree::Tree;
use crate::log::codec::Extent;
use crate::log::record::Position;
use crate::open::Opening;

impl Opening<'_> {
    /// Leaves alone the names of segments that the index knows. It never gets ahead of a disk that keeps its word: where the
    /// segment of its position is not there, it was lost.
    pub(crate) fn miss(&self, tree: &Tree, position: Position) {
        let known = tree.live().into_iter().map(|(number, _)| number);
        for number in known.chain([position.segment()]) {
            self.segments.skip(number);
        }
        let number = position.segment();
        if number > 0 && self.segments.file(number).is_none() {
            self.lose(number);
        }
    }

    fn lose(&self, number: u32) {
        self.gone.lock().insert(number, 0);
        self.quarantine.gone(number, None);
    }

    /// Finds messages of which something lay in what is gone; they are held once the log runs.
    pub(crate) fn find_lost(&self, keeper: &Keeper) {
        let missing = self.missing(keeper);
        let gone = self.gone.lock().clone();
        if gone.is_empty() && missing.is_empty() {
            return;
        }
        let is_gone = |extent: &&Extent| {
            let from = gone.get(&extent.segment);
            missing.contains(&extent.segment)
                || from.is_some_and(|from| extent.offset.saturating_add(extent.octets) > *from)
        };
        let mut lost = Vec::new();
        let mut look = |id, body: &[Extent]| {
            if let Some(extent) = body.iter().find(is_gone) {
                lost.push((id, extent.segment));
            }
        };
        let in_memory = |id: &MessageId| keeper.state.lock().messages.contains_key(id);
        for id in keeper.tree.messages(MessageId::from_bits(0)) {
            if !in_memory(&id)
                && let Ok(Some(found)) = keeper.tree.message(id)
            {
                look(id, &found.row.body);
            }
        }
        for (id, entry) in &keeper.state.lock().messages {
            look(*id, &entry.body);
        }
        for (id, number) in lost {
            // Only now is it sure: what the index says of live octets is a hint.
            if missing.contains(&number) {
                self.quarantine.gone(number, None);
            }
            let reason = format!("log segment {number} is missing or cut short");
            keeper.state.lock().damaged.push((id, reason));
        }
    }

    /// Segments that seem to hold live mail and are not there.
    fn missing(&self, keeper: &Keeper) -> BTreeSet<u32> {
        let state = keeper.state.lock();
        let live = state.live.iter().filter(|(_, octets)| **octets > 0);
        live.map(|(number, _)| *number)
            .filter(|number| self.segments.file(*number).is_none())
            .collect()
    }
}
