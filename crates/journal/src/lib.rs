//! The mail log: one event, one line on standard output, as `key=value` text or JSON.
//!
//! A line is made where the event happens and written by a thread of its own, so that a slow reader of the log
//! never holds up mail. When it falls [`LINES_WAITING_MAX`] lines behind, further lines are dropped and
//! counted, and the count is the first line once there is room again.
//!
//! Trouble of the program itself is no event here: that goes to `tracing`, on standard error.

mod event;
mod fields;
mod line;
pub mod shown;

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use envelope::Timestamp;
use serde::Deserialize;
use tokio::sync::mpsc::UnboundedSender;

pub use event::{Attempt, Event, Unfinished};

/// How a line is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// `key=value`, for people.
    #[default]
    Text,
    /// One JSON document a line.
    Json,
}

/// Where events go. Cloning is cheap.
#[derive(Clone)]
pub struct Log {
    shared: Arc<Shared>,
}

/// Waits for the last line to be written when dropped after every [`Log`].
pub struct Writer(Option<JoinHandle<()>>);

struct Shared {
    format: Format,
    lines: SyncSender<String>,
    dropped: AtomicU64,
    watcher: Option<UnboundedSender<Event>>,
}

impl Log {
    /// A log that writes to `out`.
    pub fn start(format: Format, out: impl Write + Send + 'static) -> (Self, Writer) {
        let (lines, waiting) = sync_channel(LINES_WAITING_MAX);
        let thread = std::thread::Builder::new()
            .name("log".into())
            .spawn(move || write_all(&waiting, out));
        let shared = Shared {
            format,
            lines,
            dropped: AtomicU64::new(0),
            watcher: None,
        };
        (
            Self {
                shared: Arc::new(shared),
            },
            Writer(thread.ok()),
        )
    }

    /// A log that hands its events to `watcher` instead of writing lines.
    pub fn watched(watcher: UnboundedSender<Event>) -> Self {
        let (lines, _) = sync_channel(1);
        let format = Format::default();
        Self {
            shared: Arc::new(Shared {
                format,
                lines,
                dropped: AtomicU64::new(0),
                watcher: Some(watcher),
            }),
        }
    }

    /// Writes one event.
    pub fn write(&self, event: Event) {
        if let Some(watcher) = &self.shared.watcher {
            // A watcher that has gone needs no more events.
            let _ = watcher.send(event);
            return;
        }
        let dropped = self.shared.dropped.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            self.send(&Event::Dropped { lines: dropped }, dropped);
        }
        self.send(&event, 1);
    }

    fn send(&self, event: &Event, lost_if_full: u64) {
        let line = line::render(self.shared.format, now(), event);
        if let Err(TrySendError::Full(_)) = self.shared.lines.try_send(line) {
            self.shared
                .dropped
                .fetch_add(lost_if_full, Ordering::Relaxed);
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if let Some(thread) = self.0.take() {
            // The thread ends by itself when the last `Log` is gone; a panic in it has been reported.
            let _ = thread.join();
        }
    }
}

/// An event as a line of text, for whoever watches.
pub fn render_text(event: &Event) -> String {
    line::render(Format::Text, now(), event)
}

/// This moment.
fn now() -> Timestamp {
    let since_epoch = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp::from_unix_millis(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
}

/// Writes lines soon after they come, many at once when many come.
#[expect(
    clippy::disallowed_methods,
    reason = "the log's own thread, where nothing else waits for a turn"
)]
fn write_all(waiting: &Receiver<String>, out: impl Write) {
    let mut out = io::BufWriter::new(out);
    while let Ok(first) = waiting.recv() {
        std::thread::sleep(GATHERING);
        let mut result = out.write_all(first.as_bytes());
        while let Ok(line) = waiting.try_recv() {
            result = result.and_then(|()| out.write_all(line.as_bytes()));
        }
        if let Err(error) = result.and_then(|()| out.flush()) {
            tracing::error!(%error, "cannot write the mail log");
        }
    }
}

/// For so long lines are gathered after the first one. A thread that sleeps need not be woken line by line, and the
/// waking is what a line costs whoever writes it.
const GATHERING: Duration = Duration::from_millis(10);

/// At about 300 octets a line: 10 MiB.
const LINES_WAITING_MAX: usize = 32_768;
