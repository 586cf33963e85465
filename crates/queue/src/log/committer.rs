//! The committer: the one thread that writes the log.
//!
//! It takes all that waits, writes it with one `pwritev`, calls one fdatasync, applies the effects to the index's state
//! in log order, then wakes everybody. While it syncs, the next batch gathers: no timer is needed.
//!
//! When a write or a sync fails, those who wait are told so ([`Error::Unknown`]), the segment is not written to again
//! (after a failed fdatasync the page cache may lie), and another is begun. Records that nobody waits for (a leg's end)
//! are kept and written with the next batch.
//!
//! It does *not* know what records mean: `E` is theirs.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use spool::Error;
use tokio::sync::oneshot;

use crate::fault;
use crate::last_resort;
use crate::log::record::{Payload, Position};
use crate::log::segment::Segments;
use crate::log::tail::Tail;

/// Where records are handed in. Clone it freely.
#[derive(Debug)]
pub(crate) struct LogHandle<E>(Arc<Shared<E>>);

/// The thread.
#[derive(Debug)]
pub(crate) struct Committer {
    thread: Option<JoinHandle<()>>,
}

/// What happens to the index when a record is durable.
pub(crate) trait Sink<E>: Send + 'static {
    /// Applies effects in order; all of the log before `end` is durable and applied then.
    fn apply(&mut self, effects: Vec<(Position, E)>, end: Position);
}

pub(crate) type Answer = Result<Position, Error>;

#[derive(Debug)]
struct Shared<E> {
    queue: Mutex<Queue<E>>,
    filled: Condvar,
}

#[derive(Debug)]
struct Queue<E> {
    waiting: Vec<Append<E>>,
    /// Somebody waits for an answer, or much has gathered.
    urgent: bool,
    closed: bool,
}

#[derive(Debug)]
struct Append<E> {
    /// `None`: a barrier.
    payload: Option<Payload>,
    effect: Option<E>,
    answer: Option<oneshot::Sender<Answer>>,
}

impl<E> Clone for LogHandle<E> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<E: Send + 'static> LogHandle<E> {
    /// Appends; the answer comes when it is durable and its effect is applied.
    pub(crate) fn append(&self, payload: Payload, effect: Option<E>) -> oneshot::Receiver<Answer> {
        let (answer, receiver) = oneshot::channel();
        self.push(Append {
            payload: Some(payload),
            effect,
            answer: Some(answer),
        });
        receiver
    }

    /// Appends with the next commit; nobody waits. Cannot fail while the process lives: it is retried.
    pub(crate) fn append_lazily(&self, payload: Payload, effect: E) {
        self.push(Append {
            payload: Some(payload),
            effect: Some(effect),
            answer: None,
        });
    }

    /// Answered when all that was appended before is durable.
    pub(crate) fn barrier(&self) -> oneshot::Receiver<Answer> {
        let (answer, receiver) = oneshot::channel();
        self.push(Append {
            payload: None,
            effect: None,
            answer: Some(answer),
        });
        receiver
    }

    /// Lets the committer finish what waits, and then end.
    pub(crate) fn close(&self) {
        self.0.queue.lock().closed = true;
        self.0.filled.notify_one();
    }

    fn push(&self, append: Append<E>) {
        let mut queue = self.0.queue.lock();
        if queue.closed {
            if let Some(answer) = append.answer {
                let _ = answer.send(Err(Error::Closed));
            }
            return;
        }
        // A leg's end alone is not urgent: it rides along, or is written after a pause.
        let urgent = append.answer.is_some() || queue.waiting.len() >= LAZY_MAX;
        let wake = queue.waiting.is_empty() || (urgent && !queue.urgent);
        queue.urgent |= urgent;
        queue.waiting.push(append);
        drop(queue);
        if wake {
            self.0.filled.notify_one();
        }
    }
}

impl Committer {
    /// Starts the thread; it begins a segment with its first record.
    pub(crate) fn start<E: Send + 'static>(
        segments: Arc<Segments>,
        sink: impl Sink<E>,
    ) -> io::Result<(Self, LogHandle<E>)> {
        let shared = Arc::new(Shared {
            queue: Mutex::new(Queue {
                waiting: Vec::new(),
                urgent: false,
                closed: false,
            }),
            filled: Condvar::new(),
        });
        let mut writer = Writer {
            shared: Arc::clone(&shared),
            sink,
            tail: Tail::new(segments),
        };
        let thread = std::thread::Builder::new()
            .name("spool-log".into())
            .spawn(move || last_resort::guard(|| writer.run(), || ()))?;
        let thread = Some(thread);
        Ok((Self { thread }, LogHandle(shared)))
    }

    /// Waits for the thread, after [`LogHandle::close`].
    pub(crate) fn join(&mut self) {
        if let Some(thread) = self.thread.take() {
            // It does not end by a panic: the process would have.
            let _ = thread.join();
        }
    }
}

