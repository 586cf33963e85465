//! The embedded engine through its trait: what survives, who may do what, in which order.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use envelope::{Claim, Leg, Message, ReversePath};
use queue::{LogSpool, Settings, StartError};
use spool::{Action, Arrival, BodyWriter, Dsn, Error, Filter, Lifetime, OpenError, Spool, Want};
use testkit::nouns;

use crate::support::{at, id, read, settings, turned};

#[track_caller]
fn open(dir: &Path) -> LogSpool {
    LogSpool::open(settings(dir)).unwrap()
}

fn message(n: u64, size: usize) -> Message {
    Message {
        reverse_path: ReversePath::Mailbox(nouns::mailbox("sender@a.example")),
        ..nouns::message(id(n), size)
    }
}

fn leg(target: &str) -> Leg {
    nouns::forward("alice@example.org", target)
}

fn body(n: u64, octets: usize) -> Vec<u8> {
    (0..octets)
        .map(|i| (i as u64 * 31 + n * 7 + (i as u64 >> 8)) as u8)
        .collect()
}

async fn put(spool: &LogSpool, n: u64, octets: usize, targets: &[&str]) -> Result<(), Error> {
    let mut writer = spool.begin(id(n)).await?;
    for chunk in body(n, octets).chunks(5000) {
        writer.write(chunk.to_vec()).await?;
    }
    let legs = targets.iter().map(|target| leg(target)).collect();
    spool
        .commit(writer, Arrival::new(message(n, octets), legs, at(0)))
        .await
        .map(drop)
}

fn want(max: usize, per_host: usize) -> Want {
    Want {
        max,
        per_host,
        lease: Duration::from_secs(600),
    }
}

async fn claim(spool: &LogSpool, now: u64) -> Vec<Claim> {
    turned(spool, at(now))
        .claim(&want(1000, 1000))
        .await
        .unwrap()
}

/// How many legs it changed.
async fn admin(spool: &LogSpool, legs: &Filter, action: Action, now: u64) -> usize {
    turned(spool, at(now))
        .admin(legs, action, None, usize::MAX)
        .await
        .unwrap()
        .entries
        .len()
}

/// A copy of the spool as a kill -9 at this moment would leave it.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            // A spare may be renamed under us; what matters has its name.
            let _ = std::fs::copy(entry.path(), target);
        }
    }
}

fn numbers(claims: &[Claim]) -> Vec<(u64, u32)> {
    let number = |claim: &Claim| {
        let id = claim.lease.leg;
        ((id.message.bits() & 0xffff_ffff) as u64, id.number)
    };
    let mut numbers: Vec<_> = claims.iter().map(number).collect();
    numbers.sort_unstable();
    numbers
}

#[tokio::test]
async fn what_was_committed_is_there_after_a_kill_and_what_ended_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(dir.path());
    for n in 1..=40 {
        put(&spool, n, 3000, &["a@x.example"]).await.unwrap();
    }
    let claims = turned(&spool, at(0)).claim(&want(10, 10)).await.unwrap();
    // Some of what came last is among them.
    let ended = numbers(&claims);
    assert_eq!(ended.len(), 10);
    for claim in claims {
        spool.complete(claim.lease, None).await.unwrap();
    }
    // The ends ride with this one.
    put(&spool, 41, 50_000, &["a@x.example"]).await.unwrap();
    let killed = tempfile::tempdir().unwrap();
    copy(dir.path(), killed.path());
    for (what, remove_index) in [("replayed", false), ("rebuilt", true)] {
        let again = tempfile::tempdir().unwrap();
        copy(killed.path(), again.path());
        if remove_index {
            std::fs::remove_dir_all(again.path().join("index")).unwrap();
        }
        let spool = open(again.path());
        let claims = claim(&spool, 0).await;
        let all = (1..=41).map(|n| (n, 0));
        let expected: Vec<_> = all.filter(|leg| !ended.contains(leg)).collect();
        assert_eq!(numbers(&claims), expected, "{what}");
        assert_eq!(read(&spool, 12).await.unwrap(), body(12, 3000), "{what}");
        assert_eq!(read(&spool, 41).await.unwrap(), body(41, 50_000), "{what}");
        assert_eq!(spool.damaged(), 0, "{what}");
    }
}

