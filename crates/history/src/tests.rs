//! The history as a whole: written event by event, asked, and on its bad days.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use control::{MailStatus, StatsBy, TracedMessage};
use envelope::{
    Actor, Diagnosis, LegId, Mailbox, MessageId, Origin, Reply, ReversePath, Timestamp, Trip,
};
use journal::{Attempt, Entry, Event, Missed};
use rusqlite::Connection;
use tempfile::TempDir;

use super::*;
use crate::writer::Writer;

const START: u64 = 1_795_264_496_789;

/// A history in a folder of its own, written when a test says so.
struct World {
    folder: TempDir,
    settings: Settings,
    desk: Desk,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let settings = Settings {
            path: file_in(folder.path()),
            keep: Duration::from_hours(7 * 24),
            octets_max: 1 << 30,
            octets_free: 0,
        };
        let desk = Desk::new(&settings);
        Self {
            folder,
            settings,
            desk,
        }
    }

    fn writer(&self) -> Writer<'_> {
        Writer::new(self.settings.clone(), &self.desk.told)
    }

    fn write(&self, entries: Vec<Entry>) {
        let mut writer = self.writer();
        for entry in entries {
            writer.take(Ok(Arc::new(entry)));
        }
        writer.flush();
    }

    fn trace(&self, ask: ask::Trace) -> Vec<TracedMessage> {
        let ask = ask::Trace { limit: 100, ..ask };
        self.desk.trace(&ask).unwrap().messages
    }

    fn find(&self, what: &str) -> Vec<TracedMessage> {
        self.trace(ask::Trace {
            what: Some(what.to_owned()),
            ..ask::Trace::default()
        })
    }

    fn stats(&self, by: StatsBy, reply: Option<&str>) -> Vec<(String, [u64; 5])> {
        let page = self.desk.stats(&ask::Stats {
            by,
            since: at(0),
            reply: reply.map(ToOwned::to_owned),
            limit: 100,
        });
        let row = |row: control::StatsRow| {
            let sums = [
                row.received,
                row.refused,
                row.delivered,
                row.deferred,
                row.failed,
            ];
            let target = row.target.map(|target| format!(" {target}"));
            (row.key + &target.unwrap_or_default(), sums)
        };
        page.unwrap().rows.into_iter().map(row).collect()
    }
}

fn at(secs: u64) -> Timestamp {
    Timestamp::from_unix_millis(START + secs * 1000)
}

fn id(n: u64) -> MessageId {
    MessageId::new(at(n), 77 << 32)
}

fn entry(secs: u64, event: Event) -> Entry {
    Entry {
        at: at(secs),
        event,
    }
}

fn address(text: &str) -> Mailbox {
    text.parse().unwrap()
}

fn path(text: &str) -> ReversePath {
    match text {
        "" => ReversePath::Null,
        text => ReversePath::Mailbox(address(text)),
    }
}

fn received(n: u64, sender: &str) -> Entry {
    let event = Event::Received {
        id: id(n),
        client: "[::ffff:192.0.2.1]:4711".parse().unwrap(),
        client_name: Some("mx.sender.example".parse().unwrap()),
        listener: "198.51.100.1:25".parse().unwrap(),
        hello: "mx.sender.example".into(),
        tls: None,
        user: None,
        sender: path(sender),
        recipients: 1,
        message_id: Some(format!("<m{n}@sender.example>").into()),
        size: 1000,
        before_queue: Duration::from_millis(30),
        normalized: 0,
        stripped: 0,
        online: false,
        dropped: String::new(),
    };
    entry(n, event)
}

fn forwarded(n: u64, recipient: &str, target: &str) -> Entry {
    let event = Event::Forwarded {
        id: leg(n),
        recipient: address(recipient),
        target: address(target),
        sender: path("SRS0=x@fwd.example"),
        tier: None,
    };
    entry(n, event)
}

fn leg(n: u64) -> LegId {
    LegId {
        message: id(n),
        number: 0,
    }
}

fn attempt(n: u64, recipient: &str, target: &str, attempt: u32) -> Attempt {
    Attempt {
        id: leg(n),
        recipient: address(recipient),
        target: address(target),
        attempt,
        delay: Duration::from_secs(3),
        trip: Trip {
            site: Some("mx.far.example".into()),
            ..Trip::default()
        },
    }
}

fn diagnosis(code: u16, status: &str, text: &str) -> Diagnosis {
    let status = status.parse().unwrap();
    Diagnosis {
        reply: Some(Reply::new(code, status, text)),
        ..Diagnosis::local(status, "")
    }
}

/// A message to `ann@hosted.example`, first deferred, then delivered.
fn story(n: u64) -> Vec<Entry> {
    let (to, target) = ("ann@hosted.example", "Ann@far.example");
    vec![
        received(n, "bob@sender.example"),
        entry(
            n,
            Event::Authenticated {
                id: id(n),
                spf: "pass (sender.example)".into(),
                dkim: None,
                arc: None,
                dmarc: None,
                origin: Origin::Proved,
            },
        ),
        forwarded(n, to, target),
        entry(
            n + 2,
            Event::Deferred {
                leg: attempt(n, to, target, 1),
                diagnosis: diagnosis(421, "4.7.28", "[192.0.2.7 15] rate"),
                next: at(n + 60),
            },
        ),
        entry(
            n + 60,
            Event::Delivered {
                leg: attempt(n, to, target, 2),
                diagnosis: diagnosis(250, "2.0.0", "ok"),
            },
        ),
    ]
}

