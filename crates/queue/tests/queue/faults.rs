//! The engine on a disk that fails: nothing acknowledged is lost, what is not is said, and it goes on by itself.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use envelope::{Message, MessageId, ReversePath, Timestamp};
use queue::store::{Disk, Free, Store, StoreFile};
use queue::{LogSpool, Settings};
use spool::{Arrival, BodyWriter, Clock, Error, Spool, Want};
use testkit::nouns;

use crate::support;

/// What fails now.
const NOTHING: u8 = 0;
const WRITE: u8 = 1;
const SYNC: u8 = 2;
const CREATE: u8 = 3;
/// All that changes the disk, as on a filesystem that an error made read-only beneath the process. (A real remount is refused
/// while a file is open for writing; `small_disk.rs` has a start meet it.)
const READ_ONLY: u8 = 4;
/// Nothing, but how much room there is is not told for a minute, or until this is over.
const SLOW: u8 = 5;

#[derive(Debug)]
struct Faulty(Arc<AtomicU8>);

#[derive(Debug)]
struct FaultyFile(Arc<dyn StoreFile>, Arc<AtomicU8>);

fn fail(faults: &AtomicU8, when: u8) -> io::Result<()> {
    match faults.load(Ordering::SeqCst) {
        READ_ONLY => Err(io::ErrorKind::ReadOnlyFilesystem.into()),
        SYNC if when == SYNC => Err(io::Error::from_raw_os_error(5)),
        now if now == when => Err(io::ErrorKind::StorageFull.into()),
        _ => Ok(()),
    }
}

impl Faulty {
    fn wrap(&self, file: Arc<dyn StoreFile>) -> Arc<dyn StoreFile> {
        Arc::new(FaultyFile(file, Arc::clone(&self.0)))
    }
}

impl Store for Faulty {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        Disk.create_dir(dir)
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        Disk.list(dir)
    }
    fn create(&self, path: &Path) -> io::Result<Arc<dyn StoreFile>> {
        fail(&self.0, CREATE)?;
        Ok(self.wrap(Disk.create(path)?))
    }
    fn open(&self, path: &Path) -> io::Result<Arc<dyn StoreFile>> {
        Ok(self.wrap(Disk.open(path)?))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fail(&self.0, READ_ONLY)?;
        Disk.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        fail(&self.0, READ_ONLY)?;
        Disk.remove(path)
    }
    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        Disk.remove_dir(dir)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        Disk.sync_dir(dir)
    }
    #[expect(clippy::disallowed_methods, reason = "a disk that waits")]
    fn free(&self, dir: &Path) -> io::Result<Free> {
        for _ in 0..6_000 {
            if self.0.load(Ordering::SeqCst) != SLOW {
                return Disk.free(dir);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Err(io::ErrorKind::TimedOut.into())
    }
}

impl StoreFile for FaultyFile {
    fn write_vectored_at(&self, slices: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
        if self.1.load(Ordering::SeqCst) == WRITE {
            // As a full disk does: a part, then nothing.
            let part = slices.first().map_or(0, |s| s.len() / 2);
            let _ = self
                .0
                .write_vectored_at(&[IoSlice::new(&slices[0][..part])], offset);
        }
        fail(&self.1, WRITE)?;
        self.0.write_vectored_at(slices, offset)
    }
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buffer, offset)
    }
    fn sync(&self) -> io::Result<()> {
        fail(&self.1, SYNC)?;
        self.0.sync()
    }
    fn reserve(&self, octets: u64) -> io::Result<()> {
        fail(&self.1, CREATE)?;
        self.0.reserve(octets)
    }
    fn octets(&self) -> io::Result<u64> {
        self.0.octets()
    }
}

fn at(millis: u64) -> Timestamp {
    Timestamp::from_unix_millis(1_800_000_000_000 + millis)
}

fn settings(dir: &Path) -> Settings {
    Settings {
        clock: Clock::manual(at(1)),
        ..support::settings(dir)
    }
}

