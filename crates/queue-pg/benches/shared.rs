//! How fast the shared spool is: commits, claims and what operators ask, with an empty queue and with a full one.
//!
//! `cargo bench -p queue-pg [-- LEGS [DESTINATIONS]] [standby] [commits]`: with a standby, each commit waits for it; `commits` measures
//! nothing else, also at a rate that is offered. It starts a PostgreSQL of its own, which makes all durable: what is measured depends on the disk. A bare fsync is
//! measured beside it. The environment is PostgreSQL's too: `TMPDIR` says where it is, `LD_PRELOAD` may bring it another fsync.
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "it is for people to read"
)]

use std::fs::File;
use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use envelope::{Claim, Leg, Message, ReversePath, Timestamp};
use queue_pg::{PgSpool, Settings};
use spool::{Arrival, BodyWriter, Clock, Filter, IdSource, Settlement, Spool, Want};
use testkit::postgres::Postgres;
use tokio::task::JoinSet;

#[tokio::main]
async fn main() {
    let mut numbers = std::env::args().filter_map(|it| it.parse::<u64>().ok());
    let legs = numbers.next().unwrap_or(1_000_000);
    let destinations = numbers.next().unwrap_or(1000);
    let server = Postgres::start(&["shared_buffers=1GB", "max_wal_size=8GB"]).await;
    let url = server.database("mail").await;
    let wants = |word: &str| std::env::args().any(|it| it == word);
    let standby = match wants("standby") {
        true => Some(server.standby("s1").await),
        false => None,
    };
    let spool = Arc::new(PgSpool::open(Settings::new(url, "bench")).await.unwrap());
    let syncs = fsync();
    println!(
        "a bare fsync of 10 KiB: p50 {:?}, p99 {:?}",
        syncs[syncs.len() / 2],
        syncs[syncs.len() * 99 / 100]
    );
    if wants("commits") {
        return only_commits(&spool, [Some(&server), standby.as_ref()]).await;
    }
    for writers in [1, 16, 100] {
        commits(
            &spool,
            &format!("empty, {writers} writers"),
            writers,
            10 << 10,
            Duration::from_secs(5),
            1,
        )
        .await;
    }
    rounds(&spool, 20_000).await;
    fill(&spool, legs, destinations).await;
    server
        .say(
            "mail",
            "VACUUM ANALYZE onward.legs; VACUUM ANALYZE onward.messages;",
        )
        .await
        .success();
    println!("-- {legs} legs for {destinations} destinations");
    println!("{}", size(&server).await);
    for writers in [16, 100] {
        commits(
            &spool,
            &format!("full, {writers} writers"),
            writers,
            10 << 10,
            Duration::from_secs(5),
            1,
        )
        .await;
    }
    asked(&spool).await;
    drain(&spool).await;
    server
        .say("mail", "VACUUM onward.legs; VACUUM onward.messages;")
        .await
        .success();
    spool.shrink().await.unwrap();
    println!("-- drained");
    println!("{}", size(&server).await);
}

fn fsync() -> Vec<Duration> {
    let mut file = tempfile::tempfile().unwrap();
    let one = |file: &mut File| {
        let began = Instant::now();
        file.write_all(&[0; 10 << 10]).unwrap();
        file.sync_data().unwrap();
        began.elapsed()
    };
    let mut times: Vec<_> = (0..300).map(|_| one(&mut file)).collect();
    times.sort_unstable();
    times
}

async fn put(spool: &PgSpool, octets: usize, target: &str, due: Timestamp) {
    static IDS: std::sync::LazyLock<IdSource> = std::sync::LazyLock::new(IdSource::new);
    let now = Clock::real().now();
    let id = IDS.next(now);
    let mut writer = spool.begin(id).await.unwrap();
    writer.write(Bytes::from(vec![b'x'; octets])).await.unwrap();
    let sender = ReversePath::Mailbox("someone@sender.example".parse().unwrap());
    let message = Message::new(id, now, sender.clone(), octets as u64);
    let leg = Leg::new(
        sender,
        target.parse().unwrap(),
        "alice@example.org".parse().unwrap(),
    );
    let arrival = Arrival::new(message, vec![leg], due);
    spool.commit(writer, arrival).await.unwrap();
}

