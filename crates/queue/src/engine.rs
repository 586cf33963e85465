//! The embedded engine: segment log and sled index behind [`Spool`](spool::Spool): its threads, its start and its end.
//!
//! The way of a message: [`LogWriter`](crate::LogWriter) gathers the body (over 1 MiB: into chunk records as it comes); `commit` makes a
//! record of it and hands that to the log's committer; when that has synced, it applies the record to the index's state
//! and answers. `claim` leases from the state; `complete` removes the leg from the state and has its end ride with the
//! next commit.
//!
//! It does *not* block a tokio worker: the state's lock is held for map operations only, files and sled are other
//! threads' (`committer`, `keeper`, tokio's blocking pool for bodies).

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use envelope::MessageId;
use parking_lot::Mutex;
use spool::{Clock, Error};
use tokio::sync::{oneshot, watch};

use crate::completed::{Completed, end_noted};
use crate::index::damage::set_aside;
use crate::index::keeper::{Job, Keeper};
use crate::index::renew;
use crate::index::state::{Effect, State};
use crate::index::thread::KeeperThread;
use crate::lock::SpoolLock;
use crate::log::committer::{Answer, Committer, LogHandle, Sink};
use crate::log::record::Position;
use crate::log::segment::Segments;
use crate::open::open_keeper;
use crate::quarantine::Quarantine;
use crate::rebuild::{inherit, tell_lost};
use crate::settings::{Settings, StartError};
use crate::store::{Disk, Store};
use crate::tokens::Tokens;

/// The spool in a folder of this machine.
#[derive(Debug)]
pub struct LogSpool {
    pub(crate) shared: Arc<Shared>,
    threads: Mutex<Option<Threads>>,
    pub(crate) changes: watch::Sender<()>,
    checkpoint_asked: Arc<AtomicBool>,
}

/// What writers need too.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) state: Arc<Mutex<State>>,
    pub(crate) log: LogHandle<Effect>,
    pub(crate) segments: Arc<Segments>,
    pub(crate) tokens: Arc<Tokens>,
    pub(crate) settings: Settings,
    pub(crate) quarantine: Arc<Quarantine>,
    pub(crate) completed: Completed,
    /// Octets of bodies that are coming in and are in memory.
    pub(crate) gathered: AtomicUsize,
    space: Mutex<Space>,
}

/// What is known of the room on the disk.
#[derive(Debug)]
struct Space {
    /// What was short when it was last looked at.
    short: Option<String>,
    /// When it is looked at again; `None`: somebody is looking.
    look_at: Option<Instant>,
}

#[derive(Debug)]
struct Threads {
    committer: Committer,
    keeper: KeeperThread,
    /// Dropped last.
    _lock: SpoolLock,
}

/// Applies to the state what the log has made durable.
struct StateSink(Arc<Mutex<State>>, watch::Sender<()>);

impl Sink<Effect> for StateSink {
    fn apply(&mut self, effects: Vec<(Position, Effect)>, end: Position) {
        let news = |(_, effect): &(_, Effect)| !matches!(effect, Effect::Changed(_));
        let news = effects.iter().any(news);
        let mut state = self.0.lock();
        for (position, effect) in effects {
            state.apply(position, effect);
        }
        state.end = state.end.max(end);
        drop(state);
        if news {
            self.1.send_replace(());
        }
    }
}

impl LogSpool {
    /// Opens (or makes) the spool and replays what the index lacks. Blocks: call it before the runtime is busy.
    pub fn open(settings: Settings) -> Result<Self, StartError> {
        Self::open_on(settings, Arc::new(Disk))
    }

    /// As [`LogSpool::open`], on another store of files: for tests that record or fail what is done to them.
    pub fn open_on(settings: Settings, store: Arc<dyn Store>) -> Result<Self, StartError> {
        Self::start(settings, store, |_, _| Ok(()))
    }

