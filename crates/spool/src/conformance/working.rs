//! Mail comes, is claimed, settled, and is there after a restart.

use std::collections::HashMap;
use std::slice::from_ref;

use envelope::{Diagnosis, EnhancedStatus, Leg, Message, Origin, Peer, Reply};

use super::{
    Engine, at, body, claim, id, leg, message, minutes, names, notice, open, put, read, read_all,
};
use crate::{
    Action, Arrival, BodyWriter, Counts, Deadlines, Error, Filter, OpenError, Spool, Update, Why,
};

/// From commit to end.
pub async fn a_message_goes_through<E: Engine>(engine: &E) {
    let (spool, _) = open(engine).await;
    put(&spool, 1, 3000, &["a@x.example", "b@y.example"]).await;
    let claims = claim(&spool).await;
    assert_eq!(names(&claims), [(1, 0), (1, 1)]);
    assert_eq!(read(&spool, 1).await, Ok(body(3000)));
    assert_eq!(claim(&spool).await.len(), 0);
    for claim in claims {
        assert_eq!(spool.complete(claim.lease, None).await, Ok(()));
    }
    assert_eq!(read(&spool, 1).await, Err(OpenError::NotFound));
    assert_eq!(spool.counts().await, Ok(Counts::default()));
}

/// Message, leg and the last attempt's diagnosis, whole, after a restart too; and the trace before the body.
pub async fn what_was_given_comes_back<E: Engine>(engine: &E) {
    let (spool, clock) = open(engine).await;
    let trace = "Authentication-Results: us.example; none\r\n";
    let message = Message {
        origin: Origin::Proved,
        peer: Some(Peer {
            address: "2001:db8::1".parse().expect("an address"),
            hello: "mx.a.example".into(),
        }),
        user: Some("ann@a.example".into()),
        trace: trace.into(),
        ..message(1, trace.len() + 10)
    };
    let leg = Leg {
        options: "egress=bulk".parse().expect("options"),
        ..leg("a@x.example")
    };
    let mut writer = spool.begin(id(1)).await.expect("a writer");
    writer.write(body(10)).await.expect("written");
    let done = spool.commit(
        writer,
        Arrival::new(message.clone(), vec![leg.clone()], at(0)),
    );
    assert_eq!(done.await.map(drop), Ok(()));
    let full = EnhancedStatus::transient(2, 2);
    let last = Diagnosis {
        reply: Some(Reply::new(452, full, "mailbox full\ntry later")),
        host: Some("mx.x.example[192.0.2.1]:25".to_owned()),
        ..Diagnosis::local(full, "while sending RCPT TO")
    };
    let update = Update {
        attempts: 1,
        last: Some(last.clone()),
        ..Update::default()
    };
    let lease = claim(&spool).await.remove(0).lease;
    assert_eq!(spool.reschedule(lease, at(9), update).await, Ok(()));
    drop(spool);
    let spool = engine.open(&clock).await;
    let page = spool.list(&Filter::default(), None, 9).await;
    let entry = page.expect("a page").entries.remove(0);
    assert_eq!((&*entry.message, entry.leg), (&message, leg));
    assert_eq!(entry.last, Some(last));
    assert_eq!(
        read(&spool, 1).await,
        Ok([trace.as_bytes(), &body(10)].concat())
    );
}

/// What was settled stays so; who had a lease has none any more.
pub async fn a_restart_frees_leases_and_keeps_the_rest<E: Engine>(engine: &E) {
    let (spool, clock) = open(engine).await;
    for n in 1..=3 {
        put(&spool, n, 10, &["a@x.example"]).await;
    }
    let mut claims = claim(&spool).await;
    let lost = claims.remove(0).lease;
    let moved = Update {
        attempts: 1,
        ..Update::default()
    };
    let again = spool.reschedule(claims.remove(0).lease, at(9), moved).await;
    assert_eq!(again, Ok(()));
    assert_eq!(spool.complete(claims.remove(0).lease, None).await, Ok(()));
    drop(spool);
    let spool = engine.open(&clock).await;
    let fenced = Err(Error::Fenced(lost.leg));
    assert_eq!(spool.complete(lost, None).await, fenced);
    assert_eq!(names(&claim(&spool).await), [(1, 0)]);
    clock.set(at(9));
    let second = claim(&spool).await;
    assert_eq!((names(&second), second[0].attempts), (vec![(2, 0)], 1));
}

/// The client may have come again, and the first answer be lost: also when there was a restart in between.
pub async fn committing_twice_is_committing_once<E: Engine>(engine: &E) {
    let (mut spool, clock) = open(engine).await;
    for _ in 0..2 {
        put(&spool, 1, 10, &["a@x.example"]).await;
        put(&spool, 1, 10, &["a@x.example"]).await;
        drop(spool);
        spool = engine.open(&clock).await;
    }
    assert_eq!(claim(&spool).await.len(), 1);
    let again = spool.counts().await.expect("counts");
    assert_eq!((again.active, again.ready), (1, 0));
}

