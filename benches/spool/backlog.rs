//! A large backlog: fill, memory, restart after a kill and after a clean stop, what a message costs beside it and beside
//! a small one, drain, and what remains on disk.
//! Each phase is a process of its own, so that its memory is what a daemon would have.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use queue::{LogSpool, Settings};
use spool::{BodyReader, IdSource, Spool, Want};

use crate::{Arguments, commit};

/// Resident and peak memory, MiB.
fn memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name));
        let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
        kib.unwrap_or_default() / 1024
    };
    format!(
        "RSS {} MiB, peak {} MiB, CPU so far {:.1} s",
        field("VmRSS"),
        field("VmHWM"),
        cpu_seconds()
    )
}

/// What this process has had of the processors: on a busy machine it says more than the clock.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default();
    let ticks = fields.split_whitespace().skip(11).take(2);
    ticks.filter_map(|n| n.parse::<f64>().ok()).sum::<f64>() / 100.0
}

fn disk(dir: &std::path::Path) -> u64 {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => disk(&entry.path()),
            Ok(metadata) => metadata.len() >> 20,
            Err(_) => 0,
        })
        .sum()
}

fn report(what: &str, start: Instant, count: usize) {
    let span = start.elapsed().as_secs_f64();
    println!(
        "{what}: {span:.2} s, {:.0}/s, {}",
        count as f64 / span,
        memory()
    );
}

#[derive(Clone)]
struct Backlog {
    dir: PathBuf,
    messages: usize,
    octets: usize,
    hosts: usize,
}

pub(super) fn run(arguments: &Arguments) {
    let backlog = Backlog {
        dir: PathBuf::from(arguments.text(2, "target/backlog")),
        messages: arguments.number(3, "1000000"),
        octets: arguments.number(4, "4096"),
        hosts: arguments.number(5, "100000"),
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    match arguments.text(6, "").as_str() {
        "fill" => runtime.block_on(fill_all(backlog)),
        "look" => runtime.block_on(look(backlog)),
        "scale" => runtime.block_on(scale(backlog, false)),
        "parked" => runtime.block_on(scale(backlog, true)),
        "drain" => runtime.block_on(drain_all(backlog)),
        _ => {
            let _ = std::fs::remove_dir_all(&backlog.dir);
            let sizes = [backlog.messages, backlog.octets, backlog.hosts].map(|n| n.to_string());
            for phase in ["fill", "look", "scale", "parked", "drain"] {
                let mut child = std::process::Command::new("/proc/self/exe");
                let child = child.arg("backlog").arg(&backlog.dir).args(&sizes);
                let _ = child.arg(phase).status();
            }
            let _ = std::fs::remove_dir_all(&backlog.dir);
        }
    }
}

fn open(backlog: &Backlog) -> Arc<LogSpool> {
    Arc::new(LogSpool::open(Settings::new(&backlog.dir)).unwrap())
}

/// Fills, and dies without closing.
async fn fill_all(backlog: Backlog) {
    let spool = open(&backlog);
    let (ids, count) = (Arc::new(IdSource::new()), Arc::new(AtomicUsize::new(0)));
    write_some(&spool, &ids, &count, &backlog, 1_000).await;
    claim_cost("claims at 1,000", &spool).await;
    let start = Instant::now();
    let some = (backlog.messages / 20).max(100);
    write_some(&spool, &ids, &count, &backlog, some).await;
    report("fill, the first twentieth", start, some);
    write_some(
        &spool,
        &ids,
        &count,
        &backlog,
        backlog.messages - 2 * some - 1_000,
    )
    .await;
    let last = Instant::now();
    write_some(&spool, &ids, &count, &backlog, some).await;
    report("fill, the last twentieth", last, some);
    report("fill", start, backlog.messages - 1_000);
    tokio::time::sleep(Duration::from_secs(5)).await;
    claim_cost("claims at all", &spool).await;
    std::process::exit(9);
}

async fn write_some(
    spool: &Arc<LogSpool>,
    ids: &Arc<IdSource>,
    count: &Arc<AtomicUsize>,
    backlog: &Backlog,
    n: usize,
) {
    let end = count.load(Ordering::Relaxed) + n;
    let writer = |_| {
        let (spool, ids, count) = (Arc::clone(spool), Arc::clone(ids), Arc::clone(count));
        tokio::spawn(fill(spool, ids, count, end, backlog.clone()))
    };
    let writers: Vec<_> = (0..100).map(writer).collect();
    for writer in writers {
        let _ = writer.await;
    }
    count.store(end, Ordering::Relaxed);
}

/// Opens after the kill, takes one message, closes.
async fn look(backlog: Backlog) {
    let start = Instant::now();
    let spool = open(&backlog);
    report("open after a kill", start, 1);
    drain(&spool, 1, 1).await;
    report("... to the first delivery", start, 1);
    let start = Instant::now();
    spool.close();
    report("close", start, 1);
}

/// What it costs to accept and to schedule some messages beside the backlog and beside a thousand, in turns. As many come
/// as go, so both sizes stay. `parked`: all goes to the small one's hosts, and the backlog's others are parked.
async fn scale(backlog: Backlog, parked: bool) {
    let small = Backlog {
        dir: backlog.dir.with_extension("small"),
        hosts: 100,
        ..backlog.clone()
    };
    let _ = std::fs::remove_dir_all(&small.dir);
    let (ids, count) = (Arc::new(IdSource::new()), Arc::new(AtomicUsize::new(0)));
    let (few, many) = (open(&small), open(&backlog));
    write_some(&few, &ids, &count, &small, 1_000).await;
    let mut load = &backlog;
    if parked {
        let host = |n| Some((format!("host{n}.example").parse().ok()?, true));
        let hosts: Vec<_> = (small.hosts..backlog.hosts).filter_map(host).collect();
        many.park(&hosts).await;
        println!("{} hosts parked", hosts.len());
        load = &small;
    }
    let (mut costs_few, mut costs_many) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        costs_few.push(round(&few, &ids, &count, &small).await);
        costs_many.push(round(&many, &ids, &count, load).await);
    }
    let names = ["accept", "accept, CPU", "schedule", "schedule, CPU"];
    for (n, name) in names.into_iter().enumerate() {
        let (few, many) = (median(&costs_few, n), median(&costs_many, n));
        let share = many / few;
        println!("{name}: {few:.1} us beside a thousand, {many:.1} us beside all: {share:.2}");
    }
    few.close();
    let _ = std::fs::remove_dir_all(&small.dir);
}

