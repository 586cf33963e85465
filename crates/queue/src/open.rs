//! Opening a spool: the log is read from where the index is current, or whole when the index cannot be trusted.
//!
//! The index is trusted when it belongs to this log and was made under the same settings. Anything else (lost, foreign,
//! damaged, older settings) is removed and rebuilt from the log: it costs time, never mail. What a trusted index knows and
//! the log has not is damage of the log: those messages are held, not forgotten.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::sync_channel;

use parking_lot::Mutex;

use crate::cache::BodyCache;
use crate::fault;
use crate::index::keeper::Keeper;
use crate::index::renew;
use crate::index::state::State;
use crate::index::tree::Tree;
use crate::log::codec::{Change, Commit, chunk_owner, decode_token};
use crate::log::fields::Malformed;
use crate::log::header::{Misfit, number_of};
use crate::log::record::write_end;
use crate::log::record::{Header, Kind, Position};
use crate::log::recovery::{Item, Scan, SegmentBytes};
use crate::log::segment::{Segments, Trouble};
use crate::quarantine::{BAD_CHECKSUM, DAMAGED_BODY, DAMAGED_HEADER, Quarantine};
use crate::settings::{Settings, StartError};
use crate::store::Store;
use crate::tokens::{Place, Tokens};

/// Opens log and index and brings the index up to date.
pub(crate) fn open_keeper(
    settings: &Settings,
    store: Arc<dyn Store>,
) -> Result<Keeper, StartError> {
    let quarantine = Quarantine::new(Arc::clone(&store), settings.dir.join("quarantine"));
    let log_dir = settings.dir.join("log");
    let (segments, troubles) = Segments::open(Arc::clone(&store), log_dir, settings.segment_bytes)?;
    let mut gone = BTreeMap::new();
    for trouble in troubles {
        match trouble {
            Trouble::Misfit(path, misfit) => {
                gone.extend(number_of(&path).map(|number| (number, 0)));
                quarantine.file(&path, misfit.words());
            }
            Trouble::Repaired(number, header) => {
                quarantine.piece(number, 0, &header, Misfit::Header.words());
            }
            Trouble::Short(number, at) => {
                gone.insert(number, at);
                quarantine.gone(number, Some(at));
            }
        }
    }
    let tokens = Tokens::open(Arc::clone(&store), &settings.dir);
    let tokens = tokens.map_err(|source| StartError::Io {
        what: "open the folder `tokens` in",
        path: settings.dir.clone(),
        source,
    })?;
    let opening = Opening {
        settings,
        gone: Mutex::new(gone),
        store,
        segments: Arc::new(segments),
        tokens: Arc::new(tokens),
        quarantine: Arc::new(quarantine),
        path: renew::folder(&settings.dir),
    };
    // What a renewal of the index left behind, in whichever of its folders.
    for left in renew::folders(&settings.dir) {
        if left != opening.path && left.exists() {
            let removed = opening.store.remove_dir(&left);
            removed.map_err(|source| opening.io("remove", &left, source))?;
        }
    }
    opening.open()
}

pub(crate) struct Opening<'a> {
    settings: &'a Settings,
    store: Arc<dyn Store>,
    pub(crate) segments: Arc<Segments>,
    tokens: Arc<Tokens>,
    pub(crate) quarantine: Arc<Quarantine>,
    path: PathBuf,
    /// Segments of which something is gone, and from where on.
    pub(crate) gone: Mutex<BTreeMap<u32, u32>>,
}

