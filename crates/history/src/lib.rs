//! What happened to which message, kept for some days in SQLite: for `onward trace`, `onward stats`, `onward forwards failing`.
//!
//! ```text
//! Journal ─► a thread: events ─► Batch ─► mail, words, tallies, changes ─► SPOOL/history.sqlite ─► Desk: questions, each over its own connection
//! ```
//!
//! It is never in the way of mail. Events that come too fast, or cannot be written because the file is locked, full, gone or
//! damaged, are lost to the history, counted, and said once. The file may be deleted at any time. It makes no decision.

mod batch;
mod changes;
mod key;
pub mod merge;
mod prune;
mod rows;
mod stats;
mod store;
mod tally;
mod trace;
mod words;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use control::{Change, FailingForwards, HistoryHealth, HourRow, StatsPage, Traced, ask};
use journal::Journal;
use parking_lot::Mutex;

pub use store::Error;

/// What is kept, and where.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The file.
    pub path: PathBuf,
    /// For how long messages are kept; zero: there is no history.
    pub keep: Duration,
    /// The oldest messages make room when the file would grow beyond this.
    pub octets_max: u64,
    /// With less free space than this, nothing is written.
    pub octets_free: u64,
}

/// The writer. Waits for the last event to be written when it is dropped: drop every [`Journal`] before it.
pub struct History {
    thread: Option<JoinHandle<()>>,
    desk: Desk,
}

/// Answers questions. Each reads the file anew, for some seconds at most: not on a thread that serves connections. The default has
/// no history.
#[derive(Clone, Default)]
pub struct Desk {
    path: PathBuf,
    is_on: bool,
    time_max: Duration,
    told: Arc<Mutex<Told>>,
}

/// What the writer tells.
#[derive(Default)]
struct Told {
    missed: u64,
    errors: u64,
    trouble: Option<String>,
}

impl History {
    /// Writes down what is recorded from now on. The file is opened with the first event that belongs into it.
    pub fn start(settings: Settings, journal: &Journal) -> Self {
        let desk = Desk::new(&settings);
        let thread = desk.is_on.then(|| {
            let (reader, told) = (journal.subscribe(), Arc::clone(&desk.told));
            let thread = std::thread::Builder::new().name("history".into());
            thread.spawn(move || writer::run(reader, settings, &told))
        });
        let thread = thread.and_then(|started| {
            let failed =
                |error: &std::io::Error| tracing::error!(%error, "cannot start the history");
            started.inspect_err(failed).ok()
        });
        Self { thread, desk }
    }

    /// Where it is asked.
    pub fn desk(&self) -> Desk {
        self.desk.clone()
    }
}

impl Drop for History {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            // The thread ends by itself when the last `Journal` is gone; a panic in it has been reported.
            let _ = thread.join();
        }
    }
}

impl Desk {
    /// Over a file that nobody may be writing.
    pub fn new(settings: &Settings) -> Self {
        Self {
            path: settings.path.clone(),
            is_on: !settings.keep.is_zero(),
            time_max: TIME_MAX,
            told: Arc::default(),
        }
    }

    /// The same, in more of a hurry.
    #[must_use]
    pub fn within(self, time_max: Duration) -> Self {
        Self { time_max, ..self }
    }

    /// What happened to messages.
    pub fn trace(&self, ask: &ask::Trace) -> Result<Traced, Error> {
        trace::answer(&self.open()?, ask, self.deadline())
    }

    /// Sums.
    pub fn stats(&self, ask: &ask::Stats) -> Result<StatsPage, Error> {
        stats::answer(&self.open()?, ask, self.deadline())
    }

    /// Sums of the hours.
    pub fn stats_hours(&self, ask: &ask::StatsHours) -> Result<Vec<HourRow>, Error> {
        stats::hours(&self.open()?, ask, self.deadline())
    }

    /// Who changed what.
    pub fn changes(&self, ask: &ask::Changes) -> Result<Vec<Change>, Error> {
        Ok(changes::answer(&self.open()?, ask)?)
    }

    /// Forwards that lead nowhere.
    pub fn forwards_failing(&self, ask: &ask::ForwardsFailing) -> Result<FailingForwards, Error> {
        stats::failing(&self.open()?, ask, self.deadline())
    }

    /// How it does.
    pub fn health(&self) -> HistoryHealth {
        let octets = std::fs::metadata(&self.path).map_or(0, |file| file.len());
        let oldest = self.open().ok().and_then(|file| trace::oldest(&file).ok()?);
        let told = self.told.lock();
        HistoryHealth {
            is_on: self.is_on,
            oldest,
            octets,
            events_missed: told.missed,
            errors: told.errors,
            trouble: told.trouble.clone(),
        }
    }

    fn deadline(&self) -> Instant {
        Instant::now() + self.time_max
    }

    fn open(&self) -> Result<rusqlite::Connection, Error> {
        match self.is_on {
            true => store::open_for_reading(&self.path),
            false => Err(Error::Off),
        }
    }
}

/// The file in a spool.
pub fn file_in(spool: &Path) -> PathBuf {
    spool.join("history.sqlite")
}

/// The beginning of a text, of so many octets.
fn clip(text: impl Into<String>, octets: usize) -> String {
    let mut text = text.into();
    text.truncate(text.floor_char_boundary(octets));
    text
}

/// What a question finds in this time is its answer.
const TIME_MAX: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests;