/// Commits for a while; the legs are due in an hour.
async fn commits(
    spool: &Arc<PgSpool>,
    what: &str,
    writers: usize,
    octets: usize,
    span: Duration,
    destinations: u64,
) {
    let (count, end) = (Arc::new(AtomicU64::new(0)), Instant::now() + span);
    let mut tasks = JoinSet::new();
    for _ in 0..writers {
        let (spool, count) = (Arc::clone(spool), Arc::clone(&count));
        tasks.spawn(async move {
            let mut times = Vec::new();
            while Instant::now() < end {
                let n = count.fetch_add(1, Ordering::Relaxed) % destinations;
                let (began, due) = (
                    Instant::now(),
                    Clock::real().now().plus(Duration::from_hours(1)),
                );
                put(&spool, octets, &format!("u@c{n}.example"), due).await;
                times.push(began.elapsed());
            }
            times
        });
    }
    let mut times = tasks.join_all().await.concat();
    times.sort_unstable();
    let rate = times.len() as f64 / span.as_secs_f64();
    println!(
        "{what}: {rate:.0} commits/s, p50 {:?}, p99 {:?}",
        times[times.len() / 2],
        times[times.len() * 99 / 100]
    );
}

/// Three times: a new server makes the files of its log as it goes, later it uses them again.
async fn only_commits(spool: &Arc<PgSpool>, servers: [Option<&Postgres>; 2]) {
    for round in 1..=3 {
        for writers in [1, 8, 16, 32, 64, 100] {
            let (what, span) = (
                format!("{round}: {writers} writers"),
                Duration::from_secs(4),
            );
            commits(spool, &what, writers, 10 << 10, span, 1).await;
        }
        for rate in [1000, 3000] {
            offered(spool, round, rate, Duration::from_secs(4)).await;
        }
        for server in servers.into_iter().flatten() {
            server.say("mail", "CHECKPOINT;").await.success();
        }
    }
}

/// Commits that come whether or not the ones before are done, as mail does: each is timed from when it should have come.
async fn offered(spool: &Arc<PgSpool>, round: u32, rate: u32, span: Duration) {
    let (began, mut tasks) = (tokio::time::Instant::now(), JoinSet::new());
    for n in 0..rate * span.as_secs() as u32 {
        let at = began + Duration::from_secs(1) * n / rate;
        let spool = Arc::clone(spool);
        tasks.spawn(async move {
            tokio::time::sleep_until(at).await;
            let due = Clock::real().now().plus(Duration::from_hours(1));
            put(&spool, 10 << 10, "u@c0.example", due).await;
            at.elapsed()
        });
    }
    let mut times = tasks.join_all().await;
    let all = times.len() as f64 / began.elapsed().as_secs_f64();
    times.sort_unstable();
    println!(
        "{round}: offered {rate}/s: {all:.0} commits/s, p50 {:?}, p99 {:?}",
        times[times.len() / 2],
        times[times.len() * 99 / 100]
    );
}

/// Messages from commit to end, as a relay does that keeps up.
async fn rounds(spool: &Arc<PgSpool>, messages: u64) {
    let began = Instant::now();
    let mut tasks = JoinSet::new();
    for task in 0..50 {
        let spool = Arc::clone(spool);
        tasks.spawn(async move {
            for _ in 0..messages / 50 {
                put(
                    &spool,
                    10 << 10,
                    &format!("u@r{task}.example"),
                    Timestamp::from_unix_millis(1),
                )
                .await;
            }
        });
    }
    let mut ended = 0;
    while ended < messages {
        let claims = claim(spool, 200).await;
        if claims.is_empty() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        ended += end(spool, claims).await;
    }
    let rate = messages as f64 / began.elapsed().as_secs_f64();
    println!("from commit to end: {rate:.0} messages/s");
}

