//! Durable commits per second: this spool against one file per message, in the same run on the same filesystem.
//!
//! `cargo run --release -p queue --example commit_rate -- [DIR] [WRITERS] [OCTETS] [SECONDS]`. Each writer commits a message with one
//! leg; others claim and complete as fast as they come. The rival writes a file, fsyncs it and renames it.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use envelope::{BodyKind, Leg, Message, ReversePath, Timestamp};
use queue::{BodyWriter, IdSource, LogSpool, Settings, Spool, Want};

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    Timestamp::from_unix_millis(since.unwrap_or_default().as_millis() as u64)
}

#[derive(Clone, Copy)]
struct Load {
    writers: usize,
    octets: usize,
    span: Duration,
}

fn main() {
    let argument =
        |n: usize, default: &str| std::env::args().nth(n).unwrap_or_else(|| default.into());
    let dir = PathBuf::from(argument(1, "target/commit-rate"));
    let number = |n, default| argument(n, default).parse::<usize>().unwrap_or_default();
    let load = Load {
        writers: number(2, "100"),
        octets: number(3, "10240"),
        span: Duration::from_secs(number(4, "5") as u64),
    };
    for round in 1..=3 {
        report(
            &format!("sync  {round}"),
            bare_sync(&dir, load),
            load.span / 5,
        );
        report(&format!("files {round}"), files(&dir, load), load.span);
        report(&format!("spool {round}"), spool(&dir, load), load.span);
    }
}

#[expect(clippy::print_stdout, reason = "an example's report")]
fn report(what: &str, mut latencies: Vec<Duration>, span: Duration) {
    latencies.sort_unstable();
    let at = |share: f64| latencies.get((latencies.len() as f64 * share) as usize);
    let rate = latencies.len() as f64 / span.as_secs_f64();
    println!(
        "{what}: {rate:.0}/s, p50 {:?}, p99 {:?}",
        at(0.5).copied().unwrap_or_default(),
        at(0.99).copied().unwrap_or_default()
    );
}

/// One writer, a preallocated file, write and fdatasync: the floor.
fn bare_sync(dir: &Path, load: Load) -> Vec<Duration> {
    let _ = std::fs::create_dir_all(dir);
    let path = dir.join("bare");
    let body = vec![b'x'; load.octets];
    let mut latencies = Vec::new();
    let Ok(file) = File::create(&path) else {
        return latencies;
    };
    let fill = std::os::unix::fs::FileExt::write_all_at(&file, &vec![0; 64 << 20], 0);
    let end = Instant::now() + load.span / 5;
    let mut at = 0;
    while fill.is_ok() && Instant::now() < end {
        let start = Instant::now();
        let _ = std::os::unix::fs::FileExt::write_all_at(&file, &body, at);
        let _ = file.sync_data();
        at = (at + load.octets as u64) % (60 << 20);
        latencies.push(start.elapsed());
    }
    let _ = std::fs::remove_file(path);
    latencies
}

fn files(dir: &Path, load: Load) -> Vec<Duration> {
    let dir = dir.join("files");
    let _ = std::fs::create_dir_all(&dir);
    let body = vec![b'x'; load.octets];
    let end = Instant::now() + load.span;
    let latencies = std::thread::scope(|scope| {
        let writer = |n: usize| {
            let (dir, body) = (&dir, &body);
            move || {
                let mut latencies = Vec::new();
                while Instant::now() < end {
                    let start = Instant::now();
                    let name = format!("{n}-{}", latencies.len());
                    let (new, done) = (dir.join(format!("{name}.new")), dir.join(&name));
                    let written = File::create(&new)
                        .and_then(|mut file| file.write_all(body).and_then(|()| file.sync_all()))
                        .and_then(|()| std::fs::rename(&new, &done))
                        .and_then(|()| std::fs::remove_file(&done));
                    if written.is_ok() {
                        latencies.push(start.elapsed());
                    }
                }
                latencies
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
    latencies
}

fn spool(dir: &Path, load: Load) -> Vec<Duration> {
    let dir = dir.join("spool");
    let _ = std::fs::remove_dir_all(&dir);
    let Ok(runtime) = tokio::runtime::Runtime::new() else {
        return Vec::new();
    };
    let latencies = runtime.block_on(async {
        let Ok(spool) = LogSpool::open(Settings::new(&dir), now()) else {
            return Vec::new();
        };
        // The spare segment is ready before the clock starts, as in a daemon that has run for a minute.
        let (spool, ids, stop) = (
            Arc::new(spool),
            Arc::new(IdSource::new()),
            Arc::new(AtomicBool::new(false)),
        );
        let done = Arc::new(AtomicU64::new(0));
        let deliverer = tokio::spawn(deliver(
            Arc::clone(&spool),
            Arc::clone(&stop),
            Arc::clone(&done),
        ));
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
        let mut latencies = Vec::new();
        for writer in writers {
            latencies.extend(writer.await.unwrap_or_default());
        }
        stop.store(true, Ordering::Relaxed);
        spool.wakeups().notify_one();
        let _ = deliverer.await;
        spool.close();
        latencies
    });
    let _ = std::fs::remove_dir_all(dir);
    latencies
}

async fn write(
    spool: Arc<LogSpool>,
    ids: Arc<IdSource>,
    octets: usize,
    end: Instant,
) -> Vec<Duration> {
    let body = Bytes::from(vec![b'x'; octets]);
    let (Ok(target), Ok(sender)) = ("user@dest.example".parse(), "sender@a.example".parse()) else {
        return Vec::new();
    };
    let leg: Leg = Leg {
        reverse_path: ReversePath::Mailbox(sender),
        recipient: envelope::Mailbox::clone(&target),
        target,
        original: None,
        notify: None,
        trace: "Delivered-To: user@here.example\r\n".into(),
    };
    let mut latencies = Vec::new();
    while Instant::now() < end {
        let start = Instant::now();
        let moment = now();
        let message = Message {
            id: ids.next(moment),
            arrived: moment,
            reverse_path: leg.reverse_path.clone(),
            size: octets as u64,
            body: BodyKind::SevenBit,
            smtputf8: false,
            ret: None,
            envid: None,
        };
        let Ok(mut writer) = spool.begin(message.id).await else {
            break;
        };
        let written = writer.write(body.clone()).await.is_ok();
        if !written
            || spool
                .commit(writer, message, vec![leg.clone()], moment)
                .await
                .is_err()
        {
            break;
        }
        latencies.push(start.elapsed());
    }
    latencies
}

async fn deliver(spool: Arc<LogSpool>, stop: Arc<AtomicBool>, done: Arc<AtomicU64>) {
    let want = Want {
        max: 100,
        per_host: 100,
        lease: Duration::from_secs(600),
        ..Want::default()
    };
    loop {
        let claims = spool.claim(&want, now()).await.unwrap_or_default();
        if claims.is_empty() {
            if stop.load(Ordering::Relaxed) {
                return;
            }
            spool.wakeups().notified().await;
        }
        for claim in claims {
            let body = spool.open_body(claim.message.id).await;
            if body.is_ok() && spool.complete(claim.lease, None).await.is_ok() {
                done.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}
