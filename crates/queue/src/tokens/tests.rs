//! Tokens on a spool: they outlive their messages, segments, index and process, and go when they have expired.

use std::time::Duration;

use envelope::{Message, MessageId, ReversePath};
use spool::{
    Action, Arrival, BodyWriter, Clock, Error, Filter, Spool, TOKEN_NAME_OCTETS_MAX,
    TOKEN_OCTETS_MAX,
};
use testkit::nouns;

use super::*;
use crate::log::codec::encode_token;
use crate::log::record::{Kind, Payload};
use crate::verify::{Depth, verify};
use crate::{LogSpool, Settings};

const HOUR: u64 = 3_600_000;

/// Whole hours from some hour on.
fn at(hours: u64) -> Timestamp {
    Timestamp::from_unix_millis((500_000 + hours) * HOUR)
}

/// The spool, at this moment.
fn turned(spool: &LogSpool, now: Timestamp) -> &LogSpool {
    spool.clock().set(now);
    spool
}

fn settings(dir: &Path) -> Settings {
    Settings {
        segment_bytes: Settings::SEGMENT_BYTES_MIN,
        min_free_bytes: 0,
        checkpoint_every: Duration::from_millis(5),
        clock: Clock::manual(at(0)),
        ..Settings::new(dir)
    }
}

fn quiet(dir: &Path) -> Settings {
    Settings {
        checkpoint_every: Duration::from_secs(3600),
        ..settings(dir)
    }
}

fn open(dir: &Path, now: Timestamp) -> LogSpool {
    let spool = LogSpool::open(settings(dir)).unwrap();
    turned(&spool, now);
    spool
}

/// A message that brings a token, and is removed again.
async fn bring(spool: &LogSpool, n: u64, token: Token) -> Result<(), Error> {
    let id = MessageId::new(at(0), u128::from(n));
    let mut writer = spool.begin(id).await?;
    writer.write(vec![b'x'; 3000]).await?;
    writer.keep(token);
    let message = Message::new(id, at(0), ReversePath::Null, 3000);
    let leg = nouns::leg("a@b.test");
    spool
        .commit(writer, Arrival::new(message, vec![leg], at(0)))
        .await?;
    let all = Filter::default();
    turned(spool, at(0))
        .admin(&all, Action::Remove, None, usize::MAX)
        .await
        .map(|_| ())
}

async fn recall(spool: &LogSpool, name: &str) -> Option<String> {
    turned(spool, at(0)).recall(name).await.unwrap()
}

fn only_file(dir: &Path) -> PathBuf {
    let listed = std::fs::read_dir(dir.join("tokens")).unwrap();
    let mut listed: Vec<PathBuf> = listed.map(|entry| entry.unwrap().path()).collect();
    assert_eq!(listed.len(), 1, "{listed:?}");
    listed.remove(0)
}

#[test]
fn the_same_value_keeps_its_name_and_no_place_is_given_out_twice() {
    let mut names = Names::default();
    let first = names.name("a@b.test", at(1));
    assert_eq!(names.name("a@b.test", at(1)), first);
    assert_ne!(names.name("a@b.test", at(2)).name, first.name);
    assert!(first.name.len() <= TOKEN_NAME_OCTETS_MAX);
    let place = |token: &Token| Place::parse(&token.name).unwrap();
    assert_eq!(place(&first).name(), first.name);
    names.pass(place(&first).hour, 1000);
    names.pass(place(&first).hour, 10);
    let mut last = 999;
    for n in 0..20_000 {
        let next = place(&names.name(&format!("{n}"), at(1)));
        assert!(next.offset > last, "{next:?}");
        last = next.offset;
    }
    for none in ["", "a-token", "ABCDEFGHIJKLMNOPQRSTUVW7", "ÄÖ"] {
        assert_eq!(Place::parse(none), None);
    }
}

#[test]
fn a_record_is_whole_and_its_names_own() {
    let mut names = Names::default();
    let tokens = ["a@b.test", "", &"x".repeat(TOKEN_OCTETS_MAX)].map(|v| names.name(v, at(1)));
    let mut bytes = Vec::new();
    for token in &tokens {
        let place = Place::parse(&token.name).unwrap();
        assert_eq!(place.offset, bytes.len() as u64);
        record::write(place, token, &mut bytes);
    }
    let hour = record::hour(at(1));
    assert!(record::survey(hour, &bytes).is_empty());
    for token in &tokens {
        let place = Place::parse(&token.name).unwrap();
        let read = |bytes: &[u8]| record::read(place, &bytes[place.offset as usize..]);
        assert_eq!(read(&bytes).as_ref(), Some(token));
        let another = Place::new(place.hour, place.offset);
        assert_eq!(record::read(another, &bytes[place.offset as usize..]), None);
    }
    // Whatever is flipped is told, and costs one record.
    let second = Place::parse(&tokens[1].name).unwrap().offset as usize;
    for bit in 0..second * 8 {
        let mut bad = bytes.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(record::survey(hour, &bad).len(), 1, "bit {bit}");
        let place = Place::parse(&tokens[0].name).unwrap();
        assert_eq!(record::read(place, &bad), None, "bit {bit}");
    }
    // A hole is none, at the end neither.
    bytes[..second].fill(0);
    bytes.extend_from_slice(&[0; 100]);
    assert!(record::survey(hour, &bytes).is_empty());
}