async fn claim(spool: &PgSpool, max: usize) -> Vec<Claim> {
    let want = Want {
        max,
        per_host: max,
        lease: Duration::from_mins(1),
    };
    spool.claim(&want).await.unwrap()
}

async fn end(spool: &PgSpool, claims: Vec<Claim>) -> u64 {
    let legs = claims
        .into_iter()
        .map(|claim| (claim.lease, Settlement::Complete(None)));
    let results = spool.settle(legs.collect()).await;
    results.into_iter().filter(Result::is_ok).count() as u64
}

async fn fill(spool: &Arc<PgSpool>, legs: u64, destinations: u64) {
    let began = Instant::now();
    let mut tasks = JoinSet::new();
    for task in 0..400 {
        let spool = Arc::clone(spool);
        tasks.spawn(async move {
            for n in 0..legs / 400 {
                let target = format!("u@d{}.example", (n * 400 + task) % destinations);
                // One in ten is due.
                let wait = if n % 10 == 0 { 0 } else { 3600 };
                put(
                    &spool,
                    2 << 10,
                    &target,
                    Clock::real().now().plus(Duration::from_secs(wait)),
                )
                .await;
            }
        });
    }
    tasks.join_all().await;
    println!(
        "filled at {:.0} messages/s",
        legs as f64 / began.elapsed().as_secs_f64()
    );
}

async fn asked(spool: &PgSpool) {
    let mut claims = Vec::new();
    time("claim of 50 legs", 40, async || {
        let some = claim(spool, 50).await;
        assert_eq!(some.len(), 50);
        claims.extend(some);
    })
    .await;
    end(spool, claims).await;
    time("counts", 10, async || drop(spool.counts().await.unwrap())).await;
    let one = Filter {
        hosts: ["d7.example".parse().unwrap()].into(),
        ..Filter::default()
    };
    time("list of one destination, 50 rows", 20, async || {
        assert_eq!(spool.list(&one, None, 50).await.unwrap().entries.len(), 50);
    })
    .await;
    time("list of all, 50 rows", 20, async || {
        drop(spool.list(&Filter::default(), None, 50).await.unwrap())
    })
    .await;
    time("summary by host", 3, async || {
        drop(
            spool
                .summary(&Filter::default(), spool::By::Host, 50)
                .await
                .unwrap(),
        );
    })
    .await;
}

async fn time(what: &str, times: usize, mut work: impl AsyncFnMut()) {
    let mut taken = Vec::new();
    for _ in 0..times {
        let began = Instant::now();
        work().await;
        taken.push(began.elapsed());
    }
    taken.sort_unstable();
    println!(
        "{what}: p50 {:?}, worst {:?}",
        taken[times / 2],
        taken[times - 1]
    );
}

async fn drain(spool: &PgSpool) {
    spool
        .admin(
            &Filter::only(envelope::MessageId::from_bits(0)),
            spool::Action::RetryNow,
            None,
            1,
        )
        .await
        .unwrap();
    let (began, mut ended, mut cursor) = (Instant::now(), 0, None);
    loop {
        let changed = spool
            .admin(&Filter::default(), spool::Action::RetryNow, cursor, 5000)
            .await
            .unwrap();
        cursor = changed.next;
        if cursor.is_none() {
            break;
        }
    }
    println!("all made due in {:?}", began.elapsed());
    let began = Instant::now();
    loop {
        let claims = claim(spool, 500).await;
        if claims.is_empty() {
            break;
        }
        ended += end(spool, claims).await;
    }
    println!(
        "{ended} claimed and ended at {:.0} legs/s",
        ended as f64 / began.elapsed().as_secs_f64()
    );
}

async fn size(server: &Postgres) -> String {
    let sizes = "SELECT relname || ' ' || pg_size_pretty(pg_table_size(oid)) || ' + indexes ' || pg_size_pretty(pg_indexes_size(oid))
        FROM pg_class WHERE relnamespace = 'onward'::regnamespace AND relkind = 'r' AND relname IN ('messages', 'legs') ORDER BY 1;";
    server.say("mail", sizes).await.success().stdout
}
