//! Legs whose change is on its way to the disk in one record with a notice.
//!
//! The change counts once the record is durable: should the write fail, the leg is as it was. Until then nobody may write the
//! leg's state behind that record (the compactor, the operator, a second owner): a replay would take the older state for
//! the newer, and the notice would be sent twice.

use std::collections::HashSet;
use std::sync::Arc;

use envelope::{LegId, MessageId};
use parking_lot::Mutex;

/// The set of them. Its lock is held for set operations only, so it may be taken under the state's.
#[derive(Debug, Clone, Default)]
pub(crate) struct Settling(Arc<Mutex<HashSet<LegId>>>);

/// One of them, until this is dropped: when the record is applied, or has failed.
#[derive(Debug)]
pub(crate) struct Mark(Settling, LegId);

impl Settling {
    /// Marks a leg; `None` when it is marked already.
    pub(crate) fn mark(&self, leg: LegId) -> Option<Mark> {
        self.0.lock().insert(leg).then(|| Mark(self.clone(), leg))
    }

    pub(crate) fn has_leg(&self, leg: LegId) -> bool {
        self.0.lock().contains(&leg)
    }

    pub(crate) fn has_message(&self, id: MessageId) -> bool {
        self.0.lock().iter().any(|leg| leg.message == id)
    }
}

impl Drop for Mark {
    fn drop(&mut self) {
        self.0.0.lock().remove(&self.1);
    }
}