async fn check_lives(spool: &LogSpool, soon: &Token, late: &Token, how: &str) {
    assert_eq!(
        recall(spool, &soon.name).await.as_deref(),
        Some("soon"),
        "{how}"
    );
    assert_eq!(
        recall(spool, &late.name).await.as_deref(),
        Some("late"),
        "{how}"
    );
    let later = turned(spool, at(1)).recall(&soon.name).await.unwrap();
    assert_eq!(later, None, "{how}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_outlives_all_but_its_hour() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = open(dir.path(), at(0));
    let (soon, late) = (spool.token("soon", at(1)), spool.token("late", at(9)));
    let unused = spool.token("unused", at(9));
    assert_eq!(recall(&spool, &late.name).await, None);
    bring(&spool, 1, soon.clone()).await.unwrap();
    bring(&spool, 2, late.clone()).await.unwrap();
    check_lives(&spool, &soon, &late, "at once").await;
    for n in 3..80 {
        let more = spool.token(&format!("more {n}"), at(9));
        bring(&spool, n, more).await.unwrap();
    }
    spool.checkpoint().await.unwrap();
    assert_eq!(spool.shared.state.lock().tokens.len(), 0, "held in memory");
    check_lives(&spool, &soon, &late, "from its file").await;
    drop(spool);
    spool = open(dir.path(), at(0));
    check_lives(&spool, &soon, &late, "opened again").await;
    drop(spool);
    std::fs::remove_dir_all(dir.path().join("index")).unwrap();
    spool = open(dir.path(), at(0));
    check_lives(&spool, &soon, &late, "without its index").await;
    drop(spool);
    assert_eq!(recall(&open(dir.path(), at(0)), &unused.name).await, None);
    // What has expired goes with its file, the rest stays.
    spool = open(dir.path(), at(2));
    while std::fs::read_dir(dir.path().join("tokens"))
        .unwrap()
        .count()
        > 1
    {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(recall(&spool, &soon.name).await, None);
    assert_eq!(recall(&spool, &late.name).await.as_deref(), Some("late"));
    // And what expires now has a place of its own again.
    let again = spool.token("again", at(1));
    bring(&spool, 99, again.clone()).await.unwrap();
    assert_eq!(recall(&spool, &again.name).await.as_deref(), Some("again"));
    assert_eq!(spool.damaged(), 0);
}

#[tokio::test]
async fn a_long_value_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(dir.path(), at(0));
    let token = spool.token(&"x".repeat(TOKEN_OCTETS_MAX + 1), at(1));
    let refused = bring(&spool, 1, token).await;
    assert!(
        matches!(refused, Err(Error::TooLarge { .. })),
        "{refused:?}"
    );
}

/// Damage costs the tokens that it hit, never others and never mail, and nobody gets another's value.
#[tokio::test]
async fn damaged_and_missing_files() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(dir.path(), at(0));
    let tokens: Vec<Token> = (0..3)
        .map(|n| spool.token(&format!("v{n}"), at(9)))
        .collect();
    for (n, token) in (0..).zip(&tokens) {
        bring(&spool, n, token.clone()).await.unwrap();
    }
    drop(spool);
    let file = only_file(dir.path());
    let mut bytes = std::fs::read(&file).unwrap();
    let hit = Place::parse(&tokens[1].name).unwrap().offset;
    bytes[hit as usize + 21] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    let report = verify(dir.path(), Depth::Whole, &mut |_, _| ()).unwrap();
    let [damage] = &report.damage[..] else {
        panic!("{:?}", report.damage);
    };
    assert_eq!((&damage.file, damage.offset), (&file, Some(hit)));
    assert!(damage.text.contains("bounces"), "{}", damage.text);
    let spool = open(dir.path(), at(0));
    for (n, expected) in [(0, Some("v0")), (1, None), (2, Some("v2"))] {
        let value = recall(&spool, &tokens[n].name).await;
        assert_eq!(value.as_deref(), expected, "{n}");
    }
    drop(spool);
    std::fs::remove_file(&file).unwrap();
    let spool = open(dir.path(), at(0));
    let new = spool.token("new", at(9));
    assert_eq!(Place::parse(&new.name).unwrap().offset, 0);
    bring(&spool, 9, new.clone()).await.unwrap();
    spool.checkpoint().await.unwrap();
    assert_eq!(recall(&spool, &new.name).await.as_deref(), Some("new"));
    assert_eq!(recall(&spool, &tokens[0].name).await, None);
}

