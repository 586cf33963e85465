//! The engine on real filesystems that are full or read-only (tmpfs of a few MiB), and out of file descriptors.
//!
//! What was acknowledged is there, what was not is said, removals and ends go on, and it recovers by itself.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]
#![expect(clippy::disallowed_methods, reason = "mount and umount are programs")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use envelope::{Message, MessageId, ReversePath, Timestamp};
use queue::{LogSpool, Settings};
use spool::{Action, Arrival, BodyReader, BodyWriter, Clock, Error, Filter, Spool, Want};
use testkit::nouns;
use tokio::sync::MutexGuard;

/// A small filesystem, mounted; unmounted when it goes.
struct SmallDisk {
    at: PathBuf,
    _folder: tempfile::TempDir,
    _alone: MutexGuard<'static, ()>,
}

fn run(program: &str, arguments: &[&str]) {
    let status = Command::new(program).args(arguments).status().unwrap();
    assert!(
        status.success(),
        "{program} {arguments:?}: these tests need root"
    );
}

impl SmallDisk {
    async fn new(options: &str) -> Self {
        let alone = crate::ALONE.lock().await;
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path().join("disk");
        fs::create_dir(&at).unwrap();
        run(
            "mount",
            &[
                "-t",
                "tmpfs",
                "-o",
                options,
                "onward-test",
                at.to_str().unwrap(),
            ],
        );
        Self {
            at,
            _folder: folder,
            _alone: alone,
        }
    }

    fn remount(&self, options: &str) {
        run(
            "mount",
            &[
                "-o",
                &format!("remount,{options}"),
                self.at.to_str().unwrap(),
            ],
        );
    }

    /// A file that takes all that is left, but for some octets.
    fn fill(&self, but: u64) {
        let file = fs::File::create(self.at.join("filler")).unwrap();
        let mut at = 0;
        // The spool writes meanwhile: what is left is asked again until it is as wanted.
        for _ in 0..100 {
            let stat = rustix::fs::statvfs(&self.at).unwrap();
            let octets = (stat.f_bavail * stat.f_frsize).saturating_sub(but);
            if octets == 0 {
                return;
            }
            let flags = rustix::fs::FallocateFlags::empty();
            if rustix::fs::fallocate(&file, flags, at, octets).is_ok() {
                at += octets;
            }
        }
        panic!("cannot be filled");
    }

    fn free(&self) {
        fs::remove_file(self.at.join("filler")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.at).status();
    }
}

fn at(millis: u64) -> Timestamp {
    Timestamp::from_unix_millis(1_800_000_000_000 + millis)
}

fn settings(dir: &Path) -> Settings {
    Settings {
        segment_bytes: 256 << 10,
        body_cache_bytes: 0,
        min_free_bytes: 0,
        min_free_inodes: 0,
        checkpoint_every: Duration::from_millis(20),
        clock: Clock::manual(at(1)),
        ..Settings::new(dir)
    }
}

fn id(n: u64) -> MessageId {
    MessageId::new(at(0), u128::from(n))
}

fn body(n: u64) -> Vec<u8> {
    format!("message {n}\r\n")
        .into_bytes()
        .into_iter()
        .cycle()
        .take(10_000)
        .collect()
}

async fn put(spool: &LogSpool, n: u64) -> Result<(), Error> {
    let mut writer = spool.begin(id(n)).await?;
    writer.write(body(n)).await?;
    let message = Message::new(id(n), at(0), ReversePath::Null, 10_000);
    let leg = nouns::leg("a@x.example");
    spool
        .commit(writer, Arrival::new(message, vec![leg], at(0)))
        .await
        .map(drop)
}

fn one(n: u64) -> Filter {
    Filter::only(id(n))
}

/// Claims, reads and ends up to `max` legs, as a delivery does; their numbers.
async fn deliver(spool: &LogSpool, max: usize) -> Vec<u64> {
    let want = Want {
        max,
        per_host: max,
        lease: Duration::from_secs(60),
    };
    let mut done = Vec::new();
    for claim in spool.claim(&want).await.unwrap() {
        let n = (claim.message.id.bits() & 0xffff) as u64;
        let mut reader = spool.open_body(claim.message.id).await.unwrap();
        assert_eq!(reader.chunk().await.unwrap().unwrap(), body(n));
        spool.complete(claim.lease, None).await.unwrap();
        done.push(n);
    }
    done
}