fn refused(n: u64, sender: &str, recipient: &str) -> Entry {
    let event = Event::Refused {
        id: None,
        client: "192.0.2.66:1".parse().unwrap(),
        client_name: None,
        listener: "198.51.100.1:25".parse().unwrap(),
        hello: Some("spam".into()),
        stage: "rcpt",
        rule: "unknown-recipient",
        sender: Some(format!("<{sender}>")),
        recipient: Some(format!("<{recipient}>")),
        user: None,
        command: None,
        reply: Reply::new(550, "5.1.1".parse().unwrap(), "no such address here"),
    };
    entry(n, event)
}

#[track_caller]
fn ids(found: &[TracedMessage]) -> Vec<Option<MessageId>> {
    found.iter().map(|message| message.id).collect()
}

#[test]
fn a_message_is_found_by_all_that_names_it() {
    let world = World::new();
    // Each event in a batch of its own, as when they come over hours.
    for entry in story(0) {
        world.write(vec![entry]);
    }
    world.write(story(100));
    world.write(vec![
        received(200, ""),
        refused(201, "x@y.example", "gone@hosted.example"),
    ]);
    let both = [Some(id(100)), Some(id(0))];
    for what in [
        "bob@sender.example",
        "BOB@Sender.example",
        "ann@hosted.example",
        "hosted.example",
        "@far.example",
        "<ann@far.example>",
    ] {
        let found = world.find(what);
        let found: Vec<_> = found
            .into_iter()
            .filter(|message| message.id.is_some())
            .collect();
        assert_eq!(ids(&found), both, "{what}");
    }
    let of_first = id(0).to_string();
    for what in [
        &of_first,
        &of_first[..12],
        &format!("{of_first}.0"),
        &format!("{}.0", &of_first[..12]),
        &of_first.to_lowercase(),
        "<m0@sender.example>",
        "m0@sender.example",
    ] {
        assert_eq!(ids(&world.find(what)), [Some(id(0))], "{what}");
    }
    for what in [
        "nobody@sender.example",
        "example",
        "7ZZZZZZZZZ",
        "x' OR 1=1 --",
    ] {
        assert!(world.find(what).is_empty(), "{what}");
    }
    let message = world.find(&of_first).remove(0);
    assert_eq!(message.client.as_deref(), Some("[::ffff:192.0.2.1]:4711"));
    assert_eq!(message.spf.as_deref(), Some("pass (sender.example)"));
    assert_eq!(message.status, MailStatus::Delivered);
    let leg = &message.legs[0];
    assert_eq!(leg.sender.as_deref(), Some("<SRS0=x@fwd.example>"));
    let results: Vec<_> = leg
        .attempts
        .iter()
        .map(|attempt| (attempt.attempt, attempt.result))
        .collect();
    assert_eq!(
        results,
        [(1, MailStatus::Deferred), (2, MailStatus::Delivered)]
    );
    assert_eq!(leg.attempts[0].next, Some(at(60)));
    assert_eq!(
        message,
        world.find(&id(0).to_string())[0],
        "as it was written bit by bit"
    );
}

#[test]
fn conditions_hold_together() {
    let world = World::new();
    world.write(story(0));
    world.write(vec![
        received(200, ""),
        refused(201, "x@y.example", "gone@hosted.example"),
    ]);
    let check = |ask: ask::Trace, expected: &[Option<MessageId>]| {
        assert_eq!(ids(&world.trace(ask.clone())), expected, "{ask:?}");
    };
    let any = ask::Trace::default;
    check(any(), &[None, Some(id(200)), Some(id(0))]);
    check(
        ask::Trace {
            since: Some(at(100)),
            ..any()
        },
        &[None, Some(id(200))],
    );
    check(
        ask::Trace {
            from: Some("<>".parse().unwrap()),
            ..any()
        },
        &[Some(id(200))],
    );
    let to = Some("hosted.example".parse().unwrap());
    check(ask::Trace { to, ..any() }, &[None, Some(id(0))]);
    let from = Some("hosted.example".parse().unwrap());
    check(ask::Trace { from, ..any() }, &[]);
    let client = Some("192.0.2.1".parse().unwrap());
    check(
        ask::Trace { client, ..any() },
        &[Some(id(200)), Some(id(0))],
    );
    for (status, expected) in [
        (MailStatus::Refused, &[None][..]),
        (MailStatus::Delivered, &[Some(id(0))]),
        (MailStatus::Deferred, &[]),
        (MailStatus::Queued, &[Some(id(200))]),
    ] {
        check(
            ask::Trace {
                status: Some(status),
                ..any()
            },
            expected,
        );
    }
    let what = Some("gone@hosted.example".to_owned());
    check(
        ask::Trace {
            what: what.clone(),
            client,
            ..any()
        },
        &[],
    );
    check(
        ask::Trace {
            what,
            since: Some(at(201)),
            ..any()
        },
        &[None],
    );
}

