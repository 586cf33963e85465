//! Whatever is damaged: each message that was taken is delivered, held, or lies in a piece that was set aside and told of. And a
//! rebuild never knows less than a plain start.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::support::{self, at, id, read};
use envelope::{Diagnosis, Message, MessageId, ReversePath};
use queue::{LogSpool, Settings};
use spool::{Arrival, BodyWriter, DAMAGED, Entry, Filter, OpenError, Spool, State, Want};
use testkit::nouns;

use crate::luck::Luck;

fn settings(dir: &Path) -> Settings {
    Settings {
        segment_bytes: 4 * Settings::SEGMENT_BYTES_MIN,
        body_cache_bytes: 0,
        ..support::settings(dir)
    }
}

fn number(id: MessageId) -> u64 {
    (id.bits() & 0xffff) as u64
}

/// Some are large, and come in chunks.
fn body(n: u64) -> Vec<u8> {
    let octets = if n.is_multiple_of(29) {
        90_000
    } else {
        n * 37 % 3000 + 20
    };
    let line = format!("message number {n:04} of the damaged spool\r\n");
    let octets_of_it = line.into_bytes().into_iter().cycle();
    octets_of_it.take(octets as usize).collect()
}

async fn put(spool: &LogSpool, n: u64) {
    let mut writer = spool.begin(id(n)).await.unwrap();
    writer.write(body(n)).await.unwrap();
    let message = Message::new(
        id(n),
        at(0),
        ReversePath::Mailbox("s@y.example".parse().unwrap()),
        body(n).len() as u64,
    );
    let leg = |target: String| nouns::forward("a@x.example", &target);
    let legs = (0..=n % 3).map(|k| leg(format!("a{k}@x{}.example", n % 5)));
    let committed = spool
        .commit(writer, Arrival::new(message, legs.collect(), at(0)))
        .await;
    committed.unwrap();
}

/// Takes what waits, up to `max` legs; what could be read whole ends. Says of which messages legs ended.
async fn deliver(spool: &LogSpool, max: usize) -> BTreeSet<u64> {
    let mut delivered = BTreeSet::new();
    let mut left = max;
    while left > 0 {
        let want = Want {
            max: left.min(20),
            per_host: 20,
            lease: Duration::from_secs(60),
        };
        let claims = spool.claim(&want).await.unwrap();
        if claims.is_empty() {
            break;
        }
        left -= claims.len();
        for claim in claims {
            let n = number(claim.message.id);
            match read(spool, n).await {
                Ok(bytes) => {
                    assert!(bytes == body(n), "{n}: another body");
                    delivered.insert(n);
                    spool.complete(claim.lease, None).await.unwrap();
                }
                // Held by the reader's word.
                Err(OpenError::Damaged(_)) => spool.release(claim.lease).await.unwrap_or(()),
                Err(error) => panic!("{n}: {error}"),
            }
        }
    }
    delivered
}

/// What waits, and whether it is held for damage.
async fn waiting(spool: &LogSpool) -> BTreeMap<u64, bool> {
    let page = spool.list(&Filter::default(), None, 9999).await;
    let entries = page.unwrap().entries.into_iter();
    let damaged = |last: &Diagnosis| last.text.starts_with(DAMAGED);
    let held =
        |entry: &Entry| entry.state == State::Held && entry.last.as_ref().is_some_and(damaged);
    entries
        .map(|entry| (number(entry.id.message), held(&entry)))
        .collect()
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for file in fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        let name = to.join(file.file_name());
        match file.file_type().unwrap().is_dir() {
            true => copy(&file.path(), &name),
            false => drop(fs::copy(file.path(), name).unwrap()),
        }
    }
}

/// Two lives of a spool; its index as the first left it is kept as `old`. What waits in the end.
async fn live(dir: &Path, luck: &mut Luck) -> BTreeSet<u64> {
    let mut next = 1;
    for life in 0..2 {
        let spool = LogSpool::open(settings(dir)).unwrap();
        for _ in 0..4 {
            for _ in 0..15 {
                put(&spool, next).await;
                next += 1;
            }
            deliver(&spool, luck.below(20)).await;
            spool.checkpoint().await.unwrap();
        }
        if life == 1 {
            let left = waiting(&spool).await;
            spool.close();
            return left.into_keys().collect();
        }
        spool.close();
        copy(&dir.join("index"), &dir.join("old"));
    }
    unreachable!("two lives")
}

fn segments(dir: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(dir.join("log")).unwrap();
    let mut files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|e| e == "seg"));
    files.sort();
    files
}

/// Overwrites a stretch of a segment, or flips bits all over the log.
fn damage(dir: &Path, luck: &mut Luck) {
    let files = segments(dir);
    match luck.chance(50) {
        true => {
            let path = &files[luck.below(files.len())];
            let mut bytes = fs::read(path).unwrap();
            let octets = 1 + luck.below(64 << 10);
            let from = luck.below(bytes.len() - octets.min(bytes.len() - 1));
            let end = bytes.len().min(from + octets);
            bytes[from..end]
                .iter_mut()
                .for_each(|octet| *octet = luck.below(256) as u8);
            fs::write(path, bytes).unwrap();
        }
        false => {
            for _ in 0..=luck.below(200) {
                let path = &files[luck.below(files.len())];
                let mut bytes = fs::read(path).unwrap();
                // Most of a segment is zeros: where something is.
                let used = bytes.iter().rposition(|octet| *octet != 0).unwrap_or(0);
                bytes[luck.below(used + 1)] ^= 1 << luck.below(8);
                fs::write(path, bytes).unwrap();
            }
        }
    }
}

