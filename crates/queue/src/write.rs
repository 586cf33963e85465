//! Taking a body in: in memory while it is small, into chunk records of the log when it is not.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use envelope::MessageId;

use crate::engine::{Shared, answered};
use crate::fault;
use crate::log::codec::{Extent, chunk_front};
use crate::log::record::{Header, Kind, Payload};
use crate::spool::{BodyWriter, Error};

/// Takes a body in. Dropping it abandons what was written: no record speaks of it.
#[derive(Debug)]
pub struct LogWriter {
    shared: Arc<Shared>,
    id: MessageId,
    gathered: BytesMut,
    extents: Vec<Extent>,
    octets: u64,
    /// A mark in the state's drafts is ours to remove.
    marked: bool,
    /// Gathered octets at which a chunk is written.
    chunk_octets: usize,
    /// Whether it may use the last space too.
    pub(crate) reserved: bool,
}

/// A body that is ready to be committed: in one piece, or in the log already.
#[derive(Debug, Clone)]
pub(crate) struct WriterParts {
    pub(crate) inline: Option<Bytes>,
    pub(crate) extents: Vec<Extent>,
    /// Keeps the compactor away from the chunks until the commit is applied.
    _draft: Option<Arc<Draft>>,
}

/// A mark in the state: chunks of this message are in the log.
#[derive(Debug)]
struct Draft(Arc<Shared>, MessageId);

impl Drop for Draft {
    fn drop(&mut self) {
        self.0.state.lock().drafts.remove(&self.1);
    }
}

impl LogWriter {
    pub(crate) fn new(shared: Arc<Shared>, id: MessageId, chunk_octets: usize) -> Self {
        Self {
            shared,
            id,
            gathered: BytesMut::new(),
            extents: Vec::new(),
            octets: 0,
            marked: false,
            chunk_octets,
            reserved: false,
        }
    }

    pub(crate) fn id(&self) -> MessageId {
        self.id
    }

    /// Ends the body.
    pub(crate) async fn finish(mut self) -> Result<WriterParts, Error> {
        if self.extents.is_empty() {
            let inline = std::mem::take(&mut self.gathered).freeze();
            return Ok(WriterParts {
                inline: Some(inline),
                extents: Vec::new(),
                _draft: None,
            });
        }
        if !self.gathered.is_empty() {
            let rest = std::mem::take(&mut self.gathered).freeze();
            self.write_chunk(rest).await?;
        }
        self.marked = false;
        Ok(WriterParts {
            inline: None,
            extents: std::mem::take(&mut self.extents),
            _draft: Some(Arc::new(Draft(Arc::clone(&self.shared), self.id))),
        })
    }

    async fn write_chunk(&mut self, chunk: Bytes) -> Result<(), Error> {
        if !self.reserved {
            self.shared.check_space()?;
        }
        {
            let mut state = self.shared.state.lock();
            let segment = state.end.segment();
            // Before it is written: nothing from here on may be given back until we know where it is.
            state.drafts.entry(self.id).or_default().coming = Some(segment);
            self.marked = true;
        }
        let (octets, crc) = (chunk.len() as u32, crc32fast::hash(&chunk));
        let front = chunk_front(self.id);
        let start = (Header::OCTETS + front.len()) as u32;
        let payload = Payload::new(Kind::Chunk, vec![front, chunk]);
        let position = answered(self.shared.log.append(payload, None).await)?;
        fault::point("accept.chunk_written");
        if let Some(draft) = self.shared.state.lock().drafts.get_mut(&self.id) {
            draft.coming = None;
            draft.segments.push(position.segment());
        }
        self.extents.push(Extent {
            segment: position.segment(),
            offset: position.offset() + start,
            octets,
            crc,
        });
        Ok(())
    }
}

impl Drop for LogWriter {
    fn drop(&mut self) {
        if self.marked {
            self.shared.state.lock().drafts.remove(&self.id);
        }
    }
}

impl BodyWriter for LogWriter {
    async fn write(&mut self, chunk: impl Into<Bytes> + Send) -> Result<(), Error> {
        let chunk = chunk.into();
        self.octets += chunk.len() as u64;
        self.gathered.extend_from_slice(&chunk);
        while self.gathered.len() > self.chunk_octets {
            let full = self.gathered.split_to(self.chunk_octets).freeze();
            self.write_chunk(full).await?;
        }
        Ok(())
    }

    fn len(&self) -> u64 {
        self.octets
    }
}
