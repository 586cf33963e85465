//! The reader that counts: how many events of each kind there were since the start.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::{Entry, Journal, Missed};

/// Counts what is recorded, some tenths of a second behind.
#[derive(Clone, Default)]
pub struct Counters(Arc<Mutex<Counts>>);

/// So many events of each kind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// By their names in the mail log.
    pub events: BTreeMap<&'static str, u64>,
    /// Events that came too fast to be counted by kind.
    pub missed: u64,
}

impl Counters {
    /// Counts from now on, in a task of its own that ends with the journal.
    pub fn start(journal: &Journal) -> Self {
        let counters = Self::default();
        let (mut reader, counts) = (journal.subscribe(), counters.clone());
        tokio::spawn(async move {
            while let Some(first) = reader.next().await {
                counts.count(first);
                while let Some(next) = reader.try_next() {
                    counts.count(next);
                }
                // A task that sleeps need not be woken for each event.
                tokio::time::sleep(GATHERING).await;
            }
        });
        counters
    }

    /// The counts of now.
    pub fn counts(&self) -> Counts {
        self.0.lock().clone()
    }

    fn count(&self, read: Result<Arc<Entry>, Missed>) {
        let mut counts = self.0.lock();
        match read {
            Ok(entry) => *counts.events.entry(entry.event.name()).or_default() += 1,
            Err(Missed(events)) => counts.missed += events,
        }
    }
}

const GATHERING: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Event;

    #[tokio::test(start_paused = true)]
    async fn events_are_counted_by_kind() {
        let journal = Journal::default();
        let counters = Counters::start(&journal);
        for reason in ["SIGTERM", "SIGINT"] {
            journal.record(Event::Stopping { reason });
        }
        journal.record(Event::Dropped { lines: 9 });
        tokio::time::sleep(GATHERING).await;
        let counts = counters.counts();
        assert_eq!(counts.events, [("dropped", 1), ("stopping", 2)].into());
        assert_eq!(counts.missed, 0);
    }
}