/// The legs come back leased, and nobody else gets them; an id that is there already gives none.
pub async fn who_commits_may_begin_at_once<E: Engine>(engine: &E) {
    let (spool, clock) = open(engine).await;
    let arrival = || Arrival {
        lease: Some(minutes(1)),
        ..Arrival::new(
            message(1, 10),
            ["a@x.example", "b@x.example"].map(leg).into(),
            at(0),
        )
    };
    let writer = spool.begin(id(1)).await.expect("a writer");
    let claims = spool.commit(writer, arrival()).await.expect("claims");
    assert_eq!(names(&claims), [(1, 0), (1, 1)]);
    assert_eq!(claim(&spool).await.len(), 0);
    let writer = spool.begin(id(1)).await.expect("a writer");
    let again = spool.commit(writer, arrival()).await.expect("claims");
    assert_eq!(again.len(), 0);
    let first = claims[0].lease.clone();
    assert_eq!(spool.complete(first, None).await, Ok(()));
    clock.set(at(1));
    assert_eq!(names(&claim(&spool).await), [(1, 1)]);
}

/// A leg on hold waits for an operator, says why, and its neighbour goes on; after a restart too.
pub async fn legs_may_come_on_hold<E: Engine>(engine: &E) {
    let (spool, clock) = open(engine).await;
    let why = Diagnosis::local(EnhancedStatus::transient(7, 1), "held: why");
    let legs = ["a@x.example", "b@x.example", "c@y.example"].map(leg);
    let arrival = Arrival {
        held: HashMap::from([(0, why.clone()), (2, why.clone())]),
        lease: Some(minutes(1)),
        ..Arrival::new(message(1, 0), legs.into(), at(0))
    };
    let writer = spool.begin(id(1)).await.expect("a writer");
    let claims = spool.commit(writer, arrival).await.expect("claims");
    assert_eq!(names(&claims), [(1, 1)]);
    drop(spool);
    let spool = engine.open(&clock).await;
    assert_eq!(names(&claim(&spool).await), [(1, 1)]);
    assert_eq!(spool.counts().await.expect("counts").held, 2);
    let page = spool.list(&Filter::default(), None, 9).await;
    let last = page.expect("a page").entries.into_iter();
    let last: Vec<_> = last.map(|entry| entry.last).collect();
    assert_eq!(last, [Some(why.clone()), None, Some(why)]);
    clock.set(at(5 * 24 * 60));
    let overdue = spool.overdue(9, minutes(1)).await.expect("a batch");
    assert_eq!(overdue.len(), 1, "what is on hold has no deadline");
    let all = Filter::default();
    let released = spool.admin(&all, Action::Release, None, 9).await;
    assert_eq!(released.expect("done").entries.len(), 2);
    assert_eq!(names(&claim(&spool).await), [(1, 0), (1, 2)]);
}

/// Whatever the engine's settings are, and after a restart.
pub async fn deadlines_are_the_message_s_own<E: Engine>(engine: &E) {
    let (mut spool, clock) = open(engine).await;
    let arrival = Arrival {
        deadlines: Some(Deadlines {
            warn: at(10),
            expire: at(20),
        }),
        ..Arrival::new(message(1, 10), vec![leg("a@x.example")], at(0))
    };
    let writer = spool.begin(id(1)).await.expect("a writer");
    let entered = spool.commit(writer, arrival).await.expect("claims");
    assert_eq!(entered.len(), 0);
    for (now, expected) in [
        (9, None),
        (10, Some(Why::Warn)),
        (19, Some(Why::Warn)),
        (20, Some(Why::Expired)),
    ] {
        drop(spool);
        spool = engine.open(&clock).await;
        clock.set(at(now));
        let overdue = spool.overdue(9, minutes(1)).await.expect("a batch");
        let found = overdue.first();
        assert_eq!(found.map(|found| found.why), expected, "at {now}");
        assert!(found.is_none_or(|found| found.claim.deadline == at(20)));
    }
}

/// A writer that is dropped leaves nothing, however much it wrote.
pub async fn an_abandoned_body_is_nothing<E: Engine>(engine: &E) {
    let (spool, clock) = open(engine).await;
    put(&spool, 1, 300_000, &["a@x.example"]).await;
    let mut abandoned = spool.begin(id(2)).await.expect("a writer");
    abandoned.write(body(200_000)).await.expect("written");
    assert_eq!(abandoned.len(), 200_000);
    drop(abandoned);
    put(&spool, 3, 10, &["a@x.example"]).await;
    drop(spool);
    let spool = engine.open(&clock).await;
    assert_eq!(names(&claim(&spool).await), [(1, 0), (3, 0)]);
    assert!(read(&spool, 1).await == Ok(body(300_000)));
}

