//! The source of mail: one thread that sends numbered, stamped messages over many connections and times each answer.
//!
//! Closed loop: every connection sends its next message when the last one was answered, and latency is that of the transaction.
//! Open loop: messages are due at a fixed rate whatever the server does, and latency counts from the moment a message was *due*; what
//! waited for a free connection waited because of the server, and that time is in the figures (no coordinated omission).
//!
//! Made to cost little, because it shares the machine with what it measures: bodies are rendered once and only the stamp is new for each
//! message, the envelope goes out in one write and the message in one more. It does *not* judge what arrives: that is the sink's part,
//! with the [`Ledger`] that says what was accepted.

mod body;
mod client;
pub(crate) mod command;
mod flood;
mod idle;
mod ledger;
mod mail;
mod replies;
mod sizes;
mod source;
mod template;
mod ticker;
mod transaction;
mod worker;

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::{JoinSet, LocalSet};

pub(crate) use self::flood::Flood;
pub(crate) use self::idle::Idle;
pub(crate) use self::ledger::Ledger;
use self::mail::Composer;
pub(crate) use self::sizes::Sizes;
use self::source::Source;
pub(crate) use self::template::Template;
use self::worker::{Flight, Run};
use crate::cpu::ThreadCpu;
use crate::descriptors;
use crate::latency::Latency;

/// What to send, and how.
#[derive(Debug, Clone)]
pub(crate) struct Load {
    /// The server.
    pub(crate) to: SocketAddr,
    /// Connections at the same time.
    pub(crate) connections: usize,
    /// Messages in all.
    pub(crate) messages: u64,
    /// Messages before a connection is closed and made anew; `None` keeps it for all.
    pub(crate) per_connection: Option<u64>,
    /// When each message is due.
    pub(crate) pace: Pace,
    /// Octets of a message, header included.
    pub(crate) sizes: Sizes,
    /// Recipients of each message.
    pub(crate) recipients_per_message: usize,
    /// MAIL, RCPT and DATA in one write, where the server offers PIPELINING.
    pub(crate) pipelining: bool,
    /// BDAT instead of DATA, where the server offers CHUNKING.
    pub(crate) chunking: bool,
    /// TLS before the first message; a server that does not offer it breaks the run. Any certificate is believed.
    pub(crate) starttls: bool,
    /// Whether TLS sessions are resumed; otherwise each handshake is a full one.
    pub(crate) resume: bool,
    /// Whom the mail is from.
    pub(crate) senders: Template,
    /// Whom it is for.
    pub(crate) recipients: Template,
    /// What signs every message, whose size grows by the signature; all must be of one size.
    pub(crate) signer: Option<Arc<authentic::Key>>,
    /// Share of messages with the null sender, to one of `bounce_to`; 0 to 1.
    pub(crate) null_share: f64,
    /// SRS addresses that bounces go to.
    pub(crate) bounce_to: Vec<String>,
    /// Whether what got a 4xx, or no answer, is sent again later, as a real client would.
    pub(crate) retry: bool,
    /// Before the first time it is sent again; doubled for each that follows, up to 32 times as long.
    pub(crate) retry_after: Duration,
    /// How many source addresses, 127.1.0.1 and on, connections are made from in turn; 0 leaves it to the system.
    pub(crate) sources: u16,
    /// What sizes, addresses and shares are drawn from: the same seed gives the same mail.
    pub(crate) seed: u64,
    /// In every stamp: a sink keeps runs apart by it.
    pub(crate) run: u32,
    /// After this the run ends; what is not answered by then is broken or unsent.
    pub(crate) time_limit: Duration,
}

/// When messages are due.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Pace {
    /// As soon as a connection is free.
    Closed,
    /// At this fixed rate.
    Open {
        /// Messages per second.
        per_second: f64,
    },
}

