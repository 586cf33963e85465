//! Damage: each kind is found and named by `verify`, survived by a start, and costs what it hit and nothing else.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use envelope::{Diagnosis, Message, ReversePath};
use queue::verify::{Depth, Exported, Report, export, log_octets, verify};
use queue::{LogSpool, Settings, StartError};
use spool::{
    Action, Arrival, BodyWriter, DAMAGED, Entry, Filter, OpenError, Spool, State, Want, Why,
};
use testkit::nouns;

use crate::support::{self, at, id, read, turned};

const MESSAGES: u64 = 40;
const OCTETS: usize = 5000;

fn settings(dir: &Path) -> Settings {
    Settings {
        body_cache_bytes: 0,
        ..support::settings(dir)
    }
}

fn open(dir: &Path) -> LogSpool {
    LogSpool::open(settings(dir)).unwrap()
}

fn body(n: u64) -> Vec<u8> {
    let line = format!("message number {n:04} of the damaged spool\r\n");
    line.into_bytes().into_iter().cycle().take(OCTETS).collect()
}

async fn put(spool: &LogSpool, n: u64, body: Vec<u8>) {
    let mut writer = spool.begin(id(n)).await.unwrap();
    let size = body.len() as u64;
    writer.write(body).await.unwrap();
    let message = Message::new(
        id(n),
        at(0),
        ReversePath::Mailbox("s@y.example".parse().unwrap()),
        size,
    );
    let leg = nouns::leg("a@x.example");
    spool
        .commit(writer, Arrival::new(message, vec![leg], at(0)))
        .await
        .unwrap();
}

fn is_damaged(last: Option<&Diagnosis>) -> bool {
    last.is_some_and(|last| last.text.starts_with(DAMAGED))
}

/// A spool of messages in several segments, closed.
async fn spool() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(dir.path());
    for n in 1..=MESSAGES {
        put(&spool, n, body(n)).await;
    }
    drop(spool);
    dir
}

fn segments(dir: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(dir.join("log")).unwrap();
    let mut files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|e| e == "seg"));
    files.sort();
    files
}

/// The segment with a message's body, and where that begins.
fn place_of(dir: &Path, n: u64) -> (PathBuf, usize) {
    let body = body(n);
    let find = |path: PathBuf| {
        let bytes = fs::read(&path).unwrap();
        let at = bytes.windows(OCTETS).position(|window| window == body)?;
        Some((path, at))
    };
    segments(dir).into_iter().find_map(find).unwrap()
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 0x10;
    fs::write(path, bytes).unwrap();
}

