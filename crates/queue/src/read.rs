//! Reading bodies out of segments, checked. What is found damaged is set aside, and its message held.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use envelope::{Message, MessageId};
use spool::{BodyReader, OpenError};

use crate::engine::Shared;
use crate::log::codec::Extent;
use crate::quarantine::BAD_CHECKSUM;
use crate::store::{StoreFile, read_full};

/// Reads a body piece by piece; each is checked before it is given.
#[derive(Debug, Clone)]
pub struct LogReader {
    /// What was in memory, and comes first: the message's trace and, when it was there, the whole body. The last first.
    ready: Vec<Bytes>,
    /// Still to come, the last first, with their files held open: a segment may be retired meanwhile.
    pieces: Vec<Piece>,
    /// Whose body it is, and who is told when it is damaged.
    id: MessageId,
    shared: Arc<Shared>,
}

type Piece = (Extent, Arc<dyn StoreFile>);

impl LogReader {
    pub(crate) fn of_cached(shared: &Arc<Shared>, message: &Message, body: Bytes) -> Self {
        Self {
            ready: vec![body, trace(message)],
            pieces: Vec::new(),
            id: message.id,
            shared: Arc::clone(shared),
        }
    }

    /// Opens all pieces, or says which segment is not there. The caller holds on to the state, or is the keeper: the
    /// compactor must not move the body meanwhile.
    pub(crate) fn of_extents(
        shared: &Arc<Shared>,
        message: &Message,
        body: &[Extent],
    ) -> Result<Self, OpenError> {
        let pieces = pieces(shared, body)?;
        Ok(Self {
            ready: vec![trace(message)],
            pieces,
            id: message.id,
            shared: Arc::clone(shared),
        })
    }

    /// Of a body that is not committed: it is in one piece, or its draft keeps the compactor away.
    pub(crate) fn of_draft(
        shared: &Arc<Shared>,
        id: MessageId,
        inline: Option<&Bytes>,
        body: &[Extent],
    ) -> Result<Self, OpenError> {
        Ok(Self {
            ready: inline.into_iter().cloned().collect(),
            pieces: pieces(shared, body)?,
            id,
            shared: Arc::clone(shared),
        })
    }
}

impl LogReader {
    async fn read_patiently(
        &self,
        file: Arc<dyn StoreFile>,
        extent: Extent,
    ) -> Result<Bytes, OpenError> {
        let (shared, id) = (Arc::clone(&self.shared), self.id);
        let read = tokio::task::spawn_blocking(move || {
            read_extent(&*file, &extent).map_err(|e| why(&e, &shared, id, &extent, &*file))
        });
        read.await
            .unwrap_or_else(|e| Err(OpenError::Unavailable(e.to_string())))
    }
}

impl BodyReader for LogReader {
    async fn chunk(&mut self) -> Result<Option<Bytes>, OpenError> {
        while let Some(ready) = self.ready.pop() {
            if !ready.is_empty() {
                return Ok(Some(ready));
            }
        }
        let Some((extent, file)) = self.pieces.pop() else {
            return Ok(None);
        };
        let bytes = match read_cached(&*file, &extent) {
            Some(bytes) => bytes,
            None => self.read_patiently(file, extent).await?,
        };
        if bytes.is_empty() {
            return Ok(None);
        }
        Ok(Some(bytes))
    }
}

/// Each with its file, the last first.
fn pieces(shared: &Shared, body: &[Extent]) -> Result<Vec<Piece>, OpenError> {
    let piece = |extent: &Extent| {
        let missing = || OpenError::Damaged(format!("log segment {} is missing", extent.segment));
        let file = shared.segments.file(extent.segment);
        Ok((*extent, file.ok_or_else(missing)?))
    };
    body.iter().rev().map(piece).collect()
}

/// The lines that go before the body.
pub(crate) fn trace(message: &Message) -> Bytes {
    Bytes::copy_from_slice(message.trace.as_bytes())
}

/// What a failed read means; sees to the message when it is damaged.
fn why(
    error: &io::Error,
    shared: &Shared,
    id: MessageId,
    extent: &Extent,
    file: &dyn StoreFile,
) -> OpenError {
    let place = format!("log segment {} at {}", extent.segment, extent.offset);
    let words = match error.kind() {
        io::ErrorKind::InvalidData => BAD_CHECKSUM,
        io::ErrorKind::UnexpectedEof => "cut short",
        _ => return OpenError::Unavailable(format!("{place}: {error}")),
    };
    let bytes = as_it_stands(file, extent);
    let at = extent.offset as usize;
    shared.quarantine.piece(extent.segment, at, &bytes, words);
    let reason = format!("{place}: {words}");
    shared.body_damaged(id, &reason);
    OpenError::Damaged(reason)
}