/// Microseconds a message: to accept it, by the clock and of CPU; to claim and end it, the same.
async fn round(
    spool: &Arc<LogSpool>,
    ids: &Arc<IdSource>,
    count: &Arc<AtomicUsize>,
    backlog: &Backlog,
) -> [f64; 4] {
    let want = Want {
        max: 500,
        per_host: 20,
        lease: Duration::from_secs(600),
    };
    let (start, cpu) = (Instant::now(), cpu_seconds());
    write_some(spool, ids, count, backlog, ROUND).await;
    let accepted = (start.elapsed().as_secs_f64(), cpu_seconds() - cpu);
    let (start, cpu) = (Instant::now(), cpu_seconds());
    for _ in 0..ROUND / want.max {
        for claim in spool.claim(&want).await.unwrap_or_default() {
            let _ = spool.complete(claim.lease, None).await;
        }
    }
    // What that leaves to be done belongs to it.
    let _ = spool.checkpoint().await;
    let scheduled = (start.elapsed().as_secs_f64(), cpu_seconds() - cpu);
    [accepted.0, accepted.1, scheduled.0, scheduled.1].map(|span| span * 1e6 / ROUND as f64)
}

fn median(costs: &[[f64; 4]], n: usize) -> f64 {
    let mut costs: Vec<f64> = costs.iter().map(|cost| cost[n]).collect();
    costs.sort_by(f64::total_cmp);
    costs.get(costs.len() / 2).copied().unwrap_or_default()
}

const ROUNDS: usize = 9;
/// Messages in one.
const ROUND: usize = 10_000;

async fn drain_all(backlog: Backlog) {
    let start = Instant::now();
    let spool = open(&backlog);
    report("open after a clean stop", start, 1);
    let mut left = drain(&spool, 1, 1).await;
    report("... to the first delivery", start, 1);
    let start = Instant::now();
    left += drain(&spool, usize::MAX, 500).await;
    report("drain", start, left);
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(30) {
        let (disk, log) = (disk(&backlog.dir), spool.log_octets() >> 20);
        report(&format!("disk {disk} MiB, log {log} MiB"), start, 0);
        tokio::time::sleep(Duration::from_secs(5)).await;
        if disk < 400 {
            break;
        }
    }
    let counts = spool.counts().await;
    report(&format!("{counts:?}"), Instant::now(), 0);
    spool.close();
}

/// What it costs to lease legs that were not looked at before, and to give them back.
async fn claim_cost(what: &str, spool: &LogSpool) {
    let want = Want {
        max: 100,
        per_host: 20,
        lease: Duration::from_secs(600),
    };
    let start = Instant::now();
    let mut claims = Vec::new();
    for _ in 0..10 {
        claims.extend(spool.claim(&want).await.unwrap_or_default());
    }
    let n = claims.len();
    for claim in claims {
        let _ = spool.release(claim.lease).await;
    }
    report(what, start, n);
}

async fn fill(
    spool: Arc<LogSpool>,
    ids: Arc<IdSource>,
    count: Arc<AtomicUsize>,
    end: usize,
    backlog: Backlog,
) {
    let body = Bytes::from(vec![b'x'; backlog.octets]);
    loop {
        let i = count.fetch_add(1, Ordering::Relaxed);
        if i >= end {
            return;
        }
        let target = format!("user{i}@host{}.example", i % backlog.hosts);
        commit(&spool, &ids, &body, &target).await;
    }
}

async fn drain(spool: &LogSpool, rounds: usize, max: usize) -> usize {
    let want = Want {
        max,
        per_host: 20,
        lease: Duration::from_secs(600),
    };
    let mut done = 0;
    for _ in 0..rounds {
        let claims = spool.claim(&want).await.unwrap_or_default();
        if claims.is_empty() {
            break;
        }
        for claim in claims {
            let Ok(mut body) = spool.open_body(claim.message.id).await else {
                continue;
            };
            while let Ok(Some(_)) = body.chunk().await {}
            done += usize::from(spool.complete(claim.lease, None).await.is_ok());
        }
    }
    done
}
