//! Orders, deadlines, hints, and what operators ask and do.

use std::collections::HashSet;
use std::time::Duration;

use envelope::{Claim, Destination, Leg, LegId, Merged, Message, ReversePath};

use super::{
    Engine, at, body, claim, claim_some, id, leg, message, minutes, names, notice, number, open,
    put, put_legs, read,
};
use crate::{Action, Arrival, BodyWriter, Entry, Error, Filter, Spool, State, Update, Why};

/// Hosts in the order of their first leg; what is parked is not waited for.
pub async fn order_limits_and_parked_hosts<E: Engine>(engine: &E) {
    let (spool, clock) = open(engine).await;
    let host = |text: &str| text.parse::<Destination>().expect("a host");
    for n in 1..=6 {
        let even = n % 2 == 0;
        let target = if even {
            "a@even.example"
        } else {
            "a@odd.example"
        };
        put(&spool, n, 10, &[target]).await;
    }
    let some = claim_some(&spool, 5, 2).await;
    assert_eq!(names(&some), [(1, 0), (2, 0), (3, 0), (4, 0)]);
    spool.park(&[(host("even.example"), true)]).await;
    assert_eq!(names(&claim(&spool).await), [(5, 0)]);
    let turned = [(host("even.example"), false), (host("odd.example"), true)];
    spool.park(&turned).await;
    for (claim, due) in some.into_iter().zip([9, 8, 7, 6]) {
        let moved = spool.reschedule(claim.lease, at(due), Update::default());
        assert_eq!(moved.await, Ok(()));
    }
    clock.set(at(9));
    let order: Vec<u64> = claim(&spool)
        .await
        .iter()
        .map(|c| number(c.lease.leg))
        .collect();
    let mut expected = order.clone();
    expected.sort_unstable();
    assert_eq!(expected, [2, 4, 6]);
    assert!(order.iter().position(|n| *n == 4) < order.iter().position(|n| *n == 2));
    // Those of the other host are due, but it is parked; the next to come are ends of leases.
    // No two claims need to have just one end.
    let next = spool.next_due().await.expect("an end");
    assert!(minutes(1) - next < Duration::from_millis(10), "{next:?}");
    spool.park(&[(host("odd.example"), false)]).await;
    assert!(claim(&spool).await.len() >= 2);
}

/// A host that cannot be reached one way is not kept from those who go another way; nor after a restart.
pub async fn ways_to_one_host_are_parked_apart<E: Engine>(engine: &E) {
    let (spool, clock) = open(engine).await;
    let by_tls = Leg {
        options: "srs=off tls=required".parse().expect("options"),
        ..leg("a@x.example")
    };
    let to = by_tls.destination();
    assert_eq!(to.to_string(), "x.example tls=required");
    put_legs(&spool, 1, 10, vec![by_tls, leg("b@x.example")]).await;
    spool.park(&[(to.clone(), true)]).await;
    assert_eq!(names(&claim(&spool).await), [(1, 1)]);
    drop(spool);
    let spool = engine.open(&clock).await;
    spool.park(&[(to.host.clone().into(), true)]).await;
    assert_eq!(names(&claim(&spool).await), [(1, 0)]);
    let counts = spool.counts().await.expect("counts");
    assert_eq!(counts.hosts, [(to.host, 2)]);
}

/// What is due for longest goes first, and with it some of what came last.
pub async fn new_mail_does_not_wait_for_a_backlog<E: Engine>(engine: &E) {
    let (spool, clock) = open(engine).await;
    for n in 1..=20 {
        put(&spool, n, 10, &["a@backlog.example"]).await;
    }
    clock.set(at(1));
    put(&spool, 21, 10, &["a@backlog.example"]).await;
    let next = async |max| {
        let claims = claim_some(&spool, max, 8).await;
        let numbers = claims.iter().map(|claim| number(claim.lease.leg));
        numbers.collect::<Vec<_>>()
    };
    assert_eq!(next(100).await, [1, 2, 3, 4, 5, 6, 20, 21]);
    assert_eq!(next(4).await, [7, 8, 9, 19]);
    assert_eq!(next(100).await, [10, 11, 12, 13, 14, 15, 17, 18]);
    assert_eq!(next(100).await, [16]);
}