    /// Opens the spool; `first` has it before anybody else does.
    fn start(
        settings: Settings,
        store: Arc<dyn Store>,
        first: impl FnOnce(&Keeper, &LogHandle<Effect>) -> Result<(), StartError>,
    ) -> Result<Self, StartError> {
        let range = Settings::SEGMENT_BYTES_MIN..=Settings::SEGMENT_BYTES_MAX;
        if !range.contains(&settings.segment_bytes) {
            return Err(StartError::Setting("segment_bytes is out of its range"));
        }
        let io = |what| {
            let path = settings.dir.clone();
            move |source| StartError::Io { what, path, source }
        };
        store.create_dir(&settings.dir).map_err(io("create"))?;
        let lock = SpoolLock::take(&settings.dir)?;
        if let Err(e) = store.keep_private(&settings.dir) {
            tracing::warn!(error = %e, spool = %settings.dir.display(), "cannot keep the spool from other users");
        }
        let mut keeper = open_keeper(&settings, Arc::clone(&store))?;
        let changes = watch::Sender::new(());
        let state = Arc::clone(&keeper.state);
        let segments = Arc::clone(&keeper.segments);
        let tokens = Arc::clone(&keeper.tokens);
        let quarantine = Arc::clone(&keeper.quarantine);
        let sink = StateSink(Arc::clone(&state), changes.clone());
        let (committer, log) =
            Committer::start(Arc::clone(&segments), sink).map_err(io("start the log of"))?;
        keeper.log = Some(log.clone());
        keeper.hold_damaged();
        let (completed, noted) = Completed::open(&*store, &settings.dir);
        end_noted(&keeper, &log, noted);
        if quarantine.count() > 0 {
            tell_lost(&keeper, &settings.dir);
        }
        first(&keeper, &log)?;
        let keeper = KeeperThread::start(keeper, settings.checkpoint_every)
            .map_err(io("start the index of"))?;
        Ok(Self {
            shared: Arc::new(Shared {
                state,
                log,
                segments,
                tokens,
                quarantine,
                completed,
                settings,
                gathered: AtomicUsize::new(0),
                space: Mutex::new(Space {
                    short: None,
                    look_at: Some(Instant::now()),
                }),
            }),
            threads: Mutex::new(Some(Threads {
                committer,
                keeper,
                _lock: lock,
            })),
            changes,
            checkpoint_asked: Arc::default(),
        })
    }

    /// Makes the index anew from the log, and opens the spool. What only the old index knows (messages whose records are damaged
    /// or gone) is written to the log first; says of how many messages. Blocks: not for a worker of tokio.
    pub fn rebuild(settings: Settings) -> Result<(Self, u64), StartError> {
        let mut inherited = 0;
        let dir = settings.dir.clone();
        let old = Self::start(settings.clone(), Arc::new(Disk), |keeper, log| {
            inherited = inherit(keeper, log, &dir)?;
            Ok(())
        })?;
        let tokens = old.ask_now(|keeper| keeper.tree.tokens());
        old.close();
        let damaged = old.damaged();
        let lock = SpoolLock::take(&settings.dir)?;
        for path in renew::folders(&settings.dir) {
            Disk.remove_dir(&path).map_err(|source| StartError::Io {
                what: "remove",
                path,
                source,
            })?;
        }
        drop(lock);
        let rebuilt = Self::open(settings)?;
        let tokens = tokens.and_then(Result::ok).unwrap_or_default();
        rebuilt.ask_now(move |keeper| {
            tokens.iter().for_each(|token| keeper.keep_old_token(token));
            keeper.checkpoint();
        });
        rebuilt.shared.quarantine.count_more(damaged);
        Ok((rebuilt, inherited))
    }

    /// Writes out what is in memory and lets the spool go; every later call is [`Error::Closed`]. Dropping the spool
    /// does the same. Blocks.
    pub fn close(&self) {
        let Some(mut threads) = self.threads.lock().take() else {
            return;
        };
        self.shared.completed.close();
        self.shared.log.close();
        threads.committer.join();
        threads.keeper.stop();
    }

    /// The clock that the spool goes by.
    pub fn clock(&self) -> &Clock {
        &self.shared.settings.clock
    }

    /// Pieces of the spool found damaged and set aside since it was opened.
    pub fn damaged(&self) -> u64 {
        self.shared.quarantine.count()
    }

    /// Octets that the log takes on disk.
    pub fn log_octets(&self) -> u64 {
        self.shared.segments.octets_used()
    }

    /// Writes the index out now. For tests and benches; the keeper does it by itself.
    pub async fn checkpoint(&self) -> Result<(), Error> {
        self.ask(|keeper| keeper.checkpoint()).await
    }