#[test]
fn a_time_may_have_an_end() {
    let world = World::new();
    world.write(story(0));
    world.write(vec![received(200, "bob@sender.example")]);
    for what in [None, Some("bob@sender.example".to_owned())] {
        let found = |until| {
            let what = what.clone();
            ids(&world.trace(ask::Trace {
                what,
                until,
                ..ask::Trace::default()
            }))
        };
        assert_eq!(found(None), [Some(id(200)), Some(id(0))]);
        assert_eq!(found(Some(at(200))), [Some(id(0))]);
    }
}

/// The index has many runs between what came in and how it ended.
#[test]
fn a_word_that_came_later_belongs_to_the_message() {
    let world = World::new();
    let (target, late) = ("dead@far.example", 6000);
    world.write(vec![received(0, "bob@sender.example")]);
    for n in 0..20 {
        let others = (1..250).map(|m| received(n * 250 + m, &format!("u{n}@o{m}.example")));
        world.write(others.collect());
    }
    let Entry { event, .. } = failed(0, target, "5.1.1");
    world.write(vec![entry(late, event)]);
    let ask = ask::Trace {
        from: Some("bob@sender.example".parse().unwrap()),
        to: Some("far.example".parse().unwrap()),
        status: Some(MailStatus::Failed),
        ..ask::Trace::default()
    };
    assert_eq!(ids(&world.trace(ask.clone())), [Some(id(0))]);
    let since = Some(at(1));
    assert_eq!(ids(&world.trace(ask::Trace { since, ..ask })), []);
    let last = world.trace(ask::Trace {
        what: Some("o249.example".into()),
        since: Some(at(4999)),
        ..ask::Trace::default()
    });
    assert_eq!(ids(&last), [Some(id(4999))]);
}

#[test]
fn what_an_operator_and_a_hold_do_is_told() {
    let world = World::new();
    let (recipient, target) = (address("ann@hosted.example"), address("ann@far.example"));
    let operator = |action, outcome| Event::Operator {
        reason: "test".into(),
        id: leg(0),
        action,
        outcome,
        by: Actor::Uid(0),
        recipient: recipient.clone(),
        target: target.clone(),
    };
    let held = Event::Held {
        id: leg(0),
        recipient: recipient.clone(),
        target: target.clone(),
        reason: "spam".into(),
    };
    let tried = || Event::Deferred {
        leg: attempt(0, "ann@hosted.example", "ann@far.example", 1),
        diagnosis: diagnosis(450, "4.2.1", "busy"),
        next: at(60),
    };
    for (event, expected) in [
        (held, MailStatus::Held),
        (operator("release", "done"), MailStatus::Queued),
        (operator("retry", "done"), MailStatus::Queued),
        (operator("remove", "done"), MailStatus::Removed),
        (tried(), MailStatus::Removed),
        (operator("release", "done"), MailStatus::Deferred),
        // While it is tried: that attempt has not seen it.
        (operator("hold", "pending"), MailStatus::Held),
        (tried(), MailStatus::Held),
        (operator("remove", "pending"), MailStatus::Removed),
        (delivered(0, "ann@far.example").event, MailStatus::Delivered),
    ] {
        world.write(vec![entry(5, event)]);
        assert_eq!(world.find(&id(0).to_string())[0].status, expected);
    }
    let message = world.find("ann@far.example").remove(0);
    assert_eq!(message.client, None, "its beginning is missing");
    let notes: Vec<_> = message
        .notes
        .iter()
        .map(|note| note.event.as_str())
        .collect();
    assert_eq!(notes[..2], ["held", "operator"]);
    assert_eq!(notes.len(), 7);
    assert!(
        message.notes[0].text.starts_with("leg=0 "),
        "{}",
        message.notes[0].text
    );
}

#[test]
fn sums() {
    let world = World::new();
    world.write(story(0));
    world.write(story(100));
    world.write(vec![refused(201, "x@y.example", "gone@hosted.example")]);
    let row = |key: &str, sums| (key.to_owned(), sums);
    let story = [2, 0, 2, 2, 0];
    assert_eq!(
        world.stats(StatsBy::Client, None),
        [row("192.0.2.1", story), row("192.0.2.66", [0, 1, 0, 0, 0])]
    );
    assert_eq!(
        world.stats(StatsBy::SenderDomain, None),
        [
            row("sender.example", story),
            row("y.example", [0, 1, 0, 0, 0])
        ]
    );
    let legs = [0, 0, 2, 2, 0];
    assert_eq!(
        world.stats(StatsBy::Hosted, None),
        [row("hosted.example", [0, 1, 2, 2, 0])]
    );
    assert_eq!(
        world.stats(StatsBy::RecipientDomain, None),
        [row("far.example", legs)]
    );
    assert_eq!(
        world.stats(StatsBy::Site, None),
        [row("mx.far.example", legs)]
    );
    assert_eq!(
        world.stats(StatsBy::Rule, None),
        [row("unknown-recipient", [0, 1, 0, 0, 0])]
    );
    assert_eq!(
        world.stats(StatsBy::Reply, None),
        [row("421 4.7.28 * rate mx.far.example", [0, 0, 0, 2, 0])]
    );
    let forward = "ann@hosted.example ann@far.example";
    assert_eq!(
        world.stats(StatsBy::Forward, Some("4.7")),
        [row(forward, [0, 0, 0, 2, 0])]
    );
    assert_eq!(world.stats(StatsBy::Forward, Some("5")), []);
    let hours = world.desk.stats_hours(&ask::StatsHours { since: at(0) });
    let hour = HourRow {
        at: Timestamp::from_unix_millis(at(0).unix_millis() / 3_600_000 * 3_600_000),
        refused: 1,
        delivered: 2,
        deferred: 2,
        failed: 0,
    };
    assert_eq!(hours.unwrap(), [hour]);
    let bad = world.desk.stats(&ask::Stats {
        by: StatsBy::Site,
        since: at(0),
        reply: Some("x".into()),
        limit: 1,
    });
    assert!(matches!(bad, Err(Error::NotACode(_))));
}