fn look(dir: &Path) -> Report {
    verify(dir, Depth::Whole, &mut |_, _| {}).unwrap()
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

async fn entries(spool: &LogSpool) -> Vec<Entry> {
    let page = turned(spool, at(1))
        .list(&Filter::default(), None, 1000)
        .await;
    page.unwrap().entries
}

/// What stands after a start over the damage, with every body read once: held for damage, gone, and pieces set aside.
async fn start(dir: &Path) -> (BTreeSet<u64>, BTreeSet<u64>, u64) {
    let spool = open(dir);
    for n in 1..=MESSAGES {
        match read(&spool, n).await {
            Ok(bytes) => assert_eq!(bytes, body(n), "{n}"),
            Err(OpenError::Damaged(_) | OpenError::NotFound) => {}
            Err(error) => panic!("{n}: {error}"),
        }
    }
    spool.checkpoint().await.unwrap();
    // What was not in memory is held with the keeper's next round.
    tokio::time::sleep(Duration::from_millis(60)).await;
    let numbers = |wanted: fn(&Entry) -> bool, entries: &[Entry]| -> BTreeSet<u64> {
        let wanted = entries.iter().filter(|entry| wanted(entry));
        wanted
            .map(|entry| (entry.id.message.bits() & 0xffff) as u64)
            .collect()
    };
    let entries = entries(&spool).await;
    let held = numbers(|entry| entry.state == State::Held, &entries);
    for entry in entries.iter().filter(|entry| entry.state == State::Held) {
        assert!(is_damaged(entry.last.as_ref()), "{:?}", entry.last);
    }
    let there = numbers(|_| true, &entries);
    let gone = (1..=MESSAGES).filter(|n| !there.contains(n)).collect();
    (held, gone, spool.damaged())
}

/// Damages a spool, with the index and without, and says what it costs: messages held, messages gone.
#[track_caller]
fn same(what: &str, found: &BTreeSet<u64>, wanted: &[u64]) {
    assert_eq!(found, &wanted.iter().copied().collect(), "{what}");
}

async fn check(
    damage: impl Fn(&Path),
    words: &str,
    with_index: (&[u64], &[u64]),
    rebuilt: (&[u64], &[u64]),
) {
    for index in [true, false] {
        let dir = spool().await;
        let whole = look(dir.path());
        assert_eq!(
            (whole.messages, whole.damage.len()),
            (MESSAGES, 0),
            "{whole:?}"
        );
        damage(dir.path());
        if !index {
            fs::remove_dir_all(dir.path().join("index")).unwrap();
        }
        let before = segments(dir.path())
            .iter()
            .map(|p| fs::read(p).unwrap())
            .collect::<Vec<_>>();
        let report = look(dir.path());
        let said = report.damage.iter().map(|damage| damage.text.as_str());
        assert!(
            said.clone().any(|text| text.contains(words)),
            "{words}: {report:#?}"
        );
        let after = segments(dir.path())
            .iter()
            .map(|p| fs::read(p).unwrap())
            .collect::<Vec<_>>();
        assert!(before == after, "verify changes nothing");
        let wanted = if index { with_index } else { rebuilt };
        let (held, gone, pieces) = start(dir.path()).await;
        same("held", &held, wanted.0);
        same("gone", &gone, wanted.1);
        // What nobody reads is not seen at the start, and an index is no piece of the log.
        let unseen = index && held.is_empty() || words.contains("index");
        assert!(pieces > 0 || unseen, "nothing was counted");
        // The second start finds all as the first left it, and tells of nothing new.
        let again = start(dir.path()).await;
        assert_eq!(again, (held, gone, 0), "index {index}");
    }
}

#[tokio::test]
async fn a_flipped_bit_in_a_body_holds_its_message() {
    let damage = |dir: &Path| {
        let (path, at) = place_of(dir, 3);
        flip(&path, at + 100);
    };
    let wanted: (&[u64], &[u64]) = (&[3], &[]);
    check(damage, "body of a commit record is damaged", wanted, wanted).await;
}

#[tokio::test]
async fn a_flipped_bit_in_a_record_header_costs_nothing() {
    // 24 octets of header, 4 of length, and the fields: the header begins where the magic stands before the body.
    let damage = |dir: &Path| {
        let (path, at) = place_of(dir, 3);
        let bytes = fs::read(&path).unwrap();
        let header = bytes[..at]
            .windows(3)
            .rposition(|w| w == b"OR\x02")
            .unwrap();
        flip(&path, header + 5);
    };
    check(damage, "damaged record header", (&[], &[]), (&[], &[])).await;
}

#[tokio::test]
async fn a_flipped_bit_in_an_envelope_is_covered_by_the_index() {
    let damage = |dir: &Path| {
        let (path, at) = place_of(dir, 3);
        flip(&path, at - 12);
    };
    check(damage, "bad checksum", (&[], &[]), (&[], &[3])).await;
}

#[tokio::test]
async fn a_flipped_bit_in_a_segment_header_costs_nothing() {
    for at in [0, 8, 13, 20, 61] {
        let damage = |dir: &Path| flip(&segments(dir)[1], at);
        check(damage, "segment header is damaged", (&[], &[]), (&[], &[])).await;
    }
}

#[tokio::test]
async fn a_truncated_segment_holds_what_lay_behind() {
    let cut = |dir: &Path| {
        let (path, at) = place_of(dir, 5);
        let file = fs::OpenOptions::new().write(true).open(path).unwrap();
        file.set_len(at as u64 + 10).unwrap();
    };
    let dir = spool().await;
    let (segment, from) = place_of(dir.path(), 5);
    let behind = |n: &u64| {
        let (path, at) = place_of(dir.path(), *n);
        path == segment && at >= from
    };
    let lost: Vec<u64> = (1..=MESSAGES).filter(behind).collect();
    assert!(lost.len() > 1, "{lost:?}");
    check(cut, "cut", (&lost, &[]), (&[], &lost)).await;
}

#[tokio::test]
async fn a_missing_segment_holds_what_lay_in_it() {
    for which in [0, 2, usize::MAX] {
        let pick = |dir: &Path| {
            let segments = segments(dir);
            segments[which.min(segments.len() - 1)].clone()
        };
        let dir = spool().await;
        let missing = pick(dir.path());
        let lost: Vec<u64> = (1..=MESSAGES)
            .filter(|n| place_of(dir.path(), *n).0 == missing)
            .collect();
        assert!(!lost.is_empty());
        // Without the index nobody knows that it was there: see the README.
        fs::remove_file(&missing).unwrap();
        let report = look(dir.path());
        let named = report
            .damage
            .iter()
            .filter_map(|damage| damage.message)
            .count();
        assert_eq!(named, lost.len(), "{report:#?}");
        assert!(
            verify(dir.path(), Depth::Files, &mut |_, _| {})
                .unwrap()
                .damage
                .len()
                >= lost.len()
        );
        let (held, gone, pieces) = start(dir.path()).await;
        same("held", &held, &lost);
        same("gone", &gone, &[]);
        assert_eq!(pieces, 1);
        // Held messages outlive the index that knew them.
        let settings = settings(dir.path());
        let rebuilt = tokio::task::spawn_blocking(|| LogSpool::rebuild(settings));
        rebuilt.await.unwrap().unwrap().0.close();
        let (held, gone, pieces) = start(dir.path()).await;
        same("held after a rebuild", &held, &lost);
        same("gone after a rebuild", &gone, &[]);
        assert_eq!(pieces, 0);
    }
}

#[tokio::test]
async fn every_segment_missing_is_not_a_new_spool() {
    let dir = spool().await;
    segments(dir.path())
        .iter()
        .for_each(|path| fs::remove_file(path).unwrap());
    assert!(!look(dir.path()).damage.is_empty());
    let (held, gone, _) = start(dir.path()).await;
    assert_eq!((held.len() as u64, gone.len()), (MESSAGES, 0));
}

#[tokio::test]
async fn a_foreign_segment_is_set_aside() {
    let stranger = spool().await;
    let damage = |dir: &Path| {
        let theirs = &segments(stranger.path())[0];
        let bytes = fs::read(theirs).unwrap();
        fs::write(dir.join("log/0000000099.seg"), bytes).unwrap();
        fs::copy(theirs, dir.join("log/0000000098.seg")).unwrap();
    };
    check(damage, "segment of another spool", (&[], &[]), (&[], &[])).await;
    // Ours under another number: the number in it tells.
    let damage = |dir: &Path| {
        fs::copy(&segments(dir)[0], dir.join("log/0000000099.seg")).unwrap();
    };
    check(damage, "another segment's name", (&[], &[]), (&[], &[])).await;
}

#[tokio::test]
async fn a_foreign_index_is_made_anew() {
    let stranger = spool().await;
    let damage = |dir: &Path| {
        let index = dir.join("index");
        fs::remove_dir_all(&index).unwrap();
        fs::create_dir(&index).unwrap();
        for name in ["db", "conf"] {
            fs::copy(stranger.path().join("index").join(name), index.join(name)).unwrap();
        }
    };
    check(damage, "the index is", (&[], &[]), (&[], &[])).await;
}

#[tokio::test]
async fn a_damaged_piece_of_a_large_body_holds_it_and_the_operator_can_act() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(dir.path());
    let large: Vec<u8> = (1..=12).flat_map(body).collect();
    put(&spool, 1, large.clone()).await;
    put(&spool, 2, body(20)).await;
    drop(spool);
    let (path, place) = place_of(dir.path(), 6);
    flip(&path, place + 9);
    let report = look(dir.path());
    assert!(
        report.damage.iter().any(|d| d.message == Some(id(1))),
        "{report:#?}"
    );

    let spool = open(dir.path());
    assert!(matches!(read(&spool, 1).await, Err(OpenError::Damaged(_))));
    spool.checkpoint().await.unwrap();
    tokio::time::sleep(Duration::from_millis(60)).await;
    let want = Want {
        max: 9,
        per_host: 9,
        lease: Duration::from_secs(60),
    };
    let claims = turned(&spool, at(1)).claim(&want).await.unwrap();
    assert_eq!(claims.len(), 1, "the damaged one is not claimed");
    // Nobody does anything: it expires, and its sender is told.
    let five_days = at(5 * 24 * 60);
    let overdue = turned(&spool, five_days)
        .overdue(9, Duration::from_secs(60))
        .await
        .unwrap();
    let damaged = overdue
        .iter()
        .find(|o| o.claim.message.id == id(1))
        .unwrap();
    assert_eq!(damaged.why, Why::Expired);
    assert!(is_damaged(damaged.last.as_ref()), "{:?}", damaged.last);
    spool.release(damaged.claim.lease.clone()).await.unwrap();
    // Or he releases it, and it is found damaged again; or has it bounced.
    let one = Filter::only(id(1));
    assert_eq!(admin(&spool, &one, Action::Release, 2).await, 1);
    assert!(matches!(read(&spool, 1).await, Err(OpenError::Damaged(_))));
    assert_eq!(entries(&spool).await[0].state, State::Held);
    assert_eq!(admin(&spool, &one, Action::Bounce, 3).await, 1);
    let overdue = turned(&spool, at(3))
        .overdue(9, Duration::from_secs(60))
        .await
        .unwrap();
    assert_eq!((overdue.len(), overdue[0].why), (1, Why::Bounced));
    spool
        .complete(overdue[0].claim.lease.clone(), None)
        .await
        .unwrap();
    assert_eq!(entries(&spool).await.len(), 1);
}

