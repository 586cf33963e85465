//! The way from sled into memory: a message by its row, and ahead of a delivery its body into the page cache.
//!
//! On the keeper's thread. It does *not* decide what is to be loaded, or when that leaves memory again.

use envelope::MessageId;

use crate::index::entry::{Entry, Stored};
use crate::index::keeper::Keeper;
use crate::index::row;
use crate::log::codec::Extent;
use crate::read::READ_IN_PLACE_MAX;

impl Keeper {
    /// Brings a message into memory; says whether it is there now.
    pub(crate) fn load(&self, id: MessageId) -> bool {
        self.try_load(id).unwrap_or(false)
    }

    /// As [`Keeper::load`], for those who must not take what cannot be read for what is not there. sled is rebuilt at the
    /// next start then, and until then the message waits.
    pub(crate) fn try_load(&self, id: MessageId) -> Result<bool, &'static str> {
        if self.state.lock().messages.contains_key(&id) {
            return Ok(true);
        }
        let found = match self.tree.message(id) {
            Ok(found) => found,
            Err(e) => {
                tracing::error!(message = %id, error = %e, "index row cannot be read; it will be rebuilt at the next start");
                self.broken.set(true);
                return Err("the index cannot be read");
            }
        };
        let Some(row::MessageValue { row, legs, apart }) = found else {
            return Ok(false);
        };
        let own = legs.len().saturating_sub(apart as usize);
        let stored = Stored {
            row: true,
            apart: legs[own..].iter().map(|leg| leg.number).collect(),
        };
        let entry = Entry::new(row, legs, stored, false);
        self.state.lock().put_back(id, entry);
        Ok(true)
    }

    /// Every message that is queued, in order.
    pub(crate) fn known(&self) -> Vec<MessageId> {
        let mut ids: Vec<_> = self.tree.messages(MessageId::from_bits(0)).collect();
        ids.extend(self.state.lock().messages.keys());
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    /// Brings messages into memory; says whether any came. Their bodies are read from the disk meanwhile.
    pub(crate) fn load_all(&self, mut ids: Vec<MessageId>) -> bool {
        ids.sort_unstable();
        ids.dedup();
        let came = |id: &MessageId| usize::from(self.load(*id));
        let came = ids.iter().map(came).sum::<usize>() > 0;
        self.read_ahead(&ids);
        came
    }

    /// Has the system read the bodies of these messages: who is about to deliver them finds them in the page cache.
    fn read_ahead(&self, ids: &[MessageId]) {
        let mut extents: Vec<Extent> = {
            let state = self.state.lock();
            let entries = ids.iter().filter_map(|id| state.messages.get(id));
            let small = |extent: &Extent| extent.octets <= READ_IN_PLACE_MAX;
            let bodies = entries.flat_map(|entry| entry.body.iter().copied());
            bodies.filter(small).collect()
        };
        extents.sort_unstable_by_key(|extent| (extent.segment, extent.offset));
        let near = |a: &Extent, b: &Extent| {
            let gap = b.offset.saturating_sub(a.offset.saturating_add(a.octets));
            a.segment == b.segment && gap <= READ_GAP_MAX
        };
        for run in extents.chunk_by(near) {
            let (Some(first), Some(last)) = (run.first(), run.last()) else {
                continue;
            };
            let end = u64::from(last.offset) + u64::from(last.octets);
            if let Some(file) = self.segments.file(first.segment) {
                file.will_read(u64::from(first.offset)..end);
            }
        }
    }
}

/// Octets between two bodies that are read with them, rather than apart.
const READ_GAP_MAX: u32 = 16 << 10;