#[test]
fn a_name_is_new_when_the_history_began_before_it() {
    let world = World::new();
    world.write(story(0));
    let later = 5 * 3600;
    world.write(vec![
        received(later, "bob@sender.example"),
        received(later + 1, "eve@new.example"),
    ]);
    let page = world
        .desk
        .stats(&ask::Stats {
            by: StatsBy::SenderDomain,
            since: at(later),
            reply: None,
            limit: 10,
        })
        .unwrap();
    let new: Vec<_> = page
        .rows
        .iter()
        .map(|row| (row.key.as_str(), row.is_new))
        .collect();
    assert_eq!(new, [("new.example", true), ("sender.example", false)]);
    assert_eq!((page.keys, page.left_out), (2, 0));
    let cut = world.desk.stats(&ask::Stats {
        by: StatsBy::SenderDomain,
        since: at(later),
        reply: None,
        limit: 1,
    });
    assert_eq!(cut.unwrap().left_out, 1);
}

fn failed(n: u64, target: &str, status: &str) -> Entry {
    let event = Event::Failed {
        leg: attempt(n, "ann@hosted.example", target, 1),
        diagnosis: diagnosis(550, status, "no such user"),
    };
    entry(n, event)
}

fn delivered(n: u64, target: &str) -> Entry {
    let event = Event::Delivered {
        leg: attempt(n, "ann@hosted.example", target, 1),
        diagnosis: diagnosis(250, "2.0.0", "ok"),
    };
    entry(n, event)
}

#[test]
fn forwards_to_dead_and_full_mailboxes() {
    let world = World::new();
    let full = Event::Deferred {
        leg: attempt(6, "bea@hosted.example", "full@far.example", 1),
        diagnosis: diagnosis(452, "4.2.2", "mailbox full"),
        next: at(60),
    };
    world.write(vec![
        failed(1, "dead@far.example", "5.1.1"),
        failed(2, "dead@far.example", "5.1.1"),
        failed(3, "policy@far.example", "5.7.1"),
        failed(4, "mended@far.example", "5.1.1"),
        delivered(7200, "mended@far.example"),
        entry(6, full),
        delivered(7, "good@far.example"),
    ]);
    let page = world
        .desk
        .forwards_failing(&ask::ForwardsFailing {
            since: at(0),
            of: Vec::new(),
            limit: 10,
        })
        .unwrap();
    let rows: Vec<_> = page
        .forwards
        .iter()
        .map(|row| {
            (
                row.target.as_str(),
                row.failed,
                row.deferred,
                row.code.as_str(),
            )
        })
        .collect();
    assert_eq!(
        rows,
        [
            ("dead@far.example", 2, 0, "5.1.1"),
            ("full@far.example", 0, 1, "4.2.2")
        ]
    );
    assert_eq!(
        page.forwards[0].reply.as_deref(),
        Some("550 5.1.1 no such user")
    );
    assert_eq!((page.forwards[0].last_success, page.left_out), (None, 0));
    let cut = world.desk.forwards_failing(&ask::ForwardsFailing {
        since: at(0),
        of: Vec::new(),
        limit: 1,
    });
    let cut = cut.unwrap();
    assert_eq!((cut.forwards.len(), cut.left_out, cut.is_cut), (1, 1, true));
}

#[test]
fn messages_are_found_by_their_ids_alone() {
    let world = World::new();
    world.write(story(0));
    world.write(story(100));
    let both = [Some(id(100)), Some(id(0))];
    for (named, expected) in [
        (vec![id(0), id(100), id(300)], &both[..]),
        (vec![id(0)], &both[1..]),
        (vec![id(300)], &[]),
    ] {
        let named = ask::Trace {
            ids: named,
            ..ask::Trace::default()
        };
        assert_eq!(ids(&world.trace(named)), expected);
    }
}

#[test]
fn forwards_that_are_named_are_told_whether_they_fail_or_not() {
    let world = World::new();
    world.write(vec![
        failed(1, "dead@far.example", "5.1.1"),
        failed(2, "dead@far.example", "5.1.1"),
        failed(3, "policy@far.example", "5.1.1"),
        failed(4, "mended@far.example", "5.1.1"),
        delivered(7200, "mended@far.example"),
        delivered(7, "good@far.example"),
    ]);
    let targets = ["Mended", "good", "dead", "unknown"];
    let of = targets.map(|name| ("ann@hosted.example".into(), format!("{name}@far.example")));
    let named = world.desk.forwards_failing(&ask::ForwardsFailing {
        since: at(0),
        of: of.into(),
        limit: 10,
    });
    let named = named.unwrap().forwards;
    let sums = |row: &control::FailingForward| {
        let name = row.target.split('@').next().unwrap().to_owned();
        (name, row.failed, row.delivered)
    };
    let mut named: Vec<_> = named.iter().map(sums).collect();
    named.sort();
    assert_eq!(
        named,
        [
            ("dead", 2, 0),
            ("good", 0, 1),
            ("mended", 1, 1),
            ("unknown", 0, 0)
        ]
        .map(|(name, failed, delivered)| (name.to_owned(), failed, delivered))
    );
}

