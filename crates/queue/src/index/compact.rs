//! The compactor: gives segments of the log back.
//!
//! A segment that no live message needs is retired; when too much of the log is dead, what lives in the emptiest segment
//! is written anew at the log's end first, so that a message which waits for days does not pin 64 MiB. One segment at a
//! time, a few MiB at a step, between the keeper's other jobs.
//!
//! The end of a leg must outlive every commit record of its message, or a rebuild of the index would deliver it again:
//! an end is written anew as long as a segment stands in which such a record may be (from the change's `since` on).

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;
use envelope::MessageId;
use parking_lot::MutexGuard;
use tokio::sync::oneshot;

use crate::fault;
use crate::index::keeper::Keeper;
use crate::index::reclaim::give_back_spent;
use crate::index::state::{Effect, State};
use crate::log::codec::{Change, Commit, Extent, chunk_front, chunk_owner};
use crate::log::committer::{Answer, LogHandle};
use crate::log::record::{Header, Kind, Payload};
use crate::log::recovery::{Item, SegmentBytes};
use crate::quarantine::{BAD_CHECKSUM, DAMAGED_BODY};
use crate::read::read_extent;

/// What the compactor is at.
#[derive(Debug, Default)]
pub(crate) struct Compactor {
    work: Option<Work>,
    /// Segments that could not be emptied (something in them cannot be read, the disk is full), and when that was seen.
    stuck: HashMap<u32, Instant>,
}

/// A segment that is being emptied.
#[derive(Debug)]
struct Work {
    segment: u32,
    bytes: SegmentBytes,
    items: VecDeque<Item>,
    copied: HashSet<MessageId>,
    /// Messages to be looked for when a record cannot be read: it may be theirs. The last comes first.
    unnamed: Option<Vec<MessageId>>,
    answers: Vec<oneshot::Receiver<Answer>>,
}

impl Compactor {
    /// Whether a segment is being emptied: the next step should come soon.
    pub(crate) fn is_busy(&self) -> bool {
        self.work.is_some()
    }

    /// Does a bounded piece of work, if there is any.
    pub(crate) fn step(&mut self, keeper: &Keeper) {
        let Some(log) = keeper.log.clone() else {
            return;
        };
        give_back_spent(keeper);
        if self.work.is_none() {
            self.work = self
                .pick(keeper)
                .and_then(|segment| self.begin(keeper, segment));
        }
        let Some(mut work) = self.work.take() else {
            return;
        };
        match work.proceed(keeper, &log) {
            Ok(true) => self.work = Some(work),
            Ok(false) => {
                let segment = work.segment;
                if !work.finish(keeper) {
                    self.stuck.insert(segment, Instant::now());
                }
                self.work = self.pick(keeper).and_then(|next| self.begin(keeper, next));
            }
            Err(reason) => {
                tracing::error!(
                    segment = work.segment,
                    reason,
                    "log segment cannot be given back"
                );
                self.stuck.insert(work.segment, Instant::now());
            }
        }
    }

    /// A segment without live octets, or the emptiest when too much of the log is dead.
    fn pick(&self, keeper: &Keeper) -> Option<u32> {
        let state = keeper.state.lock();
        let coming = state.drafts.coming().unwrap_or(u32::MAX);
        let before = keeper.position.segment().min(coming);
        let pinned = state.drafts.segments();
        let needed = |n: u32| state.live.get(&n).copied().unwrap_or(0).max(0) as u64;
        let standing = keeper.segments.numbers();
        // An end that must outlive an older segment is as alive as a message.
        let live = |n: u32| needed(n) + state.notes.octets(n, &standing);
        let goes_unread = |n: u32| needed(n) == 0 && state.notes.is_spent(n, &standing);
        let candidates = standing.iter().copied();
        let emptiest = candidates
            .filter(|n| *n < before && !pinned.contains(n) && !self.is_stuck(*n))
            .filter(|n| !goes_unread(*n))
            .min_by_key(|n| live(*n))?;
        let size = u64::from(keeper.segments.octets);
        let all: u64 = state.live.values().map(|n| (*n).max(0) as u64).sum();
        let used = keeper.segments.octets_used();
        let wasteful = used > all + all / WASTE_SHARE + WASTE_SEGMENTS * size;
        let worth_it = live(emptiest) <= size - size / 4;
        (live(emptiest) == 0 || (wasteful && worth_it)).then_some(emptiest)
    }

    fn is_stuck(&self, segment: u32) -> bool {
        let seen = self.stuck.get(&segment);
        seen.is_some_and(|seen| seen.elapsed() < STUCK_PAUSE)
    }

