//! The writer: the one reader of the journal that writes the file, on a thread of its own.

use std::sync::Arc;
use std::time::{Duration, Instant};

use envelope::Timestamp;
use journal::{Entry, Missed, Reader};
use parking_lot::Mutex;

use crate::batch::{self, Batch};
use crate::store::{self, Error, Store};
use crate::{Settings, Told, key, prune, words};

/// Writes until the journal ends.
#[expect(
    clippy::disallowed_methods,
    reason = "the history's own thread, where nothing else waits for a turn"
)]
pub(crate) fn run(mut reader: Reader, settings: Settings, told: &Mutex<Told>) {
    let mut writer = Writer::new(settings, told);
    while let Some(first) = reader.next_blocking() {
        // The journal holds what comes in the meantime, and many events of a message become one row.
        std::thread::sleep(GATHERING);
        writer.take(first);
        while let Some(next) = reader.try_next() {
            writer.take(next);
        }
        writer.flush();
    }
    // What could not be written the last time.
    writer.flush();
}

pub(crate) struct Writer<'a> {
    settings: Settings,
    told: &'a Mutex<Told>,
    pub(crate) store: Option<Store>,
    /// Not written yet.
    pending: Vec<Arc<Entry>>,
    run: Run,
    /// When nothing was left that was too old.
    pruned: Timestamp,
}

/// A part of the index of words; its number is the time at which it was begun.
#[derive(Default)]
struct Run {
    number: i64,
    messages: usize,
}

impl<'a> Writer<'a> {
    pub(crate) fn new(settings: Settings, told: &'a Mutex<Told>) -> Self {
        Self {
            settings,
            told,
            store: None,
            pending: Vec::new(),
            run: Run::default(),
            pruned: Timestamp::default(),
        }
    }

    pub(crate) fn take(&mut self, read: Result<Arc<Entry>, Missed>) {
        match read {
            Ok(entry) if batch::is_of_interest(&entry.event) => self.pending.push(entry),
            Ok(_) => {}
            Err(Missed(events)) => self.told.lock().missed += events,
        }
        if self.pending.len() > PENDING_MAX {
            self.give_up();
        }
    }

    fn give_up(&mut self) {
        self.told.lock().missed += self.pending.len() as u64;
        self.pending.clear();
    }

    pub(crate) fn flush(&mut self) {
        if self.pending.is_empty() {
            return;
        }
        match self.write() {
            Ok(missed) => {
                self.pending.clear();
                let mut told = self.told.lock();
                told.missed += missed;
                if told.trouble.take().is_some() {
                    tracing::info!(missed = told.missed, "the history is written again");
                }
            }
            Err(error) => self.failed(&error),
        }
    }

    /// The events stay for the next time, as many as there is room for.
    fn failed(&mut self, error: &Error) {
        if !error.is_busy() {
            self.store = None;
        }
        if error.is_of_the_file() {
            // If it cannot be renamed, the next attempt fails in the same way.
            let _ = store::set_aside(&self.settings.path, error);
        }
        if matches!(error, Error::NoSpace { .. }) {
            self.give_up();
        }
        let mut told = self.told.lock();
        told.errors += 1;
        if told.trouble.is_none() {
            tracing::warn!(%error, path = %self.settings.path.display(), "the history cannot be written: mail goes on without");
        }
        told.trouble = Some(error.to_string());
    }

    fn write(&mut self) -> Result<u64, Error> {
        let settings = &self.settings;
        store::has_space(&settings.path, settings.octets_free)?;
        let store = match self.store.take() {
            Some(store) if store.is_there() => self.store.insert(store),
            _ => {
                self.run = Run::default();
                self.store.insert(Store::open(&settings.path)?)
            }
        };
        let connection = &mut store.connection;
        let transaction = connection.transaction()?;
        let mut batch = Batch::new(&transaction)?;
        for entry in &self.pending {
            batch.add(entry)?;
        }
        let last = self.pending.last().map(|entry| entry.at);
        if let Some(at) = last
            && (self.run.number == 0 || self.run.messages >= words::RUN_MESSAGES)
        {
            let newest = words::run_before(&transaction, i64::MAX)?.unwrap_or_default();
            let now = key::at(at) >> 20;
            self.run = Run {
                number: now.max(newest + 1),
                messages: 0,
            };
        }
        let (messages, missed) = batch.write(self.run.number)?;
        transaction.commit()?;
        self.run.messages += messages;
        if let Some(now) = last
            && (now < self.pruned || now.since(self.pruned) > PRUNED_EVERY)
            && prune::run(store, settings, now, Instant::now() + PRUNING)?
        {
            self.pruned = now;
        }
        Ok(missed)
    }
}

/// For so long events are gathered after the first one.
const GATHERING: Duration = Duration::from_millis(200);

const PRUNED_EVERY: Duration = Duration::from_secs(10);

/// Between two batches no more time goes into what is too old: the journal does not wait for longer.
const PRUNING: Duration = Duration::from_millis(50);

/// Events that wait for the file at most.
const PENDING_MAX: usize = 2 * journal::EVENTS_KEPT;