#[test]
fn who_changed_what() {
    let world = World::new();
    let asked = |secs, action| {
        let event = Event::OperatorAsked {
            by: Actor::Uid(7),
            action,
            of: "{\"all\":true}".to_owned(),
            reason: "x".repeat(5000),
        };
        entry(secs, event)
    };
    let drained = |secs| {
        let (by, reason) = (Actor::Token("panel".into()), String::new());
        entry(
            secs,
            Event::Drained {
                on: true,
                by,
                reason,
            },
        )
    };
    // Two in one millisecond, one that is told by what comes of it, and mail.
    world.write(vec![
        asked(0, "hold"),
        asked(0, "remove"),
        asked(1, "drain"),
    ]);
    world.write(vec![drained(1), received(2, "a@b.example")]);
    let changes = |until| {
        let limit = 10;
        let changes = world.desk.changes(&ask::Changes { until, limit }).unwrap();
        let row = |change: Change| format!("{} {}", change.event, change.text);
        changes.into_iter().map(row).collect::<Vec<_>>()
    };
    let all = changes(None);
    assert_eq!(all[0], "drained by=panel");
    assert!(all[1].starts_with("operator-asked action=remove uid=7 of="));
    assert!(all[1].len() < 2100 && all.len() == 3);
    assert_eq!(changes(Some(at(1))), all[1..]);
    assert_eq!(changes(Some(at(0))), [""; 0]);
    let mut writer = world.writer();
    let mut flood = |event: &dyn Fn(u64) -> Entry| {
        for n in 0..200 {
            for _ in 0..100 {
                writer.take(Ok(Arc::new(event(100 * n))));
            }
            writer.flush();
        }
        let file = &writer.store.as_ref().unwrap().connection;
        let kept = "SELECT count(*) FROM change";
        let kept = file.query_row(kept, [], |row| row.get::<_, i64>(0));
        kept.unwrap()
    };
    // Who is frozen pushes out nobody else.
    let frozen = |secs| {
        let (key, limit) = (format!("client:{secs}"), "guesses".to_owned());
        entry(secs, Event::Frozen { key, limit })
    };
    let kept = flood(&frozen);
    assert!(kept <= 10_100, "{kept}");
    assert_eq!(changes(Some(at(2))), all);
    let kept = flood(&drained);
    assert!(kept <= 20_200, "{kept}");
}

#[test]
fn what_is_too_old_or_too_much_goes() {
    let mut world = World::new();
    let entries: Vec<_> = (0..2000)
        .map(|n| received(n, "bob@sender.example"))
        .collect();
    world.write(entries);
    let day = 24 * 3600;
    let mut writer = world.writer();
    for n in 0..10 {
        writer.take(Ok(Arc::new(received(
            7 * day + 1000 + n,
            "new@sender.example",
        ))));
        writer.flush();
    }
    drop(writer);
    let oldest = world.desk.health().oldest.unwrap();
    assert!(oldest >= at(1000) && oldest < at(1020), "{oldest}");
    // The file does not grow: the oldest make room. Sums are small, and stay.
    world.settings.octets_max = 300_000;
    let mut writer = world.writer();
    for n in 0..1000 {
        let n = 8 * day + 60 * n;
        writer.take(Ok(Arc::new(received(n, &format!("u{n}@sender.example")))));
        writer.flush();
    }
    let octets = writer.store.as_ref().unwrap().octets().unwrap();
    assert!(octets <= 320_000, "{octets}");
    drop(writer);
    assert!(
        !world
            .find(&format!("u{}@sender.example", 8 * day + 60 * 999))
            .is_empty()
    );
    assert!(
        world
            .find(&format!("u{}@sender.example", 8 * day))
            .is_empty()
    );
    assert_eq!(world.stats(StatsBy::SenderDomain, None)[0].1[0], 3010);
}

/// The names of sums are a stranger's choice.
#[test]
fn a_flood_of_names_leaves_room_for_mail() {
    let mut world = World::new();
    world.settings.octets_max = 2_000_000;
    let mut writer = world.writer();
    for n in 0..400 {
        for m in 0..20 {
            let name = format!("{n}-{m}.{}.example", "a".repeat(60));
            let event = refused(60 * n, &format!("x@{name}"), &format!("y@{name}"));
            writer.take(Ok(Arc::new(event)));
        }
        let event = received(60 * n, "bob@sender.example");
        writer.take(Ok(Arc::new(event)));
        writer.flush();
    }
    let octets = writer.store.as_ref().unwrap().octets().unwrap();
    drop(writer);
    let found = world.find("bob@sender.example").len();
    assert!(octets < 2_500_000 && found > 10, "{octets} {found}");
}

