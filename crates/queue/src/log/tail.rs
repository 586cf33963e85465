//! The end of the log: the segment that is written now, and what is made ready beside it.
//!
//! Nothing that takes long is in the way of a commit. A batch is filled up with zeros to the end of its last page: a page
//! that is written in part and not in the cache would have to be read from the disk first. The next segment is begun (a
//! header, a name, three syncs) by a thread beside when this one is half full, and so is the sync behind a segment's end.

use std::io::{self, IoSlice};
use std::sync::Arc;
use std::thread::JoinHandle;

use crate::fault;
use crate::log::header::HEADER_OCTETS;
use crate::log::record::{Header, Kind, Payload, Position, write_end, write_end_unsynced};
use crate::log::segment::Segments;
use crate::store::{StoreFile, write_all};

/// Where the log is written.
#[derive(Debug)]
pub(crate) struct Tail {
    segments: Arc<Segments>,
    open: Option<Open>,
    beside: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Open {
    number: u32,
    file: Arc<dyn StoreFile>,
    offset: u32,
    /// The next segment is ready, or being made so.
    next_asked: bool,
}

impl Tail {
    /// No segment is open: the first [`Tail::roll`] begins one.
    pub(crate) fn new(segments: Arc<Segments>) -> Self {
        Self {
            segments,
            open: None,
            beside: None,
        }
    }

    /// Where the next record goes; the first of all places when no segment is open.
    pub(crate) fn position(&self) -> Position {
        let open = self.open.as_ref();
        open.map_or_else(Position::default, |open| {
            Position::new(open.number, open.offset)
        })
    }

    pub(crate) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// Octets of records that still fit.
    pub(crate) fn room(&self) -> u64 {
        let used = |open: &Open| u64::from(open.offset) + Header::OCTETS as u64;
        // The end record always fits behind the last one.
        let room = |open| u64::from(self.segments.octets).saturating_sub(used(open));
        self.open.as_ref().map_or(0, room)
    }

    /// Ends the segment and begins the next. When that fails no segment is open, and the next write fails.
    pub(crate) fn roll(&mut self) {
        let mut ended = None;
        if let Some(open) = self.open.take() {
            match write_end_unsynced(&*open.file, open.number, open.offset) {
                Ok(()) => ended = Some(open.file),
                Err(e) => {
                    tracing::warn!(segment = open.number, error = %e, "cannot end a log segment");
                }
            }
        }
        match self.segments.begin() {
            Ok((number, file)) => {
                self.open = Some(Open {
                    number,
                    file,
                    offset: HEADER_OCTETS as u32,
                    next_asked: false,
                });
            }
            Err(e) => tracing::error!(error = %e, "cannot begin a log segment"),
        }
        self.prepare(move |segments| {
            if let Some(Err(e)) = ended.map(|file| file.sync()) {
                // All records in it were synced; recovery writes the end again.
                tracing::warn!(error = %e, "cannot end a log segment");
            }
            segments.prepare_spare()
        });
    }

    /// Writes records with one `pwritev` and one fdatasync: a batch.
    pub(crate) fn write<'a>(
        &mut self,
        mut payloads: impl Iterator<Item = &'a Payload> + Clone,
    ) -> io::Result<Vec<Position>> {
        if payloads.clone().next().is_none() {
            return Ok(Vec::new());
        }
        let open = self.open.as_mut().ok_or(io::ErrorKind::StorageFull)?;
        let mut headers = Vec::new();
        let mut positions = Vec::new();
        let mut end = open.offset;
        for payload in payloads.clone() {
            let position = Position::new(open.number, end);
            headers.push(Header::encode(payload, position, positions.is_empty()));
            positions.push(position);
            end += payload.record_octets() as u32;
        }
        let mut slices = Vec::with_capacity(3 * headers.len() + 1);
        for (payload, header) in payloads.clone().zip(&headers) {
            slices.push(IoSlice::new(header));
            slices.extend(payload.parts.iter().map(|part| IoSlice::new(part)));
        }
        let page_end = end.next_multiple_of(ZEROS.len() as u32);
        let fill = page_end.min(self.segments.octets).saturating_sub(end);
        slices.push(IoSlice::new(&ZEROS[..fill as usize]));
        let commits = payloads.any(|payload| payload.kind == Kind::Commit);
        let point = |name| {
            if commits {
                fault::point(name);
            }
        };
        point("commit.before_write");
        write_all(&*open.file, &mut slices, u64::from(open.offset))?;
        point("commit.before_sync");
        open.file.sync()?;
        point("commit.after_sync");
        open.offset = end;
        self.look_ahead();
        Ok(positions)
    }

    /// Has the next segment made ready in time.
    fn look_ahead(&mut self) {
        let half = self.segments.octets / 2;
        let due = |open: &Open| !open.next_asked && open.offset > half;
        if self.open.as_ref().is_some_and(due)
            && self.prepare(Segments::prepare_next)
            && let Some(open) = &mut self.open
        {
            open.next_asked = true;
        }
    }

    /// Does something beside the committer; says whether it was begun: one thing at a time, and none is a must.
    fn prepare(&mut self, work: impl FnOnce(&Segments) -> io::Result<()> + Send + 'static) -> bool {
        if self.beside.as_ref().is_some_and(|t| !t.is_finished()) {
            return false;
        }
        let segments = Arc::clone(&self.segments);
        let work = move || {
            if let Err(e) = work(&segments) {
                tracing::warn!(error = %e, "cannot prepare a log segment");
            }
        };
        let thread = std::thread::Builder::new().name("spool-prepare".into());
        self.beside = thread.spawn(work).ok();
        self.beside.is_some()
    }

    /// After a failure the segment is not written to again: what is on the disk is unknown. An end before the failed batch
    /// keeps what was refused from coming back at a restart, if the disk takes that much.
    pub(crate) fn abandon(&mut self) {
        if let Some(open) = self.open.take() {
            let _ = write_end(&*open.file, open.number, open.offset);
        }
    }

    /// Ends the log; waits for what is done beside. With an end behind it, the last batch is told from a torn one.
    pub(crate) fn close(&mut self) {
        if let Some(open) = self.open.take()
            && let Err(e) = write_end(&*open.file, open.number, open.offset)
        {
            tracing::warn!(segment = open.number, error = %e, "cannot end a log segment");
        }
        if let Some(beside) = self.beside.take() {
            // Whatever came of it, nothing depends on it.
            let _ = beside.join();
        }
        if let Err(e) = self.segments.put_back() {
            tracing::warn!(error = %e, "cannot put the next log segment back");
        }
    }
}

/// A page of the cache, or a part of one where pages are larger.
const ZEROS: [u8; 4096] = [0; 4096];
