//! Three nodes: `a` is asked, takes mail in and tries it once, `b` delivers what is tried again, `c` says nothing.

use std::sync::Arc;
use std::time::Duration;

use control::{MailStatus, StatsBy};
use envelope::{Diagnosis, LegId, Timestamp, Trip};
use history::{History, Settings};
use journal::{Attempt, Event, Journal};
use spool::{Board, Boxed, Note, Question, Reply, Rule};
use tempfile::TempDir;
use testkit::nouns::mailbox;

use super::*;
use crate::nodes::Nodes;

/// What the others know, as long as they answer.
struct Others(Vec<(&'static str, Option<Desk>)>);

impl Board for Others {
    fn name(&self) -> &str {
        "own"
    }

    fn now(&self) -> Timestamp {
        unreachable!("nobody asks")
    }

    fn put(&self, _: Vec<Note>, _: Rule) -> Boxed<'_, Result<(), spool::Error>> {
        unreachable!("nobody does")
    }

    fn news(&self) -> Boxed<'_, Vec<Note>> {
        unreachable!("nobody waits for them")
    }

    fn place(&self) -> envelope::Share {
        unreachable!("nobody asks for it")
    }

    fn ask(&self, text: String) -> Boxed<'_, Result<Vec<Reply>, spool::Error>> {
        Box::pin(async move {
            let mut replies = Vec::new();
            for (node, desk) in &self.0 {
                let text = match desk {
                    Some(desk) => {
                        let question = serde_json::from_str(&text).unwrap();
                        Some(answer_node(desk, question).await)
                    }
                    None => None,
                };
                let node = (*node).to_owned();
                replies.push(Reply { node, text });
            }
            Ok(replies)
        })
    }

    fn question(&self) -> Boxed<'_, Question> {
        unreachable!("nobody asks")
    }

    fn answer(&self, _: i64, _: String) -> Boxed<'_, Result<(), spool::Error>> {
        unreachable!("nobody asks")
    }
}

const START: Timestamp = Timestamp::from_unix_millis(0);

fn id(n: u128) -> MessageId {
    MessageId::new(Timestamp::from_unix_millis(1_795_264_496_789), 77 << 32 | n)
}

fn leg(n: u128) -> LegId {
    LegId {
        message: id(n),
        number: 0,
    }
}

fn written(folder: &TempDir, name: &str, events: Vec<Event>) -> Desk {
    let journal = Journal::default();
    let settings = Settings {
        path: folder.path().join(name),
        keep: Duration::from_hours(10_000 * 24),
        octets_max: 1 << 30,
        octets_free: 0,
    };
    let history = History::start(settings, &journal);
    for event in events {
        journal.record(event);
    }
    drop(journal);
    history.desk()
}

/// From `s@s.test`, to `TARGET@t.test`.
fn taken_in(n: u128, target: &str) -> [Event; 3] {
    [
        Event::Received {
            id: id(n),
            client: "192.0.2.1:4711".parse().unwrap(),
            client_name: None,
            listener: "198.51.100.1:25".parse().unwrap(),
            hello: "s.test".into(),
            tls: None,
            user: None,
            sender: envelope::ReversePath::Mailbox(mailbox("s@s.test")),
            recipients: 1,
            message_id: Some(format!("<{n}@s.test>").into()),
            size: 1000,
            before_queue: Duration::ZERO,
            normalized: 0,
            stripped: 0,
            online: false,
            dropped: String::new(),
        },
        Event::Forwarded {
            id: leg(n),
            recipient: mailbox("r@r.test"),
            target: mailbox(&format!("{target}@t.test")),
            sender: envelope::ReversePath::Null,
            tier: None,
        },
        tried(n, target, 1, "4.2.2"),
    ]
}

fn tried(n: u128, target: &str, attempt: u32, status: &str) -> Event {
    let leg = Attempt {
        id: leg(n),
        recipient: mailbox("r@r.test"),
        target: mailbox(&format!("{target}@t.test")),
        attempt,
        delay: Duration::from_secs(1),
        trip: Trip::default(),
    };
    let diagnosis = Diagnosis::local(status.parse().unwrap(), "as it is");
    match &status[..1] {
        "2" => Event::Delivered { leg, diagnosis },
        "4" => Event::Deferred {
            leg,
            diagnosis,
            next: START,
        },
        _ => Event::Failed { leg, diagnosis },
    }
}

/// The history of `a`, and those of the others.
fn nodes(folder: &TempDir) -> (Desk, Arc<Others>) {
    let own = [
        taken_in(1, "alive"),
        taken_in(2, "dead"),
        taken_in(3, "waits"),
    ];
    let own = written(folder, "a", own.into_iter().flatten().collect());
    let of_b = vec![
        tried(1, "alive", 2, "2.0.0"),
        tried(2, "dead", 2, "4.2.2"),
        tried(2, "dead", 3, "5.1.1"),
        Event::Drained {
            on: true,
            by: Actor::Uid(7),
            reason: String::new(),
        },
    ];
    let others = vec![("b", Some(written(folder, "b", of_b))), ("c", None)];
    (own, Arc::new(Others(others)))
}