/// Replies are a stranger's choice, too, and a message may have thousands of legs.
#[test]
fn an_answer_fits_into_a_line() {
    let world = World::new();
    let mut entries = vec![received(1, "bob@sender.example")];
    for number in 0..200 {
        for n in 0..60 {
            let mut leg = attempt(1, "alice@hosted.example", "alice@target.example", n);
            leg.id.number = number;
            let diagnosis = diagnosis(450, "4.2.2", &"x".repeat(2000));
            let next = at(n.into());
            entries.push(entry(
                n.into(),
                Event::Deferred {
                    leg,
                    diagnosis,
                    next,
                },
            ));
        }
    }
    world.write(entries);
    let ask = ask::Trace {
        what: Some("bob@sender.example".to_owned()),
        limit: 100,
        ..ask::Trace::default()
    };
    let traced = world.desk.trace(&ask).unwrap();
    let octets = serde_json::to_string(&traced).unwrap().len();
    assert!(octets < 10_000_000, "{octets}");
    assert!(traced.is_cut && traced.messages[0].legs.len() > 10);
}

/// One event goes in before, one during, one after the trouble.
#[track_caller]
fn check_trouble(
    begin: impl FnOnce(&mut Writer<'_>, &Path),
    end: impl FnOnce(),
    kept: &[u64],
    missed: u64,
) {
    let world = World::new();
    let mut writer = world.writer();
    let put = |writer: &mut Writer<'_>, n| {
        writer.take(Ok(Arc::new(received(n, "bob@sender.example"))));
        writer.flush();
    };
    put(&mut writer, 0);
    begin(&mut writer, &world.settings.path);
    put(&mut writer, 1);
    end();
    put(&mut writer, 2);
    let found: Vec<_> = world
        .find("sender.example")
        .iter()
        .map(|message| message.id)
        .rev()
        .collect();
    let kept: Vec<_> = kept.iter().map(|n| Some(id(*n))).collect();
    assert_eq!(found, kept);
    let sums = &world.stats(StatsBy::SenderDomain, None)[0].1;
    assert_eq!(sums[0], kept.len() as u64, "each is counted once");
    let health = world.desk.health();
    assert_eq!((health.events_missed, health.trouble), (missed, None));
    drop(writer);
    assert_eq!(
        world
            .folder
            .path()
            .read_dir()
            .unwrap()
            .filter(|file| file.as_ref().unwrap().file_name() == "history.sqlite")
            .count(),
        1
    );
}

#[test]
fn a_locked_file_is_written_later() {
    let lock = std::cell::RefCell::new(None);
    check_trouble(
        |writer, path| {
            let other = Connection::open(path).unwrap();
            other.execute_batch("BEGIN IMMEDIATE").unwrap();
            lock.replace(Some(other));
            let _ = writer;
        },
        || drop(lock.take()),
        &[0, 1, 2],
        0,
    );
}

#[test]
fn a_question_waits_while_the_file_is_made() {
    let world = World::new();
    let other = Connection::open(&world.settings.path).unwrap();
    other.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let maker = std::thread::spawn(move || {
        std::thread::park_timeout(Duration::from_millis(500));
        drop(other);
    });
    let opened = store::open_for_reading(&world.settings.path);
    assert!(matches!(opened, Err(Error::Nothing)), "{opened:?}");
    maker.join().unwrap();
}

#[test]
fn a_full_disk_keeps_events_waiting() {
    check_trouble(
        |writer, _| {
            let connection = &writer.store.as_ref().unwrap().connection;
            let pages: i64 = connection
                .pragma_query_value(None, "page_count", |row| row.get(0))
                .unwrap();
            connection
                .pragma_update(None, "max_page_count", pages)
                .unwrap();
            connection
                .execute_batch("CREATE TABLE filler (x); INSERT INTO filler VALUES (1)")
                .unwrap_err();
        },
        || (),
        &[0, 1, 2],
        0,
    );
}

#[test]
fn a_file_that_is_deleted_begins_anew() {
    check_trouble(
        |_, path| std::fs::remove_file(path).unwrap(),
        || (),
        &[1, 2],
        0,
    );
}

#[test]
fn a_damaged_file_is_set_aside() {
    check_trouble(
        |writer, path| {
            writer.store = None;
            let mut bytes = std::fs::read(path).unwrap();
            bytes[8192..].fill(0xa5);
            std::fs::write(path, bytes).unwrap();
        },
        || (),
        &[1, 2],
        0,
    );
}

#[test]
fn a_file_that_is_no_database_or_of_another_version_is_set_aside() {
    for make in [
        (|path: &Path| {
            std::fs::write(path, "not a database, whatever its name says: ".repeat(100)).unwrap()
        }) as fn(&Path),
        |path| {
            Connection::open(path)
                .unwrap()
                .execute_batch("PRAGMA user_version = 99")
                .unwrap()
        },
    ] {
        let world = World::new();
        make(&world.settings.path);
        world.write(vec![received(0, "bob@sender.example")]);
        assert_eq!(world.find("sender.example").len(), 1);
        assert!(world.folder.path().join("history.sqlite.bad").exists());
    }
}