/// Exports everything: number, body as far as it is intact, and whether any of it is damaged.
fn exported(dir: &Path) -> Vec<(u64, Vec<u8>, bool)> {
    let mut all = Vec::new();
    let visit = |found: &Exported<'_>| {
        let number = (found.message.id.bits() & 0xffff) as u64;
        assert_eq!(found.legs.len(), 1);
        let (mut bytes, mut damaged) = (Vec::new(), false);
        for piece in found.body() {
            damaged |= piece.damage.is_some();
            bytes.extend_from_slice(&piece.octets);
        }
        all.push((number, bytes, damaged));
        Ok::<_, StartError>(())
    };
    export(dir, at(1), None, &mut |_, _| {}, visit).unwrap();
    all
}

#[tokio::test]
async fn an_export_has_every_message_even_of_a_damaged_spool() {
    let dir = spool().await;
    let (path, place) = place_of(dir.path(), 3);
    flip(&path, place + 100);
    let (path, place) = place_of(dir.path(), 30);
    flip(&path, place - 12);
    let all = exported(dir.path());
    assert_eq!(all.len() as u64, MESSAGES);
    for (n, bytes, damaged) in all {
        assert_eq!(damaged, n == 3, "{n}");
        let differing = bytes.iter().zip(body(n)).filter(|(a, b)| **a != *b).count();
        assert_eq!(
            (bytes.len(), differing),
            (OCTETS, usize::from(n == 3)),
            "{n}"
        );
    }
}

