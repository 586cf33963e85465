//! What nodes say, as rows, and what becomes of it.

use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::*;

const ID: &str = "01M7Z1MH4N0000000000000007";

fn read<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

/// A second of the day.
fn at(secs: u32) -> String {
    format!("2026-11-21T12:00:{secs:02}.000Z")
}

fn attempt((attempt, secs, result): (u32, u32, &str)) -> Value {
    json!({
        "attempt": attempt, "at": at(secs), "result": result, "code": "2.0.0", "text": "",
        "delay_ms": 0, "connect_ms": 0, "transmission_ms": 0,
    })
}

/// A leg as one node knows it; only who took the message in knows its sender.
fn leg(number: u32, sender: Option<&str>, status: &str, attempts: &[(u32, u32, &str)]) -> Value {
    json!({
        "leg": format!("{ID}.{number}"), "status": status, "recipient": "a@b.test", "target": "c@c.test",
        "sender": sender, "attempts": attempts.iter().copied().map(attempt).collect::<Vec<_>>(),
    })
}

fn message(client: Option<&str>, legs: &[Value], notes: &[(u32, &str, &str)]) -> TracedMessage {
    let note = |(secs, event, text): &(u32, &str, &str)| {
        let text = text.replace("LEG", &format!("leg={ID}.0"));
        json!({"at": at(*secs), "event": event, "text": text})
    };
    let notes: Vec<_> = notes.iter().map(note).collect();
    let mut message: TracedMessage = read(json!({
        "id": ID, "at": at(0), "status": "queued", "client": client, "legs": legs, "notes": notes,
    }));
    message.status = trace::status(&message);
    message
}

fn page(messages: Vec<TracedMessage>) -> Traced {
    Traced {
        messages,
        ..Traced::default()
    }
}

#[test]
fn a_message_of_two_nodes_is_one() {
    let taken_in = message(
        Some("192.0.2.1:1"),
        &[
            leg(0, Some("<s@s.test>"), "deferred", &[(1, 1, "deferred")]),
            leg(1, Some("<s@s.test>"), "delivered", &[(1, 1, "delivered")]),
        ],
        &[(1, "filtered", "filter=x")],
    );
    let taken_over = message(
        None,
        &[
            leg(0, None, "failed", &[(2, 5, "deferred"), (3, 9, "failed")]),
            leg(2, None, "delivered", &[(2, 4, "delivered")]),
        ],
        &[(9, "bounced", "kind=failed")],
    );
    let expected = message(
        Some("192.0.2.1:1"),
        &[
            leg(
                0,
                Some("<s@s.test>"),
                "failed",
                &[(1, 1, "deferred"), (2, 5, "deferred"), (3, 9, "failed")],
            ),
            leg(1, Some("<s@s.test>"), "delivered", &[(1, 1, "delivered")]),
            leg(2, None, "delivered", &[(2, 4, "delivered")]),
        ],
        &[(1, "filtered", "filter=x"), (9, "bounced", "kind=failed")],
    );
    for parts in [
        [&taken_in, &taken_over, &taken_in],
        [&taken_over, &taken_in, &taken_over],
    ] {
        let parts = parts.map(|part| page(vec![part.clone()]));
        assert_eq!(traced(parts), page(vec![expected.clone()]));
    }
}

#[track_caller]
fn check_status(attempts: &[(u32, u32, &str)], notes: &[(u32, &str, &str)], expected: MailStatus) {
    let notes = message(None, &[], notes).notes;
    let leg = read(leg(0, None, "queued", attempts));
    assert_eq!(stands(&leg, &notes), expected, "{attempts:?} {notes:?}");
}

#[test]
fn how_a_leg_stands_on_all_nodes_together() {
    use MailStatus::*;
    let (late, done) = ((1, 5, "deferred"), (2, 6, "delivered"));
    let hold = (3, "operator", "LEG action=hold outcome=done");
    let release = (7, "operator", "LEG action=release outcome=done");
    let remove = (8, "operator", "LEG action=remove outcome=pending");
    check_status(&[], &[], Queued);
    check_status(&[late], &[], Deferred);
    check_status(&[late, done], &[], Delivered);
    check_status(&[], &[(1, "held", "LEG to=a@b.test")], Held);
    check_status(&[late], &[hold], Held);
    check_status(&[late], &[hold, release], Deferred);
    check_status(&[], &[hold, release], Queued);
    check_status(&[late], &[hold, release, remove], Removed);
    // It was asked for too late.
    check_status(&[late, done], &[remove], Delivered);
    let of_another = format!("leg={ID}.10 action=hold outcome=done");
    check_status(&[late], &[(3, "operator", &of_another)], Deferred);
}

