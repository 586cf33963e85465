//! Pages of a listing in which few legs are meant, and what an action is said to have come to.

use envelope::{Message, ReversePath};
use journal::Format;
use queue::{LogSpool, Settings};
use spool::{BodyWriter, IdSource, Want};
use testkit::nouns;

use super::*;
use crate::tests::now;

/// A queue with one message of `legs` legs, every 500th of them to `rare@b.test`.
async fn queue(legs: usize) -> (LogSpool, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let settings = Settings {
        min_free_bytes: 0,
        ..Settings::new(dir.path())
    };
    let spool = LogSpool::open(settings).unwrap();
    let id = IdSource::new().next(now());
    let mut writer = spool.begin(id).await.unwrap();
    writer.write(&b"A: b\r\n\r\nbody\r\n"[..]).await.unwrap();
    let message = Message::new(id, now(), ReversePath::Null, writer.len());
    let target = |number: usize| match number % 500 {
        499 => "rare@b.test".to_owned(),
        _ => format!("u{number}@b.test"),
    };
    let leg = |number| nouns::forward("a@b.test", &target(number));
    let legs = (0..legs).map(leg).collect();
    spool.commit(writer, message, legs, now()).await.unwrap();
    (spool, dir)
}

/// The numbers of the legs on each page.
#[track_caller]
fn check(limit: usize, pages: Vec<Vec<u32>>, expected: &[&[u32]]) {
    assert_eq!(pages, expected, "pages of {limit}");
}

async fn pages(spool: &LogSpool, limit: usize) -> Vec<Vec<u32>> {
    let rare = Selector {
        to: Some("rare@b.test".parse().unwrap()),
        ..Selector::default()
    };
    let (mut pages, mut cursor) = (Vec::new(), None);
    loop {
        let (found, next) = select(spool, &rare, cursor, limit, now()).await.unwrap();
        pages.push(found.iter().map(|entry| entry.id.number).collect());
        cursor = next;
        if cursor.is_none() {
            return pages;
        }
    }
}

#[tokio::test]
async fn every_leg_is_on_one_page_and_no_page_is_over_its_limit() {
    let (spool, _dir) = queue(2400).await;
    check(
        1,
        pages(&spool, 1).await,
        &[&[499], &[999], &[1499], &[1999]],
    );
    check(3, pages(&spool, 3).await, &[&[499, 999, 1499], &[1999]]);
    check(5, pages(&spool, 5).await, &[&[499, 999, 1499, 1999]]);
}

/// Two legs are due and one of them is taken: what is said of `actions`, one after the other, as counts and as lines.
async fn check_actions(actions: &[QueueAction], counts: &[[u64; 3]], lines: &[&str]) {
    let (spool, _dir) = queue(2).await;
    let spool = Arc::new(spool);
    let want = Want {
        max: 1,
        per_host: 1,
        lease: std::time::Duration::from_hours(1),
    };
    assert_eq!(spool.claim(&want).await.unwrap().len(), 1);
    let journal = Journal::default();
    let mut events = journal.subscribe();
    let mut got = Vec::new();
    for action in actions {
        let all = Selector::default();
        let (entries, _) = select(&*spool, &all, None, 9, now()).await.unwrap();
        let (spool, journal) = (Arc::clone(&spool), journal.clone());
        let acting = act(spool, journal, *action, 7, entries, Count::default());
        let count = acting.await.unwrap();
        got.push([count.matched, count.done, count.pending]);
    }
    assert_eq!(got, counts, "{actions:?}");
    let mut written = Vec::new();
    while let Some(Ok(entry)) = events.try_next() {
        let line = entry.line(Format::Text);
        let (_, fields) = line.split_once(" leg=").unwrap();
        written.push(fields.trim_end().to_owned());
    }
    assert_eq!(written, lines, "{actions:?}");
}

#[tokio::test]
async fn what_an_action_came_to() {
    let (hold, release) = (QueueAction::Hold, QueueAction::Release);
    let hold_lines = [
        "0 action=hold outcome=pending uid=7 to=a@b.test target=u0@b.test",
        "1 action=hold outcome=done uid=7 to=a@b.test target=u1@b.test",
    ];
    check_actions(&[hold], &[[2, 1, 1]], &hold_lines).await;
    check_actions(&[hold, hold], &[[2, 1, 1], [2, 0, 0]], &hold_lines).await;
    let released = [
        "0 action=release outcome=done uid=7 to=a@b.test target=u0@b.test",
        "1 action=release outcome=done uid=7 to=a@b.test target=u1@b.test",
    ];
    let lines = [hold_lines, released].concat();
    check_actions(&[hold, release], &[[2, 1, 1], [2, 2, 0]], &lines).await;
    let lines = [
        "0 action=bounce outcome=pending uid=7 to=a@b.test target=u0@b.test",
        "1 action=bounce outcome=done uid=7 to=a@b.test target=u1@b.test",
    ];
    check_actions(&[QueueAction::Bounce], &[[2, 1, 1]], &lines).await;
    let lines = [
        "0 action=remove outcome=pending uid=7 to=a@b.test target=u0@b.test",
        "1 action=remove outcome=done uid=7 to=a@b.test target=u1@b.test",
    ];
    check_actions(&[QueueAction::Remove], &[[2, 1, 1]], &lines).await;
    check_actions(
        &[QueueAction::Retry, release],
        &[[2, 1, 0], [2, 0, 0]],
        &["1 action=retry outcome=done uid=7 to=a@b.test target=u1@b.test"],
    )
    .await;
}
