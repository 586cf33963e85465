//! `sink` on the command line.

use std::fmt;
use std::io::{self, IsTerminal as _, stderr};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use humantime::parse_duration;
use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};

use super::{Counts, Phase, RunCounts, Script, Sink, SinkSettings};

/// Where to listen, and what to answer. Shares are from 0 to 1.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// An address to listen on, as ADDRESS:PORT; may be given many times.
    #[arg(long, default_value = "127.0.0.1:2525")]
    bind: Vec<SocketAddr>,
    /// Listen on this many IPv4 addresses, from the first `--bind` on.
    #[arg(long, default_value_t = 1)]
    sites: u32,
    /// Wait this long before the answer to each message, as 20ms or 2s.
    #[arg(long, value_parser = parse_duration, default_value = "0s")]
    latency: Duration,
    /// PHASE=SHARE: this share gets a 4xx at the phase: greeting, hello, mail, rcpt, data or dot.
    #[arg(long, value_name = "PHASE=SHARE", value_parser = phase_and_share)]
    defer: Vec<(Phase, f64)>,
    /// PHASE=SHARE: this share gets a 5xx at the phase.
    #[arg(long, value_name = "PHASE=SHARE", value_parser = phase_and_share)]
    refuse: Vec<(Phase, f64)>,
    /// PHASE=SHARE: this share of connections is cut at the phase, without an answer.
    #[arg(long, value_name = "PHASE=SHARE", value_parser = phase_and_share)]
    cut: Vec<(Phase, f64)>,
    /// 451 to each new client, sender and recipient, until this long after the first attempt.
    #[arg(long, value_parser = parse_duration)]
    greylist: Option<Duration>,
    /// Read this many octets per second of each connection.
    #[arg(long, value_name = "OCTETS")]
    read_rate: Option<u64>,
    /// 421 to connections beyond this many at a site.
    #[arg(long)]
    connections_max: Option<u64>,
    /// 421 after this many messages of a connection.
    #[arg(long)]
    messages_max: Option<u64>,
    /// 452 after this many recipients of a message.
    #[arg(long)]
    recipients_max: Option<usize>,
    /// Do not offer PIPELINING.
    #[arg(long)]
    no_pipelining: bool,
    /// Do not offer CHUNKING.
    #[arg(long)]
    no_chunking: bool,
    /// Offer STARTTLS, with a certificate made on the spot.
    #[arg(long)]
    starttls: bool,
    /// Write different reverse paths of what comes to this file, one per line, up to 100,000.
    #[arg(long, value_name = "FILE")]
    reverse_paths: Option<PathBuf>,
    /// What shares are drawn from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Stop when this many different copies have come; the exit code is 1 if they do not.
    #[arg(long, value_name = "COPIES")]
    expect: Option<u64>,
    /// Stop after this many seconds; without, at Ctrl-C.
    #[arg(long, value_name = "SECONDS")]
    time_limit: Option<u64>,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

/// Receives until Ctrl-C or the limit, then reports. The exit code is 1 when something was damaged, came twice or is missing.
pub(crate) fn run(arguments: &Arguments) -> io::Result<ExitCode> {
    let sink = Sink::start(SinkSettings {
        binds: arguments.binds()?,
        script: arguments.script(),
        seed: arguments.seed,
    })?;
    if arguments.reverse_paths.is_some() {
        sink.collect_reverse_paths(REVERSE_PATHS_MAX);
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(watch(&sink, arguments))?;
    if let Some(path) = &arguments.reverse_paths {
        std::fs::write(path, sink.reverse_paths().join("\n") + "\n")?;
    }
    let report = Report {
        counts: sink.counts(),
        strays: sink.strays(),
        runs: sink.runs(),
        cpu_seconds: sink.cpu().as_secs_f64(),
    };
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        println!("{report}");
    }
    let distinct: u64 = report.runs.iter().map(|run| run.distinct).sum();
    let is_bad = report.is_bad() || arguments.expect.is_some_and(|copies| distinct < copies);
    Ok(ExitCode::from(u8::from(is_bad)))
}