#[test]
fn what_was_refused_without_an_id_stays_apart_and_the_latest_are_first() {
    let refused = |secs| -> TracedMessage {
        read(json!({"at": at(secs), "status": "refused", "client": "192.0.2.1:1"}))
    };
    let one = Traced {
        messages: vec![refused(9), message(None, &[], &[])],
        is_cut: true,
        oldest: Some(at(9).parse().unwrap()),
        ..Traced::default()
    };
    let other = Traced {
        oldest: Some(at(1).parse().unwrap()),
        ..page(vec![refused(9), refused(3)])
    };
    let mut whole = traced([one, other, Traced::default()]);
    let times = |whole: &Traced| -> Vec<_> {
        let messages = whole.messages.iter();
        messages.map(|message| message.at.to_string()).collect()
    };
    assert_eq!(times(&whole), [9, 9, 3, 0].map(at));
    assert_eq!(whole.oldest, Some(at(1).parse().unwrap()));
    assert!(whole.is_cut);
    whole.is_cut = false;
    let limit = 2;
    let ask = ask::Trace {
        limit,
        ..ask::Trace::default()
    };
    keep_meant(&ask, &mut whole);
    assert_eq!(times(&whole), [9, 9].map(at));
    assert!(whole.is_cut, "two were left out");
    let ask = ask::Trace {
        status: Some(MailStatus::Held),
        ..ask
    };
    keep_meant(&ask, &mut whole);
    assert_eq!(times(&whole), [""; 0]);
}

#[test]
fn an_answer_has_a_size() {
    let mut large = message(None, &[], &[]);
    large.hello = Some("x".repeat(trace::OCTETS_MAX / 3));
    let mut whole = page(vec![large; 4]);
    let limit = 10;
    let ask = ask::Trace {
        limit,
        ..ask::Trace::default()
    };
    keep_meant(&ask, &mut whole);
    assert_eq!((whole.messages.len(), whole.is_cut), (2, true));
}

#[test]
fn who_is_asked_for_which_status() {
    use MailStatus::*;
    let (what, from) = (Some("a@b.test".to_owned()), "c@d.test".parse().ok());
    let any = ask::Trace {
        limit: 7,
        ..ask::Trace::default()
    };
    let rows = [
        (None, None, None, vec![(None, 7)]),
        (None, what.clone(), None, vec![(None, 7)]),
        (Some(Failed), None, None, vec![(Some(Failed), 1000)]),
        (
            Some(Failed),
            what,
            None,
            [Failed, Queued, Deferred, Held]
                .map(|one| (Some(one), 1000))
                .into(),
        ),
        (
            Some(Deferred),
            None,
            from,
            [Deferred, Queued, Held].map(|one| (Some(one), 1000)).into(),
        ),
    ];
    for (status, what, from, expected) in rows {
        let ask = ask::Trace {
            status,
            what,
            from,
            ..any.clone()
        };
        let parts = parts(&ask);
        let got: Vec<_> = parts.iter().map(|part| (part.status, part.limit)).collect();
        assert_eq!(got, expected, "{ask:?}");
    }
}

fn row(key: &str, target: Option<&str>, sums: [u64; 6], is_new: bool) -> StatsRow {
    let [received, octets, refused, delivered, deferred, failed] = sums;
    StatsRow {
        key: key.to_owned(),
        target: target.map(ToOwned::to_owned),
        received,
        octets,
        refused,
        delivered,
        deferred,
        failed,
        is_new,
    }
}