/// A warning once, then the end; not for what is held.
pub async fn deadlines_hold_whatever_is_parked<E: Engine>(engine: &E) {
    let (spool, clock) = open(engine).await;
    put(&spool, 1, 10, &["a@x.example"]).await;
    put(&spool, 2, 10, &["a@x.example"]).await;
    spool
        .park(&[("x.example".parse().expect("a host"), true)])
        .await;
    let overdue = async |max| spool.overdue(max, minutes(1)).await.expect("a batch");
    clock.set(at(4 * 60 - 1));
    assert_eq!(overdue(9).await.len(), 0);
    clock.set(at(4 * 60));
    let warned = overdue(9).await;
    assert_eq!(warned.len(), 2);
    for (n, overdue) in (3..).zip(warned) {
        assert_eq!(overdue.why, Why::Warn);
        let update = Update {
            warned: true,
            dsn: Some(notice(n)),
            ..Update::default()
        };
        let due = overdue.due;
        let moved = spool.reschedule(overdue.claim.lease, due, update).await;
        assert_eq!(moved, Ok(()));
    }
    assert_eq!(spool.counts().await.expect("counts").ready, 4);
    let again = overdue(9).await;
    assert!(again.iter().all(|o| number(o.claim.lease.leg) > 2), "once");
    clock.set(at(5 * 24 * 60));
    let expired = overdue(9).await;
    let legs = expired.iter().filter(|o| number(o.claim.lease.leg) <= 2);
    assert!(legs.clone().all(|o| o.why == Why::Expired));
    assert_eq!(legs.count(), 2);
}

/// Both, or neither.
pub async fn a_leg_ends_with_its_notice<E: Engine>(engine: &E) {
    let (spool, clock) = open(engine).await;
    put(&spool, 1, 10, &["a@x.example"]).await;
    let lease = claim(&spool).await.remove(0).lease;
    let ended = spool.complete(lease.clone(), Some(notice(2))).await;
    assert_eq!(ended, Ok(()));
    let late = spool.complete(lease.clone(), Some(notice(3))).await;
    assert_eq!(late, Err(Error::Fenced(lease.leg)));
    drop(spool);
    let spool = engine.open(&clock).await;
    assert_eq!(names(&claim(&spool).await), [(2, 0)]);
    assert_eq!(read(&spool, 2).await, Ok(b"told".to_vec()));
}

/// Each action, on legs that wait and on legs that are tried.
pub async fn the_operator_holds_releases_bounces_and_removes<E: Engine>(engine: &E) {
    let (spool, clock) = open(engine).await;
    for (n, target) in [(1, "a@x.example"), (2, "b@x.example"), (3, "c@y.example")] {
        put(&spool, n, 10, &[target]).await;
    }
    let x = Filter {
        hosts: HashSet::from(["x.example".parse().expect("a host")]),
        ..Filter::default()
    };
    let admin = async |filter: &Filter, action| {
        let changed = spool
            .admin(filter, action, None, usize::MAX)
            .await
            .expect("done");
        let legs = changed.entries.iter();
        legs.map(|leg| (number(leg.id), leg.state == State::Active))
            .collect::<Vec<_>>()
    };
    assert_eq!(admin(&x, Action::Hold).await, [(1, false), (2, false)]);
    assert_eq!(admin(&x, Action::Hold).await, []);
    assert_eq!(names(&claim(&spool).await), [(3, 0)]);
    let counts = spool.counts().await.expect("counts");
    assert_eq!((counts.held, counts.active), (2, 1));
    assert_eq!(counts.hosts[0], ("x.example".parse().expect("a host"), 2));
    clock.set(at(99_999));
    let overdue = spool.overdue(9, minutes(1)).await.expect("a batch");
    assert!(overdue.iter().all(|o| number(o.claim.lease.leg) == 3));
    clock.set(at(5));
    let two = Filter {
        states: vec![State::Held],
        ..Filter::only(id(2))
    };
    assert_eq!(admin(&two, Action::Release).await, [(2, false)]);
    let claimed = claim(&spool).await.remove(0);
    assert_eq!(number(claimed.lease.leg), 2);
    // Held while it is tried: the attempt may still end it.
    assert_eq!(admin(&x, Action::Hold).await, [(2, true)]);
    assert_eq!(spool.complete(claimed.lease, None).await, Ok(()));
    assert_eq!(admin(&x, Action::Bounce).await, [(1, false)]);
    assert_eq!(claim(&spool).await.len(), 0);
    let bounced = spool
        .overdue(9, minutes(1))
        .await
        .expect("a batch")
        .remove(0);
    assert_eq!(
        (bounced.why, number(bounced.claim.lease.leg)),
        (Why::Bounced, 1)
    );
    assert_eq!(admin(&x, Action::Remove).await, [(1, true)]);
    let fenced = Err(Error::Fenced(bounced.claim.lease.leg));
    assert_eq!(spool.complete(bounced.claim.lease, None).await, fenced);
}

