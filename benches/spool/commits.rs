//! Durable commits: this spool against one file per message, and against a bare fdatasync, in turns on the same filesystem.
//!
//! Each writer commits a message with one
//! leg; another task claims, reads and completes as they come. The rival writes a file, fsyncs and renames it, removes it. A bare sync is
//! one thread that writes into a file of zeros and syncs: 4 KiB, one body, and as much as a batch of the spool had. At the end
//! the medians of all rounds, their ratios, and what the committer did while the slowest hundredth waited (`timed`).

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use queue::{LogSpool, Settings};
use spool::{IdSource, Spool, Want};

use crate::timed::{Deed, Shares, Timed};
use crate::{Arguments, commit};

#[derive(Clone, Copy)]
struct Load {
    writers: usize,
    octets: usize,
    span: Duration,
}

/// Each wait, from when to when.
type Waits = Vec<(Instant, Instant)>;

/// What one measurement came to.
#[derive(Clone, Copy, Default)]
struct Figures {
    rate: f64,
    p50: Duration,
    p99: Duration,
}

/// Rows of the table in the order in which they are measured.
const NAMES: [&str; 7] = [
    "sync of 4 KiB",
    "sync of one body",
    "sync of a batch",
    "files",
    "spool",
    "sync of one body again",
    "spool, one writer",
];

pub(super) fn run(arguments: &Arguments) {
    // A folder of our own: it is removed in the end.
    let dir = PathBuf::from(arguments.text(2, "target")).join("commit-rate");
    let load = Load {
        writers: arguments.number(3, "100"),
        octets: arguments.number(4, "10240"),
        span: Duration::from_secs(arguments.number(5, "5") as u64),
    };
    let one = Load { writers: 1, ..load };
    let _ = std::fs::create_dir_all(&dir);
    let bare = zeros(&dir.join("bare")).unwrap();
    let mut rounds: Vec<[Figures; NAMES.len()]> = Vec::new();
    let mut batch = load.octets * load.writers;
    for round in 1..=arguments.number(6, "3") {
        let short = load.span / 3;
        let mut row = [Figures::default(); NAMES.len()];
        row[0] = report(round, NAMES[0], &bare_sync(&bare, 4096, short));
        row[1] = report(round, NAMES[1], &bare_sync(&bare, load.octets, short));
        row[2] = report(round, NAMES[2], &bare_sync(&bare, batch, short));
        row[3] = report(round, NAMES[3], &files(&dir, load));
        // What it removed is discarded on the disk for a while yet.
        std::thread::park_timeout(SETTLE);
        let (waits, timed) = spool(&dir.join(format!("spool-{round}")), load);
        row[4] = report(round, NAMES[4], &waits);
        batch = tell_causes(waits, &timed).max(4096);
        row[5] = report(round, NAMES[5], &bare_sync(&bare, load.octets, short));
        let (waits, timed) = spool(&dir.join(format!("one-{round}")), one);
        row[6] = report(round, NAMES[6], &waits);
        tell_causes(waits, &timed);
        rounds.push(row);
    }
    tell_ratios(&rounds);
    // Only now: while space is given back, the disk is slow.
    let _ = std::fs::remove_dir_all(&dir);
}

fn report(round: usize, what: &str, waits: &Waits) -> Figures {
    let mut all: Vec<Duration> = waits.iter().map(|(from, to)| *to - *from).collect();
    all.sort_unstable();
    let at = |share: f64| all.get((all.len() as f64 * share) as usize).copied();
    let first = waits.iter().map(|(from, _)| *from).min();
    let last = waits.iter().map(|(_, to)| *to).max();
    let span = first
        .zip(last)
        .map_or(1.0, |(first, last)| (last - first).as_secs_f64());
    let figures = Figures {
        rate: all.len() as f64 / span,
        p50: at(0.5).unwrap_or_default(),
        p99: at(0.99).unwrap_or_default(),
    };
    let Figures { rate, p50, p99 } = figures;
    println!("{round} {what:<22} {rate:>8.0}/s  p50 {p50:>9.1?}  p99 {p99:>9.1?}");
    figures
}

