//! What tests of the engine begin with: a moment, a spool with small segments, names of messages.

use std::path::Path;
use std::time::Duration;

use envelope::{MessageId, Timestamp};
use queue::{LogSpool, Settings};
use spool::{BodyReader, Clock, OpenError, Spool};

/// Minutes after the moment at which most tests begin.
pub(crate) fn at(minutes: u64) -> Timestamp {
    Timestamp::from_unix_millis(1_800_000_000_000 + minutes * 60_000)
}

/// The spool, at this moment.
pub(crate) fn turned(spool: &LogSpool, now: Timestamp) -> &LogSpool {
    spool.clock().set(now);
    spool
}

/// Of a spool that is never full, on a clock that stands still.
pub(crate) fn settings(dir: &Path) -> Settings {
    Settings {
        segment_bytes: Settings::SEGMENT_BYTES_MIN,
        min_free_bytes: 0,
        min_free_inodes: 0,
        checkpoint_every: Duration::from_millis(20),
        clock: Clock::manual(at(1)),
        ..Settings::new(dir)
    }
}

pub(crate) fn id(n: u64) -> MessageId {
    MessageId::new(at(0), u128::from(n))
}

/// Reads a body whole.
pub(crate) async fn read(spool: &LogSpool, n: u64) -> Result<Vec<u8>, OpenError> {
    let mut reader = spool.open_body(id(n)).await?;
    let mut bytes = Vec::new();
    while let Some(chunk) = reader.chunk().await? {
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}