/// How far a run is, for a display.
#[derive(Debug, Clone, Default)]
pub(crate) struct Progress {
    /// Messages answered 250.
    pub(crate) accepted: Arc<AtomicU64>,
    /// Messages answered otherwise, or not at all.
    pub(crate) failed: Arc<AtomicU64>,
    /// Set it to end the run early.
    pub(crate) stop: Arc<AtomicBool>,
}

/// What came of a load.
#[derive(Debug)]
pub(crate) struct Sent {
    /// The run in the stamps.
    pub(crate) run: u32,
    /// When the first message was due, µs since the Unix epoch.
    pub(crate) started_micros: u64,
    /// From the first message due to the last answer.
    pub(crate) elapsed: Duration,
    /// Messages with at least one recipient answered 250 to the end of the data.
    pub(crate) accepted: u64,
    /// Messages left with a 4xx.
    pub(crate) deferred: u64,
    /// Messages left with a 5xx.
    pub(crate) refused: u64,
    /// Messages begun and left without an answer.
    pub(crate) broken: u64,
    /// Messages not begun when the run ended early.
    pub(crate) unsent: u64,
    /// Times a message or some of its recipients were sent again.
    pub(crate) retried: u64,
    /// Octets of accepted messages, as counted by SMTP (header and body, dots not stuffed).
    pub(crate) octets: u64,
    /// Connections made.
    pub(crate) connected: u64,
    /// From due (open) or start (closed) to the 250 at the end.
    pub(crate) latency: Latency,
    /// From due to the first octet written: large when all connections were busy, so the offered rate was not reached.
    pub(crate) lag: Latency,
    /// CPU time of the thread that sent.
    pub(crate) cpu: Duration,
    /// What was accepted, by sequence number.
    pub(crate) ledger: Ledger,
    /// What went wrong first: a reply or an error of the network.
    pub(crate) first_error: Option<String>,
}

