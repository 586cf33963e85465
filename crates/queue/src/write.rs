//! Taking a body in: in memory while it is small, into chunk records of the log when it is not.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::{Bytes, BytesMut};
use envelope::MessageId;
use spool::{BodyWriter, Error, Token};

use crate::engine::{Shared, answered};
use crate::fault;
use crate::index::drafts::Draft;
use crate::index::state::{Effect, Guards};
use crate::log::codec::{Commit, Extent, chunk_front};
use crate::log::record::{Header, Kind, Payload};
use crate::read::LogReader;

/// Takes a body in. Dropping it abandons what was written: no record speaks of it.
#[derive(Debug)]
pub struct LogWriter {
    shared: Arc<Shared>,
    id: MessageId,
    gathered: BytesMut,
    /// The whole body, once it has ended in one piece.
    inline: Option<Bytes>,
    extents: Vec<Extent>,
    octets: u64,
    /// Once a chunk is in the log: keeps the compactor away from it.
    draft: Option<Draft>,
    tokens: Vec<Token>,
    /// Above this the body no longer goes into its commit record, but into chunks.
    inline_max: usize,
    /// Our share of [`Shared::gathered`].
    counted: usize,
    /// Whether it may use the last space too.
    pub(crate) reserved: bool,
}

/// A body that is ready to be committed: in one piece, or in the log already.
#[derive(Debug)]
pub(crate) struct WriterParts {
    pub(crate) inline: Option<Bytes>,
    pub(crate) extents: Vec<Extent>,
    /// Keeps the compactor away from the chunks; goes with the commit until that is applied.
    pub(crate) draft: Option<Draft>,
    pub(crate) tokens: Vec<Token>,
}

impl WriterParts {
    /// What the commit does once it is durable. The draft goes with it: whoever waits may go away before.
    pub(crate) fn into_effect(self, commit: Commit, guards: Guards) -> Effect {
        let body = self.draft;
        Effect::Commit(Box::new(commit), self.inline, Guards { body, ..guards })
    }
}

impl LogWriter {
    pub(crate) fn new(shared: Arc<Shared>, id: MessageId, inline_max: usize) -> Self {
        Self {
            shared,
            id,
            gathered: BytesMut::new(),
            inline: None,
            extents: Vec::new(),
            octets: 0,
            draft: None,
            tokens: Vec::new(),
            inline_max,
            counted: 0,
            reserved: false,
        }
    }

    pub(crate) fn id(&self) -> MessageId {
        self.id
    }

    /// Ends the body, if it has not ended yet.
    async fn end(&mut self) -> Result<(), Error> {
        let rest = std::mem::take(&mut self.gathered).freeze();
        if self.extents.is_empty() {
            self.inline.get_or_insert(rest);
        } else if !rest.is_empty() {
            self.write_chunk(rest).await?;
        }
        Ok(())
    }

    /// Ends the body, and the writer with it.
    pub(crate) async fn finish(mut self) -> Result<WriterParts, Error> {
        self.end().await?;
        Ok(WriterParts {
            inline: self.inline.take(),
            extents: std::mem::take(&mut self.extents),
            draft: self.draft.take(),
            tokens: std::mem::take(&mut self.tokens),
        })
    }

