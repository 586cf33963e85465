//! `load` on the command line.

use std::fmt;
use std::io::{self, IsTerminal as _, stderr};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use serde::Serialize;

use super::{Load, Pace, Progress, Sent, Sizes, Template};
use crate::latency::Summary;

/// What to send. The defaults are those of the main comparison: 10 KiB, one recipient, connections kept.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The server, as ADDRESS:PORT.
    #[arg(long)]
    to: SocketAddr,
    /// Connections at the same time.
    #[arg(long, default_value_t = 10)]
    connections: usize,
    /// Messages in all.
    #[arg(long, default_value_t = 10_000)]
    messages: u64,
    /// Messages of one connection before it is closed and made anew; all if not given.
    #[arg(long)]
    per_connection: Option<u64>,
    /// Messages per second, whatever the server does (open loop): latency then counts from the moment a message was due.
    #[arg(long)]
    rate: Option<f64>,
    /// Octets of a message, as 10240, 10K or 25M; or `real`: median 20 KiB with a long tail.
    #[arg(long, default_value = "10K")]
    size: Sizes,
    /// Recipients of each message.
    #[arg(long, default_value_t = 1)]
    recipients: usize,
    /// The senders. {n} is the message's number, {n:K} modulo K, {i} the recipient's index, {uniform:K} and {zipf:K} are drawn from 0 to K-1.
    #[arg(long, default_value = "sender{n:1000}@sender.example")]
    from: Template,
    /// The recipients.
    #[arg(long, default_value = "user{n:1000}-{i}@forward.example")]
    rcpt: Template,
    /// Share of messages with the null sender, to addresses of `--bounce-to`.
    #[arg(long, default_value_t = 0.0, requires = "bounce_to")]
    null_share: f64,
    /// A file with one address per line, SRS addresses most likely: `sink --reverse-paths` writes such a file.
    #[arg(long)]
    bounce_to: Option<PathBuf>,
    /// Wait for each answer, even if the server offers PIPELINING.
    #[arg(long)]
    no_pipelining: bool,
    /// BDAT instead of DATA, if the server offers CHUNKING.
    #[arg(long)]
    chunking: bool,
    /// STARTTLS on every connection; any certificate will do.
    #[arg(long)]
    starttls: bool,
    /// Resume TLS sessions instead of a full handshake for each connection.
    #[arg(long, requires = "starttls")]
    resume: bool,
    /// Send what got a 4xx or no answer again.
    #[arg(long)]
    retry: bool,
    /// How long after the first attempt, as 500ms or 2s; doubled each time, up to 32 times as long.
    #[arg(long, value_parser = humantime::parse_duration, default_value = "500ms")]
    retry_after: Duration,
    /// Connect from this many addresses in turn, 127.1.0.1 and on: for servers that limit connections by client.
    #[arg(long, default_value_t = 0)]
    sources: u16,
    /// Only connect, say EHLO, and hold the connections this many seconds: what does an idle connection cost?
    #[arg(long, value_name = "SECONDS", conflicts_with_all = ["rate", "messages"])]
    idle: Option<u64>,
    /// What everything random is drawn from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The number in the stamps: the sink keeps runs apart by it.
    #[arg(long, default_value_t = 1)]
    run: u32,
    /// Stop after this many seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    time_limit: u64,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

/// Sends and reports. The exit code is 1 when not all was accepted.
pub(crate) fn run(arguments: &Arguments) -> io::Result<ExitCode> {
    let load = arguments.load()?;
    if let Some(seconds) = arguments.idle {
        return idle(&load, Duration::from_secs(seconds));
    }
    let progress = Progress::default();
    let sent = std::thread::scope(|scope| {
        let (done, ended) = mpsc::channel::<()>();
        if stderr().is_terminal() {
            let (progress, messages) = (progress.clone(), load.messages);
            scope.spawn(move || watch(&progress, messages, &ended));
        }
        let sent = super::send(&load, &progress);
        drop(done);
        sent
    })?;
    let report = Report::new(&sent);
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        println!("{report}");
    }
    Ok(ExitCode::from(u8::from(sent.accepted < load.messages)))
}

