//! Expired tokens go: once an hour by the file, those of an older Onward (rows of sled) some at a step.

use sled::Batch;

use crate::index::keeper::Keeper;

/// What the purge is at.
#[derive(Debug, Default)]
pub(super) struct Purge {
    /// The hour in which it last began.
    hour: u64,
    /// Where it goes on among the rows.
    from: Option<Vec<u8>>,
}

impl Purge {
    /// Whether there is more to look at: the next step should come soon.
    pub(super) fn is_busy(&self) -> bool {
        self.from.is_some()
    }

    /// Does a bounded piece of work, if it is time.
    pub(super) fn step(&mut self, keeper: &mut Keeper) {
        let now = keeper.clock.now();
        let hour = now.unix_secs() / 3600;
        if hour > self.hour {
            self.hour = hour;
            self.from = Some(b"t".to_vec());
            if let Err(e) = keeper.tokens.purge(now) {
                tracing::warn!(error = %e, "expired tokens cannot be removed yet");
            }
        }
        let Some(from) = self.from.take() else {
            return;
        };
        match keeper.tree.expired_tokens(&from, now, ROWS_AT_ONCE) {
            Ok((expired, next)) => {
                self.from = next;
                let mut batch = Batch::default();
                let rows = expired.len();
                expired.into_iter().for_each(|key| batch.remove(key));
                if rows > 0 {
                    keeper.pending.push((batch, rows));
                }
            }
            Err(e) => tracing::warn!(error = e, "old tokens cannot be looked at"),
        }
    }
}

/// Whoever waits for the keeper waits for these.
const ROWS_AT_ONCE: usize = 1_000;
