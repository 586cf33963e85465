//! Pages of a listing in which few legs are meant.

use envelope::{BodyKind, Leg, Message, ReversePath};
use queue::{BodyWriter, IdSource, LogSpool, Settings};

use super::*;

/// A queue with one message of `legs` legs, every 500th of them to `rare@b.test`.
async fn queue(legs: usize) -> (LogSpool, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let settings = Settings {
        min_free_bytes: 0,
        ..Settings::new(dir.path())
    };
    let spool = LogSpool::open(settings, now()).unwrap();
    let id = IdSource::new().next(now());
    let mut writer = spool.begin(id).await.unwrap();
    writer.write(&b"A: b\r\n\r\nbody\r\n"[..]).await.unwrap();
    let message = Message {
        id,
        arrived: now(),
        reverse_path: ReversePath::Null,
        size: writer.len(),
        body: BodyKind::SevenBit,
        smtputf8: false,
        ret: None,
        envid: None,
    };
    let target = |number: usize| match number % 500 {
        499 => "rare@b.test".to_owned(),
        _ => format!("u{number}@b.test"),
    };
    let leg = |number| Leg {
        reverse_path: ReversePath::Null,
        target: target(number).parse().unwrap(),
        recipient: "a@b.test".parse().unwrap(),
        original: None,
        notify: None,
        trace: "".into(),
    };
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
        let (found, next) = select(spool, &rare, cursor, limit).await.unwrap();
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