    async fn write_chunk(&mut self, chunk: Bytes) -> Result<(), Error> {
        if !self.reserved {
            self.shared.check_space().await?;
        }
        {
            let state = self.shared.state.lock();
            // Before it is written: nothing from here on may be given back until we know where it is.
            let begin = || state.drafts.begin(self.id);
            let draft = self.draft.get_or_insert_with(begin);
            draft.chunk_comes(state.end.segment());
        }
        let (octets, crc) = (chunk.len() as u32, crc32fast::hash(&chunk));
        let front = chunk_front(self.id);
        let start = (Header::OCTETS + front.len()) as u32;
        let payload = Payload::new(Kind::Chunk, vec![front, chunk]);
        let position = answered(self.shared.log.append(payload, None).await)?;
        fault::point("accept.chunk_written");
        if let Some(draft) = &self.draft {
            draft.chunk_is_in(position.segment());
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

    /// The most that one chunk takes; a segment has room for it.
    fn chunk_octets(&self) -> usize {
        self.inline_max.min(CHUNK_OCTETS)
    }

    /// Gathered octets above which they are written now: few when many bodies are open at once, so that slow clients, or large
    /// bodies, together hold little more than a budget.
    fn gathered_most(&self) -> usize {
        if self.shared.gathered.load(Ordering::Relaxed) > GATHERED_MAX {
            return self.inline_max.min(CHUNK_OCTETS_SHORT);
        }
        match self.extents.is_empty() {
            true => self.inline_max,
            false => self.chunk_octets(),
        }
    }
}

impl Drop for LogWriter {
    fn drop(&mut self) {
        self.shared
            .gathered
            .fetch_sub(self.counted, Ordering::Relaxed);
    }
}

impl BodyWriter for LogWriter {
    type Reader = LogReader;

    async fn write(&mut self, chunk: impl Into<Bytes> + Send) -> Result<(), Error> {
        debug_assert!(self.inline.is_none(), "the body has ended");
        let chunk = chunk.into();
        self.octets += chunk.len() as u64;
        self.gathered.extend_from_slice(&chunk);
        self.count_gathered();
        let most = self.gathered_most();
        if self.gathered.len() <= most {
            return Ok(());
        }
        while self.gathered.len() > most {
            let octets = self.gathered.len().min(self.chunk_octets());
            let full = self.gathered.split_to(octets).freeze();
            self.write_chunk(full).await?;
        }
        // What is left shares its memory with the chunks that were written: those are to go.
        self.gathered = BytesMut::from(&self.gathered[..]);
        self.count_gathered();
        Ok(())
    }

    async fn read_back(&mut self) -> Result<LogReader, Error> {
        self.end().await?;
        let reader =
            LogReader::of_draft(&self.shared, self.id, self.inline.as_ref(), &self.extents);
        reader.map_err(|error| Error::Unknown(error.to_string()))
    }

    fn is_in_memory(&self) -> bool {
        self.extents.is_empty()
    }

    fn keep(&mut self, token: Token) {
        self.tokens.push(token);
    }

    fn len(&self) -> u64 {
        self.octets
    }
}

/// A chunk, but for the last: small enough that hundreds in memory at once are no matter, large enough that their records and
/// syncs are none either.
const CHUNK_OCTETS: usize = 256 << 10;
/// Octets of open bodies in memory, all together, above which they are written out early.
const GATHERED_MAX: usize = 32 << 20;
/// The least chunk then; at this size a body of 96 MiB still fits the extents of one commit record.
const CHUNK_OCTETS_SHORT: usize = 32 << 10;

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::path::Path;
    use std::pin::pin;
    use std::sync::atomic::Ordering;
    use std::task::Poll;

    use envelope::{Leg, Message, MessageId, ReversePath, Timestamp};
    use testkit::nouns;

    use super::GATHERED_MAX;
    use spool::{Arrival, BodyWriter, IdSource, Spool};

    use crate::{LogSpool, Settings};

    fn spool(dir: &Path) -> (LogSpool, Timestamp) {
        let now = Timestamp::from_unix_millis(1);
        let settings = Settings {
            min_free_bytes: 0,
            ..Settings::new(dir)
        };
        (LogSpool::open(settings).unwrap(), now)
    }

    /// Each alone is within bounds; it is their number that must not matter.
    #[tokio::test]
    async fn many_open_bodies_hold_a_bounded_memory_together() {
        let dir = tempfile::tempdir().unwrap();
        let (spool, now) = spool(dir.path());
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

    fn message(id: MessageId, size: u64) -> (Message, Leg) {
        let message = Message::new(id, Timestamp::from_unix_millis(1), ReversePath::Null, size);
        (message, nouns::leg("a@b.test"))
    }

    /// Whoever waits for a commit goes away, after so many polls of it: the record may be on its way all the same, and then
    /// the chunks that it speaks of must stay.
    async fn check_dropped(spool: &LogSpool, id: MessageId, polls: usize) {
        let mut writer = spool.begin(id).await.unwrap();
        let shared = writer.shared.clone();
        writer.write(vec![b'x'; 3 << 20]).await.unwrap();
        let (message, leg) = message(id, writer.len());
        let now = message.arrived;
        let mut left = polls;
        {
            let mut commit = pin!(spool.commit(writer, Arrival::new(message, vec![leg], now)));
            poll_fn(|context| {
                left -= 1;
                match commit.as_mut().poll(context) {
                    Poll::Pending if left > 0 => Poll::Pending,
                    _ => Poll::Ready(()),
                }
            })
            .await;
        }
        let kept = {
            let state = shared.state.lock();
            state.is_open(id) || state.drafts.has(id)
        };
        shared.log.barrier().await.unwrap().unwrap();
        let committed = shared.state.lock().is_open(id);
        assert!(kept || !committed, "after {polls} polls");
        assert!(!shared.state.lock().drafts.has(id), "draft left behind");
    }

    #[tokio::test]
    async fn a_commit_that_nobody_waits_for_keeps_its_chunks() {
        let dir = tempfile::tempdir().unwrap();
        let (spool, now) = spool(dir.path());
        let ids = IdSource::from_random(1);
        for polls in 1..6 {
            check_dropped(&spool, ids.next(now), polls).await;
        }
    }
}