/// A crash has torn what the log still has: a start writes it again, and nobody calls it damage.
#[tokio::test]
async fn torn_files_are_written_again() {
    let dir = tempfile::tempdir().unwrap();
    // No checkpoint of its own, and one that dies before sled is told: here by hand.
    let spool = LogSpool::open(quiet(dir.path())).unwrap();
    let token = spool.token("torn", at(9));
    bring(&spool, 1, token.clone()).await.unwrap();
    let batch = spool.shared.state.lock().tokens.begin();
    spool.shared.tokens.write(&batch).unwrap();
    let torn = dir.path().join("torn");
    copy(dir.path(), &torn);
    drop(spool);
    for file in std::fs::read_dir(torn.join("tokens")).unwrap() {
        let path = file.unwrap().path();
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    }
    let report = verify(&torn, Depth::Whole, &mut |_, _| ()).unwrap();
    let told = |damage: &crate::verify::Damage| damage.text.contains("token");
    assert!(!report.damage.iter().any(told), "{:?}", report.damage);
    assert!(report.notes.iter().any(told), "{:?}", report.notes);
    let spool = open(&torn, at(0));
    assert_eq!(recall(&spool, &token.name).await.as_deref(), Some("torn"));
}

/// Tokens of an older Onward: rows of sled, whose records go with their segment.
#[tokio::test(flavor = "multi_thread")]
async fn old_tokens_stay_until_they_expire() {
    let dir = tempfile::tempdir().unwrap();
    // This one gives segments back without a look at such records: it has no time to.
    let spool = LogSpool::open(quiet(dir.path())).unwrap();
    let name = |n: u64| format!("OLD-{n:04}");
    for n in 0..1_500 {
        let token = Token {
            name: name(n).into(),
            value: "v".into(),
            expires: at(1 + n % 2),
        };
        let payload = Payload::new(Kind::Token, vec![encode_token(&token)]);
        drop(spool.shared.log.append(payload, None));
    }
    spool.shared.log.barrier().await.unwrap().unwrap();
    drop(spool);
    // As that Onward left it: nothing of it in this index.
    std::fs::remove_dir_all(dir.path().join("index")).unwrap();
    let spool = open(dir.path(), at(0));
    let segments = spool.log_octets();
    for n in [0, 7, 1_499] {
        assert_eq!(recall(&spool, &name(n)).await.as_deref(), Some("v"), "{n}");
    }
    let over = turned(&spool, at(1)).recall(&name(0)).await.unwrap();
    assert_eq!(over, None);
    drop(spool);
    let spool = open(dir.path(), at(1));
    let left = |spool: &LogSpool| spool.ask_now(|keeper| keeper.tree.tokens().unwrap().len());
    while left(&spool) > Some(750) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(recall(&spool, &name(1)).await.as_deref(), Some("v"));
    assert!(spool.log_octets() <= segments);
    drop(spool);
    let settings = settings(dir.path());
    let rebuilt = tokio::task::spawn_blocking(|| LogSpool::rebuild(settings));
    let (spool, _) = rebuilt.await.unwrap().unwrap();
    assert_eq!(recall(&spool, &name(1)).await.as_deref(), Some("v"));
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let name = to.join(path.file_name().unwrap());
        if path.is_dir() && path != *to {
            copy(&path, &name);
        } else if path.is_file() {
            std::fs::copy(&path, name).unwrap();
        }
    }
}

/// Those that can go to their places in another spool do, and no other.
#[tokio::test]
async fn names_go_to_another_spool_whose_places_are_free() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let from = open(here.path(), at(0));
    for (n, value) in [(1, "a@x.example"), (2, "bb@x.example")] {
        let token = from.token(value, at(2));
        bring(&from, n, token).await.unwrap();
    }
    let gone = from.token("gone@x.example", at(1));
    bring(&from, 3, gone).await.unwrap();
    turned(&from, at(1));
    let tokens = from.tokens().await.unwrap();
    assert_eq!(tokens.len(), 2, "{tokens:?}");
    let no_place = Token {
        name: "PNOPLACE".into(),
        ..tokens[0].clone()
    };
    let all = [&tokens[..], std::slice::from_ref(&no_place)].concat();
    let to = open(there.path(), at(1));
    let left = to.keep_tokens(all.clone()).await.unwrap();
    assert_eq!(left, std::slice::from_ref(&no_place));
    assert_eq!(to.keep_tokens(all).await.unwrap(), [no_place], "again");
    for token in &tokens {
        let value = to.recall(&token.name).await.unwrap();
        assert_eq!(value.as_deref(), Some(&*token.value));
    }
    // A name that is given out now leads to no place that is taken; and the places that it takes are taken.
    let new = to.token("new@x.example", at(2));
    bring(&to, 4, new.clone()).await.unwrap();
    let other = open(tempfile::tempdir().unwrap().path(), at(1));
    let theirs = other.token("ours@x.example", at(2));
    assert_eq!(
        to.keep_tokens(vec![theirs.clone()]).await.unwrap(),
        [theirs]
    );
    assert_eq!(
        to.recall(&new.name).await.unwrap().as_deref(),
        Some("new@x.example")
    );
}