#[tokio::test]
async fn an_older_index_is_brought_up_to_date() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(dir.path());
    put(&spool, 1, 100, &["a@x.example", "b@x.example"])
        .await
        .unwrap();
    put(&spool, 2, 100, &["a@x.example"]).await.unwrap();
    spool.close();
    drop(spool);
    let old = tempfile::tempdir().unwrap();
    copy(&dir.path().join("index"), old.path());
    let spool = open(dir.path());
    for claim in claim(&spool, 0).await {
        if claim.lease.leg.number == 1 || claim.lease.leg.message == id(2) {
            spool.complete(claim.lease, None).await.unwrap();
        }
    }
    put(&spool, 3, 100, &["a@x.example"]).await.unwrap();
    spool.close();
    drop(spool);
    std::fs::remove_dir_all(dir.path().join("index")).unwrap();
    copy(old.path(), &dir.path().join("index"));
    let spool = open(dir.path());
    assert_eq!(numbers(&claim(&spool, 0).await), [(1, 0), (3, 0)]);
}

#[tokio::test]
async fn an_index_that_is_rubbish_is_rebuilt() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(dir.path());
    for n in 1..=20 {
        put(&spool, n, 100, &["a@x.example"]).await.unwrap();
    }
    drop(spool);
    let db = dir.path().join("index/db");
    let mut bytes = std::fs::read(&db).unwrap();
    for byte in bytes.iter_mut().skip(64).step_by(97) {
        *byte ^= 0x5a;
    }
    std::fs::write(&db, bytes).unwrap();
    let spool = open(dir.path());
    assert_eq!(claim(&spool, 0).await.len(), 20);
}

#[tokio::test]
async fn a_torn_tail_is_cut_and_damage_in_the_middle_set_aside() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(dir.path());
    for n in 1..=5 {
        put(&spool, n, 1000, &["a@x.example"]).await.unwrap();
    }
    let killed = tempfile::tempdir().unwrap();
    copy(dir.path(), killed.path());
    let _ = std::fs::remove_dir_all(killed.path().join("index"));
    let segment = killed.path().join("log/0000000001.seg");
    let mut bytes = std::fs::read(&segment).unwrap();
    // Ends within the fifth record; and a bit of the third flips.
    let fifth = bytes
        .windows(1000)
        .position(|w| w == body(5, 1000))
        .unwrap();
    let third = bytes
        .windows(1000)
        .position(|w| w == body(3, 1000))
        .unwrap();
    bytes[fifth + 500..].fill(0);
    bytes[third + 10] ^= 4;
    std::fs::write(&segment, bytes).unwrap();
    let spool = open(killed.path());
    assert_eq!(numbers(&claim(&spool, 0).await), [(1, 0), (2, 0), (4, 0)]);
    assert_eq!(spool.damaged(), 1);
    let kept = std::fs::read_dir(killed.path().join("quarantine")).unwrap();
    assert_eq!(kept.count(), 2, "the third, and the tail that was cut off");
    put(&spool, 6, 10, &["b@y.example"]).await.unwrap();
    drop(spool);
    let spool = open(killed.path());
    assert_eq!(claim(&spool, 0).await.len(), 4);
    assert_eq!(spool.damaged(), 0, "told once");
}

#[tokio::test]
async fn a_body_that_changed_on_disk_is_not_given_out() {
    let dir = tempfile::tempdir().unwrap();
    let mut uncached = settings(dir.path());
    uncached.body_cache_bytes = 0;
    let spool = LogSpool::open(uncached).unwrap();
    put(&spool, 1, 1000, &["a@x.example"]).await.unwrap();
    assert_eq!(read(&spool, 1).await.unwrap(), body(1, 1000));
    let segment = dir.path().join("log/0000000001.seg");
    let mut bytes = std::fs::read(&segment).unwrap();
    let place = bytes
        .windows(1000)
        .position(|w| w == body(1, 1000))
        .unwrap();
    bytes[place] ^= 1;
    std::fs::write(&segment, bytes).unwrap();
    assert!(matches!(read(&spool, 1).await, Err(OpenError::Damaged(_))));
}