/// Each leg on one page.
pub async fn a_listing_is_paged<E: Engine>(engine: &E) {
    let (spool, _) = open(engine).await;
    for n in 1..=30 {
        put(&spool, n, 10, &["a@x.example", "b@y.example"]).await;
    }
    let y = Filter {
        hosts: HashSet::from(["y.example".parse().expect("a host")]),
        ..Filter::default()
    };
    let (mut seen, mut cursor) = (Vec::new(), None);
    loop {
        let page = spool.list(&y, cursor, 7).await.expect("a page");
        assert!(page.entries.len() <= 7);
        seen.extend(page.entries.iter().map(|entry| entry.id));
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(seen.len(), 30);
    assert!(seen.is_sorted_by(|a, b| a < b));
}

/// The second message, by a user who logged in: two legs, the first for another recipient too.
pub(super) async fn put_by_ann(spool: &impl Spool) {
    let mut merged = leg("c@y.example");
    merged.merged = Merged::new(vec!["bob@other.example".parse().expect("an address")]);
    let sender = ReversePath::Null;
    let message = Message {
        user: Some("Ann".into()),
        ..Message::new(id(2), at(60), sender, 10)
    };
    let mut writer = spool.begin(id(2)).await.expect("a writer");
    writer.write(body(10)).await.expect("written");
    let legs = vec![merged, leg("d@x.example")];
    let done = spool
        .commit(writer, Arrival::new(message, legs, at(90)))
        .await;
    assert_eq!(done.map(drop), Ok(()));
}

/// Each condition that an operator may give, for a listing and for an action: which legs it means.
pub async fn each_condition_of_a_filter_counts<E: Engine>(engine: &E) {
    let (spool, clock) = open(engine).await;
    put(&spool, 1, 10, &["a@x.example", "b@y.example"]).await;
    clock.set(at(60));
    put_by_ann(&spool).await;
    let all = Filter::default;
    let to = |text: &str| Filter {
        to: Some(text.parse().expect("a pattern")),
        ..all()
    };
    let from = |text: &str| Filter {
        from: Some(text.parse().expect("a pattern")),
        ..all()
    };
    let by = |user: &str| Filter {
        users: [user.into()].into(),
        ..all()
    };
    let states = |states: &[State]| Filter {
        states: states.to_vec(),
        ..all()
    };
    let older = |span| Filter {
        older_than: Some(minutes(span)),
        ..all()
    };
    let leg = LegId {
        message: id(2),
        number: 1,
    };
    let both = Filter {
        ids: vec![leg.into(), id(1).into()],
        ..to("@x.example")
    };
    let younger = Filter {
        younger_than: Some(minutes(60)),
        ..all()
    };
    let rows: [(Filter, &[(u64, u32)]); 16] = [
        (all(), &[(1, 0), (1, 1), (2, 0), (2, 1)]),
        (Filter::only(id(2)), &[(2, 0), (2, 1)]),
        (Filter::only(leg), &[(2, 1)]),
        (both, &[(1, 0), (2, 1)]),
        (to("B@y.example"), &[(1, 1)]),
        (to("alice@example.org"), &[(1, 0), (1, 1), (2, 0), (2, 1)]),
        (to("other.example"), &[(2, 0)]),
        (from("<>"), &[(2, 0), (2, 1)]),
        (from("a.example"), &[(1, 0), (1, 1)]),
        (by("ann"), &[(2, 0), (2, 1)]),
        (by("bob"), &[]),
        (states(&[State::Ready]), &[(1, 0), (1, 1)]),
        (states(&[State::Held, State::Deferred]), &[(2, 0), (2, 1)]),
        (older(59), &[(1, 0), (1, 1)]),
        (younger, &[(2, 0), (2, 1)]),
        (to("*@X.example"), &[(1, 0), (2, 1)]),
    ];
    let named = |entries: &[Entry]| -> Vec<_> {
        let ids = entries.iter().map(|entry| entry.id);
        ids.map(|leg| (number(leg), leg.number)).collect()
    };
    for (filter, expected) in &rows {
        let page = spool.list(filter, None, 9).await.expect("a page");
        assert_eq!(named(&page.entries), *expected, "{filter:?}");
        // Nothing is held: this changes nothing.
        let changed = spool.admin(filter, Action::Release, None, 9).await;
        let changed = changed.expect("done");
        assert_eq!(changed.matched, expected.len() as u64, "{filter:?}");
    }
    let page = spool.list(&older(60), None, 9).await.expect("a page");
    assert_eq!(page.entries.len(), 0);
}

/// Those that match and no other, however small the pieces; durable.
pub async fn an_action_on_many_legs_goes_in_pieces<E: Engine>(engine: &E) {
    let (spool, clock) = open(engine).await;
    let targets: Vec<String> = (0..100).map(|n| format!("u{n}@x.example")).collect();
    let mut targets: Vec<&str> = targets.iter().map(String::as_str).collect();
    targets[50..].fill("a@y.example");
    for n in 1..=30 {
        put(&spool, n, 10, &targets).await;
    }
    let active = claim_some(&spool, 70, 70).await;
    assert_eq!(active.len(), 70);
    let x = Filter {
        to: Some("x.example".parse().expect("a pattern")),
        states: vec![State::Ready],
        ..Filter::default()
    };
    let (mut pieces, mut matched, mut changed, mut cursor) = (0, 0, Vec::new(), None);
    loop {
        let piece = spool.admin(&x, Action::Hold, cursor, 200).await;
        let piece = piece.expect("done");
        assert!(piece.matched <= 200);
        pieces += 1;
        matched += piece.matched;
        changed.extend(piece.entries.iter().map(|entry| entry.id));
        cursor = piece.next;
        if cursor.is_none() {
            break;
        }
    }
    let is_x = |claim: &&Claim| claim.leg.target.to_string().ends_with("@x.example");
    let expected = 1500 - active.iter().filter(is_x).count();
    assert_eq!((matched, changed.len()), (expected as u64, expected));
    assert!(pieces >= expected.div_ceil(200) && changed.is_sorted_by(|a, b| a < b));
    drop(spool);
    let spool = engine.open(&clock).await;
    let held = Filter {
        states: vec![State::Held],
        ..Filter::default()
    };
    let page = spool.list(&held, None, 3000).await.expect("a page");
    let held: Vec<_> = page.entries.iter().map(|entry| entry.id).collect();
    assert_eq!(held, changed);
}

/// Whoever waits, and whoever comes to wait only then.
pub async fn a_change_wakes_all_who_wait<E: Engine>(engine: &E) {
    let (spool, _) = open(engine).await;
    let (mut one, mut two) = (spool.changed(), spool.changed());
    put(&spool, 1, 10, &["a@x.example"]).await;
    one.changed().await.expect("a change");
    two.changed().await.expect("a change");
    let mut late = spool.changed();
    assert!(!late.has_changed().expect("it is open"));
    let lease = claim(&spool).await.remove(0).lease;
    let moved = spool.reschedule(lease, at(3), Update::default()).await;
    assert_eq!(moved, Ok(()));
    late.changed().await.expect("a change");
}

/// They come with a message, and need it no more.
pub async fn tokens_live_until_they_expire<E: Engine>(engine: &E) {
    let (spool, clock) = open(engine).await;
    let token = spool.token("sender@a.example", at(60));
    let unused = spool.token("other@a.example", at(60));
    let mut writer = spool.begin(id(1)).await.expect("a writer");
    writer.write(body(10)).await.expect("written");
    writer.keep(token.clone());
    let legs = vec![leg("a@x.example")];
    let done = spool
        .commit(writer, Arrival::new(message(1, 10), legs, at(0)))
        .await;
    assert_eq!(done.map(drop), Ok(()));
    let lease = claim(&spool).await.remove(0).lease;
    assert_eq!(spool.complete(lease, None).await, Ok(()));
    let value = spool.recall(&token.name).await;
    assert_eq!(value, Ok(Some("sender@a.example".to_owned())));
    assert_eq!(spool.recall(&unused.name).await, Ok(None));
    clock.set(at(61));
    assert_eq!(spool.recall(&token.name).await, Ok(None));
}
