//! The source of mail: one thread that sends numbered, stamped messages over many connections and times each answer.
//!
//! Closed loop: every connection sends its next message when the last one was answered, and latency is that of the transaction.
//! Open loop: messages are due at a fixed rate whatever the server does, and latency counts from the moment a message was *due*; what
//! waited for a free connection waited because of the server, and that time is in the figures (no coordinated omission).
//!
//! Made to cost little, because it shares the machine with what it measures: bodies are rendered once and only the stamp is new for each
//! message, the envelope goes out in one write and the message in one more. It does *not* judge what arrives: that is the sink's part,
//! with the [`Ledger`] that says what was accepted.

pub(crate) mod command;
mod ledger;
mod sizes;
mod template;

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

pub(crate) use self::ledger::Ledger;
pub(crate) use self::sizes::Sizes;
pub(crate) use self::template::Template;
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
    /// Whom the mail is from.
    pub(crate) senders: Template,
    /// Whom it is for.
    pub(crate) recipients: Template,
    /// Share of messages with the null sender, to one of `bounce_to`; 0 to 1.
    pub(crate) null_share: f64,
    /// SRS addresses that bounces go to.
    pub(crate) bounce_to: Vec<String>,
    /// Whether what got a 4xx, or no answer, is sent again later, as a real client would.
    pub(crate) retry: bool,
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

/// How far a run is, for whoever watches.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// Messages answered 250.
    pub(crate) accepted: AtomicU64,
    /// Messages answered otherwise, or not at all.
    pub(crate) failed: AtomicU64,
    /// Set it to end the run early.
    pub(crate) stop: std::sync::atomic::AtomicBool,
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
    /// Messages left without an answer.
    pub(crate) broken: u64,
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
    let _ = (load, progress);
    Err(io::Error::other("not built yet"))
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
            senders,
            recipients,
            null_share: 0.0,
            bounce_to: Vec::new(),
            retry: false,
            sources: 0,
            seed: 1,
            run: 1,
            time_limit: Duration::from_secs(60),
        }
    }
}

impl Sent {
    /// Messages accepted per second.
    pub(crate) fn rate(&self) -> f64 {
        self.accepted as f64 / self.elapsed.as_secs_f64().max(1e-6)
    }
}