#[tokio::test]
async fn what_went_to_the_index_comes_back_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(dir.path());
    for n in 1..=600 {
        put(&spool, n, 10, &["a@x.example"]).await.unwrap();
    }
    drop(spool);
    // Now all of it is in sled alone.
    let spool = open(dir.path());
    assert_eq!(turned(&spool, at(0)).counts().await.unwrap().ready, 600);
    let mut seen = Vec::new();
    while let [claim, ..] = &turned(&spool, at(0)).claim(&want(50, 50)).await.unwrap()[..] {
        seen.push(claim.lease.leg.message);
        spool.checkpoint().await.unwrap();
    }
    assert_eq!(seen.len(), 12);
    assert!(seen.is_sorted());
    assert_eq!(turned(&spool, at(0)).counts().await.unwrap().active, 600);
}

#[tokio::test]
async fn many_legs_of_one_message_come_back_from_the_index() {
    let dir = tempfile::tempdir().unwrap();
    let targets: Vec<String> = (0..300).map(|n| format!("user{n}@x.example")).collect();
    let targets: Vec<&str> = targets.iter().map(String::as_str).collect();
    let mut left: Vec<u32> = (0..300).collect();
    let spool = open(dir.path());
    put(&spool, 1, 10, &targets).await.unwrap();
    drop(spool);
    while !left.is_empty() {
        let spool = open(dir.path());
        let claims = turned(&spool, at(0)).claim(&want(500, 500)).await.unwrap();
        let found: Vec<u32> = claims.iter().map(|claim| claim.lease.leg.number).collect();
        assert_eq!(found, left);
        // Some end, from among those in the message's row and those with rows of their own.
        for claim in claims.into_iter().step_by(2) {
            left.retain(|n| *n != claim.lease.leg.number);
            spool.complete(claim.lease, None).await.unwrap();
        }
    }
    let spool = open(dir.path());
    assert_eq!(
        turned(&spool, at(0)).counts().await.unwrap(),
        spool::Counts::default()
    );
}

#[tokio::test]
async fn a_leg_ends_with_its_notice_in_one_transaction() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(dir.path());
    put(&spool, 1, 10, &["a@x.example"]).await.unwrap();
    let lease = claim(&spool, 0).await.remove(0).lease;
    let dsn = Dsn {
        arrival: Arrival::new(message(2, 6), vec![leg("sender@a.example")], at(0)),
        body: Bytes::from_static(b"failed"),
    };
    spool.complete(lease, Some(dsn)).await.unwrap();
    let killed = tempfile::tempdir().unwrap();
    copy(dir.path(), killed.path());
    for spool in [spool, open(killed.path())] {
        assert_eq!(numbers(&claim(&spool, 0).await), [(2, 0)]);
        assert_eq!(read(&spool, 2).await.unwrap(), b"failed");
    }
}

#[tokio::test]
async fn a_full_spool_says_so_and_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let mut small = settings(dir.path());
    small.max_bytes = 200 << 10;
    let spool = LogSpool::open(small).unwrap();
    let mut n = 0;
    let full = loop {
        n += 1;
        if let Err(e) = put(&spool, n, 15_000, &["a@x.example"]).await {
            break e;
        }
        tokio::time::sleep(Duration::from_millis(60)).await;
        assert!(n < 200, "never full");
    };
    assert!(matches!(full, Error::Full(_)), "{full}");
    let claims = claim(&spool, 0).await;
    assert_eq!(claims.len() as u64, n - 1);
    for claim in claims {
        spool.complete(claim.lease, None).await.unwrap();
    }
    for _ in 0..100 {
        if put(&spool, 999, 10, &["a@x.example"]).await.is_ok() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("room came back, and was not used");
}

