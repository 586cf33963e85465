//! Which message is next, and when: the pace, and second attempts.
//!
//! In a closed loop a message is due when a worker asks for it. In an open loop message `k` is due `k / rate` after the start, whether or not
//! a worker is free then; until one is, it waits in a queue and its time runs.

use std::cell::{Cell, RefCell};
use std::cmp::Ordering;
use std::collections::{BinaryHeap, VecDeque};
use std::io;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::ticker::Ticker;
use super::{Load, Pace};
use crate::stamp;

/// A message to send.
#[derive(Debug, Clone)]
pub(super) struct Job {
    /// Its number.
    pub(super) sequence: u64,
    /// When this attempt was due.
    pub(super) due: Instant,
    /// When the first was, for the stamp.
    pub(super) intended_micros: u64,
    /// From 0.
    pub(super) attempt: u32,
    /// The recipients still to send to; `None` for all.
    pub(super) only: Option<Vec<u16>>,
}

/// All messages of a load that no worker has taken yet.
#[derive(Debug)]
pub(super) struct Source {
    pace: Pace,
    messages: u64,
    retry_after: Duration,
    /// The next new message.
    next: Cell<u64>,
    /// Due, and not taken: open loop only.
    waiting: RefCell<VecDeque<Job>>,
    retries: RefCell<BinaryHeap<Retry>>,
    /// Taken, and not done with: each may come back as a retry.
    in_flight: Cell<usize>,
    started: Cell<Option<(Instant, u64)>>,
    changed: Notify,
}

impl Source {
    /// All messages of `load`.
    pub(super) fn new(load: &Load) -> Self {
        Self {
            pace: load.pace,
            messages: load.messages,
            retry_after: load.retry_after,
            next: Cell::new(0),
            waiting: RefCell::default(),
            retries: RefCell::default(),
            in_flight: Cell::new(0),
            started: Cell::new(None),
            changed: Notify::new(),
        }
    }

    /// The next job, when it is due; `None` when all is done. Each job must be given back with [`Source::done`] or [`Source::again`].
    pub(super) async fn next(&self) -> Option<Job> {
        loop {
            let now = Instant::now();
            if let Some(job) = self.retry(now).or_else(|| self.fresh(now)) {
                self.in_flight.set(self.in_flight.get() + 1);
                if !self.retries.borrow().is_empty() {
                    // The worker that took this job may have been the one that waited for the next retry.
                    self.changed.notify_one();
                }
                return Some(job);
            }
            let retry_due = self.retries.borrow().peek().map(|retry| retry.0.due);
            match retry_due {
                Some(due) => {
                    // Woken by either, it looks at everything again.
                    let _ = tokio::time::timeout_at(due.into(), self.changed.notified()).await;
                }
                None if self.is_done() => return None,
                None => self.changed.notified().await,
            }
        }
    }

    /// The job is finished, well or not.
    pub(super) fn done(&self) {
        self.in_flight.set(self.in_flight.get() - 1);
        if self.is_done() {
            self.changed.notify_waiters();
        }
    }

    /// The job comes again after a while.
    pub(super) fn again(&self, job: Job) {
        let wait = self.retry_after * 2_u32.pow(job.attempt.min(RETRY_DOUBLINGS_MAX));
        let retry = Job {
            due: Instant::now() + wait,
            attempt: job.attempt + 1,
            ..job
        };
        self.retries.borrow_mut().push(Retry(retry));
        self.in_flight.set(self.in_flight.get() - 1);
        // A worker must wait for the time of this one.
        self.changed.notify_one();
    }

    /// Whether nothing is left, nor can come back.
    pub(super) fn is_done(&self) -> bool {
        self.next.get() >= self.messages
            && self.in_flight.get() == 0
            && self.waiting.borrow().is_empty()
            && self.retries.borrow().is_empty()
    }

    /// New messages that came due so far.
    pub(super) fn begun(&self) -> u64 {
        self.next.get()
    }

    /// When the first message was due, and the same in µs since the Unix epoch.
    pub(super) fn started(&self) -> Option<(Instant, u64)> {
        self.started.get()
    }

    /// Lets messages become due until there are no more; for an open loop, from one task.
    ///
    /// # Errors
    /// When the system gives no timer.
    pub(super) async fn pace(&self, per_second: f64) -> io::Result<()> {
        let every = Duration::from_secs_f64(1.0 / per_second).max(TICK_MIN);
        let ticker = Ticker::start(every)?;
        let (start, start_micros) = self.start(Instant::now());
        while self.next.get() < self.messages {
            let now = Instant::now();
            let mut number = self.next.get();
            while number < self.messages {
                let after = Duration::from_secs_f64(number as f64 / per_second);
                if start + after > now {
                    break;
                }
                let after_micros = u64::try_from(after.as_micros()).unwrap_or(u64::MAX);
                self.waiting.borrow_mut().push_back(Job {
                    sequence: number,
                    due: start + after,
                    intended_micros: start_micros.saturating_add(after_micros),
                    attempt: 0,
                    only: None,
                });
                number += 1;
                self.changed.notify_one();
            }
            self.next.set(number);
            ticker.tick().await?;
        }
        Ok(())
    }

    fn retry(&self, now: Instant) -> Option<Job> {
        let mut retries = self.retries.borrow_mut();
        if retries.peek()?.0.due > now {
            return None;
        }
        let mut job = retries.pop()?.0;
        if self.pace == Pace::Closed {
            // In a closed loop nothing is due before a worker is free.
            job.due = now;
        }
        Some(job)
    }

    fn fresh(&self, now: Instant) -> Option<Job> {
        if self.pace != Pace::Closed {
            return self.waiting.borrow_mut().pop_front();
        }
        let sequence = self.next.get();
        if sequence >= self.messages {
            return None;
        }
        self.start(now);
        self.next.set(sequence + 1);
        Some(Job {
            sequence,
            due: now,
            intended_micros: stamp::now_micros(),
            attempt: 0,
            only: None,
        })
    }

    fn start(&self, now: Instant) -> (Instant, u64) {
        let started = self.started.get();
        let started = started.unwrap_or_else(|| (now, stamp::now_micros()));
        self.started.set(Some(started));
        started
    }
}

/// Ordered by when it is due, the earliest greatest.
#[derive(Debug)]
struct Retry(Job);

impl Ord for Retry {
    fn cmp(&self, other: &Self) -> Ordering {
        let key = |retry: &Self| (retry.0.due, retry.0.sequence);
        key(other).cmp(&key(self))
    }
}

impl PartialOrd for Retry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Retry {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Retry {}

/// Between ticks at high rates several messages come due at once: a wake-up for each would cost more than the message.
const TICK_MIN: Duration = Duration::from_micros(200);
const RETRY_DOUBLINGS_MAX: u32 = 5;
