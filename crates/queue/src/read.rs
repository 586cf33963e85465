//! Reading bodies out of segments, checked. What is found damaged is set aside, and its message held.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use envelope::MessageId;
use spool::{BodyReader, OpenError};

use crate::engine::Shared;
use crate::log::codec::Extent;
use crate::quarantine::BAD_CHECKSUM;
use crate::store::{StoreFile, read_full};

/// Reads a body piece by piece; each is checked before it is given.
#[derive(Debug)]
pub struct LogReader {
    /// The whole body, when it was in memory.
    cached: Option<Bytes>,
    /// Still to come, the last first, with their files held open: a segment may be retired meanwhile.
    pieces: Vec<(Extent, Arc<dyn StoreFile>)>,
    /// Whose body it is, and who is told when it is damaged.
    id: MessageId,
    shared: Arc<Shared>,
}

impl LogReader {
    pub(crate) fn of_cached(shared: &Arc<Shared>, id: MessageId, body: Bytes) -> Self {
        Self {
            cached: Some(body),
            pieces: Vec::new(),
            id,
            shared: Arc::clone(shared),
        }
    }

    /// Opens all pieces, or says which segment is not there. The caller holds on to the state, or is the keeper: the
    /// compactor must not move the body meanwhile.
    pub(crate) fn of_extents(
        shared: &Arc<Shared>,
        id: MessageId,
        body: &[Extent],
    ) -> Result<Self, OpenError> {
        let piece = |extent: &Extent| {
            let missing =
                || OpenError::Damaged(format!("log segment {} is missing", extent.segment));
            let file = shared.segments.file(extent.segment);
            Ok((*extent, file.ok_or_else(missing)?))
        };
        let pieces = body.iter().rev().map(piece).collect::<Result<_, _>>()?;
        Ok(Self {
            cached: None,
            pieces,
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
        if let Some(body) = self.cached.take() {
            return Ok((!body.is_empty()).then_some(body));
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