struct Writer<E, S> {
    shared: Arc<Shared<E>>,
    sink: S,
    tail: Tail,
}

impl<E: Send + 'static, S: Sink<E>> Writer<E, S> {
    fn run(&mut self) {
        loop {
            let mut queue = self.shared.queue.lock();
            while queue.waiting.is_empty() && !queue.closed {
                self.shared.filled.wait(&mut queue);
            }
            if !queue.urgent && !queue.closed {
                self.shared.filled.wait_for(&mut queue, LAZY_PAUSE);
            }
            let batch = std::mem::take(&mut queue.waiting);
            queue.urgent = false;
            let closed = queue.closed;
            drop(queue);
            if batch.is_empty() {
                break;
            }
            let failed = self.write_batch(batch);
            if failed.is_empty() {
                continue;
            }
            if closed {
                tracing::error!(
                    records = failed.len(),
                    "spool log cannot be written at the end; some mail may be delivered again"
                );
                break;
            }
            self.keep(failed);
        }
        self.tail.close();
    }

    /// Puts records that must not be lost back in front, and gives the disk a moment.
    fn keep(&self, mut failed: Vec<Append<E>>) {
        let mut queue = self.shared.queue.lock();
        failed.append(&mut queue.waiting);
        queue.waiting = failed;
        queue.urgent = true;
        self.shared.filled.wait_for(&mut queue, FAILED_PAUSE);
    }

    /// Writes a batch, in as many groups as segments are needed. Gives back what nobody waits for and was not written.
    fn write_batch(&mut self, batch: Vec<Append<E>>) -> Vec<Append<E>> {
        let mut failed = Vec::new();
        let mut group = Vec::new();
        let mut octets = 0;
        for append in batch {
            let more = append.payload.as_ref().map_or(0, Payload::record_octets);
            if octets + more > self.tail.room() {
                self.finish_group(std::mem::take(&mut group), &mut failed);
                octets = 0;
                if !self.tail.is_open() || more > self.tail.room() {
                    self.tail.roll();
                }
            }
            octets += more;
            group.push(append);
        }
        self.finish_group(group, &mut failed);
        failed
    }

    /// Writes, syncs, applies, answers.
    fn finish_group(&mut self, mut group: Vec<Append<E>>, failed: &mut Vec<Append<E>>) {
        if group.is_empty() {
            return;
        }
        let payloads = group.iter().filter_map(|append| append.payload.as_ref());
        let written = match failed.is_empty() {
            true => self.tail.write(payloads),
            // What failed before it in this batch is written later: the order must not turn round.
            false => Err(io::Error::other("the record before it failed")),
        };
        match written {
            Ok(positions) => {
                let mut positions = positions.into_iter();
                let mut effects = Vec::with_capacity(group.len());
                let mut answers = Vec::with_capacity(group.len());
                for append in group {
                    let position = append.payload.and_then(|_| positions.next());
                    let position = position.unwrap_or_default();
                    effects.extend(append.effect.map(|effect| (position, effect)));
                    answers.extend(append.answer.map(|answer| (answer, position)));
                }
                let end = self.tail.position();
                let news = !effects.is_empty();
                self.sink.apply(effects, end);
                if news {
                    fault::point("commit.before_answer");
                }
                for (answer, position) in answers {
                    // Who no longer waits has gone away; the record stands.
                    let _ = answer.send(Ok(position));
                }
            }
            Err(e) => {
                tracing::error!(error = %e, records = group.len(), "cannot write the spool log");
                self.tail.abandon();
                for append in &mut group {
                    if let Some(answer) = append.answer.take() {
                        append.effect = None;
                        let _ = answer.send(Err(Error::Unknown(e.to_string())));
                        append.payload = None;
                    }
                }
                failed.extend(group.into_iter().filter(|append| append.payload.is_some()));
            }
        }
    }
}

/// Lazy records that may wait before the committer is woken for them alone, and for how long.
const LAZY_MAX: usize = 256;
const LAZY_PAUSE: Duration = Duration::from_millis(200);
const FAILED_PAUSE: Duration = Duration::from_secs(1);
