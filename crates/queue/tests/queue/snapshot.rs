//! A copy of a spool that is at work: nothing that was acknowledged before is missing from it, and nothing in it is damaged.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use envelope::MessageId;
use parking_lot::Mutex;
use queue::snapshot::snapshot;
use queue::verify::{Depth, verify};
use queue::{LogSpool, Settings, StartError};
use spool::{Arrival, BodyWriter, Filter, Spool, Want};
use testkit::nouns;

use crate::support::{self, at, id};

/// What the writers were told, and what has ended.
#[derive(Default)]
struct Books {
    committed: Mutex<HashSet<MessageId>>,
    ended: Mutex<HashSet<MessageId>>,
    next: AtomicU64,
    stop: AtomicBool,
}

fn body(n: u64) -> Vec<u8> {
    vec![n as u8; 500 + (n as usize * 37) % 30_000]
}

async fn put(spool: &LogSpool, n: u64) {
    let body = body(n);
    let message = nouns::message(id(n), body.len());
    let mut writer = spool.begin(message.id).await.unwrap();
    writer.write(body).await.unwrap();
    let target = if n.is_multiple_of(11) {
        "a@far.example"
    } else {
        "a@near.example"
    };
    let arrival = Arrival::new(message, vec![nouns::leg(target)], at(0));
    spool.commit(writer, arrival).await.unwrap();
}

/// Commits and ends mail, one in eleven stays, until told to stop: segments come and go all the while.
async fn work(spool: Arc<LogSpool>, books: Arc<Books>) {
    spool.park(&[("far.example".parse().unwrap(), true)]).await;
    let want = Want {
        max: 50,
        per_host: 50,
        lease: Duration::from_secs(600),
    };
    while !books.stop.load(Ordering::Relaxed) {
        let n = books.next.fetch_add(1, Ordering::Relaxed);
        put(&spool, n).await;
        books.committed.lock().insert(id(n));
        if n.is_multiple_of(20) {
            for claim in spool.claim(&want).await.unwrap() {
                books.ended.lock().insert(claim.message.id);
                spool.complete(claim.lease, None).await.unwrap();
            }
        }
    }
}

/// Opens the copy, and says what is queued in it.
async fn queued(copy: &Path) -> HashSet<MessageId> {
    let spool = LogSpool::open(support::settings(copy)).unwrap();
    let mut found = HashSet::new();
    let mut cursor = None;
    loop {
        let page = spool.list(&Filter::default(), cursor, 1000).await.unwrap();
        found.extend(page.entries.iter().map(|entry| entry.message.id));
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    for id in &found {
        let n = id.bits() as u64;
        assert_eq!(support::id(n), *id);
        assert_eq!(support::read(&spool, n).await.unwrap(), body(n));
    }
    assert_eq!(spool.damaged(), 0);
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_was_acknowledged_before_is_in_the_copy() {
    let dir = tempfile::tempdir().unwrap();
    let spool = Arc::new(LogSpool::open(support::settings(&dir.path().join("spool"))).unwrap());
    let books = Arc::new(Books::default());
    let token = spool.token("a.long.sender@example.org", at(60 * 24));
    let mut writer = spool.begin(id(1 << 40)).await.unwrap();
    writer.write(vec![b'x'; 10]).await.unwrap();
    writer.keep(token.clone());
    let arrival = Arrival::new(
        nouns::message(id(1 << 40), 10),
        vec![nouns::leg("a@near.example")],
        at(0),
    );
    spool.commit(writer, arrival).await.unwrap();
    let workers: Vec<_> = (0..4)
        .map(|_| tokio::spawn(work(Arc::clone(&spool), Arc::clone(&books))))
        .collect();
    for round in 0..4 {
        // Enough for segments of 64 KiB to be given back.
        let begun = books.next.load(Ordering::Relaxed);
        while books.next.load(Ordering::Relaxed) < begun + 150 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let committed = books.committed.lock().clone();
        let (from, to) = (
            dir.path().join("spool"),
            dir.path().join(format!("copy-{round}")),
        );
        let copy = to.clone();
        let copied = tokio::task::spawn_blocking(move || snapshot(&from, &copy, &mut |_, _| {}));
        let copied = copied.await.unwrap().unwrap();
        assert!(copied.segments > 0 && copied.octets > u64::from(Settings::SEGMENT_BYTES_MIN));
        let ended = books.ended.lock().clone();
        let report = verify(&to, Depth::Whole, &mut |_, _| {}).unwrap();
        let damage: Vec<_> = report.damage.iter().map(|damage| &*damage.text).collect();
        assert!(
            damage.len() == 1 && damage[0].starts_with("the index is missing"),
            "{damage:?}"
        );
        let found = queued(&to).await;
        let missing: Vec<_> = committed
            .difference(&found)
            .filter(|id| !ended.contains(id))
            .collect();
        assert!(missing.is_empty(), "round {round}: {missing:?}");
        let spool = LogSpool::open(support::settings(&to)).unwrap();
        let sender = spool.recall(&token.name).await.unwrap();
        assert_eq!(sender.as_deref(), Some(&*token.value));
    }
    books.stop.store(true, Ordering::Relaxed);
    for worker in workers {
        worker.await.unwrap();
    }
}

#[tokio::test]
async fn nothing_is_written_over() {
    let dir = tempfile::tempdir().unwrap();
    let from = dir.path().join("spool");
    let spool = LogSpool::open(support::settings(&from)).unwrap();
    put(&spool, 1).await;
    let refused = |to: &str| {
        let refused = snapshot(&from, &dir.path().join(to), &mut |_, _| {});
        matches!(refused, Err(StartError::Io { .. }))
    };
    assert!(refused("spool"), "it has files");
    std::fs::create_dir_all(dir.path().join("copy.partial/log")).unwrap();
    assert!(refused("copy"), "another run left, or is at, its part");
    std::fs::create_dir(dir.path().join("empty")).unwrap();
    assert!(!refused("empty"));
    assert!(!refused("slash/"), "as a shell completes it");
    drop(spool);
    assert!(!refused("stopped"));
    assert_eq!(queued(&dir.path().join("stopped")).await.len(), 1);
}