/// Takes mail until it is refused three times in a row; what was acknowledged.
async fn put_until_refused(
    spool: &LogSpool,
    from: u64,
    wanted: fn(&Error) -> bool,
) -> BTreeSet<u64> {
    let mut taken = BTreeSet::new();
    let mut refused = 0;
    for n in from.. {
        match put(spool, n).await {
            Ok(()) => {
                taken.insert(n);
                refused = 0;
            }
            Err(error) => {
                assert!(wanted(&error), "{error}");
                refused += 1;
            }
        }
        if refused == 3 {
            return taken;
        }
        assert!(n < from + 5000, "never refused");
    }
    taken
}

/// Until the spool takes mail again, by itself.
async fn put_until_taken(spool: &LogSpool, from: u64) -> u64 {
    for n in from..from + 200 {
        if put(spool, n).await.is_ok() {
            return n;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("it does not recover");
}

/// The index is well again, too: when most is delivered, the log gives its room back.
async fn wait_for_room(spool: &LogSpool, queued: &mut BTreeSet<u64>) {
    while queued.len() > 3 {
        let done = deliver(spool, queued.len() - 3).await;
        assert!(!done.is_empty());
        done.iter().for_each(|n| {
            queued.remove(n);
        });
    }
    for _ in 0..100 {
        if spool.log_octets() <= 8 * (256 << 10) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{} octets are kept", spool.log_octets());
}

/// What a restart finds, once with the index and once without, must be this.
async fn check_restart(dir: &Path, wanted: &BTreeSet<u64>) {
    for rebuilt in [false, true] {
        if rebuilt {
            fs::remove_dir_all(dir.join("index")).unwrap();
        }
        let spool = LogSpool::open(settings(dir)).unwrap();
        let page = spool.list(&Filter::default(), None, 10_000).await.unwrap();
        let found: BTreeSet<u64> = page
            .entries
            .iter()
            .map(|entry| (entry.id.message.bits() & 0xffff) as u64)
            .collect();
        let lost: Vec<_> = wanted.difference(&found).collect();
        assert!(lost.is_empty(), "rebuilt {rebuilt}: {lost:?} lost");
        assert_eq!(spool.damaged(), 0);
    }
}

/// A disk that fills up: the log cannot grow, the index perhaps neither.
async fn check_full(
    disk: &SmallDisk,
    fill: impl Fn(&SmallDisk),
    wanted: fn(&Error) -> bool,
    settings: Settings,
) {
    let spool = LogSpool::open(settings).unwrap();
    let mut queued: BTreeSet<u64> = (1..=20).collect();
    for n in 1..=20 {
        put(&spool, n).await.unwrap();
    }
    fill(disk);
    // Free space is looked at twice a second.
    tokio::time::sleep(Duration::from_millis(600)).await;
    let taken = put_until_refused(&spool, 1000, wanted).await;
    queued.extend(&taken);
    // Deliveries and removals go on.
    let mut ended = deliver(&spool, 5).await;
    assert_eq!(ended.len(), 5);
    let mut last = *queued.last().unwrap();
    while ended.contains(&last) {
        last -= 1;
    }
    // What the operator is told is durable: where the log cannot take it, he is told that.
    match spool
        .admin(&one(last), Action::Remove, None, usize::MAX)
        .await
    {
        Ok(removed) => assert_eq!(removed.entries.len(), 1),
        Err(error) => assert!(matches!(error, Error::Unknown(_)), "{error}"),
    }
    ended.push(last);
    disk.free();
    let taken = put_until_taken(&spool, 7000).await;
    queued.insert(taken);
    ended.extend(deliver(&spool, 10).await);
    ended.iter().for_each(|n| {
        queued.remove(n);
    });
    wait_for_room(&spool, &mut queued).await;
    spool.close();
    drop(spool);
    check_restart(&disk.at.join("spool"), &queued).await;
}

#[tokio::test]
#[ignore = "needs root: ./test.sh runs it"]
async fn a_full_disk_refuses_mail_and_recovers() {
    let disk = SmallDisk::new("size=16m").await;
    let dir = disk.at.join("spool");
    check_full(
        &disk,
        |disk| disk.fill(4 << 20),
        |e| matches!(e, Error::Unknown(_)),
        settings(&dir),
    )
    .await;
}

#[tokio::test]
#[ignore = "needs root: ./test.sh runs it"]
async fn an_index_that_met_a_full_disk_is_opened_anew() {
    let disk = SmallDisk::new("size=32m").await;
    let dir = disk.at.join("spool");
    let spool = LogSpool::open(settings(&dir)).unwrap();
    for n in 1..=200 {
        put(&spool, n).await.unwrap();
    }
    spool.checkpoint().await.unwrap();
    disk.fill(0);
    // Changes of state fit into the segment that is there; sled's file has to grow for them.
    for round in 0..6 {
        let action = match round % 2 {
            0 => Action::Hold,
            _ => Action::Release,
        };
        let _ = spool
            .admin(&Filter::default(), action, None, usize::MAX)
            .await;
    }
    disk.free();
    let taken = put_until_taken(&spool, 6000).await;
    spool
        .admin(&Filter::default(), Action::Release, None, usize::MAX)
        .await
        .unwrap();
    let mut queued = BTreeSet::from([taken]);
    let page = spool.list(&Filter::default(), None, 10_000).await;
    let ids = page.unwrap().entries.into_iter();
    queued.extend(ids.map(|entry| (entry.id.message.bits() & 0xffff) as u64));
    assert!(queued.len() > 195);
    wait_for_room(&spool, &mut queued).await;
    drop(spool);
    check_restart(&dir, &queued).await;
}

#[tokio::test]
#[ignore = "needs root: ./test.sh runs it"]
async fn little_room_refuses_mail_before_the_disk_is_full() {
    let disk = SmallDisk::new("size=16m").await;
    let dir = disk.at.join("spool");
    let room = Settings {
        min_free_bytes: 2 << 20,
        ..settings(&dir)
    };
    let full = |e: &Error| matches!(e, Error::Full(_));
    check_full(&disk, |disk| disk.fill(1 << 20), full, room).await;
}

#[tokio::test]
#[ignore = "needs root: ./test.sh runs it"]
async fn few_inodes_refuse_mail() {
    let disk = SmallDisk::new("size=16m,nr_inodes=60").await;
    let dir = disk.at.join("spool");
    let room = Settings {
        min_free_inodes: 20,
        ..settings(&dir)
    };
    let spool = LogSpool::open(room).unwrap();
    put(&spool, 1).await.unwrap();
    for n in 0..60 {
        // The last few fail: there are no inodes left.
        drop(fs::File::create(disk.at.join(n.to_string())));
    }
    tokio::time::sleep(Duration::from_millis(600)).await;
    let full = |e: &Error| matches!(e, Error::Full(why) if why.contains("inodes"));
    let taken = put_until_refused(&spool, 2, full).await;
    assert!(!deliver(&spool, 1).await.is_empty());
    (0..60).for_each(|n| drop(fs::remove_file(disk.at.join(n.to_string()))));
    let again = put_until_taken(&spool, 6000).await;
    drop(spool);
    let queued = taken.into_iter().chain([again]).collect();
    check_restart(&dir, &queued).await;
}

#[tokio::test]
#[ignore = "needs root: ./test.sh runs it"]
async fn a_read_only_disk_refuses_mail_gives_bodies_and_recovers() {
    let disk = SmallDisk::new("size=16m").await;
    let dir = disk.at.join("spool");
    let spool = LogSpool::open(settings(&dir)).unwrap();
    for n in 1..=20 {
        put(&spool, n).await.unwrap();
    }
    spool.close();
    drop(spool);
    // As a disk error makes it: what is open for writing goes on for a while, nothing new can be made. The kernel refuses
    // the remount while a file is open for writing, so that a start has to meet it.
    disk.remount("ro");
    let error = LogSpool::open(settings(&dir)).unwrap_err().to_string();
    assert!(error.contains("Read-only file system"), "{error}");
    let mut octets = 0;
    let visit = |found: &queue::verify::Exported<'_>| {
        let sound = found.body().filter(|piece| piece.damage.is_none());
        octets += sound.map(|piece| piece.octets.len()).sum::<usize>();
        Ok::<_, queue::StartError>(())
    };
    let report = queue::verify::export(&dir, at(1), None, &mut |_, _| {}, visit).unwrap();
    assert_eq!(
        (report.messages, report.damage, octets),
        (20, Vec::new(), 20 * 10_000)
    );
    disk.remount("rw");
    check_restart(&dir, &(1..=20).collect()).await;
}