#[test]
fn sums_are_added_and_the_largest_kept() {
    let (x, y) = (Some("x@x.test"), Some("y@y.test"));
    let one = StatsPage {
        rows: vec![
            row("a", x, [5, 50, 1, 2, 3, 4], true),
            row("a", y, [1; 6], true),
            row("b", None, [3; 6], true),
        ],
        keys: 3,
        ..StatsPage::default()
    };
    let other = StatsPage {
        rows: vec![row("b", None, [7; 6], true), row("a", x, [1; 6], false)],
        keys: 9,
        left_out: 7,
        is_cut: true,
        ..StatsPage::default()
    };
    let both = [
        row("b", None, [10; 6], true),
        row("a", x, [6, 51, 2, 3, 4, 5], false),
        row("a", y, [1; 6], true),
    ];
    let whole = stats([one.clone(), other.clone()], 10);
    assert_eq!(whole.rows, both);
    assert_eq!((whole.keys, whole.left_out, whole.is_cut), (9, 6, true));
    let whole = stats([other, one.clone()], 1);
    assert_eq!(whole.rows, both[..1]);
    assert_eq!((whole.keys, whole.left_out), (9, 8));
    assert_eq!(stats([one.clone()], 2).left_out, 1);
    assert_eq!(stats([one.clone(), one], 2).keys, 3);
}

#[test]
fn hours_are_added() {
    let hour = |secs, n: u64| -> HourRow {
        read(
            json!({"at": at(secs), "refused": n, "delivered": 2 * n, "deferred": 3 * n, "failed": 4 * n}),
        )
    };
    let whole = hours([vec![hour(1, 1), hour(3, 5)], vec![hour(2, 7), hour(3, 100)]]);
    assert_eq!(whole, [hour(1, 1), hour(2, 7), hour(3, 105)]);
}

#[test]
fn changes_say_where_they_were() {
    let change = |secs, text: &str| -> Change {
        read(json!({"at": at(secs), "event": "drained", "text": text}))
    };
    let said = || {
        let own = vec![change(5, "by=uid 0"), change(1, "by=uid 1")];
        [
            (None, own),
            (Some("mx2".to_owned()), vec![change(3, "by=panel")]),
        ]
    };
    let all = [
        change(5, "by=uid 0"),
        change(3, "node=mx2 by=panel"),
        change(1, "by=uid 1"),
    ];
    assert_eq!(changes(said(), 9), all);
    assert_eq!(changes(said(), 2), all[..2]);
}

#[test]
fn a_forward_fails_if_it_fails_on_all_nodes_together() {
    let row = |target: &str,
               [failed, deferred, delivered]: [u64; 3],
               times: [Option<u32>; 2],
               said: &str|
     -> FailingForward {
        let [last_failure, last_success] = times.map(|secs| secs.map(at));
        read(json!({
            "recipient": "a@b.test", "target": target, "failed": failed, "deferred": deferred, "delivered": delivered,
            "code": said, "reply": said, "last_failure": last_failure.unwrap_or_else(|| at(0)), "last_success": last_success,
        }))
    };
    let page = |forwards| FailingForwards {
        forwards,
        ..FailingForwards::default()
    };
    let said = || {
        [
            page(vec![
                row("dead", [2, 1, 0], [Some(5), None], "5.1.1"),
                row("alive", [3, 0, 0], [Some(5), None], "5.1.1"),
                row("late", [30, 0, 0], [Some(5), None], "5.1.1"),
                row("full", [0, 2, 0], [Some(5), None], "4.2.2"),
            ]),
            page(vec![
                row("dead", [9, 0, 1], [Some(7), Some(6)], "5.2.1"),
                row("alive", [0, 0, 1], [None, Some(4)], ""),
                row("late", [0, 0, 1], [None, Some(6)], ""),
            ]),
        ]
    };
    let all = [
        row("dead", [11, 1, 1], [Some(7), Some(6)], "5.2.1"),
        row("full", [0, 2, 0], [Some(5), None], "4.2.2"),
    ];
    let whole = failing(said(), 10);
    assert_eq!(whole.forwards, all);
    assert_eq!((whole.left_out, whole.is_cut), (0, false));
    let [one, other] = said();
    let whole = failing([other, one], 1);
    assert_eq!(whole.forwards, all[..1]);
    assert_eq!((whole.left_out, whole.is_cut), (1, true));
}
