//! What an action comes to: counts, lines, and which sites are probed.

use std::sync::Mutex;

use std::time::Duration;

use control::ask::{self, FreezeLift, FreezeList, QueueAct};
use control::{Answers as _, QueueAction, Selector};
use envelope::{Actor, Message, ReversePath};
use journal::Format;
use spool::memory::MemorySpool;
use spool::{Action, Filter, State};
use spool::{Arrival, BodyWriter, IdSource, Lifetime, Want};
use testkit::nouns;

use super::*;
use crate::tests::{core, now, routing, settings};

type Probed = Arc<Mutex<Vec<HashSet<Host>>>>;

/// Who asks.
const ANN: Actor = Actor::Uid(7);

/// An operator of a queue with one message of two legs, both due and one of them taken, and the sites that are probed.
async fn operator() -> (Operator<MemorySpool>, Probed) {
    let clock = Clock::manual(now());
    let spool = MemorySpool::new(clock.clone(), Lifetime::default());
    let id = IdSource::new().next(now());
    let writer = spool.begin(id).await.unwrap();
    let message = Message::new(id, now(), ReversePath::Null, writer.len());
    let leg = |target| nouns::forward("a@b.test", target);
    let legs = vec![leg("u0@b.test"), leg("u1@b.test")];
    spool
        .commit(writer, Arrival::new(message, legs, now()))
        .await
        .unwrap();
    clock.set(now().plus(Duration::from_mins(1)));
    let want = Want {
        max: 1,
        per_host: 1,
        lease: Duration::from_hours(1),
    };
    assert_eq!(spool.claim(&want).await.unwrap().len(), 1);
    let probed = Probed::default();
    let probes = Arc::clone(&probed);
    let core = crate::Core {
        clock: clock.clone(),
        ..core(spool, routing(""), Journal::default())
    };
    let resolver = dns::Backend::Fixed(dns::Fixed::new());
    let outbound = Arc::new(Outbound::new(&core, &settings(), resolver.clone()));
    let operator = Operator {
        delivery: Dispatcher::new(
            settings().delivery,
            Arc::clone(&outbound),
            resolver.clone(),
            None,
        ),
        outbound: Arc::clone(&outbound),
        orders: Arc::new(OrdersFile::default()),
        inbound: Arc::new(Inbound::new(&core, &settings(), resolver, outbound)),
        spool: core.spool,
        store: core.store,
        counting: core.counting,
        history: core.history,
        counters: Counters::default(),
        routing: core.routing,
        reload: Arc::new(|_, _| Err("not here".to_owned())),
        clock,
        journal: core.journal,
        version: "0",
        listeners: Vec::new(),
        connections_max: (1, 1),
        started: now(),
        doctor: Arc::new(Doctor {
            resolver: dns::Backend::Fixed(dns::Fixed::new()),
            facts: Box::new(|_| unreachable!("nobody asks for it")),
            asking: Box::new(|_| unreachable!("nor for these")),
            served: None,
            issuing: None,
            clock: Clock::real(),
            every: Duration::ZERO,
            kept: Vec::new(),
            keep: Box::new(|_| Ok(())),
        }),
        probe_now: Box::new(move |hosts| probes.lock().unwrap().push(hosts.clone())),
    };
    (operator, probed)
}

#[tokio::test]
async fn a_glance_stops_where_enough_is_seen() {
    let (operator, _) = operator().await;
    let spool = &operator.spool;
    let id = IdSource::new().next(now());
    let writer = spool.begin(id).await.unwrap();
    let message = Message::new(id, now(), ReversePath::Null, writer.len());
    let leg = |n: usize| nouns::forward("a@b.test", &format!("m{n}@b.test"));
    let legs = (0..queue::PAGE).map(leg).collect();
    let arrival = Arrival::new(message, legs, now());
    spool.commit(writer, arrival).await.unwrap();
    for (glance, limit, expected) in [
        (false, 20, (1002, false, 20)),
        (true, 20, (1000, true, 20)),
        (true, 1000, (1000, true, 1000)),
    ] {
        let ask = QueueAct {
            action: QueueAction::Remove,
            selector: Selector::default(),
            dry_run: true,
            reason: String::new(),
            limit,
            glance,
        };
        let count = operator.answer(ask, ANN).await.unwrap();
        let got = (count.matched, count.more, count.legs.len());
        assert_eq!(got, expected, "{limit}");
    }
}