async fn put(spool: &LogSpool, n: u64) -> Result<(), Error> {
    let id = MessageId::new(at(0), u128::from(n));
    let mut writer = spool.begin(id).await?;
    writer.write(vec![b'x'; 5000]).await?;
    let message = Message::new(id, at(0), ReversePath::Null, 5000);
    let leg = nouns::leg("a@x.example");
    spool
        .commit(writer, Arrival::new(message, vec![leg], at(0)))
        .await
        .map(drop)
}

/// Mail before, during and after a fault: what was acknowledged is there, during it the answer is an error, and what
/// ended during it does not come back.
async fn check(fault: u8) {
    let dir = tempfile::tempdir().unwrap();
    let faults = Arc::new(AtomicU8::new(NOTHING));
    let store = Arc::new(Faulty(Arc::clone(&faults)));
    let spool = LogSpool::open_on(settings(dir.path()), store).unwrap();
    let want = Want {
        max: 2,
        per_host: 2,
        lease: Duration::from_secs(60),
    };
    let mut acknowledged = Vec::new();
    for n in 1..=10 {
        put(&spool, n).await.unwrap();
        acknowledged.push(n);
    }
    let claims = spool.claim(&want).await.unwrap();
    faults.store(fault, Ordering::SeqCst);
    let mut failures = 0;
    for n in 11..=40 {
        match put(&spool, n).await {
            Ok(()) => acknowledged.push(n),
            Err(Error::Unknown(_)) => failures += 1,
            Err(e) => panic!("{e}"),
        }
    }
    assert!(failures > 0, "fault {fault} was not met");
    for claim in claims {
        spool.complete(claim.lease, None).await.unwrap();
    }
    acknowledged.retain(|n| *n > 2);
    faults.store(NOTHING, Ordering::SeqCst);
    put(&spool, 41).await.unwrap();
    acknowledged.push(41);
    spool.close();
    drop(spool);
    for rebuilt in [false, true] {
        if rebuilt {
            std::fs::remove_dir_all(dir.path().join("index")).unwrap();
        }
        let spool = LogSpool::open(settings(dir.path())).unwrap();
        let all = Want {
            max: 99,
            per_host: 99,
            ..want.clone()
        };
        let claims = spool.claim(&all).await.unwrap();
        let found: Vec<u64> = claims
            .iter()
            .map(|claim| (claim.message.id.bits() & 0xff) as u64)
            .collect();
        let missing: Vec<_> = acknowledged.iter().filter(|n| !found.contains(n)).collect();
        assert!(
            missing.is_empty(),
            "fault {fault}, rebuilt {rebuilt}: {missing:?} lost"
        );
        assert!(
            !found.contains(&1) && !found.contains(&2),
            "{found:?}: an end was lost"
        );
        assert_eq!(spool.damaged(), 0, "fault {fault}, rebuilt {rebuilt}");
    }
}

#[tokio::test]
async fn a_failed_write_is_said_and_survived() {
    check(WRITE).await;
}

#[tokio::test]
async fn a_failed_sync_is_said_and_survived() {
    check(SYNC).await;
}

#[tokio::test]
async fn no_room_for_a_segment_is_said_and_survived() {
    check(CREATE).await;
}

#[tokio::test]
async fn a_disk_that_turns_read_only_is_said_and_survived() {
    check(READ_ONLY).await;
}

/// The runtime has one thread: whoever waits for the disk on it waits for ever.
#[tokio::test]
async fn a_disk_that_is_slow_to_tell_its_room_holds_up_one_caller() {
    let dir = tempfile::tempdir().unwrap();
    let faults = Arc::new(AtomicU8::new(SLOW));
    let store = Arc::new(Faulty(Arc::clone(&faults)));
    let spool = LogSpool::open_on(settings(dir.path()), store).unwrap();
    let spool = Arc::new(spool);
    let first = Arc::clone(&spool);
    let first = tokio::spawn(async move { put(&first, 1).await });
    tokio::task::yield_now().await;
    for n in 2..10 {
        put(&spool, n).await.unwrap();
    }
    assert!(!first.is_finished());
    faults.store(NOTHING, Ordering::SeqCst);
    first.await.unwrap().unwrap();
}