/// Shows what comes until it is time to stop.
async fn watch(sink: &Sink, arguments: &Arguments) -> io::Result<()> {
    let limit = arguments.time_limit.map(Duration::from_secs);
    let begun = Instant::now();
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let shows = stderr().is_terminal();
    loop {
        tokio::select! {
            _ = interrupt.recv() => break,
            _ = terminate.recv() => break,
            () = tokio::time::sleep(STEP) => {}
        }
        if shows {
            let counts = sink.counts();
            let (messages, open) = (counts.messages, counts.open);
            eprint!("\r{messages} messages, {open} connections open\x1b[K");
        }
        let is_late = limit.is_some_and(|limit| begun.elapsed() >= limit);
        let is_full = (arguments.expect).is_some_and(|copies| sink.counts().copies >= copies);
        if is_late || is_full {
            break;
        }
    }
    if shows {
        eprint!("\r\x1b[K");
    }
    Ok(())
}

impl Arguments {
    fn binds(&self) -> io::Result<Vec<SocketAddr>> {
        let mut binds = self.bind.clone();
        let first = binds[0];
        for site in 1..self.sites {
            let IpAddr::V4(ip) = first.ip() else {
                return Err(io::Error::other("--sites wants an IPv4 address to --bind"));
            };
            let ip = Ipv4Addr::from_bits(ip.to_bits().wrapping_add(site));
            binds.push(SocketAddr::new(ip.into(), first.port()));
        }
        Ok(binds)
    }

    fn script(&self) -> Script {
        let mut script = Script {
            greylist: self.greylist,
            read_rate: self.read_rate,
            connections_max: self.connections_max,
            messages_max: self.messages_max,
            recipients_max: self.recipients_max,
            pipelining: !self.no_pipelining,
            chunking: !self.no_chunking,
            starttls: self.starttls,
            ..Script::default()
        };
        script.at_mut(Phase::Dot).wait = self.latency;
        for (phase, share) in &self.defer {
            script.at_mut(*phase).defer = *share;
        }
        for (phase, share) in &self.refuse {
            script.at_mut(*phase).refuse = *share;
        }
        for (phase, share) in &self.cut {
            script.at_mut(*phase).drop = *share;
        }
        script
    }
}

fn phase_and_share(text: &str) -> Result<(Phase, f64), String> {
    let wrong = || format!("`{text}` is not PHASE=SHARE, as rcpt=0.1");
    let (phase, share) = text.split_once('=').ok_or_else(wrong)?;
    let phase = match phase {
        "greeting" => Phase::Greeting,
        "hello" => Phase::Hello,
        "mail" => Phase::Mail,
        "rcpt" => Phase::Rcpt,
        "data" => Phase::Data,
        "dot" => Phase::Dot,
        _ => return Err(wrong()),
    };
    let share = share.parse().ok();
    let share = share.filter(|share| (0.0..=1.0).contains(share));
    share.map(|share| (phase, share)).ok_or_else(wrong)
}

/// What is told.
#[derive(Serialize)]
struct Report {
    counts: Counts,
    /// Messages that no load had stamped.
    strays: u64,
    runs: Vec<RunCounts>,
    cpu_seconds: f64,
}

impl Report {
    fn is_bad(&self) -> bool {
        self.runs.iter().any(|run| run.duplicates + run.damaged > 0)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = &self.counts;
        writeln!(
            f,
            "{} messages ({} copies, {} octets) over {} connections, at most {} at a time, {} turned away",
            counts.messages,
            counts.copies,
            counts.octets,
            counts.connections,
            counts.open_max,
            counts.turned_away
        )?;
        writeln!(
            f,
            "answered 4xx {}, 5xx {}; cut {}; without a stamp {}",
            counts.deferred, counts.refused, counts.dropped, self.strays
        )?;
        writeln!(
            f,
            "reverse paths: {}; null {}, SRS0 {}, SRS1 {}",
            counts.reverse_paths, counts.null, counts.srs0, counts.srs1
        )?;
        for run in &self.runs {
            writeln!(
                f,
                "run {}: {} different copies, {} came twice, {} damaged, {} numbers missing, {} notified; {}",
                run.run,
                run.distinct,
                run.duplicates,
                run.damaged,
                run.gaps,
                run.notified,
                run.latency_micros
            )?;
        }
        let per_message = self.cpu_seconds * 1e6 / counts.messages.max(1) as f64;
        match counts.messages {
            0 => write!(f, "{:.3} s CPU", self.cpu_seconds),
            _ => write!(f, "{per_message:.1} µs CPU per message"),
        }
    }
}

const REVERSE_PATHS_MAX: usize = 100_000;
const STEP: Duration = Duration::from_millis(200);