impl Arguments {
    fn load(&self) -> io::Result<Load> {
        let bounce_to = match &self.bounce_to {
            Some(path) => std::fs::read_to_string(path)?,
            None => String::new(),
        };
        let per_second = |per_second| Pace::Open { per_second };
        Ok(Load {
            connections: self.connections,
            messages: self.messages,
            per_connection: self.per_connection,
            pace: self.rate.map_or(Pace::Closed, per_second),
            sizes: self.size,
            recipients_per_message: self.recipients,
            pipelining: !self.no_pipelining,
            chunking: self.chunking,
            starttls: self.starttls,
            resume: self.resume,
            null_share: self.null_share,
            bounce_to: bounce_to.lines().map(str::to_owned).collect(),
            retry: self.retry,
            retry_after: self.retry_after,
            sources: self.sources,
            seed: self.seed,
            run: self.run,
            time_limit: Duration::from_secs(self.time_limit),
            ..Load::new(self.to, self.from.clone(), self.rcpt.clone())
        })
    }
}

fn idle(load: &Load, time: Duration) -> io::Result<ExitCode> {
    let idle = super::Idle::open(load.to, load.connections, load.sources, load.time_limit)?;
    println!(
        "{} connections open, of {}",
        idle.connections(),
        load.connections
    );
    if let Some(error) = idle.first_error() {
        println!("first trouble: {error}");
    }
    let (_never, wait) = mpsc::channel::<()>();
    // Nobody sends: this ends with the time.
    let _ = wait.recv_timeout(time);
    println!("{} of them left", idle.still_open());
    let all = idle.still_open() == load.connections;
    Ok(ExitCode::from(u8::from(!all)))
}

/// A line on the terminal until the other end is dropped.
fn watch(progress: &Progress, messages: u64, ended: &mpsc::Receiver<()>) {
    while ended.recv_timeout(Duration::from_millis(200)) == Err(RecvTimeoutError::Timeout) {
        let accepted = progress.accepted.load(Ordering::Relaxed);
        let failed = progress.failed.load(Ordering::Relaxed);
        eprint!("\r{accepted} of {messages} accepted, {failed} not\x1b[K");
    }
    eprint!("\r\x1b[K");
}

/// What is told.
#[derive(Serialize)]
struct Report {
    accepted: u64,
    deferred: u64,
    refused: u64,
    broken: u64,
    unsent: u64,
    retried: u64,
    connected: u64,
    octets: u64,
    seconds: f64,
    per_second: f64,
    latency_micros: Summary,
    lag_micros: Summary,
    cpu_micros_per_message: f64,
    first_error: Option<String>,
}

impl Report {
    fn new(sent: &Sent) -> Self {
        Self {
            accepted: sent.accepted,
            deferred: sent.deferred,
            refused: sent.refused,
            broken: sent.broken,
            unsent: sent.unsent,
            retried: sent.retried,
            connected: sent.connected,
            octets: sent.octets,
            seconds: sent.elapsed.as_secs_f64(),
            per_second: sent.rate(),
            latency_micros: sent.latency.summary(),
            lag_micros: sent.lag.summary(),
            cpu_micros_per_message: sent.cpu.as_secs_f64() * 1e6 / sent.accepted.max(1) as f64,
            first_error: sent.first_error.clone(),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} messages accepted in {:.2} s: {:.0} per second, {:.1} MB/s",
            self.accepted,
            self.seconds,
            self.per_second,
            self.octets as f64 / self.seconds.max(1e-6) / 1e6
        )?;
        writeln!(f, "accepted after  {}", self.latency_micros)?;
        writeln!(f, "sent late by    {}", self.lag_micros)?;
        writeln!(
            f,
            "deferred {}, refused {}, broken {}, unsent {}, sent again {}; {} connections",
            self.deferred, self.refused, self.broken, self.unsent, self.retried, self.connected
        )?;
        write!(f, "{:.1} µs CPU per message", self.cpu_micros_per_message)?;
        match &self.first_error {
            Some(error) => write!(f, "\nfirst trouble: {error}"),
            None => Ok(()),
        }
    }
}
