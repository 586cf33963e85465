//! The journal: what happened to the mail, as typed events, for any number of readers.
//!
//! ```text
//! every stage ─► Journal::record ─► ring of events ─┬─► MailLog      a line each, on standard output or in a file
//!                                                   ├─► Counters     events of each kind since the start
//!                                                   └─► Reader       the demo and tests; see below
//! ```
//!
//! Recording never waits. Each reader goes through the ring at its own pace; one that falls more than [`EVENTS_KEPT`] behind
//! loses the oldest events, and is told how many. It takes none from the other readers.
//!
//! A live tail (`onward top`), the history (`onward trace`), metrics and alerts are one reader each: they call
//! [`Journal::subscribe`] where they are started (`Counters` in `relay`), and no stage changes for them.
//!
//! Trouble of the program itself is no event: that goes to `tracing`, on standard error.

mod about;
mod attempt;
mod counters;
mod event;
mod fields;
mod line;
mod log;
mod said;
pub mod shown;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use envelope::Timestamp;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::broadcast::{Receiver, Sender};

pub use attempt::{Attempt, Unfinished};
pub use counters::{Counters, Counts, OTHERS, Recent, Tally};
pub use event::Event;
pub use line::Format;
pub use log::MailLog;
pub use said::Said;

/// Where events are recorded. Cloning is cheap; its readers end when the last clone is dropped.
#[derive(Clone)]
pub struct Journal {
    events: Sender<Arc<Entry>>,
    lines_lost: Arc<AtomicU64>,
}

/// An event and its time.
#[derive(Debug)]
pub struct Entry {
    /// When it was recorded.
    pub at: Timestamp,
    /// What happened.
    pub event: Event,
}

/// One reader, from the moment of its subscription on.
pub struct Reader(Receiver<Arc<Entry>>);

/// So many events were overwritten before this reader came to them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Missed(pub u64);

impl Default for Journal {
    fn default() -> Self {
        Self {
            events: Sender::new(EVENTS_KEPT),
            lines_lost: Arc::default(),
        }
    }
}

impl Journal {
    /// Hands an event to every reader.
    pub fn record(&self, event: Event) {
        // An error means that there is no reader.
        let _ = self.events.send(Arc::new(Entry::new(event)));
    }

    /// A reader of all that is recorded from now on.
    pub fn subscribe(&self) -> Reader {
        Reader(self.events.subscribe())
    }

    /// Lines that the mail log has lost since the start.
    pub fn lines_lost(&self) -> u64 {
        self.lines_lost.load(Ordering::Relaxed)
    }
}

impl Reader {
    /// Waits for the next event; none when the journal has ended.
    pub async fn next(&mut self) -> Option<Result<Arc<Entry>, Missed>> {
        or_end(self.0.recv().await)
    }

    /// As [`next`](Self::next), for a thread of its own.
    pub fn next_blocking(&mut self) -> Option<Result<Arc<Entry>, Missed>> {
        or_end(self.0.blocking_recv())
    }

    /// The next event, if there is one already.
    pub fn try_next(&mut self) -> Option<Result<Arc<Entry>, Missed>> {
        match self.0.try_recv() {
            Ok(entry) => Some(Ok(entry)),
            Err(TryRecvError::Lagged(events)) => Some(Err(Missed(events))),
            Err(TryRecvError::Empty | TryRecvError::Closed) => None,
        }
    }
}

impl Entry {
    fn new(event: Event) -> Self {
        Self { at: now(), event }
    }

    /// As a line of the mail log, with its line feed.
    pub fn line(&self, format: Format) -> String {
        line::render(format, self)
    }
}

fn or_end(read: Result<Arc<Entry>, RecvError>) -> Option<Result<Arc<Entry>, Missed>> {
    match read {
        Ok(entry) => Some(Ok(entry)),
        Err(RecvError::Lagged(events)) => Some(Err(Missed(events))),
        Err(RecvError::Closed) => None,
    }
}

fn now() -> Timestamp {
    let since_epoch = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp::default().plus(since_epoch)
}

/// Events in the ring. At about 400 octets each: 13 MiB, when a reader is so far behind.
pub const EVENTS_KEPT: usize = 32_768;

#[cfg(test)]
mod tests {
    use super::*;

    fn trouble(number: usize) -> Event {
        Event::ReloadFailed {
            error: number.to_string(),
        }
    }

    #[tokio::test]
    async fn each_reader_gets_every_event_from_its_subscription_on() {
        let journal = Journal::default();
        journal.record(trouble(0));
        let (mut one, mut two) = (journal.subscribe(), journal.subscribe());
        journal.record(trouble(1));
        journal.record(trouble(2));
        for reader in [&mut one, &mut two] {
            for number in [1, 2] {
                let entry = reader.next().await.unwrap().unwrap();
                let line = entry.line(Format::Text);
                assert!(line.ends_with(&format!("error={number}\n")), "{line}");
            }
            assert!(reader.try_next().is_none());
        }
        drop(journal);
        assert!(one.next().await.is_none());
    }

    #[test]
    fn a_reader_that_falls_behind_is_told_how_much_it_missed() {
        let journal = Journal::default();
        let mut reader = journal.subscribe();
        for number in 0..EVENTS_KEPT + 7 {
            journal.record(trouble(number));
        }
        assert_eq!(reader.try_next().unwrap().unwrap_err(), Missed(7));
        let entry = reader.try_next().unwrap().unwrap();
        assert!(matches!(&entry.event, Event::ReloadFailed { error } if error == "7"));
    }
}