#[tokio::test]
async fn a_trace_finds_by_what_one_node_knows_what_another_knows() {
    let folder = tempfile::tempdir().unwrap();
    let (own, board) = nodes(&folder);
    let nodes = || Histories {
        own: &own,
        nodes: Nodes::at(Arc::<Others>::clone(&board)),
    };
    use MailStatus::*;
    let what = |what: &str, status| Trace {
        what: Some(what.to_owned()),
        status,
        limit: 10,
        ..Trace::default()
    };
    let first = (1, Delivered, vec![Deferred, Delivered]);
    let second = (2, Failed, vec![Deferred, Deferred, Failed]);
    let third = (3, Deferred, vec![Deferred]);
    for (ask, expected) in [
        (what("<1@s.test>", None), vec![&first]),
        (what(&id(2).to_string(), None), vec![&second]),
        (what("s@s.test", None), vec![&third, &second, &first]),
        (what("s@s.test", Some(Failed)), vec![&second]),
        (what("s@s.test", Some(Deferred)), vec![&third]),
        (what("alive@t.test", Some(Delivered)), vec![&first]),
        (what("alive@t.test", Some(Failed)), vec![]),
        (
            Trace {
                status: Some(Deferred),
                limit: 1,
                ..Trace::default()
            },
            vec![&third],
        ),
        (
            Trace {
                ids: vec![id(1), id(9)],
                limit: PAGE_ROWS_MAX,
                ..Trace::default()
            },
            vec![&first],
        ),
    ] {
        let traced = nodes().trace(ask.clone()).await.unwrap();
        assert_eq!(traced.silent_nodes, ["c"]);
        assert!(!traced.is_cut, "{ask:?}");
        let row = |message: &TracedMessage| {
            assert!(message.client.is_some(), "its beginning is known");
            let attempts = message.legs[0].attempts.iter();
            let results = attempts.map(|attempt| attempt.result).collect();
            let number = message.id.unwrap().bits() & 0xff;
            (number, message.status, results)
        };
        let rows: Vec<_> = traced.messages.iter().map(row).collect();
        let rows: Vec<_> = rows.iter().collect();
        assert_eq!(rows, expected, "{ask:?}");
    }
}

#[tokio::test]
async fn sums_changes_and_forwards_are_those_of_all() {
    let folder = tempfile::tempdir().unwrap();
    let (own, board) = nodes(&folder);
    let nodes = || Histories {
        own: &own,
        nodes: Nodes::at(Arc::<Others>::clone(&board)),
    };
    let (since, reply, limit) = (START, None, 1);
    let by = StatsBy::RecipientDomain;
    let stats = Stats {
        by,
        since,
        reply,
        limit,
    };
    let page = nodes().stats(stats).await.unwrap();
    let [row] = &page.rows[..] else {
        unreachable!("{page:?}")
    };
    assert_eq!((row.deferred, row.delivered, row.failed), (4, 1, 1));
    assert_eq!(
        (page.silent_nodes, page.left_out),
        (vec!["c".to_owned()], 0)
    );

    let hours = nodes().stats_hours(StatsHours { since }).await.unwrap();
    assert_eq!(hours.iter().map(|row| row.deferred).sum::<u64>(), 4);

    let (until, limit) = (None, 10);
    let changes = nodes().changes(Changes { until, limit }).await.unwrap();
    let texts: Vec<_> = changes.iter().map(|change| &change.text).collect();
    assert_eq!(texts, ["node=b uid=7"]);

    // What `b` delivered does not fail, though nothing else is known here.
    let of = Vec::new();
    let failing = ForwardsFailing { since, of, limit };
    let failing = nodes().forwards_failing(failing).await.unwrap();
    let row = |row: &control::FailingForward| (row.target.clone(), row.failed, row.deferred);
    let rows: Vec<_> = failing.forwards.iter().map(row).collect();
    let expected = [("dead@t.test", 1, 2), ("waits@t.test", 0, 1)];
    assert_eq!(
        rows,
        expected.map(|(target, failed, late)| (target.to_owned(), failed, late))
    );
    assert_eq!(failing.silent_nodes, ["c"]);
}

#[tokio::test]
async fn a_node_answers_for_its_history_alone() {
    let folder = tempfile::tempdir().unwrap();
    let desk = written(&folder, "a", taken_in(1, "alive").into());
    for (question, expected) in [
        (
            r#"{"do":"stats_hours","since":"1970-01-01T00:00:00.000Z"}"#,
            r#"{"Ok":[{"at":""#,
        ),
        (r#"{"do":"trace","limit":1}"#, r#"{"Ok":{"messages":[{"#),
        (
            r#"{"do":"ping"}"#,
            r#"{"Err":{"message":"a node does not answer others for that""#,
        ),
        (
            r#"{"do":"stats","by":"reply","since":"1970-01-01T00:00:00.000Z","reply":"x","limit":1}"#,
            r#"{"Err":{"message":"`x` is no enhanced status code""#,
        ),
    ] {
        let request = serde_json::from_str(question).unwrap();
        let answer = answer_node(&desk, request).await;
        assert!(answer.starts_with(expected), "{question}: {answer}");
    }
}