impl Opening<'_> {
    fn open(&self) -> Result<Keeper, StartError> {
        // sled's files may be in any state, and it may only notice (and panic) when a page is read.
        let first = catch_unwind(AssertUnwindSafe(|| self.with_index(false)));
        match first {
            Ok(Ok(Some(keeper))) => return Ok(keeper),
            Ok(Err(e @ (StartError::Io { .. } | StartError::Setting(_)))) => return Err(e),
            Ok(Ok(None)) => {}
            Ok(Err(e)) => {
                tracing::warn!(error = %e, "spool index cannot be used: rebuilding it from the log")
            }
            Err(_) => tracing::warn!("spool index is damaged: rebuilding it from the log"),
        }
        let path = &self.path;
        let removed = self.store.remove_dir(path);
        removed.map_err(|source| self.io("remove", path, source))?;
        fault::point("recover.index_removed");
        let index = |text: &str| StartError::Index {
            path: path.clone(),
            text: text.to_owned(),
        };
        self.with_index(true)?
            .ok_or_else(|| index("a new index does not fit its own log"))
    }

    /// Opens the index and replays what it lacks; `None` when it is not of this log.
    fn with_index(&self, fresh: bool) -> Result<Option<Keeper>, StartError> {
        let index = |text| StartError::Index {
            path: self.path.clone(),
            text,
        };
        let tree = Tree::open(&self.path, self.settings.index_cache_bytes).map_err(index)?;
        let fingerprint = self.fingerprint();
        let position = match tree.position(&fingerprint) {
            Some(position) if !self.segments.trusts(position.segment()) => {
                tracing::warn!("spool index is older than its log: rebuilding it");
                return Ok(None);
            }
            Some(position) if position != Position::default() => position,
            Some(position) if self.segments.numbers().is_empty() => position,
            _ if fresh || tree.is_empty() => Position::default(),
            _ => {
                tracing::warn!(
                    "spool index is not of this log or of another version: rebuilding it"
                );
                return Ok(None);
            }
        };
        self.miss(&tree, position);
        let mut keeper = self.keeper(tree, fingerprint);
        keeper.replayed_from = position;
        keeper.rows = self.read_index(&keeper).map_err(index)?;
        let keeper = self.replay(keeper, position)?;
        self.find_lost(&keeper);
        Ok(Some(keeper))
    }

    fn keeper(&self, tree: Tree, fingerprint: Vec<u8>) -> Keeper {
        let state = State::new(
            rand::random(),
            BodyCache::new(self.settings.body_cache_bytes),
            self.settings.lifetime,
        );
        let mut keeper = Keeper::new(
            Arc::new(Mutex::new(state)),
            Arc::clone(&self.segments),
            Arc::clone(&self.tokens),
            tree,
            Arc::clone(&self.quarantine),
            fingerprint,
            inline_max(self.settings.segment_bytes),
        );
        keeper.clock = self.settings.clock.clone();
        keeper.waste_bytes = self.settings.index_waste_bytes;
        keeper
    }

    /// What an index must have been made under to be used: this log, this layout.
    fn fingerprint(&self) -> Vec<u8> {
        let mut out = INDEX_VERSION.to_be_bytes().to_vec();
        out.extend_from_slice(&self.segments.spool_id.to_be_bytes());
        out
    }

    /// Takes from sled what memory keeps of it: the place of each leg in the orders. One thread reads rows while this one
    /// puts legs in; says how many messages there are.
    fn read_index(&self, keeper: &Keeper) -> Result<u64, String> {
        let mut state = keeper.state.lock();
        state.live = keeper.tree.live().into_iter().collect();
        state.notes = keeper.tree.notes().unwrap_or_default();
        if keeper.tree.is_empty() {
            // All of the log is about to be replayed.
            state.notes.counted_from = 0;
        }
        let (sender, receiver) = sync_channel(BATCHES_AHEAD);
        std::thread::scope(|scope| {
            let tree = &keeper.tree;
            let reader = scope.spawn(move || {
                tree.each_batch(LEGS_AT_ONCE, |legs| {
                    // It is there until the last sender is gone.
                    let _ = sender.send(legs);
                })
            });
            for (id, dates, sender, leg) in receiver.iter().flatten() {
                state.enter(id, &sender, dates, &leg);
            }
            let read = reader.join();
            read.unwrap_or_else(|_| Err("sled panicked while reading it".to_owned()))
        })
    }

    fn replay(&self, mut keeper: Keeper, from: Position) -> Result<Keeper, StartError> {
        let (mut end, mut replayed) = (from, false);
        for number in self.segments.numbers() {
            if number < from.segment() {
                continue;
            }
            let offset = match number == from.segment() {
                true => from.offset(),
                false => 0,
            };
            let file = self.segments.file(number);
            let octets = file.and_then(|file| file.octets().ok());
            if octets.is_some_and(|octets| octets < u64::from(offset)) {
                // Cut before the place up to which the index is current.
                continue;
            }
            let (at, records) = self.replay_segment(&mut keeper, number, offset)?;
            end = Position::new(number, at);
            replayed |= records > 0;
        }
        if keeper.is_broken() {
            return Err(StartError::Index {
                path: self.path.clone(),
                text: "a row of it cannot be read".to_owned(),
            });
        }
        {
            let mut state = keeper.state.lock();
            state.end = end;
            let last = self.segments.numbers().last().copied().unwrap_or(0);
            let next = last.saturating_add(1);
            let counted = &mut state.notes.counted_from;
            *counted = match replayed && from != Position::default() {
                // sled's rows may be newer than its position (a crash in a checkpoint): what they need of a segment is then
                // counted wrong, and whoever gives one back must read it first.
                true => next,
                false => next.min(*counted),
            };
        }
        fault::point("recover.replayed");
        keeper.checkpoint();
        fault::point("recover.checkpointed");
        Ok(keeper)
    }

    fn replay_segment(
        &self,
        keeper: &mut Keeper,
        number: u32,
        from: u32,
    ) -> Result<(u32, usize), StartError> {
        let path = self.segments.path(number);
        let io = |what| {
            let path = &path;
            move |source| self.io(what, path, source)
        };
        let file = self
            .segments
            .file(number)
            .ok_or_else(|| std::io::ErrorKind::NotFound.into());
        let file = file.map_err(io("open"))?;
        // What a killed process wrote may be in the page cache alone; sled must not get ahead of the disk.
        file.sync().map_err(io("sync"))?;
        let bytes = SegmentBytes::read(&self.segments, number).map_err(io("read"))?;
        let scan = bytes.items(from);
        for item in &scan.items {
            let (at, what) = match item {
                Item::Record(header, payload) => {
                    match replay_record(keeper, header, bytes.slice(payload.clone())) {
                        Ok(()) => continue,
                        Err(malformed) => (item.range(), malformed.0),
                    }
                }
                Item::Repaired(header, payload) => {
                    let replayed = replay_record(keeper, header, bytes.slice(payload.clone()));
                    let what = replayed.map_or_else(|malformed| malformed.0, |()| DAMAGED_HEADER);
                    (item.range(), what)
                }
                Item::Envelope(header, commit, at) => {
                    let id = commit.row.message.id;
                    replay_commit(keeper, header, Commit::clone(commit));
                    let reason = format!("log segment {number} at {}: {DAMAGED_BODY}", at.start);
                    keeper.state.lock().damaged.push((id, reason));
                    (at.clone(), DAMAGED_BODY)
                }
                Item::Damage(at) => (at.clone(), BAD_CHECKSUM),
            };
            self.quarantine
                .piece(number, at.start, bytes.slice(at.clone()), what);
            // Whatever it was: nobody counted it.
            keeper.state.lock().notes.keep(number);
        }
        if !scan.ended {
            self.keep_tail(number, &scan, &bytes);
            fault::point("recover.before_cut");
            write_end(&*file, number, scan.end).map_err(io("write"))?;
        }
        fault::point("recover.segment_read");
        keeper.state.lock().end = Position::new(number, scan.end);
        Ok((scan.end, scan.items.len()))
    }

    /// What was written behind the last whole record is kept: had there been no crash, it would be damage. Zeros fill a
    /// batch up to a whole page, so that there anything else was.
    fn keep_tail(&self, number: u32, scan: &Scan, bytes: &SegmentBytes) {
        let at = scan.end as usize;
        let tail = bytes.slice(at..bytes.len());
        let page = &tail[..tail.len().min(at.next_multiple_of(PAGE) - at)];
        let looks = page.iter().any(|octet| *octet != 0)
            || Header::decode(tail, Position::new(number, scan.end)).is_ok();
        if let Some(last) = tail.iter().rposition(|octet| *octet != 0).filter(|_| looks) {
            self.quarantine.tail(number, scan.end, &tail[..=last]);
        }
    }

    fn io(&self, what: &'static str, path: &Path, source: std::io::Error) -> StartError {
        StartError::Io {
            what,
            path: path.to_owned(),
            source,
        }
    }
}