/// Whole, several times at once, and it can be committed afterwards as if nobody had looked.
pub async fn a_draft_is_read_back<E: Engine>(engine: &E) {
    let (spool, _) = open(engine).await;
    for (n, octets) in [(1, 0), (2, 3000), (3, 300_000), (4, 3_000_000)] {
        let mut writer = spool.begin(id(n)).await.expect("a writer");
        for chunk in body(octets).chunks(70_000) {
            writer.write(chunk.to_vec()).await.expect("written");
        }
        let first = writer.read_back().await.expect("a reader");
        let second = first.clone();
        assert!(read_all(first).await == Ok(body(octets)), "{octets}");
        let arrival = Arrival::new(message(n, octets), vec![leg("a@x.example")], at(0));
        assert_eq!(spool.commit(writer, arrival).await.map(drop), Ok(()));
        assert!(read_all(second).await == Ok(body(octets)), "{octets}");
        assert!(read(&spool, n).await == Ok(body(octets)), "{octets}");
    }
}

/// The newest lease counts, and it alone.
pub async fn leases_run_out_and_fence<E: Engine>(engine: &E) {
    let (spool, clock) = open(engine).await;
    put(&spool, 1, 10, &["a@x.example"]).await;
    let first = claim(&spool).await.remove(0).lease;
    assert_eq!(spool.next_due().await, Some(minutes(10)));
    let extended = spool.extend(from_ref(&first), minutes(15)).await;
    assert_eq!(extended, [Ok(())]);
    clock.set(at(14));
    assert_eq!(claim(&spool).await.len(), 0);
    clock.set(at(15));
    let second = claim(&spool).await.remove(0).lease;
    let fenced = Err(Error::Fenced(first.leg));
    assert_eq!(spool.complete(first.clone(), None).await, fenced);
    assert_eq!(spool.release(first.clone()).await, fenced);
    let moved = spool.reschedule(first.clone(), at(20), Update::default());
    assert_eq!(moved.await, fenced);
    let extended = spool.extend(from_ref(&first), minutes(99)).await;
    assert_eq!(extended, vec![fenced.clone()]);
    let moved = spool.reschedule(second.clone(), at(20), Update::default());
    assert_eq!(moved.await, Ok(()));
    assert_eq!(spool.complete(second, None).await, fenced);
    clock.set(at(19));
    assert_eq!(claim(&spool).await.len(), 0);
    clock.set(at(20));
    let third = claim(&spool).await.remove(0).lease;
    assert_eq!(spool.release(third.clone()).await, Ok(()));
    assert_eq!(spool.release(third).await, fenced);
    assert_eq!(claim(&spool).await.len(), 1);
}

/// A heartbeat names all that its node works on, also what is lost.
pub async fn leases_are_extended_together<E: Engine>(engine: &E) {
    let (spool, clock) = open(engine).await;
    for n in 1..=3 {
        put(&spool, n, 10, &["a@x.example"]).await;
    }
    let leases: Vec<_> = claim(&spool).await.into_iter().map(|c| c.lease).collect();
    assert_eq!(spool.complete(leases[1].clone(), None).await, Ok(()));
    let fenced = Err(Error::Fenced(leases[1].leg));
    let results = spool.extend(&leases, minutes(30)).await;
    assert_eq!(results, [Ok(()), fenced, Ok(())]);
    clock.set(at(29));
    assert_eq!(claim(&spool).await.len(), 0);
    clock.set(at(30));
    assert_eq!(claim(&spool).await.len(), 2);
}

/// One that is lost keeps no other from its end.
pub async fn each_leg_is_settled_for_itself<E: Engine>(engine: &E) {
    use crate::Settlement::{Complete, Release, Reschedule};
    let (spool, _) = open(engine).await;
    for n in 1..=4 {
        put(&spool, n, 10, &["a@x.example"]).await;
    }
    let leases: Vec<_> = claim(&spool).await.into_iter().map(|c| c.lease).collect();
    assert_eq!(spool.release(leases[1].clone()).await, Ok(()));
    let notice = Complete(Some(notice(9)));
    let later = Reschedule(at(60), Update::default());
    let legs = leases
        .iter()
        .cloned()
        .zip([notice, Complete(None), later, Release]);
    let results = spool.settle(legs.collect()).await;
    let fenced = Err(Error::Fenced(leases[1].leg));
    assert_eq!(results, [Ok(()), fenced, Ok(()), Ok(())]);
    assert_eq!(names(&claim(&spool).await), [(2, 0), (4, 0), (9, 0)]);
}
