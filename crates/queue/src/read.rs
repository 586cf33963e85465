//! Reading bodies out of segments, checked.

use std::io;
use std::sync::Arc;

use bytes::Bytes;

use crate::log::codec::Extent;
use crate::log::segment::Segments;
use crate::spool::{BodyReader, OpenError};
use crate::store::{StoreFile, read_full};

/// Reads a body piece by piece; each is checked before it is given.
#[derive(Debug)]
pub struct LogReader {
    /// The whole body, when it was in memory.
    cached: Option<Bytes>,
    /// Still to come, the last first, with their files held open: a segment may be retired meanwhile.
    pieces: Vec<(Extent, Arc<dyn StoreFile>)>,
}

impl LogReader {
    pub(crate) fn of_cached(body: Bytes) -> Self {
        Self {
            cached: Some(body),
            pieces: Vec::new(),
        }
    }

    pub(crate) fn of_extents(segments: &Segments, body: &[Extent]) -> Result<Self, OpenError> {
        let piece = |extent: &Extent| {
            let missing =
                || OpenError::Damaged(format!("log segment {} is missing", extent.segment));
            Ok((*extent, segments.file(extent.segment).ok_or_else(missing)?))
        };
        let pieces = body.iter().rev().map(piece).collect::<Result<_, _>>()?;
        Ok(Self {
            cached: None,
            pieces,
        })
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
        let read = tokio::task::spawn_blocking(move || read_extent(&*file, &extent));
        let read = read
            .await
            .map_err(|e| OpenError::Unavailable(e.to_string()))?;
        let bytes = read.map_err(|e| {
            let place = format!("log segment {} at {}: {e}", extent.segment, extent.offset);
            match e.kind() {
                io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => {
                    OpenError::Damaged(place)
                }
                _ => OpenError::Unavailable(place),
            }
        })?;
        if bytes.is_empty() {
            return Ok(None);
        }
        Ok(Some(bytes))
    }
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
        return Err(io::Error::new(io::ErrorKind::InvalidData, "bad checksum"));
    }
    Ok(bytes.into())
}
