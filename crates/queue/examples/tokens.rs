//! What tokens cost: mail beside none and beside many that are live, in turns; then memory and processor with no mail at all,
//! a clean stop, and how they go when they have expired.
//!
//! `cargo run --release -p queue --example tokens -- [DIR] [TOKENS] [OCTETS]`. Each phase is a process of its own, so that its
//! memory is what a daemon would have. A message comes, is claimed and ends, as in a relay; its sender is a new one each
//! time, and has a token or not.
#![expect(
    clippy::disallowed_methods,
    reason = "each phase is measured in a process of its own"
)]
#![expect(clippy::print_stdout, reason = "an example's report")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use envelope::{Leg, Mailbox, Message, ReversePath, Timestamp};
use queue::{LogSpool, Settings};
use spool::{BodyWriter, Clock, IdSource, Spool, Want};

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    Timestamp::from_unix_millis(since.unwrap_or_default().as_millis() as u64)
}

fn number_in(file: &str, name: &str) -> f64 {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with(name));
    let word = line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok());
    word.unwrap_or_default()
}

/// Seconds by the clock, seconds of CPU, octets that this process has had written.
fn spent(start: Instant) -> [f64; 3] {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default();
    let ticks = fields.split_whitespace().skip(11).take(2);
    let cpu = ticks.filter_map(|n| n.parse::<f64>().ok()).sum::<f64>() / 100.0;
    let written = number_in("/proc/self/io", "write_bytes:");
    [start.elapsed().as_secs_f64(), cpu, written]
}

fn octets_of(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let octets = |entry: std::fs::DirEntry| entry.metadata().map_or(0, |metadata| metadata.len());
    entries.map(octets).sum()
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let argument = |n: usize, default: &str| {
        let given = arguments.get(n).cloned();
        given.unwrap_or_else(|| default.to_owned())
    };
    let number = |n, default| argument(n, default).parse::<usize>().unwrap_or_default();
    let dir = PathBuf::from(argument(1, "target/tokens"));
    let (tokens, octets) = (number(2, "2000000"), number(3, "4096"));
    let Ok(runtime) = tokio::runtime::Runtime::new() else {
        return;
    };
    let (phase, some) = (argument(4, ""), tokens.clamp(1, SOME));
    let work = Work {
        with: !phase.ends_with("without"),
        dir: dir.join(phase.split(' ').next_back().unwrap_or_default()),
        octets,
    };
    match phase.split(' ').next().unwrap_or_default() {
        "fill" => runtime.block_on(work.mail(tokens)),
        "mail" => runtime.block_on(work.mail(some)),
        "idle" => runtime.block_on(work.idle()),
        "expire" => runtime.block_on(work.expire()),
        _ => {
            let _ = std::fs::remove_dir_all(&dir);
            let turns = ["mail without", "mail with"].into_iter().cycle().take(6);
            let before = std::iter::once("fill with");
            for phase in before
                .chain(turns)
                .chain(["idle without", "idle with", "expire with"])
            {
                let mut child = std::process::Command::new("/proc/self/exe");
                let child = child
                    .arg(&dir)
                    .args([tokens, octets].map(|n| n.to_string()));
                let _ = child.arg(phase).status();
            }
            let _ = std::fs::remove_dir_all(&dir);
        }
    }
}

#[derive(Clone)]
struct Work {
    dir: PathBuf,
    with: bool,
    octets: usize,
}

impl Work {
    fn open(&self, clock: Clock) -> Option<Arc<LogSpool>> {
        let opened = LogSpool::open(Settings {
            clock,
            ..Settings::new(&self.dir)
        });
        opened.ok().map(Arc::new)
    }

