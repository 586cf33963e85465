//! What nodes tell each other: notes, questions, and who is there.

use std::time::{Duration, Instant};

use envelope::Share;
use queue_pg::{PgSpool, Settings};
use spool::{Board, Error, Note, Reply, Rule, Spool};

use crate::support::{Database, PACE, until};

fn note(name: &str, text: Option<&str>) -> Note {
    Note::new("colour", name.to_owned(), text.map(str::to_owned))
}

/// In any order.
async fn news(board: &dyn Board) -> Vec<Note> {
    let mut notes = board.news().await;
    notes.sort_by(|a, b| a.name.cmp(&b.name));
    notes
}

#[tokio::test]
#[ignore = "foreign: PostgreSQL"]
async fn each_note_reaches_each_other_node_once() {
    let database = Database::new().await;
    let [a, b] = [database.node("a").await, database.node("b").await];
    let [one, two] = [&a, &b].map(|node| node.board().unwrap());
    assert_eq!(news(&*one).await, []);
    let [red, blue] = [note("x", Some("red")), note("y", Some("blue"))];
    one.put(vec![red.clone(), blue.clone()], Rule::Replace)
        .await
        .unwrap();
    // The first time all that holds.
    assert_eq!(news(&*two).await, [red, blue]);
    let green = note("x", Some("green"));
    one.put(vec![green.clone()], Rule::Replace).await.unwrap();
    assert_eq!(news(&*two).await, std::slice::from_ref(&green));
    // Each learns in one order what was put up, its own too.
    let gone = note("y", None);
    two.put(vec![gone.clone()], Rule::Replace).await.unwrap();
    let own = |note: &Note| Note {
        is_own: true,
        ..note.clone()
    };
    assert_eq!(news(&*two).await, [own(&gone)]);
    assert_eq!(news(&*one).await, [own(&green), gone.clone()]);
    // What is gone is not amended.
    let amended = vec![note("x", Some("green and grey")), note("y", Some("grey"))];
    two.put(amended.clone(), Rule::IfUp).await.unwrap();
    assert_eq!(news(&*one).await, amended[..1]);
    // Who comes later, or again, sees what holds.
    drop(a);
    let again = database.node("a").await;
    assert_eq!(
        news(&*again.board().unwrap()).await,
        [amended[0].clone(), gone]
    );
}

#[tokio::test]
#[ignore = "foreign: PostgreSQL"]
async fn what_is_put_as_new_replaces_nothing() {
    let database = Database::new().await;
    let [a, b] = [database.node("a").await, database.node("b").await];
    let [one, two] = [&a, &b].map(|node| node.board().unwrap());
    let [red, gone] = [note("x", Some("red")), note("y", None)];
    one.put(vec![red.clone(), gone.clone()], Rule::Replace)
        .await
        .unwrap();
    assert_eq!(news(&*one).await.len(), 2);
    let new = ["x", "y", "z"].map(|name| note(name, Some("new")));
    two.put(new.to_vec(), Rule::IfNew).await.unwrap();
    assert_eq!(news(&*one).await, new[2..]);
    let own = Note {
        is_own: true,
        ..new[2].clone()
    };
    assert_eq!(news(&*two).await, [red, gone, own]);
}

/// A site that was resumed meanwhile is not paused again by what was given up.
#[tokio::test]
#[ignore = "foreign: PostgreSQL"]
async fn what_is_given_up_is_not_put_up_later() {
    let database = Database::new().await;
    let (link, url) = database.link().await;
    let cut = PgSpool::open(Settings::new(&url, "cut")).await.unwrap();
    let board = cut.board().unwrap();
    // So often that each connection knows the statement: nothing is asked before it.
    for number in 0..40 {
        let first = note("x", Some(&number.to_string()));
        board.put(vec![first], Rule::Replace).await.unwrap();
    }
    link.stop(true);
    let put = board
        .put(vec![note("x", Some("late"))], Rule::Replace)
        .await;
    assert!(matches!(put, Err(Error::Unknown(_))));
    link.stop(false);
    cut.close().await;
    drop((board, cut));
    // The database has read all that it was sent.
    let left = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'onward%'";
    until(&database, left, "0").await;
    let text = "SELECT text FROM onward.notes";
    assert_eq!(database.ask(text).await, "39");
}