/// A folder stands where the file should be: as good as one that cannot be written, which does not stop root.
#[test]
fn a_place_that_cannot_be_written_costs_the_history_and_nothing_else() {
    let world = World::new();
    std::fs::create_dir(&world.settings.path).unwrap();
    let mut writer = world.writer();
    for n in 0..3 {
        writer.take(Ok(Arc::new(received(n, "bob@sender.example"))));
        writer.flush();
    }
    let health = world.desk.health();
    assert_eq!((health.errors, health.events_missed), (3, 0));
    assert!(health.trouble.is_some());
    for n in 0..150_000 {
        writer.take(Ok(Arc::new(entry(
            n,
            Event::Discarded {
                id: id(n),
                recipient: address("a@b.example"),
            },
        ))));
    }
    assert!(
        world.desk.health().events_missed > 100_000,
        "what waits is bounded"
    );
    std::fs::remove_dir(&world.settings.path).unwrap();
    writer.flush();
    assert_eq!(world.desk.health().trouble, None);
}

#[test]
fn the_spool_comes_first_when_space_is_short() {
    let mut world = World::new();
    world.settings.octets_free = u64::MAX;
    world.write(vec![received(0, "bob@sender.example")]);
    let health = world.desk.health();
    assert_eq!((health.events_missed, health.errors), (1, 1));
    assert!(health.trouble.unwrap().contains("octets free"));
    assert!(!world.settings.path.exists());
}

#[test]
fn events_that_the_journal_dropped_are_counted() {
    let world = World::new();
    world.writer().take(Err(Missed(7)));
    assert_eq!(world.desk.health().events_missed, 7);
}

#[test]
fn the_file_is_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let world = World::new();
    let mut writer = world.writer();
    writer.take(Ok(Arc::new(received(0, "bob@sender.example"))));
    writer.flush();
    for file in world.folder.path().read_dir().unwrap() {
        let mode = file.unwrap().metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0);
    }
}

#[test]
fn hostile_text_is_only_data() {
    let world = World::new();
    let mail = "'); DROP TABLE mail; -- \u{0}\u{1b}[31m\"}{\u{202e}";
    let Entry { at, mut event } = received(0, "bob@sender.example");
    if let Event::Received {
        hello, message_id, ..
    } = &mut event
    {
        *hello = mail.repeat(1000);
        *message_id = Some(format!("<{mail}>").into());
    }
    world.write(vec![Entry { at, event }]);
    let found = world.find(mail);
    assert_eq!(found[0].message_id.as_deref(), Some(&*format!("<{mail}>")));
    assert!(found[0].hello.as_ref().unwrap().len() <= 1000);
    // Two names are a forward and its target; a tab in one makes none.
    world.write(vec![refused(1, "x@a.example\tb", "y@c.example\td")]);
    for by in [StatsBy::SenderDomain, StatsBy::Hosted] {
        let ask = ask::Stats {
            by,
            since: at,
            reply: None,
            limit: 100,
        };
        let rows = world.desk.stats(&ask).unwrap().rows;
        assert!(rows.iter().all(|row| row.target.is_none()), "{rows:?}");
    }
}

/// From the journal to the desk; all is there when the history has ended.
#[test]
fn the_journal_is_written_down_to_its_end() {
    let mut world = World::new();
    // Events are of today, these messages are not.
    world.settings.keep = Duration::from_hours(24 * 36_500);
    let journal = Journal::default();
    let history = History::start(world.settings.clone(), &journal);
    let desk = history.desk();
    assert!(matches!(
        desk.trace(&ask::Trace::default()),
        Err(Error::Nothing)
    ));
    // As many as under load, when sums wait for more.
    for n in 0..1500 {
        journal.record(received(n, "bob@sender.example").event);
    }
    drop((journal, history));
    let ask = ask::Trace {
        limit: 1000,
        ..ask::Trace::default()
    };
    assert_eq!(desk.trace(&ask).unwrap().messages.len(), 1000);
    assert_eq!(world.stats(StatsBy::SenderDomain, None)[0].1[0], 1500);
    let off = Settings {
        keep: Duration::ZERO,
        ..world.settings
    };
    assert!(matches!(Desk::new(&off).trace(&ask), Err(Error::Off)));
    let off = History::start(off, &Journal::default());
    assert!(off.thread.is_none());
}

/// All of it for a measurement; a hundredth in the run of all tests.
fn measured(all: u64) -> u64 {
    match std::env::var_os("ONWARD_MEASURE") {
        Some(_) => all,
        None => all / 100,
    }
}