/// Where the time of the slowest hundredth went, and of the middle; gives the octets of a usual batch.
fn tell_causes(mut waits: Waits, timed: &Timed) -> usize {
    let spans = timed.take();
    waits.sort_unstable_by_key(|(from, to)| *to - *from);
    let n = waits.len();
    for (name, some) in [
        ("slowest 1 %", &waits[n - n / 100..]),
        ("middle 2 %", &waits[n / 2 - n / 100..n / 2 + n / 100]),
    ] {
        let of = Shares::of(some, &spans);
        println!(
            "    {name:<12} write {:.1?}, sync {:.1?}, roll {:.1?}, rest {:.1?} (others used the disk for {:.1?})",
            of.write, of.sync, of.roll, of.rest, of.beside
        );
    }
    let of = |deed| spans.iter().filter(move |span| span.0 == deed);
    let longest = |deed| of(deed).map(|(_, from, to)| *to - *from).max();
    let batches = of(Deed::Sync).count().max(1);
    let batch = timed.take_written() as usize / batches;
    println!(
        "    {batches} batches of {batch} octets; longest sync {:.1?}, roll step {:.1?}",
        longest(Deed::Sync).unwrap_or_default(),
        longest(Deed::Roll).unwrap_or_default()
    );
    batch
}

fn tell_ratios(rounds: &[[Figures; NAMES.len()]]) {
    let median = |of: &dyn Fn(&[Figures; NAMES.len()]) -> f64| {
        let mut all: Vec<f64> = rounds.iter().map(of).collect();
        all.sort_unstable_by(f64::total_cmp);
        all.get(all.len() / 2).copied().unwrap_or_default()
    };
    println!("medians of the rounds, and medians of the ratios within a round:");
    let p99 = |n: usize| {
        move |row: &[Figures; NAMES.len()]| row[4].p99.as_secs_f64() / row[n].p99.as_secs_f64()
    };
    for (what, ratio) in [
        (
            "rate of the spool : files",
            median(&|row| row[4].rate / row[3].rate),
        ),
        ("p99 of a commit : sync of 4 KiB", median(&p99(0))),
        ("p99 of a commit : sync of one body", median(&p99(1))),
        ("p99 of a commit : sync of a batch", median(&p99(2))),
        (
            "one writer's p50 : sync of one body",
            median(&|row| row[6].p50.as_secs_f64() / row[5].p50.as_secs_f64()),
        ),
    ] {
        println!("  {what:<36} {ratio:.2}");
    }
}

/// A file of zeros. In small pieces: a large one is one folio of the page cache, and a write into it makes all of it dirty.
fn zeros(path: &Path) -> std::io::Result<File> {
    let file = File::create(path)?;
    (0..FILE_OCTETS / 4096).try_for_each(|n| file.write_all_at(&[0; 4096], n * 4096))?;
    file.sync_all()?;
    Ok(file)
}

/// One thread, a preallocated file, write and fdatasync: the floor.
fn bare_sync(file: &File, octets: usize, span: Duration) -> Waits {
    let body = vec![b'x'; octets];
    let mut waits = Waits::new();
    let end = Instant::now() + span;
    let mut at = 0;
    while Instant::now() < end {
        let start = Instant::now();
        let written = file.write_all_at(&body, at).and_then(|()| file.sync_data());
        at = (at + octets as u64) % (FILE_OCTETS - octets as u64);
        if written.is_ok() {
            waits.push((start, Instant::now()));
        }
    }
    waits
}

const FILE_OCTETS: u64 = 64 << 20;