    /// Has the keeper do something, and waits for it.
    pub(crate) async fn ask<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Keeper) -> T + Send + 'static,
    ) -> Result<T, Error> {
        let (answer, receiver) = oneshot::channel();
        self.send(Box::new(move |keeper| {
            // Who asked may have gone away.
            let _ = answer.send(work(keeper));
        }))?;
        receiver.await.map_err(|_| Error::Closed)
    }

    /// As [`LogSpool::ask`], where blocking is no matter; `None` when the keeper is gone.
    pub(crate) fn ask_now<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Keeper) -> T + Send + 'static,
    ) -> Option<T> {
        let (answer, receiver) = std::sync::mpsc::channel();
        let job = Box::new(move |keeper: &mut Keeper| drop(answer.send(work(keeper))));
        self.send(job).ok()?;
        receiver.recv().ok()
    }

    fn send(&self, job: Job) -> Result<(), Error> {
        let jobs: Option<Sender<Job>> = {
            let threads = self.threads.lock();
            threads.as_ref().and_then(|threads| threads.keeper.jobs())
        };
        jobs.and_then(|jobs| jobs.send(job).ok())
            .ok_or(Error::Closed)
    }

    /// Keeps memory bounded when mail comes faster than it goes: the keeper is asked early, and then waited for.
    pub(crate) async fn relieve(&self) -> Result<(), Error> {
        let (held, behind) = {
            let state = self.shared.state.lock();
            let behind =
                state.end.segment() - state.checkpointed.segment().min(state.end.segment());
            (state.held(), behind)
        };
        if held >= HELD_MAX {
            let relieve = |keeper: &mut Keeper| {
                let held = keeper.state.lock().held();
                if held >= HELD_WANTED {
                    keeper.checkpoint();
                }
            };
            return self.ask(relieve).await;
        }
        let wanted = held >= HELD_WANTED || behind >= BEHIND_WANTED;
        if wanted && !self.checkpoint_asked.swap(true, Ordering::Relaxed) {
            let asked = Arc::clone(&self.checkpoint_asked);
            self.send(Box::new(move |keeper| {
                keeper.checkpoint();
                asked.store(false, Ordering::Relaxed);
            }))?;
        }
        Ok(())
    }
}

impl Drop for LogSpool {
    fn drop(&mut self) {
        self.close();
    }
}

impl Shared {
    /// Sees to a message whose body was found damaged: at once when it is in memory, else the keeper will.
    pub(crate) fn body_damaged(&self, id: MessageId, reason: &str) {
        let mut state = self.state.lock();
        if state.messages.contains_key(&id) && !state.settling.has_message(id) {
            set_aside(&mut state, &self.log, id, reason);
        } else {
            state.damaged.push((id, reason.to_owned()));
        }
    }

    /// Whether there is room for more; looked at twice a second at most. A disk that is slow to tell holds up one caller:
    /// the others go by what it said last.
    pub(crate) async fn check_space(self: &Arc<Self>) -> Result<(), Error> {
        let now = Instant::now();
        let stale = self.space.lock().look_at.take_if(|at| *at <= now).is_some();
        if stale {
            let shared = Arc::clone(self);
            let look = move || {
                let short = shared.short_of();
                let look_at = Some(Instant::now() + SPACE_EVERY);
                *shared.space.lock() = Space { short, look_at };
            };
            let _ = tokio::task::spawn_blocking(look).await;
        }
        let short = self.space.lock().short.clone();
        short.map_or(Ok(()), |what| Err(Error::Full(what)))
    }

    fn short_of(&self) -> Option<String> {
        let settings = &self.settings;
        let used = self.segments.octets_in_use();
        if used > settings.max_bytes {
            return Some(format!(
                "{used} octets used, {} allowed",
                settings.max_bytes
            ));
        }
        match self.segments.store.free(&settings.dir) {
            Ok(free) if free.bytes < settings.min_free_bytes => Some(format!(
                "{} octets free, {} wanted",
                free.bytes, settings.min_free_bytes
            )),
            Ok(free) => free
                .inodes
                .filter(|inodes| *inodes < settings.min_free_inodes)
                .map(|inodes| format!("{inodes} inodes free, {} wanted", settings.min_free_inodes)),
            Err(e) => Some(format!("free space cannot be read: {e}")),
        }
    }
}

pub(crate) fn answered(answer: Result<Answer, oneshot::error::RecvError>) -> Answer {
    answer.unwrap_or(Err(Error::Closed))
}

const SPACE_EVERY: Duration = Duration::from_millis(500);
/// Messages and tokens in memory at which the keeper is asked to write some out, and at which new mail waits for it.
const HELD_WANTED: usize = 10_000;
const HELD_MAX: usize = 20_000;
/// Segments behind the index at which it is brought up to date, so that they can be used again soon.
const BEHIND_WANTED: u32 = 2;