/// A million messages over seven days: 10,000 clients, 20,000 domains of senders, 50,000 forwards to 3,000 domains.
/// `ONWARD_MEASURE=1 cargo test --release -p history -- --ignored --nocapture a_million`; without the variable a hundredth of it, as a test.
#[test]
#[ignore = "takes minutes; prints how long questions take"]
#[expect(clippy::too_many_lines, reason = "a measurement, step by step")]
fn a_million_messages() {
    let messages = measured(1_000_000);
    let world = World::new();
    let mut seed = 1u64;
    let mut random = move |below: u64| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        // Some are far more common than others.
        let part = (seed >> 11) as f64 / (1u64 << 53) as f64;
        (part * part * below as f64) as u64
    };
    let mut writer = world.writer();
    let begun = Instant::now();
    for n in 0..messages {
        let secs = n * 7 * 24 * 3600 / messages;
        let mail_id = MessageId::new(at(secs), 77 << 32 | u128::from(n % 100));
        let leg = LegId {
            message: mail_id,
            number: 0,
        };
        let sender = format!("user{}@s{}.example", random(1000), random(20_000));
        let forward = random(50_000);
        let (recipient, target) = (
            format!("u{forward}@h{}.example", forward / 20),
            format!("t{forward}@d{}.example", forward % 3000),
        );
        let client: SocketAddr = format!("192.{}.{}.1:4711", random(40), random(250))
            .parse()
            .unwrap();
        let mut events = vec![
            received(secs, &sender).event,
            forwarded(secs, &recipient, &target).event,
        ];
        if let Event::Received {
            id,
            client: from,
            message_id,
            ..
        } = &mut events[0]
        {
            (*id, *from) = (mail_id, client);
            *message_id = Some(format!("<{n}.abcdef@{sender}>").into());
        }
        if let Event::Forwarded { id, .. } = &mut events[1] {
            *id = leg;
        }
        let mut leg = Attempt {
            id: leg,
            ..attempt(0, &recipient, &target, 1)
        };
        leg.trip.site = Some(format!("mx.p{}.example", forward % 500).into());
        events.push(match random(100) {
            0..=80 => Event::Delivered {
                leg,
                diagnosis: diagnosis(250, "2.0.0", "ok: queued as 4X2YZ"),
            },
            81..=90 => Event::Deferred {
                leg,
                diagnosis: diagnosis(421, "4.7.28", "slow down"),
                next: at(secs + 60),
            },
            _ => Event::Failed {
                leg,
                diagnosis: diagnosis(550, "5.1.1", "no such user"),
            },
        });
        for event in events {
            writer.take(Ok(Arc::new(entry(secs, event))));
        }
        if n % 2000 == 0 {
            writer.flush();
        }
    }
    writer.flush();
    let took = begun.elapsed();
    println!(
        "written in {took:?}: {:?} a message, {} octets",
        took / messages as u32,
        world.desk.health().octets
    );
    let tell = |what: &str, found: &dyn Fn() -> usize| {
        let begun = Instant::now();
        let found = found();
        println!("{what}: {found} rows in {:?}", begun.elapsed());
    };
    for what in [
        "u7@h0.example",
        "t49000@d1000.example",
        "user999@s19000.example",
        "s0.example",
        "d0.example",
        "nobody@nowhere.example",
        "777777.abcdef@x",
    ] {
        tell(what, &|| world.find(what).len());
    }
    let rare = ask::Trace {
        what: Some("s0.example".into()),
        to: Some("u49000@h2450.example".parse().unwrap()),
        ..ask::Trace::default()
    };
    tell("frequent and rare", &|| world.trace(rare.clone()).len());
    let failed = ask::Trace {
        status: Some(MailStatus::Failed),
        ..ask::Trace::default()
    };
    tell("failed", &|| world.trace(failed.clone()).len());
    for by in StatsBy::ALL.iter().copied() {
        tell(by.name(), &|| world.stats(by, None).len());
    }
    tell("forward, 4.7", &|| {
        world.stats(StatsBy::Forward, Some("4.7")).len()
    });
    let failing = ask::ForwardsFailing {
        since: at(0),
        of: Vec::new(),
        limit: 100,
    };
    tell("failing", &|| {
        world
            .desk
            .forwards_failing(&failing)
            .unwrap()
            .forwards
            .len()
    });
}

/// So many distinct senders and forwards; `cargo test --release -p history -- --ignored --nocapture what_a_message_costs`
#[test]
#[ignore = "a measurement: prints the CPU of the writer's thread"]
fn what_a_message_costs() {
    let messages = measured(100_000);
    const BATCH: u64 = 2000;
    let cpu_nanos = || {
        let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
        stat.split(' ').next().unwrap().parse::<u64>().unwrap()
    };
    for names in [1, 5000, messages] {
        let world = World::new();
        let (mut writer, mut used) = (world.writer(), 0);
        for first in (0..messages).step_by(BATCH as usize) {
            let entries: Vec<_> = (first..first + BATCH)
                .flat_map(|n| delivered_at_once(n, n * 7919 % names))
                .collect();
            let before = cpu_nanos();
            for entry in entries {
                writer.take(Ok(Arc::new(entry)));
            }
            writer.flush();
            used += cpu_nanos() - before;
        }
        println!("{names} names: {} ns a message", used / messages);
    }
}

fn delivered_at_once(n: u64, name: u64) -> [Entry; 3] {
    let at = Timestamp::from_unix_millis(START + n / 10);
    let message = MessageId::new(at, 77 << 32 | u128::from(n % 10));
    let leg_id = LegId { message, number: 0 };
    let sender = format!("user{name}@s{name}.example");
    let to = format!("u{name}@h{}.example", name / 20);
    let target = format!("t{name}@d{}.example", name % 3000);
    let mut events = [received(0, &sender).event, forwarded(0, &to, &target).event];
    if let Event::Received { id, message_id, .. } = &mut events[0] {
        *id = message;
        *message_id = Some(format!("<{n}.abcdef@{sender}>").into());
    }
    if let Event::Forwarded { id, .. } = &mut events[1] {
        *id = leg_id;
    }
    let delivered = Event::Delivered {
        leg: Attempt {
            id: leg_id,
            ..attempt(0, &to, &target, 1)
        },
        diagnosis: diagnosis(250, "2.0.0", "ok: queued as 4X2YZ"),
    };
    let [received, forwarded] = events;
    [received, forwarded, delivered].map(|event| Entry { at, event })
}