/// The rival: each message is a file of its own.
fn files(dir: &Path, load: Load) -> Waits {
    let dir = dir.join("files");
    let _ = std::fs::create_dir_all(&dir);
    let body = vec![b'x'; load.octets];
    let end = Instant::now() + load.span;
    let waits = std::thread::scope(|scope| {
        let writer = |n: usize| {
            let (dir, body) = (&dir, &body);
            move || {
                let mut waits = Waits::new();
                while Instant::now() < end {
                    let start = Instant::now();
                    let name = format!("{n}-{}", waits.len());
                    let (new, done) = (dir.join(format!("{name}.new")), dir.join(&name));
                    let written = File::create(&new)
                        .and_then(|mut file| file.write_all(body).and_then(|()| file.sync_all()))
                        .and_then(|()| std::fs::rename(&new, &done))
                        .and_then(|()| std::fs::remove_file(&done));
                    if written.is_ok() {
                        waits.push((start, Instant::now()));
                    }
                }
                waits
            }
        };
        let threads: Vec<_> = (0..load.writers).map(|n| scope.spawn(writer(n))).collect();
        threads
            .into_iter()
            .filter_map(|t| t.join().ok())
            .flatten()
            .collect()
    });
    let _ = std::fs::remove_dir_all(dir);
    waits
}

fn spool(dir: &Path, load: Load) -> (Waits, Timed) {
    let _ = std::fs::remove_dir_all(dir);
    let timed = Timed::default();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let waits = runtime.block_on(async {
        let store = Arc::new(timed.clone());
        let spool = LogSpool::open_on(Settings::new(dir), store).unwrap();
        let (spool, ids, stop) = (
            Arc::new(spool),
            Arc::new(IdSource::new()),
            Arc::new(AtomicBool::new(false)),
        );
        let deliverer = tokio::spawn(deliver(Arc::clone(&spool), Arc::clone(&stop)));
        // Spare segments are ready before the clock starts, as in a daemon that has run for a minute.
        let warm = Instant::now() + WARM_UP;
        write(Arc::clone(&spool), Arc::clone(&ids), load.octets, warm).await;
        let end = Instant::now() + load.span;
        let writers: Vec<_> = (0..load.writers)
            .map(|_| {
                tokio::spawn(write(
                    Arc::clone(&spool),
                    Arc::clone(&ids),
                    load.octets,
                    end,
                ))
            })
            .collect();
        let mut waits = Waits::new();
        for writer in writers {
            waits.extend(writer.await.unwrap_or_default());
        }
        stop.store(true, Ordering::Relaxed);
        let _ = deliverer.await;
        spool.close();
        waits
    });
    (waits, timed)
}

async fn write(spool: Arc<LogSpool>, ids: Arc<IdSource>, octets: usize, end: Instant) -> Waits {
    let body = Bytes::from(vec![b'x'; octets]);
    let mut waits = Waits::new();
    while Instant::now() < end {
        let start = Instant::now();
        commit(&spool, &ids, &body, "user@dest.example").await;
        waits.push((start, Instant::now()));
    }
    waits
}

async fn deliver(spool: Arc<LogSpool>, stop: Arc<AtomicBool>) {
    let want = Want {
        max: 100,
        per_host: 100,
        lease: Duration::from_secs(600),
    };
    let mut changes = spool.changed();
    loop {
        let claims = spool.claim(&want).await.unwrap_or_default();
        if claims.is_empty() {
            if stop.load(Ordering::Relaxed) {
                return;
            }
            let _ = tokio::time::timeout(PAUSE, changes.changed()).await;
        }
        for claim in claims {
            let body = spool.open_body(claim.message.id).await;
            if body.is_ok() {
                // Fenced: another had it meanwhile, and ends it.
                let _ = spool.complete(claim.lease, None).await;
            }
        }
    }
}

const SETTLE: Duration = Duration::from_secs(2);
const WARM_UP: Duration = Duration::from_secs(1);

/// Between two looks at whether there is an end.
const PAUSE: Duration = Duration::from_millis(100);