/// The octets of a piece, whatever they are, as far as the file goes.
pub(crate) fn as_it_stands(file: &dyn StoreFile, extent: &Extent) -> Vec<u8> {
    let left = file.octets().unwrap_or(0);
    let left = left.saturating_sub(u64::from(extent.offset));
    let mut bytes = vec![0; left.min(u64::from(extent.octets)) as usize];
    let read = read_full(file, &mut bytes, u64::from(extent.offset)).unwrap_or(0);
    bytes.truncate(read);
    bytes
}

/// A small piece that is in the page cache and is what was written; anything else is left to those who may wait for the disk.
fn read_cached(file: &dyn StoreFile, extent: &Extent) -> Option<Bytes> {
    if extent.octets > READ_IN_PLACE_MAX {
        return None;
    }
    let mut bytes = vec![0; extent.octets as usize];
    let read = file.read_cached_at(&mut bytes, u64::from(extent.offset));
    let whole = read.is_ok_and(|read| read == bytes.len());
    (whole && crc32fast::hash(&bytes) == extent.crc).then(|| bytes.into())
}

/// Reads a piece of a body and checks it: `InvalidData` when it is not what was written.
pub(crate) fn read_extent(file: &dyn StoreFile, extent: &Extent) -> io::Result<Bytes> {
    // A row of the index may lie about the length: do not take memory on its word alone.
    if u64::from(extent.offset) + u64::from(extent.octets) > file.octets()? {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let mut bytes = vec![0; extent.octets as usize];
    let read = read_full(file, &mut bytes, u64::from(extent.offset))?;
    if read < bytes.len() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    if crc32fast::hash(&bytes) != extent.crc {
        return Err(io::Error::new(io::ErrorKind::InvalidData, BAD_CHECKSUM));
    }
    Ok(bytes.into())
}

/// Octets that a task may read and check by itself: some 50 µs, and a whole chunk of a large body. To hand them to a thread that
/// may wait costs as much, and memory that each of hundreds of threads keeps.
pub(crate) const READ_IN_PLACE_MAX: u32 = 256 << 10;

#[cfg(test)]
mod tests {
    use std::path::Path;

    use envelope::{MessageId, Timestamp};
    use spool::{Arrival, BodyWriter, Spool};
    use testkit::nouns;

    use super::*;
    use crate::settings::StartError;
    use crate::verify::{Exported, export};
    use crate::{LogSpool, Settings};

    const NOW: Timestamp = Timestamp::from_unix_millis(1_800_000_000_000);
    const ID: MessageId = MessageId::new(NOW, 1);
    const WHOLE: &str = "Trace: at the end\r\nReceived: here\r\n\r\nbody\r\n";

    fn open(dir: &Path, body_cache_bytes: usize) -> LogSpool {
        let settings = Settings {
            segment_bytes: Settings::SEGMENT_BYTES_MIN,
            min_free_bytes: 0,
            body_cache_bytes,
            ..Settings::new(dir)
        };
        LogSpool::open(settings).unwrap()
    }

    async fn check(spool: &LogSpool) {
        let mut whole = Vec::new();
        let mut reader = spool.open_body(ID).await.unwrap();
        while let Some(chunk) = reader.chunk().await.unwrap() {
            assert!(!chunk.is_empty());
            whole.extend_from_slice(&chunk);
        }
        assert_eq!(whole, WHOLE.as_bytes());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_trace_comes_before_the_body() {
        let dir = tempfile::tempdir().unwrap();
        let spool = open(dir.path(), 1 << 20);
        let (trace, body) = WHOLE.split_at(19);
        let message = Message {
            trace: trace.into(),
            ..nouns::message(ID, WHOLE.len())
        };
        let mut writer = spool.begin(ID).await.unwrap();
        writer.write(body.as_bytes()).await.unwrap();
        let legs = vec![nouns::leg("a@b.test")];
        spool
            .commit(writer, Arrival::new(message, legs, NOW))
            .await
            .unwrap();
        check(&spool).await;
        spool.close();
        let spool = open(dir.path(), 0);
        check(&spool).await;
        spool.close();
        let mut exported = Vec::new();
        let visit = |found: &Exported<'_>| {
            exported.extend(found.body().flat_map(|piece| piece.octets));
            Ok::<_, StartError>(())
        };
        export(dir.path(), NOW, None, &mut |_, _| {}, visit).unwrap();
        assert_eq!(exported, WHOLE.as_bytes());
    }
}