/// Where the log names each message, as segment and place.
fn places(dir: &Path, n: u64) -> Vec<(u64, u64)> {
    let wanted = id(n).bits().to_be_bytes();
    let mut places = Vec::new();
    for path in segments(dir) {
        let bytes = fs::read(&path).unwrap();
        let segment = path.file_stem().unwrap().to_str().unwrap().parse().unwrap();
        let found = bytes
            .windows(16)
            .enumerate()
            .filter(|(_, octets)| *octets == wanted);
        places.extend(found.map(|(at, _)| (segment, at as u64)));
    }
    places
}

/// What is in the quarantine, as segment, place and octets.
fn pieces(dir: &Path) -> Vec<(u64, u64, u64)> {
    let files = fs::read_dir(dir.join("quarantine")).into_iter().flatten();
    let piece = |path: PathBuf| {
        let octets = fs::metadata(&path).ok()?.len();
        let stem = path.file_stem()?.to_str()?;
        match stem.split_once('-') {
            Some((segment, at)) => Some((segment.parse().ok()?, at.parse().ok()?, octets)),
            None => Some((stem.parse().ok()?, 0, octets)),
        }
    };
    files
        .filter_map(|file| piece(file.unwrap().path()))
        .collect()
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Index {
    Intact,
    Stale,
    Lost,
}

/// A damaged spool: what was taken and had not ended, with the places where the log named it before.
struct Damaged {
    dir: tempfile::TempDir,
    taken: BTreeMap<u64, Vec<(u64, u64)>>,
}

/// Opens a copy of the damaged spool, plainly or after a rebuild; what was not delivered, not held.
async fn missed(spool: &Damaged, index: Index, rebuild: bool, what: &str) -> BTreeSet<u64> {
    let (copied, taken) = (tempfile::tempdir().unwrap(), &spool.taken);
    copy(spool.dir.path(), copied.path());
    let dir = copied.path();
    if index != Index::Intact {
        fs::remove_dir_all(dir.join("index")).unwrap();
        // What has ended is noted there, too.
        fs::remove_file(dir.join("ends")).unwrap();
    }
    if index == Index::Stale {
        copy(&dir.join("old"), &dir.join("index"));
    }
    if rebuild {
        let settings = settings(dir);
        let rebuilt = tokio::task::spawn_blocking(|| LogSpool::rebuild(settings));
        rebuilt.await.unwrap().unwrap().0.close();
    }
    let spool = LogSpool::open(settings(dir)).unwrap();
    let delivered = deliver(&spool, usize::MAX).await;
    spool.checkpoint().await.unwrap();
    tokio::time::sleep(Duration::from_millis(60)).await;
    let waiting = waiting(&spool).await;
    assert!(waiting.values().all(|held| *held), "{what}: {waiting:?}");
    if index == Index::Intact {
        let twice: Vec<_> = delivered
            .iter()
            .filter(|n| !taken.contains_key(n))
            .collect();
        assert!(twice.is_empty(), "{what}: delivered again: {twice:?}");
    }
    let there = |n: &&u64| delivered.contains(n) || waiting.contains_key(n);
    let missed: BTreeSet<u64> = taken.keys().filter(|n| !there(n)).copied().collect();
    let kept = pieces(dir);
    for n in &missed {
        let within = |(segment, at): &(u64, u64)| {
            let mut of_it = kept.iter().filter(|piece| piece.0 == *segment);
            of_it.any(|(_, from, octets)| (*from..from + octets).contains(at))
        };
        let named = taken[n].iter().any(within);
        assert!(
            named,
            "{what}: {n} is gone and nobody says so; kept {kept:?}"
        );
    }
    missed
}

#[tokio::test]
async fn what_was_taken_is_delivered_held_or_named() {
    let seeds = std::env::var("DAMAGE_SEEDS").map_or(4, |n| n.parse().unwrap());
    for seed in 0..seeds {
        let mut luck = Luck::new(seed);
        let dir = tempfile::tempdir().unwrap();
        let taken = live(dir.path(), &mut luck).await;
        let taken = taken.iter().map(|n| (*n, places(dir.path(), *n)));
        let taken = taken.collect();
        damage(dir.path(), &mut luck);
        let spool = Damaged { dir, taken };
        for index in [Index::Intact, Index::Stale, Index::Lost] {
            let what = format!("seed {seed}, index {index:?}");
            let start = missed(&spool, index, false, &what).await;
            let what = format!("{what}, rebuilt");
            let rebuilt = missed(&spool, index, true, &what).await;
            assert!(rebuilt.is_subset(&start), "{what}: {rebuilt:?}, {start:?}");
            if index == Index::Intact {
                assert!(start.is_empty(), "{what}: {start:?}");
            }
        }
    }
}
