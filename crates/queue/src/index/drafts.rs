//! Bodies with chunks in the log that no record speaks of yet: only what they need is kept from the compactor, since a
//! client may take an hour over its body, and the log must not wait for it.
//!
//! A draft ends when its commit record is applied, when that failed, or when it is abandoned; not when whoever waits for
//! the commit goes away meanwhile.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use envelope::MessageId;
use parking_lot::Mutex;

/// All of them. Its lock is held for moments only, so it may be taken under the state's.
#[derive(Debug, Clone, Default)]
pub(crate) struct Drafts(Arc<Mutex<HashMap<MessageId, Chunks>>>);

/// One of them, until this is dropped.
#[derive(Debug)]
pub(crate) struct Draft(Drafts, MessageId);

#[derive(Debug, Default)]
struct Chunks {
    /// A chunk is on its way, into this segment or a later one.
    coming: Option<u32>,
    /// Chunks are in these.
    segments: Vec<u32>,
}

impl Drafts {
    pub(crate) fn begin(&self, id: MessageId) -> Draft {
        self.0.lock().entry(id).or_default();
        Draft(self.clone(), id)
    }

    #[cfg(test)]
    pub(crate) fn has(&self, id: MessageId) -> bool {
        self.0.lock().contains_key(&id)
    }

    /// Whether one of them needs something of a segment.
    pub(crate) fn need(&self, segment: u32) -> bool {
        self.0.lock().values().any(|chunks| {
            chunks.coming.is_some_and(|from| from <= segment) || chunks.segments.contains(&segment)
        })
    }

    /// The first segment that a chunk may be on its way into.
    pub(crate) fn coming(&self) -> Option<u32> {
        self.0
            .lock()
            .values()
            .filter_map(|chunks| chunks.coming)
            .min()
    }

    /// The segments that hold chunks.
    pub(crate) fn segments(&self) -> HashSet<u32> {
        let drafts = self.0.lock();
        let segments = drafts.values().flat_map(|chunks| &chunks.segments);
        segments.copied().collect()
    }
}

impl Draft {
    /// A chunk is about to be written, into this segment or a later one.
    pub(crate) fn chunk_comes(&self, from: u32) {
        if let Some(chunks) = self.0.0.lock().get_mut(&self.1) {
            chunks.coming = Some(from);
        }
    }

    /// It is in this one.
    pub(crate) fn chunk_is_in(&self, segment: u32) {
        if let Some(chunks) = self.0.0.lock().get_mut(&self.1) {
            chunks.coming = None;
            chunks.segments.push(segment);
        }
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        self.0.0.lock().remove(&self.1);
    }
}