    fn begin(&mut self, keeper: &Keeper, segment: u32) -> Option<Work> {
        match SegmentBytes::read(&keeper.segments, segment) {
            Ok(bytes) => Some(Work {
                segment,
                items: bytes.items(0).items.into(),
                bytes,
                copied: HashSet::new(),
                unnamed: None,
                answers: Vec::new(),
            }),
            Err(e) => {
                tracing::error!(segment, error = %e, "log segment cannot be read");
                self.stuck.insert(segment, Instant::now());
                None
            }
        }
    }
}

impl Work {
    /// Looks at the next few MiB; `Ok(true)`: there is more.
    fn proceed(&mut self, keeper: &Keeper, log: &LogHandle<Effect>) -> Result<bool, &'static str> {
        let mut octets = 0;
        while octets < STEP_OCTETS {
            let Some(item) = self.items.pop_front() else {
                if let Some(id) = self.unnamed.as_mut().and_then(Vec::pop) {
                    octets += UNNAMED_OCTETS;
                    self.keep_message(keeper, log, id)?;
                    continue;
                }
                // What ended since the last checkpoint must be durable before the segment goes.
                self.answers.push(log.barrier());
                return self.wait().map(|()| false);
            };
            octets += item.range().len();
            self.keep(keeper, log, item)?;
        }
        self.wait().map(|()| true)
    }

    /// Until all that was written anew is durable.
    fn wait(&mut self) -> Result<(), &'static str> {
        for answer in self.answers.drain(..) {
            match answer.blocking_recv() {
                Ok(Ok(_)) => {}
                _ => return Err("the log cannot be written"),
            }
        }
        Ok(())
    }

    /// Gives the segment back; says whether it went.
    fn finish(self, keeper: &Keeper) -> bool {
        fault::point("compact.copied");
        let vouched = keeper.position.segment();
        match keeper.segments.retire(self.segment, vouched) {
            Ok(()) => {
                fault::point("compact.given_back");
                let mut state = keeper.state.lock();
                state.live.remove(&self.segment);
                state.notes.forget(self.segment);
                for id in &self.copied {
                    state.forget_since(*id, self.segment);
                }
                tracing::debug!(
                    segment = self.segment,
                    moved = self.copied.len(),
                    "log segment given back"
                );
                true
            }
            Err(e) => {
                tracing::warn!(segment = self.segment, error = %e, "cannot give a log segment back");
                false
            }
        }
    }

    /// Writes anew what of a record is still needed.
    fn keep(
        &mut self,
        keeper: &Keeper,
        log: &LogHandle<Effect>,
        item: Item,
    ) -> Result<(), &'static str> {
        let (header, range) = match item {
            Item::Record(header, range) | Item::Repaired(header, range) => (header, range),
            Item::Damage(range) => {
                let bytes = self.bytes.slice(range.clone());
                keeper
                    .quarantine
                    .piece(self.segment, range.start, bytes, BAD_CHECKSUM);
                self.unnamed.get_or_insert_with(|| keeper.known());
                return Ok(());
            }
            Item::Envelope(_, commit, range) => {
                let bytes = self.bytes.slice(range.clone());
                keeper
                    .quarantine
                    .piece(self.segment, range.start, bytes, DAMAGED_BODY);
                if let Some(also) = &commit.also {
                    self.keep_change(keeper, log, also)?;
                }
                return self.keep_message(keeper, log, commit.row.message.id);
            }
        };
        let payload = self.bytes.slice(range.clone());
        let understood = match header.kind {
            Some(Kind::Commit) => Commit::decode(payload).map(|commit| {
                if let Some(also) = &commit.also {
                    self.keep_change(keeper, log, also)?;
                }
                self.keep_message(keeper, log, commit.row.message.id)
            }),
            Some(Kind::Chunk) => chunk_owner(payload).map(|id| self.keep_message(keeper, log, id)),
            Some(Kind::Change) => {
                Change::decode(payload).map(|change| self.keep_change(keeper, log, &change))
            }
            // The index has the tokens of an older Onward; those of commit records are in their files.
            Some(Kind::End | Kind::Token) => Ok(Ok(())),
            None => Ok(Err("a record of a later version is in it")),
        };
        understood.unwrap_or_else(|malformed| {
            let bytes = self.bytes.slice(range.clone());
            keeper
                .quarantine
                .piece(self.segment, range.start, bytes, malformed.0);
            self.unnamed.get_or_insert_with(|| keeper.known());
            Ok(())
        })
    }

    /// Writes a message anew if it lives and this segment holds its commit record or a part of its body.
    fn keep_message(
        &mut self,
        keeper: &Keeper,
        log: &LogHandle<Effect>,
        id: MessageId,
    ) -> Result<(), &'static str> {
        if self.copied.contains(&id) || !keeper.try_load(id)? {
            return Ok(());
        }
        let body = match keeper.state.lock().messages.get(&id) {
            Some(entry) if !entry.legs().is_empty() && entry.needs(self.segment) => {
                entry.body.clone()
            }
            _ => return Ok(()),
        };
        let inline = body.iter().map(|e| e.octets as usize).sum::<usize>() <= keeper.inline_max;
        let (bytes, extents) = if inline {
            (Some(gather(keeper, &body)?), Vec::new())
        } else {
            (None, copy_chunks(keeper, log, id, &body)?)
        };
        let state = settled(keeper, log, id)?;
        let Some(entry) = state
            .messages
            .get(&id)
            .filter(|entry| !entry.legs().is_empty())
        else {
            return Ok(());
        };
        let mut row = entry.row();
        row.body = extents;
        let commit = Commit {
            row,
            legs: entry.legs().iter().map(|leg| leg.row.clone()).collect(),
            also: None,
            tokens: Vec::new(),
            inline: None,
        };
        let (payload, commit) = commit.into_payload(bytes);
        let moved = Effect::Moved(Box::new(commit));
        self.answers.push(log.append(payload, Some(moved)));
        self.copied.insert(id);
        Ok(())
    }

    /// Writes a leg's newest state, or its end, anew if a commit record of its message may stand in an older segment.
    fn keep_change(
        &mut self,
        keeper: &Keeper,
        log: &LogHandle<Effect>,
        change: &Change,
    ) -> Result<(), &'static str> {
        let numbers = keeper.segments.numbers();
        if !numbers
            .iter()
            .any(|n| (change.since..self.segment).contains(n))
        {
            return Ok(());
        }
        keeper.try_load(change.leg.message)?;
        let state = settled(keeper, log, change.leg.message)?;
        let entry = state.messages.get(&change.leg.message);
        let leg = entry.and_then(|entry| entry.leg(change.leg.number));
        let newest = Change {
            leg: change.leg,
            since: change.since,
            state: leg.map(|leg| leg.row.state.clone()),
        };
        let payload = Payload::new(Kind::Change, vec![newest.encode()]);
        self.answers
            .push(log.append(payload, Some(Effect::Changed(change.since))));
        Ok(())
    }
}

