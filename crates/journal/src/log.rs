//! The mail log: the reader that writes one line for each event.
//!
//! It has a thread of its own, so that a slow disk or a full pipe never holds up mail. When it has fallen so far behind that
//! events were lost, the line `dropped lines=N` stands in their place.

use std::io::{self, Write};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::{Entry, Event, Format, Journal, Missed, Reader};

/// Waits for the last line to be written when it is dropped. Drop every [`Journal`] before it.
pub struct MailLog(Option<JoinHandle<()>>);

impl MailLog {
    /// Writes to `out` what is recorded from now on.
    pub fn start(journal: &Journal, format: Format, out: impl Write + Send + 'static) -> Self {
        let reader = journal.subscribe();
        let thread = std::thread::Builder::new().name("log".into());
        let thread = thread.spawn(move || write_all(reader, format, out));
        if let Err(error) = &thread {
            tracing::error!(%error, "cannot start the mail log");
        }
        Self(thread.ok())
    }
}

impl Drop for MailLog {
    fn drop(&mut self) {
        if let Some(thread) = self.0.take() {
            // The thread ends by itself when the last `Journal` is gone; a panic in it has been reported.
            let _ = thread.join();
        }
    }
}

/// Writes lines soon after they come, many at once when many come.
#[expect(
    clippy::disallowed_methods,
    reason = "the log's own thread, where nothing else waits for a turn"
)]
fn write_all(mut reader: Reader, format: Format, out: impl Write) {
    let mut out = io::BufWriter::new(out);
    while let Some(first) = reader.next_blocking() {
        std::thread::sleep(GATHERING);
        let mut result = out.write_all(line(format, first).as_bytes());
        while let Some(next) = reader.try_next() {
            result = result.and_then(|()| out.write_all(line(format, next).as_bytes()));
        }
        if let Err(error) = result.and_then(|()| out.flush()) {
            tracing::error!(%error, "cannot write the mail log");
        }
    }
}

fn line(format: Format, read: Result<std::sync::Arc<Entry>, Missed>) -> String {
    match read {
        Ok(entry) => entry.line(format),
        Err(Missed(lines)) => Entry::new(Event::Dropped { lines }).line(format),
    }
}

/// For so long lines are gathered after the first one. A thread that sleeps need not be woken for each event, and the waking
/// is what an event costs those who record it.
const GATHERING: Duration = Duration::from_millis(10);

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;
    use crate::EVENTS_KEPT;

    /// Blocks in each write until it is let through, and passes on what was written.
    struct Gate(Receiver<()>, Sender<Vec<u8>>);

    impl Write for Gate {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            // Whoever lets everything through drops the other end.
            let _ = self.0.recv();
            self.1.send(bytes.to_vec()).map_err(io::Error::other)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn record(journal: &Journal, events: usize) {
        for number in 0..events {
            journal.record(Event::ReloadFailed {
                error: number.to_string(),
            });
        }
    }

    fn written(output: &Receiver<Vec<u8>>) -> String {
        String::from_utf8(output.iter().flatten().collect()).unwrap()
    }

    /// A subscriber sleeps and the log's output is blocked: recording goes on, and the log's lines come once it is free.
    #[test]
    fn a_reader_that_never_reads_blocks_nobody_and_takes_no_line() {
        let journal = Journal::default();
        let _asleep = journal.subscribe();
        let (gate, blocked) = channel();
        let (output, lines) = channel();
        let log = MailLog::start(&journal, Format::Text, Gate(blocked, output));
        record(&journal, EVENTS_KEPT);
        drop((gate, journal, log));
        let lines = written(&lines);
        assert_eq!(lines.lines().count(), EVENTS_KEPT);
        assert!(!lines.contains(" dropped "), "nothing is lost");
    }

    #[test]
    fn what_is_lost_while_the_output_is_blocked_is_counted() {
        let journal = Journal::default();
        let (gate, blocked) = channel();
        let (output, lines) = channel();
        let log = MailLog::start(&journal, Format::Text, Gate(blocked, output));
        record(&journal, 3 * EVENTS_KEPT);
        drop((gate, journal, log));
        let lines = written(&lines);
        let lost = lines
            .lines()
            .filter_map(|line| line.split_once(" dropped lines="));
        let lost: usize = lost
            .map(|(_, number)| number.parse::<usize>().unwrap() - 1)
            .sum();
        assert!(lost > 0);
        assert_eq!(lines.lines().count() + lost, 3 * EVENTS_KEPT);
    }
}