#[tokio::test]
async fn bodies_that_have_begun_do_not_take_the_last_space() {
    let dir = tempfile::tempdir().unwrap();
    let mut small = settings(dir.path());
    small.max_bytes = 2 << 20;
    let spool = LogSpool::open(small).unwrap();
    let mut writer = spool.begin(id(1)).await.unwrap();
    for n in 0..200 {
        if let Err(e) = writer.write(body(n, 100_000)).await {
            assert!(matches!(e, Error::Full(_)), "{e}");
            return;
        }
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    panic!("never full");
}

/// A client may take an hour over a body that is in the log already.
#[tokio::test]
async fn an_unfinished_body_does_not_keep_the_log_from_shrinking() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(dir.path());
    let unit = Settings::SEGMENT_BYTES_MIN as usize;
    let sent = body(1, unit);
    let mut writer = spool.begin(id(1)).await.unwrap();
    let (first, rest) = sent.split_at(unit / 2);
    writer.write(first.to_vec()).await.unwrap();
    for n in 2..=500 {
        put(&spool, n, 10_000, &["a@x.example"]).await.unwrap();
        for claim in claim(&spool, 0).await {
            spool.complete(claim.lease, None).await.unwrap();
        }
    }
    let given_back = async || {
        for _ in 0..200 {
            if spool.log_octets() <= 9 * unit as u64 {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        false
    };
    assert!(given_back().await, "{} octets", spool.log_octets());
    writer.write(rest.to_vec()).await.unwrap();
    let legs = vec![leg("a@x.example")];
    let message = message(1, sent.len());
    spool
        .commit(writer, Arrival::new(message, legs, at(0)))
        .await
        .unwrap();
    spool.checkpoint().await.unwrap();
    assert!(read(&spool, 1).await.unwrap() == sent);
}

#[tokio::test]
async fn space_is_given_back_and_the_long_waiting_are_moved() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(dir.path());
    put(&spool, 1, 3000, &["slow@z.example"]).await.unwrap();
    put(&spool, 2, 100_000, &["slow@z.example"]).await.unwrap();
    spool.park(&[("z.example".parse().unwrap(), true)]).await;
    for n in 3..=400 {
        put(&spool, n, 10_000, &["a@x.example", "b@x.example"])
            .await
            .unwrap();
        if n % 20 == 0 {
            for claim in turned(&spool, at(0)).claim(&want(100, 100)).await.unwrap() {
                spool.complete(claim.lease, None).await.unwrap();
            }
        }
    }
    let unit = u64::from(Settings::SEGMENT_BYTES_MIN);
    for _ in 0..200 {
        if spool.log_octets() <= 9 * unit {
            break;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    assert!(
        spool.log_octets() <= 9 * unit,
        "{} segments",
        spool.log_octets() / unit
    );
    assert_eq!(read(&spool, 1).await.unwrap(), body(1, 3000));
    drop(spool);
    // A rebuild from what is left of the log finds the same, and nothing that had ended.
    std::fs::remove_dir_all(dir.path().join("index")).unwrap();
    let spool = open(dir.path());
    assert_eq!(numbers(&claim(&spool, 0).await), [(1, 0), (2, 0)]);
    assert_eq!(read(&spool, 2).await.unwrap(), body(2, 100_000));
    assert_eq!(spool.damaged(), 0);
}

#[tokio::test]
async fn one_process_holds_the_spool() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(dir.path());
    let second = LogSpool::open(settings(dir.path())).unwrap_err();
    assert!(matches!(second, StartError::Locked { .. }), "{second}");
    spool.close();
    open(dir.path());
}

/// A life shorter than the time to its first checkpoint gives back what the one before left.
#[tokio::test(flavor = "multi_thread")]
async fn short_lives_do_not_pile_up_segments() {
    let dir = tempfile::tempdir().unwrap();
    for life in 0..30 {
        let settings = Settings {
            checkpoint_every: Duration::from_secs(3600),
            ..settings(dir.path())
        };
        let spool = LogSpool::open(settings).unwrap();
        put(&spool, life, 500, &["a@x.example"]).await.unwrap();
        let only = Filter::only(id(life));
        assert_eq!(admin(&spool, &only, Action::Remove, 0).await, 1);
        spool.close();
    }
    let segments = std::fs::read_dir(dir.path().join("log")).unwrap();
    let count = segments
        .filter(|file| file.as_ref().unwrap().path().extension().is_some())
        .count();
    assert!(count <= 10, "{count} segments for no mail at all");
}

#[tokio::test]
async fn a_change_of_the_settings_leaves_queued_mail_its_deadlines() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(dir.path());
    put(&spool, 1, 10, &["a@x.example"]).await.unwrap();
    drop(spool);
    let patient = Settings {
        lifetime: Lifetime {
            warn_after: Duration::from_secs(30 * 24 * 3600),
            expire: Duration::from_secs(60 * 24 * 3600),
        },
        ..settings(dir.path())
    };
    let spool = LogSpool::open(patient).unwrap();
    put(&spool, 2, 10, &["a@x.example"]).await.unwrap();
    let lease = Duration::from_secs(60);
    let overdue = turned(&spool, at(6 * 24 * 60)).overdue(9, lease).await;
    let found = overdue.unwrap();
    let found: Vec<_> = found.iter().map(|o| (o.claim.message.id, o.why)).collect();
    assert_eq!(found, [(id(1), spool::Why::Expired)]);
}
