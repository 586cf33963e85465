//! Tokens that the log has and their files may not have yet.

use std::sync::Arc;

use spool::Token;

use crate::tokens::{Batch, Place};

/// Those that came since the last checkpoint, and those that one is writing.
#[derive(Debug, Default)]
pub(crate) struct Fresh {
    came: Batch,
    writing: Arc<Batch>,
}

impl Fresh {
    /// Takes one in. One that leads to no place is not of this spool.
    pub(crate) fn insert(&mut self, token: Token) {
        if let Some(place) = Place::parse(&token.name) {
            self.came.insert(place, token);
        }
    }

    pub(crate) fn get(&self, place: Place) -> Option<&Token> {
        self.came.get(&place).or_else(|| self.writing.get(&place))
    }

    pub(crate) fn len(&self) -> usize {
        self.came.len() + self.writing.len()
    }

    /// What is to be written now: what failed before, else all that came.
    pub(crate) fn begin(&mut self) -> Arc<Batch> {
        if self.writing.is_empty() {
            self.writing = Arc::new(std::mem::take(&mut self.came));
        }
        Arc::clone(&self.writing)
    }

    /// What [`Fresh::begin`] gave is in its files, durably.
    pub(crate) fn written(&mut self) {
        self.writing = Arc::default();
    }
}
