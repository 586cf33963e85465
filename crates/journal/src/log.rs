//! The mail log: the reader that writes one line for each event.
//!
//! It has a thread of its own, so that a slow disk or a full pipe never holds up mail. When it has fallen so far behind that
//! events were lost, or lines could not be written (a full disk), the line `dropped lines=N` stands in their place.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::{Entry, Event, Format, Journal, Missed, Reader};

/// Waits for the last line to be written when it is dropped. Drop every [`Journal`] before it.
pub struct MailLog(Option<JoinHandle<()>>);

impl MailLog {
    /// Writes what is recorded from now on to what `open` gives. After each reload (SIGHUP) it is opened again: a log file
    /// that was renamed for rotation is then followed by a new one; until then lines go to the old one.
    pub fn start<W: Write + Send + 'static>(
        journal: &Journal,
        format: Format,
        mut open: impl FnMut() -> io::Result<W> + Send + 'static,
    ) -> io::Result<Self> {
        let reader = journal.subscribe();
        let mut out = Output {
            to: open()?,
            format,
            batch: String::new(),
            is_failing: false,
            is_torn: false,
            lost: 0,
            lost_ever: Arc::clone(&journal.lines_lost),
        };
        let thread = std::thread::Builder::new().name("log".into());
        let thread = thread.spawn(move || write_all(reader, &mut out, open))?;
        Ok(Self(Some(thread)))
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
fn write_all<W: Write>(
    mut reader: Reader,
    out: &mut Output<W>,
    mut open: impl FnMut() -> io::Result<W>,
) {
    while let Some(first) = reader.next_blocking() {
        std::thread::sleep(GATHERING);
        let mut next = Some(first);
        while let Some(read) = next {
            if is_reload(&read) {
                out.flush();
                match open() {
                    Ok(to) => out.to = to,
                    Err(error) => tracing::error!(%error, "cannot open the mail log again"),
                }
            }
            out.add(read);
            next = reader.try_next();
        }
        out.flush();
    }
}

/// What was missed may have been a reload.
fn is_reload(read: &Result<Arc<Entry>, Missed>) -> bool {
    let is = |event: &Event| matches!(event, Event::Reloaded { .. } | Event::ReloadFailed { .. });
    read.as_ref().map_or(true, |entry| is(&entry.event))
}

/// Lines on their way out. Those that cannot be written are lost, and counted.
struct Output<W> {
    to: W,
    format: Format,
    batch: String,
    /// The last write failed.
    is_failing: bool,
    /// A line was written in part.
    is_torn: bool,
    /// Lines that are lost and not told of yet.
    lost: u64,
    lost_ever: Arc<AtomicU64>,
}

impl<W: Write> Output<W> {
    fn add(&mut self, read: Result<Arc<Entry>, Missed>) {
        match read {
            Ok(entry) => self.batch.push_str(&entry.line(self.format)),
            Err(Missed(lines)) => {
                self.flush();
                self.lose(lines);
            }
        }
        if self.batch.len() > BATCH_OCTETS {
            self.flush();
        }
    }

    fn flush(&mut self) {
        let mut text = String::new();
        if self.is_torn {
            text.push('\n');
        }
        if self.lost > 0 {
            let lines = self.lost;
            text.push_str(&Entry::new(Event::Dropped { lines }).line(self.format));
        }
        let told = text.len();
        text.push_str(&self.batch);
        self.batch.clear();
        let (written, result) = write(&mut self.to, text.as_bytes());
        if written >= told {
            self.lost = 0;
        }
        if let Some(last) = text.as_bytes()[..written].last() {
            self.is_torn = *last != b'\n';
        }
        let unwritten = &text.as_bytes()[written.max(told)..];
        self.lose(unwritten.iter().filter(|&&octet| octet == b'\n').count() as u64);
        // Not at each try: a disk may be full for long.
        if let (Err(error), false) = (&result, self.is_failing) {
            tracing::error!(%error, "cannot write the mail log: its lines are lost until it can be written again");
        }
        self.is_failing = result.is_err();
    }

    fn lose(&mut self, lines: u64) {
        self.lost += lines;
        self.lost_ever.fetch_add(lines, Ordering::Relaxed);
    }
}

/// As much as can be written.
fn write(to: &mut impl Write, text: &[u8]) -> (usize, io::Result<()>) {
    let mut written = 0;
    while written < text.len() {
        match to.write(&text[written..]) {
            Ok(0) => return (written, Err(io::ErrorKind::WriteZero.into())),
            Ok(octets) => written += octets,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return (written, Err(error)),
        }
    }
    (written, to.flush())
}

/// For so long lines are gathered after the first one. A thread that sleeps need not be woken for each event, and the waking
/// is what an event costs those who record it.
const GATHERING: Duration = Duration::from_millis(10);
const BATCH_OCTETS: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use parking_lot::Mutex;

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

    fn start<W: Write + Send + 'static>(journal: &Journal, out: W) -> MailLog {
        let mut out = Some(out);
        let open = move || out.take().ok_or_else(|| io::ErrorKind::NotFound.into());
        MailLog::start(journal, Format::Text, open).unwrap()
    }

    fn record(journal: &Journal, events: usize) {
        for number in 0..events {
            journal.record(Event::DovecotUp {
                failed: number as u64,
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
        let log = start(&journal, Gate(blocked, output));
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
        let log = start(&journal, Gate(blocked, output));
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

    /// A disk that is full until somebody makes room.
    struct Disk(Arc<Mutex<(Vec<u8>, usize)>>);

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let (written, room) = &mut *self.0.lock();
            let octets = bytes.len().min(*room);
            *room -= octets;
            written.extend_from_slice(&bytes[..octets]);
            match octets {
                0 => Err(io::ErrorKind::StorageFull.into()),
                _ => Ok(octets),
            }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// At every octet.
    #[test]
    fn a_full_disk_loses_whole_lines_and_says_how_many() {
        let journal = Journal::default();
        for room in 0..300 {
            let disk = Arc::new(Mutex::new((Vec::new(), room)));
            let mut out = Output {
                to: Disk(Arc::clone(&disk)),
                format: Format::Text,
                batch: String::new(),
                is_failing: false,
                is_torn: false,
                lost: 0,
                lost_ever: Arc::clone(&journal.lines_lost),
            };
            let add = |out: &mut Output<_>, failed| {
                let event = Event::DovecotUp { failed };
                out.add(Ok(Arc::new(Entry::new(event))));
            };
            for number in 0..4 {
                add(&mut out, number);
                add(&mut out, number);
                out.flush();
            }
            disk.lock().1 = usize::MAX;
            add(&mut out, 4);
            out.flush();
            let text = String::from_utf8(disk.lock().0.clone()).unwrap();
            let whole = |line: &&str| line.contains(" dovecot-up failed=");
            let lost = text
                .lines()
                .find_map(|line| line.split_once(" dropped lines="));
            let lost = lost.map_or(0, |(_, lines)| lines.parse().unwrap());
            // A line without its last octet, the line feed, is whole for those who read it.
            let seen = text.lines().filter(whole).count() + lost;
            assert!((9..=10).contains(&seen), "{room}: {text}");
            assert!(text.ends_with("dovecot-up failed=4\n"), "{room}: {text}");
        }
    }

    #[test]
    fn a_reload_opens_the_log_again_before_it_is_written() {
        let journal = Journal::default();
        let (output, lines) = channel();
        let mut files = 0;
        let open = move || {
            files += 1;
            let (gate, open) = channel();
            drop::<Sender<()>>(gate);
            output.send(format!("file {files}\n").into_bytes()).unwrap();
            Ok(Gate(open, output.clone()))
        };
        let log = MailLog::start(&journal, Format::Text, open).unwrap();
        record(&journal, 2);
        let error = "x".to_owned();
        journal.record(Event::ReloadFailed { error });
        record(&journal, 1);
        drop((journal, log));
        let lines = written(&lines);
        let names = lines
            .lines()
            .map(|line| line.split(' ').nth(2).unwrap_or(line));
        let expected = [
            "file 1",
            "dovecot-up",
            "dovecot-up",
            "file 2",
            "reload-failed",
            "dovecot-up",
        ];
        assert_eq!(names.collect::<Vec<_>>(), expected);
    }
}
