//! What each connection's task does, over and over: take a job, send it, write down what came of it.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::client::Client;
use super::mail::{Composer, Message};
use super::source::{Job, Source};
use super::transaction::Outcome;
use super::{Progress, Sent};

/// What the tasks of one run share.
pub(super) struct Run {
    pub(super) composer: Composer,
    pub(super) source: Source,
    pub(super) sent: RefCell<Sent>,
    pub(super) progress: Progress,
    /// Tasks that have connected once, or tried to.
    pub(super) arrived: Cell<usize>,
    pub(super) all_arrived: Notify,
    /// What each task has under way: known even when the task is cut off.
    pub(super) flights: Vec<Flight>,
    pub(super) last_answer: Cell<Option<Instant>>,
}

/// The message that a task is sending.
#[derive(Debug, Default)]
pub(super) struct Flight {
    pub(super) sequence: Cell<u64>,
    /// Recipients whose answer is missing after the end of the data.
    pub(super) unanswered: Cell<u16>,
}

/// Sends until nothing is left, or the server cannot be reached any more.
pub(super) async fn work(run: Rc<Run>, number: usize) {
    let mut misses = 0;
    let mut has_arrived = false;
    while !run.source.is_done() {
        // With connections of few messages, connecting is part of the first one's time.
        let first = match run.composer.load().per_connection {
            Some(_) => run.source.next().await,
            None => None,
        };
        let connected = Client::connect(run.composer.load(), number).await;
        if !std::mem::replace(&mut has_arrived, true) {
            run.arrive();
        }
        match connected {
            Ok(client) => {
                misses = 0;
                run.sent.borrow_mut().connected += 1;
                run.serve(client, number, first).await;
            }
            Err(error) => {
                run.note(&format!("connection refused: {error}"));
                if let Some(job) = first {
                    run.broken(job, &run.flights[number]);
                }
                misses += 1;
                if misses == MISSES_MAX {
                    return;
                }
                tokio::time::sleep(AFTER_MISS * misses).await;
            }
        }
    }
}

impl Run {
    /// Sends over one connection until it ends or nothing is left.
    async fn serve(&self, mut client: Client, number: usize, mut first: Option<Job>) {
        let flight = &self.flights[number];
        let limit = self.composer.load().per_connection.unwrap_or(u64::MAX);
        let mut message = Message::default();
        for _ in 0..limit {
            let job = match first.take() {
                Some(job) => job,
                None => match self.source.next().await {
                    Some(job) => job,
                    None => break,
                },
            };
            self.composer.compose(&job, &mut message);
            flight.sequence.set(job.sequence);
            self.sent.borrow_mut().lag.record(job.due.elapsed());
            let sent = client.send(&self.composer, &message, &flight.unanswered);
            match sent.await {
                Ok(outcome) => self.settle(job, outcome, message.octets()),
                Err(error) => {
                    self.note(&error.to_string());
                    self.broken(job, flight);
                    return;
                }
            }
            if client.is_closing {
                return;
            }
        }
        client.quit().await;
    }

    /// Every recipient has an answer.
    fn settle(&self, job: Job, outcome: Outcome, octets: u64) {
        let now = Instant::now();
        self.last_answer.set(Some(now));
        let retry = self.composer.load().retry;
        let mut sent = self.sent.borrow_mut();
        if let Some(trouble) = outcome.trouble {
            sent.first_error.get_or_insert(trouble);
        }
        if outcome.accepted > 0 {
            sent.latency.record(now - job.due);
            sent.octets += octets;
            sent.ledger.accept(job.sequence, outcome.accepted);
        }
        if retry && !outcome.deferred.is_empty() {
            sent.retried += 1;
            self.source.again(Job {
                only: Some(outcome.deferred),
                ..job
            });
            return;
        }
        // A message counts once, for the best that any of its recipients got.
        let counter = if sent.ledger.of(job.sequence).accepted > 0 {
            sent.accepted += 1;
            &self.progress.accepted
        } else if outcome.deferred.is_empty() {
            sent.refused += 1;
            &self.progress.failed
        } else {
            sent.deferred += 1;
            &self.progress.failed
        };
        add_one(counter);
        drop(sent);
        self.source.done();
    }

    /// The connection ended before all recipients had an answer.
    fn broken(&self, job: Job, flight: &Flight) {
        let mut sent = self.sent.borrow_mut();
        let unanswered = flight.unanswered.take();
        if unanswered > 0 {
            sent.ledger.doubt(job.sequence, unanswered);
        }
        if self.composer.load().retry {
            sent.retried += 1;
            self.source.again(job);
        } else {
            sent.broken += 1;
            add_one(&self.progress.failed);
            drop(sent);
            self.source.done();
        }
    }

    fn note(&self, error: &str) {
        let mut sent = self.sent.borrow_mut();
        sent.first_error.get_or_insert_with(|| error.to_owned());
    }

    fn arrive(&self) {
        self.arrived.set(self.arrived.get() + 1);
        if self.arrived.get() == self.flights.len() {
            self.all_arrived.notify_waiters();
        }
    }

    /// Lets an open loop begin when all connections stand, or a while was waited for them.
    pub(super) async fn pace(&self, per_second: f64) -> io::Result<()> {
        if self.arrived.get() < self.flights.len() {
            let arrived = self.all_arrived.notified();
            let _ = tokio::time::timeout(ARRIVAL_MAX, arrived).await;
        }
        self.source.pace(per_second).await
    }
}

/// Only the sending thread writes these.
fn add_one(counter: &AtomicU64) {
    counter.store(counter.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
}

/// Failed attempts to connect, one after the other, before a task gives up: five seconds in all.
const MISSES_MAX: u32 = 20;
const AFTER_MISS: Duration = Duration::from_millis(25);
const ARRIVAL_MAX: Duration = Duration::from_secs(5);