#[tokio::test]
#[ignore = "foreign: PostgreSQL"]
async fn what_is_up_was_not_refused_because_nobody_could_be_told() {
    let database = Database::new().await;
    let [a, b] = [database.node("a").await, database.node("b").await];
    let [one, two] = [&a, &b].map(|node| node.board().unwrap());
    assert_eq!(news(&*two).await, []);
    let mute = "ALTER FUNCTION pg_catalog.pg_notify(text, text) RENAME TO pg_notify_not";
    database.ask(mute).await;
    let red = note("x", Some("red"));
    one.put(vec![red.clone()], Rule::Replace).await.unwrap();
    assert_eq!(news(&*two).await, [red]);
}

/// One that began early and commits late is not overlooked.
#[tokio::test]
#[ignore = "foreign: PostgreSQL"]
async fn a_late_commit_is_read() {
    let database = Database::new().await;
    let [a, b] = [database.node("a").await, database.node("b").await];
    let [one, two] = [&a, &b].map(|node| node.board().unwrap());
    assert_eq!(news(&*two).await, []);
    let late = "BEGIN; INSERT INTO onward.notes VALUES ('colour', 'late', 'grey', false, 1, 1, \
        pg_current_xact_id()::text::int8); SELECT pg_sleep(1); COMMIT";
    let late = tokio::spawn(async move { database.ask(late).await });
    tokio::time::sleep(Duration::from_millis(300)).await;
    let early = note("early", Some("red"));
    one.put(vec![early.clone()], Rule::Replace).await.unwrap();
    assert_eq!(news(&*two).await, [early]);
    assert_eq!(news(&*two).await, [note("late", Some("grey"))]);
    late.await.unwrap();
}

#[tokio::test]
#[ignore = "foreign: PostgreSQL"]
async fn a_question_is_answered_by_all_who_can() {
    let database = Database::new().await;
    let nodes = [
        database.node("a").await,
        database.node("b").await,
        database.node("c").await,
    ];
    let boards = nodes.each_ref().map(|node| node.board().unwrap());
    for board in &boards {
        board.news().await;
    }
    // Something that works beside the nodes.
    let _aside = database.node("d").await;
    let place = boards[1].place();
    assert!(place.nodes >= 2, "{place:?}");
    let [asks, answers, silent] = &boards;
    let answering = async {
        for _ in 0..2 {
            let question = answers.question().await;
            let text = format!("{}: blue", question.text);
            answers.answer(question.id, text).await.unwrap();
        }
    };
    let asking = async {
        let began = Instant::now();
        let replies = asks.ask("sky".to_owned()).await.unwrap();
        let reply = |node: &str, text: Option<&str>| Reply {
            node: node.to_owned(),
            text: text.map(str::to_owned),
        };
        let blue = reply("b", Some("sky: blue"));
        assert_eq!(replies, [blue, reply("c", None)]);
        assert!(began.elapsed() > Duration::from_secs(4));
        drop(nodes);
    };
    let both = async {
        tokio::join!(asking, async {
            assert_eq!(silent.question().await.text, "sky");
            // It heard, and died over it.
        });
        // Who is known to be gone is named, and not waited for.
        let soon = Duration::from_secs(1);
        let began = Instant::now();
        loop {
            let asked = Instant::now();
            let replies = asks.ask("sea".to_owned()).await.unwrap();
            assert_eq!(replies.len(), 2);
            if asked.elapsed() < soon {
                break;
            }
            assert!(began.elapsed() < testkit::PATIENCE);
        }
    };
    tokio::select! {
        () = both => {}
        () = async { answering.await; std::future::pending().await } => {}
    }
}

#[tokio::test]
#[ignore = "foreign: PostgreSQL"]
async fn each_node_knows_its_place() {
    let database = Database::new().await;
    let [a, b] = [database.node("a").await, database.node("b").await];
    let [one, two] = [&a, &b].map(|node| node.board().unwrap());
    let alone = Share::default();
    one.news().await;
    assert_eq!(one.place(), alone);
    two.news().await;
    let second = Share {
        number: 1,
        nodes: 2,
    };
    assert_eq!(two.place(), second);
    // The other one dies; whoever looks sees it.
    drop((one, a));
    tokio::time::sleep(PACE.dead).await;
    let began = Instant::now();
    while two.place() != alone {
        assert!(began.elapsed() < testkit::PATIENCE);
        let _ = tokio::time::timeout(PACE.beat * 2, two.news()).await;
    }
}