#[tokio::test]
async fn states_and_ends_are_exported_as_they_stand() {
    let dir = spool().await;
    let spool = open(dir.path());
    let one = |n| Filter::only(id(n));
    turned(&spool, at(1))
        .admin(&one(1), Action::Remove, None, usize::MAX)
        .await
        .unwrap();
    turned(&spool, at(1))
        .admin(&one(2), Action::Hold, None, usize::MAX)
        .await
        .unwrap();
    let killed = tempfile::tempdir().unwrap();
    for folder in ["", "log", "index"] {
        fs::create_dir_all(killed.path().join(folder)).unwrap();
        for file in fs::read_dir(dir.path().join(folder)).unwrap() {
            let file = file.unwrap();
            if file.file_type().unwrap().is_file() {
                fs::copy(
                    file.path(),
                    killed.path().join(folder).join(file.file_name()),
                )
                .unwrap();
            }
        }
    }
    let mut held = Vec::new();
    let visit = |found: &Exported<'_>| {
        held.extend(
            found
                .legs
                .iter()
                .filter(|leg| leg.state == State::Held)
                .map(|leg| leg.id.message),
        );
        assert_ne!(found.message.id, id(1), "it was removed");
        Ok::<_, StartError>(())
    };
    let report = export(killed.path(), at(1), None, &mut |_, _| {}, visit).unwrap();
    assert_eq!((held, report.messages), (vec![id(2)], MESSAGES - 1));
    assert_eq!(report.damage, []);
    assert!(log_octets(killed.path()) >= 4 * (64 << 10));

    let locked = verify(dir.path(), Depth::Whole, &mut |_, _| {});
    assert!(matches!(locked, Err(StartError::Locked { .. })));
}