/// Sends all of it; blocks until the last answer or the limit.
///
/// # Errors
/// When no thread or runtime can be started, or the settings contradict each other. A server that refuses is no error: see
/// [`Sent::first_error`].
pub(crate) fn send(load: &Load, progress: &Progress) -> io::Result<Sent> {
    load.check().map_err(io::Error::other)?;
    descriptors::raise_limit();
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("load".to_owned());
        let thread = thread.spawn_scoped(scope, || run(load, progress))?;
        match thread.join() {
            Ok(sent) => sent,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

fn run(load: &Load, progress: &Progress) -> io::Result<Sent> {
    let cpu = ThreadCpu::of_this_thread();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let run = Rc::new(Run {
        composer: Composer::new(load),
        source: Source::new(load),
        sent: RefCell::new(Sent::new(load.run)),
        progress: progress.clone(),
        arrived: Cell::new(0),
        all_arrived: Notify::new(),
        flights: (0..load.connections).map(|_| Flight::default()).collect(),
        last_answer: Cell::new(None),
    });
    runtime.block_on(async {
        tokio::select! {
            done = work_all(&run, load) => done,
            () = stopped(progress) => Ok(()),
            () = tokio::time::sleep(load.time_limit) => Ok(()),
        }
    })?;
    Ok(conclude(&run, load, cpu.spent()))
}

/// One task for each connection, and one that paces them.
async fn work_all(run: &Rc<Run>, load: &Load) -> io::Result<()> {
    let tasks = LocalSet::new();
    let work = tasks.run_until(async {
        let mut workers = JoinSet::new();
        for number in 0..load.connections {
            workers.spawn_local(worker::work(Rc::clone(run), number));
        }
        while let Some(ended) = workers.join_next().await {
            ended.map_err(io::Error::other)?;
        }
        Ok(())
    });
    let Pace::Open { per_second } = load.pace else {
        return work.await;
    };
    tokio::select! {
        done = work => done,
        Err(error) = run.pace(per_second) => Err(error),
    }
}

async fn stopped(progress: &Progress) {
    while !progress.stop.load(Ordering::Relaxed) {
        tokio::time::sleep(STOP_CHECK).await;
    }
}

/// The tasks have ended, by themselves or not: adds what only shows now.
fn conclude(run: &Run, load: &Load, cpu: Duration) -> Sent {
    let mut sent = run.sent.replace(Sent::new(load.run));
    for flight in &run.flights {
        let unanswered = flight.unanswered.get();
        if unanswered > 0 {
            sent.ledger.doubt(flight.sequence.get(), unanswered);
        }
    }
    let begun = run.source.begun();
    sent.broken = begun - sent.accepted - sent.deferred - sent.refused;
    sent.unsent = load.messages - begun;
    if let Some((start, micros)) = run.source.started() {
        sent.started_micros = micros;
        let last = run.last_answer.get().unwrap_or(start);
        sent.elapsed = last.saturating_duration_since(start);
    }
    sent.cpu = cpu;
    sent
}
impl Load {
    /// Closed loop, connections kept, 10 KiB, one recipient, pipelined: the least that a run needs to say.
    pub(crate) fn new(to: SocketAddr, senders: Template, recipients: Template) -> Self {
        Self {
            to,
            connections: 1,
            messages: 1,
            per_connection: None,
            pace: Pace::Closed,
            sizes: Sizes::Fixed(10 << 10),
            recipients_per_message: 1,
            pipelining: true,
            chunking: false,
            starttls: false,
            resume: false,
            senders,
            recipients,
            signer: None,
            null_share: 0.0,
            bounce_to: Vec::new(),
            retry: false,
            retry_after: Duration::from_millis(500),
            sources: 0,
            seed: 1,
            run: 1,
            time_limit: Duration::from_secs(60),
        }
    }

    /// What contradicts itself, in words.
    fn check(&self) -> Result<(), String> {
        let is_plain = |address: &String| {
            address
                .bytes()
                .all(|b| b.is_ascii_graphic() && !matches!(b, b'<' | b'>'))
        };
        if self.connections == 0 || self.per_connection == Some(0) {
            return Err("nothing can be sent over no connection".to_owned());
        }
        if !(1..=RECIPIENTS_MAX).contains(&self.recipients_per_message) {
            return Err(format!("a message has 1 to {RECIPIENTS_MAX} recipients"));
        }
        if let Pace::Open { per_second } = self.pace
            && !(RATE_MIN..=RATE_MAX).contains(&per_second)
        {
            return Err(format!(
                "a rate is from {RATE_MIN} to {RATE_MAX} messages per second"
            ));
        }
        if !(0.0..=1.0).contains(&self.null_share) {
            return Err("a share is from 0 to 1".to_owned());
        }
        if self.signer.is_some() && self.sizes == Sizes::Real {
            return Err("one signature is made, for messages of one size".to_owned());
        }
        if self.null_share > 0.0 && self.bounce_to.is_empty() {
            return Err("bounces need addresses to go to".to_owned());
        }
        if !self.bounce_to.iter().all(is_plain) {
            return Err("an address has no spaces, no brackets, and ASCII only".to_owned());
        }
        Ok(())
    }
}

impl Sent {
    fn new(run: u32) -> Self {
        Self {
            run,
            started_micros: 0,
            elapsed: Duration::ZERO,
            accepted: 0,
            deferred: 0,
            refused: 0,
            broken: 0,
            unsent: 0,
            retried: 0,
            octets: 0,
            connected: 0,
            latency: Latency::new(),
            lag: Latency::new(),
            cpu: Duration::ZERO,
            ledger: Ledger::default(),
            first_error: None,
        }
    }

    /// Messages accepted per second.
    pub(crate) fn rate(&self) -> f64 {
        self.accepted as f64 / self.elapsed.as_secs_f64().max(1e-6)
    }
}

const RECIPIENTS_MAX: usize = 1000;
const RATE_MIN: f64 = 0.01;
const RATE_MAX: f64 = 1_000_000.0;
const STOP_CHECK: Duration = Duration::from_millis(50);