    async fn mail(self, n: usize) {
        let Some(spool) = self.open(Clock::real()) else {
            return;
        };
        let (ids, count) = (Arc::new(IdSource::new()), Arc::new(AtomicUsize::new(n)));
        let start = Instant::now();
        let before = spent(start);
        let writer = |host| {
            let (spool, ids, count) = (Arc::clone(&spool), Arc::clone(&ids), Arc::clone(&count));
            tokio::spawn(self.clone().write(spool, ids, count, host))
        };
        for writer in (0..100).map(writer).collect::<Vec<_>>() {
            let _ = writer.await;
        }
        let _ = spool.checkpoint().await;
        let after = spent(start);
        let [secs, cpu, written] = std::array::from_fn(|at| after[at] - before[at]);
        let n = n as f64;
        println!(
            "{} with tokens {}: {:.0}/s, {:.1} us of CPU and {:.0} octets written a message, RSS {:.0} MiB, tokens {} MiB",
            n,
            self.with,
            n / secs,
            cpu * 1e6 / n,
            written / n,
            number_in("/proc/self/status", "VmRSS:") / 1024.0,
            octets_of(&self.dir.join("tokens")) >> 20,
        );
        let start = Instant::now();
        spool.close();
        println!("... closed in {:.2} s", start.elapsed().as_secs_f64());
    }

    async fn write(
        self,
        spool: Arc<LogSpool>,
        ids: Arc<IdSource>,
        count: Arc<AtomicUsize>,
        host: usize,
    ) {
        let target: Option<Mailbox> = format!("a@host{host}.example").parse().ok();
        let Some(target) = target else { return };
        let want = Want {
            max: 1,
            per_host: 1,
            lease: Duration::from_secs(600),
        };
        let take = |n: usize| n.checked_sub(1);
        while count
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
            .is_ok()
        {
            let (id, now) = (ids.next(now()), now());
            let Ok(mut writer) = spool.begin(id).await else {
                return;
            };
            let _ = writer.write(vec![b'x'; self.octets]).await;
            if self.with {
                let sender = format!(
                    "bounces+{:032x}-firstname.lastname=company-name.example@em1234.shop.example",
                    id.bits()
                );
                let day = now.unix_millis() / 86_400_000 * 86_400_000;
                let expires = Timestamp::from_unix_millis(day).plus(LIFETIME);
                writer.keep(spool.token(&sender, expires));
            }
            let leg = Leg::new(ReversePath::Null, target.clone(), target.clone());
            let message = Message::new(id, now, ReversePath::Null, self.octets as u64);
            if let Err(e) = spool.commit(writer, message, vec![leg], now).await {
                println!("{e}");
                return;
            }
            for claim in spool.claim(&want).await.unwrap_or_default() {
                let _ = spool.complete(claim.lease, None).await;
            }
        }
    }

    async fn idle(self) {
        let start = Instant::now();
        let Some(spool) = self.open(Clock::real()) else {
            return;
        };
        let opened = start.elapsed().as_secs_f64();
        tokio::time::sleep(Duration::from_secs(5)).await;
        let before = spent(start);
        tokio::time::sleep(IDLE).await;
        let after = spent(start);
        let [secs, cpu, written] = std::array::from_fn(|at| after[at] - before[at]);
        println!(
            "idle with tokens {}: opened in {opened:.2} s; {:.2} % of CPU, {written} octets written in {secs:.0} s, RSS {:.0} MiB",
            self.with,
            cpu / secs * 100.0,
            number_in("/proc/self/status", "VmRSS:") / 1024.0,
        );
        let start = Instant::now();
        spool.close();
        println!("... closed in {:.2} s", start.elapsed().as_secs_f64());
    }

    async fn expire(self) {
        let later = now().plus(LIFETIME + Duration::from_secs(3600));
        let Some(spool) = self.open(Clock::manual(later)) else {
            return;
        };
        let start = Instant::now();
        while octets_of(&self.dir.join("tokens")) > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        println!(
            "expired: gone {:.2} s after the start",
            start.elapsed().as_secs_f64()
        );
        spool.close();
    }
}

const LIFETIME: Duration = Duration::from_secs(22 * 86_400);
/// Messages in one turn.
const SOME: usize = 200_000;
const IDLE: Duration = Duration::from_secs(30);
