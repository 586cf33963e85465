//! A large backlog: fill, memory, restart, drain, and what remains on disk.
//!
//! `cargo run --release -p queue --example backlog -- [DIR] [MESSAGES] [OCTETS] [HOSTS]`

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use envelope::{BodyKind, Leg, Mailbox, Message, ReversePath, Timestamp};
use queue::{BodyReader, BodyWriter, IdSource, LogSpool, Settings, Spool, Want};

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    Timestamp::from_unix_millis(since.unwrap_or_default().as_millis() as u64)
}

/// Resident and peak memory, MiB.
fn memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name));
        let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
        kib.unwrap_or_default() / 1024
    };
    format!("RSS {} MiB, peak {} MiB", field("VmRSS"), field("VmHWM"))
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

#[expect(clippy::print_stdout, reason = "an example's report")]
fn report(what: &str, start: Instant, count: usize) {
    let span = start.elapsed().as_secs_f64();
    println!(
        "{what}: {span:.2} s, {:.0}/s, {}",
        count as f64 / span,
        memory()
    );
}

#[tokio::main]
async fn main() {
    let argument =
        |n: usize, default: &str| std::env::args().nth(n).unwrap_or_else(|| default.into());
    let dir = PathBuf::from(argument(1, "target/backlog"));
    let number = |n, default| argument(n, default).parse::<usize>().unwrap_or_default();
    let open_cache = number(5, "33554432") as u64;
    let (messages, octets, hosts) = (number(2, "1000000"), number(3, "4096"), number(4, "100000"));
    let _ = std::fs::remove_dir_all(&dir);
    let open = || {
        let mut settings = Settings::new(&dir);
        settings.index_cache_bytes = open_cache;
        LogSpool::open(settings, now())
    };
    let Ok(spool) = open() else { return };
    let (spool, ids) = (Arc::new(spool), Arc::new(IdSource::new()));
    let start = Instant::now();
    let writers: Vec<_> = (0..100)
        .map(|w| {
            tokio::spawn(fill(
                Arc::clone(&spool),
                Arc::clone(&ids),
                w,
                messages / 100,
                octets,
                hosts,
            ))
        })
        .collect();
    for writer in writers {
        let _ = writer.await;
    }
    report("fill", start, messages);
    let start = Instant::now();
    spool.close();
    drop(spool);
    report("close", start, 1);
    let start = Instant::now();
    let Ok(spool) = open() else { return };
    report("open", start, 1);
    let start = Instant::now();
    let mut left = drain(&spool, 1).await;
    report("first claim", start, 1);
    let start = Instant::now();
    left += drain(&spool, usize::MAX).await;
    report("drain", start, left);
    report(
        &format!(
            "counts {:?}",
            spool.counts(now()).await.map(|c| c.ready + c.active)
        ),
        Instant::now(),
        0,
    );
    for _ in 0..10 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        report(
            &format!(
                "disk {} MiB, log {} MiB",
                disk(&dir),
                spool.log_octets() >> 20
            ),
            Instant::now(),
            0,
        );
        if spool.log_octets() < 256 << 20 {
            break;
        }
    }
    spool.close();
    let _ = std::fs::remove_dir_all(&dir);
}

async fn fill(
    spool: Arc<LogSpool>,
    ids: Arc<IdSource>,
    writer: usize,
    n: usize,
    octets: usize,
    hosts: usize,
) {
    let body = Bytes::from(vec![b'x'; octets]);
    for i in 0..n {
        let target = format!("user{i}@host{}.example", (i * 100 + writer) % hosts);
        let (Ok(target), Ok(sender)) = (
            target.parse::<Mailbox>(),
            "SRS0=abcd=ef=a.example=sender@us.example".parse(),
        ) else {
            return;
        };
        let moment = now();
        let leg = Leg {
            reverse_path: ReversePath::Mailbox(sender),
            recipient: target.clone(),
            target,
            original: None,
            notify: None,
            trace: "Delivered-To: user@here.example\r\n".into(),
        };
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
        let Ok(mut body_writer) = spool.begin(message.id).await else {
            return;
        };
        let written = body_writer.write(body.clone()).await.is_ok();
        if !written
            || spool
                .commit(body_writer, message, vec![leg], moment)
                .await
                .is_err()
        {
            return;
        }
    }
}

async fn drain(spool: &LogSpool, rounds: usize) -> usize {
    let want = Want {
        max: 500,
        per_host: 20,
        lease: Duration::from_secs(600),
        ..Want::default()
    };
    let mut done = 0;
    for _ in 0..rounds {
        let claims = spool.claim(&want, now()).await.unwrap_or_default();
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