/// What is said of `actions`, one after the other, as counts and as lines.
async fn check_actions(actions: &[QueueAction], counts: &[[u64; 3]], lines: &[&str]) {
    let (operator, probed) = operator().await;
    let mut events = operator.journal.subscribe();
    let mut got = Vec::new();
    for action in actions {
        let all = Selector::default();
        let count = operator
            .answer(
                QueueAct {
                    action: *action,
                    selector: all,
                    dry_run: false,
                    reason: String::new(),
                    limit: 1,
                    glance: false,
                },
                ANN,
            )
            .await
            .unwrap();
        assert_eq!(count.legs.len() as u64, (count.done + count.pending).min(1));
        got.push([count.matched, count.done, count.pending]);
    }
    assert_eq!(got, counts, "{actions:?}");
    let retried = actions.contains(&QueueAction::Retry);
    let hosts = HashSet::from(["b.test".parse().unwrap()]);
    let expected = retried.then_some(hosts);
    assert_eq!(*probed.lock().unwrap(), Vec::from_iter(expected));
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

#[tokio::test]
async fn freezes_are_listed_and_lifted() {
    let (operator, _) = operator().await;
    let keys = [
        "client:2001:db8::1",
        "sender:ann@x.test",
        "user:Ann",
        "user:ann@x.test",
    ];
    for key in keys {
        let key = key.parse().unwrap();
        assert!(operator.counting.freezes.freeze(&key, "cracked", now()));
    }
    let (mut listed, mut cursor) = (Vec::new(), None);
    loop {
        let page = operator
            .answer(FreezeList { cursor, limit: 3 }, ANN)
            .await
            .unwrap();
        listed.extend(page.freezes.into_iter().map(|row| row.key));
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    let all = [
        "client:2001:db8::/64",
        "sender:ann@x.test",
        "user:ann",
        "user:ann@x.test",
    ];
    assert_eq!(listed, all);
    assert!(
        operator
            .answer(
                FreezeList {
                    cursor: Some("?".to_owned()),
                    limit: 3
                },
                ANN
            )
            .await
            .is_err()
    );
    let lift = async |key: &str| {
        let lift = FreezeLift {
            key: Some(key.to_owned()),
            ..FreezeLift::default()
        };
        operator.answer(lift, ANN).await.map(|done| done.lifted)
    };
    // Any address of the network, in any form.
    assert_eq!(lift("2001:0DB8:0:0::77").await, Ok(1));
    let gone = lift("client:2001:db8::/64").await.unwrap_err();
    assert_eq!(gone.message, "`client:2001:db8::/64` is not frozen");
    // Without its kind it may be of several.
    assert_eq!(lift("ann@X.test").await, Ok(2));
    let all = FreezeLift {
        all: true,
        ..FreezeLift::default()
    };
    assert_eq!(operator.answer(all, ANN).await.unwrap().lifted, 1);
    assert_eq!(
        operator.answer(ask::Status {}, ANN).await.unwrap().frozen,
        0
    );
}

#[tokio::test]
async fn a_lift_releases_what_the_freeze_has_held() {
    let (operator, _) = operator().await;
    let id = IdSource::new().next(now());
    let writer = operator.spool.begin(id).await.unwrap();
    let message = Message {
        user: Some("ann".into()),
        ..Message::new(id, now(), ReversePath::Null, writer.len())
    };
    let leg = |target| nouns::forward("a@b.test", target);
    let arrival = Arrival {
        held: [(0, crate::replies::held_by_filter(&[]))].into(),
        ..Arrival::new(message, vec![leg("u0@b.test"), leg("u1@b.test")], now())
    };
    operator.spool.commit(writer, arrival).await.unwrap();
    let hold = Filter::only(id);
    let held = operator.spool.admin(&hold, Action::Hold, None, 9).await;
    assert_eq!(held.unwrap().entries.len(), 1);
    let key = "user:ann".parse().unwrap();
    assert!(operator.counting.freezes.freeze(&key, "cracked", now()));
    let lift = FreezeLift {
        key: Some("ann".to_owned()),
        release: true,
        ..FreezeLift::default()
    };
    assert_eq!(operator.answer(lift, ANN).await.unwrap().released, 1);
    let page = operator.spool.list(&hold, None, 9).await.unwrap();
    let states: Vec<_> = page.entries.iter().map(|entry| entry.state).collect();
    assert_eq!(states, [State::Held, State::Ready]);
}
