//! Taking a body in: in memory while it is small, into chunk records of the log when it is not.

use std::sync::Arc;
use std::sync::atomic::Ordering;

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
    /// Our share of [`Shared::gathered`].
    counted: usize,
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
            counted: 0,
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

impl LogWriter {
    /// Tells all writers together how much this one holds in memory.
    fn count_gathered(&mut self) {
        let held = self.gathered.len();
        let all = &self.shared.gathered;
        all.fetch_add(held, Ordering::Relaxed);
        all.fetch_sub(
            std::mem::replace(&mut self.counted, held),
            Ordering::Relaxed,
        );
    }

    /// Gathered octets at which a chunk is written now: few when many bodies are open at once, so that stalled clients
    /// together hold no more than a budget.
    fn chunk_octets_now(&self) -> usize {
        match self.shared.gathered.load(Ordering::Relaxed) {
            all if all > GATHERED_MAX => self.chunk_octets.min(CHUNK_OCTETS_SHORT),
            _ => self.chunk_octets,
        }
    }
}

impl Drop for LogWriter {
    fn drop(&mut self) {
        self.shared
            .gathered
            .fetch_sub(self.counted, Ordering::Relaxed);
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
        self.count_gathered();
        let most = self.chunk_octets_now();
        if self.gathered.len() <= most {
            return Ok(());
        }
        while self.gathered.len() > most {
            let full = self.gathered.split_to(most).freeze();
            self.write_chunk(full).await?;
        }
        // What is left shares its memory with the chunks that were written: those are to go.
        self.gathered = BytesMut::from(&self.gathered[..]);
        self.count_gathered();
        Ok(())
    }

    fn len(&self) -> u64 {
        self.octets
    }
}

/// Octets of open bodies in memory, all together, above which they are written out early.
const GATHERED_MAX: usize = 128 << 20;
/// The chunk then; at this size a body of 96 MiB still fits the extents of one commit record.
const CHUNK_OCTETS_SHORT: usize = 32 << 10;

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use envelope::Timestamp;

    use super::GATHERED_MAX;
    use crate::{BodyWriter, IdSource, LogSpool, Settings, Spool};

    /// Each alone is within bounds; it is their number that must not matter.
    #[tokio::test]
    async fn many_open_bodies_hold_a_bounded_memory_together() {
        let dir = tempfile::tempdir().unwrap();
        let now = Timestamp::from_unix_millis(1);
        let settings = Settings {
            min_free_bytes: 0,
            ..Settings::new(dir.path())
        };
        let spool = LogSpool::open(settings, now).unwrap();
        let ids = IdSource::from_random(1);
        let (each, count) = (1 << 20, 160);
        let mut open = Vec::new();
        for _ in 0..count {
            let mut writer = spool.begin(ids.next(now)).await.unwrap();
            writer.write(vec![b'x'; each - 1]).await.unwrap();
            open.push(writer);
        }
        let shared = open[0].shared.clone();
        let held = shared.gathered.load(Ordering::Relaxed);
        assert!(held > GATHERED_MAX / 2, "{held}: nothing was held at all");
        assert!(
            held <= GATHERED_MAX + count * super::CHUNK_OCTETS_SHORT,
            "{held}"
        );
        assert_eq!(
            open.iter().map(BodyWriter::len).sum::<u64>(),
            ((each - 1) * count) as u64
        );
        drop(open);
        assert_eq!(shared.gathered.load(Ordering::Relaxed), 0);
    }
}