/// See [`Keeper::settled`].
fn settled<'a>(
    keeper: &'a Keeper,
    log: &LogHandle<Effect>,
    id: MessageId,
) -> Result<MutexGuard<'a, State>, &'static str> {
    keeper
        .settled(log, id)
        .map_err(|_| "the log cannot be written")
}

fn gather(keeper: &Keeper, body: &[Extent]) -> Result<Bytes, &'static str> {
    let mut bytes = Vec::new();
    for extent in body {
        bytes.extend_from_slice(&read_piece(keeper, extent)?);
    }
    Ok(bytes.into())
}

/// Writes the chunks of a body anew, one after the other, so that one is in memory at a time.
fn copy_chunks(
    keeper: &Keeper,
    log: &LogHandle<Effect>,
    id: MessageId,
    body: &[Extent],
) -> Result<Vec<Extent>, &'static str> {
    let mut extents = Vec::with_capacity(body.len());
    for extent in body {
        let front = chunk_front(id);
        let start = Header::OCTETS + front.len();
        let payload = Payload::new(Kind::Chunk, vec![front, read_piece(keeper, extent)?]);
        let Ok(Ok(position)) = log.append(payload, None).blocking_recv() else {
            return Err("the log cannot be written");
        };
        extents.push(Extent {
            segment: position.segment(),
            offset: position.offset() + start as u32,
            ..*extent
        });
    }
    Ok(extents)
}

fn read_piece(keeper: &Keeper, extent: &Extent) -> Result<Bytes, &'static str> {
    let file = keeper
        .segments
        .file(extent.segment)
        .ok_or("a body's other segment is missing")?;
    read_extent(&*file, extent).map_err(|e| {
        tracing::error!(error = %e, segment = extent.segment, at = extent.offset, "queued body cannot be read");
        "a body in it cannot be read"
    })
}

/// How long a segment that could not be emptied is left alone.
const STUCK_PAUSE: Duration = Duration::from_secs(60);
/// Octets looked at in one step.
const STEP_OCTETS: usize = 4 << 20;
/// What a look at a message by its name counts for in this.
const UNNAMED_OCTETS: usize = 4 << 10;
/// The log may be a quarter larger than what lives in it …
const WASTE_SHARE: u64 = 4;
/// … and these many segments: the one that is written, its spares, and one to go.
const WASTE_SEGMENTS: u64 = 5;