fn replay_record(keeper: &mut Keeper, header: &Header, payload: &[u8]) -> Result<(), Malformed> {
    let segment = header.position.segment();
    match header.kind {
        Some(Kind::Commit) => {
            let commit = Commit::decode(payload)?;
            replay_commit(keeper, header, commit);
        }
        Some(Kind::Change) => {
            let change = Change::decode(payload)?;
            keeper.load(change.leg.message);
            let mut state = keeper.state.lock();
            state.notes.change(segment, change.since);
            state.apply_change(&change);
        }
        Some(Kind::Token) => {
            keeper.keep_old_token(&decode_token(payload)?);
        }
        Some(Kind::Chunk) => {
            // Its commit record says where it is; one that has none was never acknowledged.
            chunk_owner(payload)?;
        }
        Some(Kind::End) => {}
        None => keeper.state.lock().notes.keep(segment),
    }
    let crowded = {
        let mut state = keeper.state.lock();
        state.end = header.position;
        state.held() >= REPLAYED_MAX
    };
    if crowded {
        keeper.checkpoint();
    }
    Ok(())
}

fn replay_commit(keeper: &Keeper, header: &Header, mut commit: Commit) {
    // What cannot be read breaks the keeper, and that is looked at in the end.
    keeper.load(commit.row.message.id);
    if let Some(also) = &commit.also {
        keeper.load(also.leg.message);
    }
    let mut state = keeper.state.lock();
    for token in commit.tokens.drain(..) {
        if let Some(place) = Place::parse(&token.name) {
            keeper.tokens.pass(place, &token);
        }
        state.tokens.insert(token);
    }
    if let Some(also) = &commit.also {
        state.notes.change(header.position.segment(), also.since);
        state.apply_change(also);
    }
    state.insert(commit, header.position);
}

/// The largest body that goes into its commit record, in a log of such segments.
pub(crate) fn inline_max(segment_bytes: u32) -> usize {
    (segment_bytes as usize / 4).min(INLINE_MAX)
}

const INLINE_MAX: usize = 1 << 20;
/// What a batch is filled up to.
const PAGE: usize = 4096;
/// Messages and tokens in memory at which the replay writes them out.
const REPLAYED_MAX: usize = 10_000;
/// Legs that go from one thread to the other at once when the index is read, and how many such batches may wait.
const LEGS_AT_ONCE: usize = 1_000;
const BATCHES_AHEAD: usize = 4;
/// The layout of the index; another one is rebuilt.
pub(crate) const INDEX_VERSION: u16 = 2;
