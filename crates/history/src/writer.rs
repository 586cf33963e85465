//! The writer: the one reader of the journal that writes the file, on a thread of its own.

use std::sync::Arc;
use std::time::{Duration, Instant};

use envelope::Timestamp;
use journal::{Entry, Missed, Reader};
use parking_lot::Mutex;

use crate::batch::{self, Batch};
use crate::store::{self, Error, Store};
use crate::tally::Tallies;
use crate::{Settings, Told, prune};

/// Writes until the journal ends.
#[expect(
    clippy::disallowed_methods,
    reason = "the history's own thread, where nothing else waits for a turn"
)]
pub(crate) fn run(mut reader: Reader, settings: Settings, told: &Mutex<Told>) {
    let mut writer = Writer::new(settings, told);
    loop {
        if writer.is_idle() {
            match reader.next_blocking() {
                Some(first) => writer.take(first),
                None => break,
            }
        }
        // The journal holds what comes in the meantime, and many events of a message become one row.
        std::thread::sleep(GATHERING);
        while let Some(next) = reader.try_next() {
            writer.take(next);
        }
        writer.flush();
    }
    // What could not be written the last time, and then its sums.
    writer.flush();
    writer.flush();
}

pub(crate) struct Writer<'a> {
    settings: Settings,
    told: &'a Mutex<Told>,
    pub(crate) store: Option<Store>,
    /// Not written yet.
    pending: Vec<Arc<Entry>>,
    /// Of these, so many are in the sums.
    counted: usize,
    /// They wait for more of the same names under load.
    sums: Tallies,
    sums_written: Timestamp,
    /// When nothing was left that was too old.
    pruned: Timestamp,
}

impl<'a> Writer<'a> {
    pub(crate) fn new(settings: Settings, told: &'a Mutex<Told>) -> Self {
        Self {
            settings,
            told,
            store: None,
            pending: Vec::new(),
            counted: 0,
            sums: Tallies::default(),
            sums_written: Timestamp::default(),
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

    /// Whether nothing is to be done before the next event.
    fn is_idle(&self) -> bool {
        self.sums.is_empty() || self.told.lock().trouble.is_some()
    }

    fn give_up(&mut self) {
        self.told.lock().missed += self.pending.len() as u64;
        self.pending.clear();
        self.counted = 0;
        self.sums.clear();
    }

    pub(crate) fn flush(&mut self) {
        if self.pending.is_empty() && self.sums.is_empty() {
            return;
        }
        match self.write() {
            Ok(()) => {
                let mut told = self.told.lock();
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

    fn write(&mut self) -> Result<(), Error> {
        let settings = &self.settings;
        store::has_space(&settings.path, settings.octets_free)?;
        let store = match self.store.take() {
            Some(store) if store.is_there() => self.store.insert(store),
            _ => self.store.insert(Store::open(&settings.path)?),
        };
        let (events, last) = (self.pending.len(), self.pending.last());
        let now = last.map_or(self.sums_written, |last| last.at);
        if events > 0 {
            let transaction = store.connection.transaction()?;
            let mut batch = Batch::new(&transaction, &mut self.sums)?;
            for (place, entry) in self.pending.iter().enumerate() {
                batch.add(entry, place < self.counted)?;
                self.counted = self.counted.max(place + 1);
            }
            let missed = batch.write(now)?;
            transaction.commit()?;
            self.pending.clear();
            self.counted = 0;
            self.told.lock().missed += missed;
        }
        if events < BATCH_OF_LOAD
            || self.sums.len() > SUMS_MAX
            || now.since(self.sums_written) > SUMS_WRITTEN_EVERY
        {
            let transaction = store.connection.transaction()?;
            self.sums.write(&transaction)?;
            transaction.commit()?;
            self.sums.clear();
            self.sums_written = now;
        }
        if (now < self.pruned || now.since(self.pruned) > PRUNED_EVERY)
            && prune::run(store, settings, now, Instant::now() + PRUNING)?
        {
            self.pruned = now;
        }
        Ok(())
    }
}

/// For so long events are gathered after the first one.
const GATHERING: Duration = Duration::from_millis(200);

/// A batch of so many events is followed by another one, as a rule: its sums may wait.
const BATCH_OF_LOAD: usize = 100;

const SUMS_WRITTEN_EVERY: Duration = Duration::from_secs(10);

/// Sums that wait at most.
const SUMS_MAX: usize = 30_000;

const PRUNED_EVERY: Duration = Duration::from_secs(10);

/// Between two batches no more time goes into what is too old: the journal does not wait for longer.
const PRUNING: Duration = Duration::from_millis(50);

/// Events that wait for the file at most.
const PENDING_MAX: usize = 2 * journal::EVENTS_KEPT;
