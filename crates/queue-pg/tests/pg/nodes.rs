//! Several nodes on one queue: who dies, who is silent, who leaves, and what becomes of what they worked on.

use std::time::{Duration, Instant};

use bytes::Bytes;
use envelope::MessageId;
use queue_pg::{Cluster, Pace, PgSpool, Settings, StartError};
use spool::{
    Action, BodyWriter, Clock, Error, Filter, IdSource, Settlement, Spool, Update, Want, change_all,
};

use crate::support::{Database, PACE, claim, claim_soon, node, put, put_due, until};

#[tokio::test]
#[ignore = "foreign: PostgreSQL"]
async fn the_legs_of_a_dead_node_go_to_the_others() {
    let database = Database::new().await;
    let (dead, alive) = (database.node("dead").await, database.node("alive").await);
    let id = put(&dead, 10, "a@x.example").await.unwrap();
    let claims = claim(&dead).await;
    assert_eq!(claims.len(), 1);
    // It says nothing more: its tasks have ended with it.
    drop(dead);
    assert_eq!(claim(&alive).await.len(), 0);
    let died = Instant::now();
    let taken = claim_soon(&alive).await.remove(0);
    assert_eq!(taken.lease.leg.message, id);
    assert!(died.elapsed() < PACE.dead * 3, "{:?}", died.elapsed());
}

/// It has lost what it worked on, knows it before it sends anything, and works on under another run.
#[tokio::test]
#[ignore = "foreign: PostgreSQL"]
async fn who_was_cut_off_sends_nothing_and_comes_back() {
    let database = Database::new().await;
    let (link, url) = database.link().await;
    let cut = node(&url, "cut").await.unwrap();
    let other = database.node("other").await;
    put(&cut, 10, "a@x.example").await.unwrap();
    let lease = claim(&cut).await.remove(0).lease;
    assert!(cut.holds(&lease));
    link.stop(true);
    let taken = claim_soon(&other).await.remove(0).lease;
    assert!(!cut.holds(&lease), "it was silent for longer than `lost`");
    assert!(matches!(
        cut.begin(lease.leg.message).await,
        Err(Error::Unknown(_))
    ));
    assert_eq!(claim(&cut).await.len(), 0);
    link.stop(false);
    let began = Instant::now();
    while put(&cut, 10, "b@y.example").await.is_err() {
        assert!(began.elapsed() < testkit::PATIENCE, "it does not come back");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(!cut.holds(&lease));
    let fenced = Err(Error::Fenced(lease.leg));
    assert_eq!(cut.complete(lease, None).await, fenced);
    assert_eq!(other.complete(taken, None).await, Ok(()));
    assert_eq!(claim_soon(&cut).await.len(), 1);
}

/// In a long queue it takes as long as this one, which waits for a lock.
#[tokio::test]
#[ignore = "foreign: PostgreSQL"]
async fn a_slow_look_keeps_no_heartbeat_up() {
    let database = Database::new().await;
    let pace = Pace {
        beat: PACE.beat,
        lost: Duration::from_secs(2),
        dead: Duration::from_secs(3),
    };
    let open = |name: &str| {
        PgSpool::open(Settings {
            pace,
            ..Settings::new(&database.url, name)
        })
    };
    let (slow, other) = (open("slow").await.unwrap(), open("other").await.unwrap());
    put(&slow, 10, "a@x.example").await.unwrap();
    let lease = claim(&slow).await.remove(0).lease;
    let locked = database.ask("BEGIN; LOCK TABLE onward.legs; SELECT pg_sleep(4)");
    let held = async {
        loop {
            assert!(slow.holds(&lease), "it is lost");
            tokio::time::sleep(PACE.beat / 2).await;
        }
    };
    tokio::select! {
        _ = locked => {}
        () = held => {}
    }
    // Nor has the other given it up.
    assert_eq!(slow.complete(lease, None).await, Ok(()));
    assert_eq!(claim(&other).await.len(), 0);
}

/// Nobody knows whether who holds it takes it.
#[tokio::test]
#[ignore = "foreign: PostgreSQL"]
async fn what_a_claim_has_passed_by_is_claimed_soon() {
    let database = Database::new().await;
    let spool = database.node("mx1").await;
    put(&spool, 10, "a@x.example").await.unwrap();
    let held = database.ask("BEGIN; SELECT FROM onward.legs FOR UPDATE; SELECT pg_sleep(2)");
    let claiming = async {
        let locked = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'SELECT pg_sleep(2)%'";
        until(&database, locked, "1").await;
        assert_eq!(claim(&spool).await.len(), 0);
        let mut changes = spool.changed();
        loop {
            changes.mark_unchanged();
            if !claim(&spool).await.is_empty() {
                return;
            }
            let changed = tokio::time::timeout(testkit::PATIENCE, changes.changed());
            changed.await.expect("it is told of").unwrap();
        }
    };
    tokio::join!(held, claiming);
}

/// It was locked when its node was given up, or the claim came through only then.
#[tokio::test]
#[ignore = "foreign: PostgreSQL"]
async fn no_lease_outlives_its_node_for_long() {
    let database = Database::new().await;
    let spool = database.node("mx1").await;
    put(&spool, 10, "a@x.example").await.unwrap();
    let lease = claim(&spool).await.remove(0).lease;
    put(&spool, 10, "b@y.example").await.unwrap();
    let late = "UPDATE onward.legs SET owner = 1, lease_end = 99999999999999 WHERE owner IS NULL";
    database.ask(late).await;
    assert_eq!(claim_soon(&spool).await.len(), 1);
    assert!(spool.holds(&lease) && spool.complete(lease, None).await.is_ok());
}

/// A primary whose clock is ahead takes over: the first to send a heartbeat finds those of the others old.
#[tokio::test]
#[ignore = "foreign: PostgreSQL"]
async fn a_clock_that_jumps_gives_nobody_up() {
    let database = Database::new().await;
    let url = database.shifted(0).await;
    let (one, two) = (node(&url, "one").await, node(&url, "two").await);
    let nodes = [one.unwrap(), two.unwrap()];
    let mut leases = Vec::new();
    for node in &nodes {
        put(node, 10, "a@x.example").await.unwrap();
        leases.push(claim(node).await.remove(0).lease);
    }
    tokio::time::sleep(PACE.dead).await;
    database.ask("UPDATE onward.shift SET by = '20 s'").await;
    tokio::time::sleep(PACE.dead).await;
    for (node, lease) in nodes.iter().zip(leases) {
        assert_eq!(node.complete(lease, None).await, Ok(()));
    }
}

/// It is named, and mail is due all the same when it comes in.
#[tokio::test]
#[ignore = "foreign: PostgreSQL"]
async fn mail_is_due_by_one_clock() {
    let database = Database::new().await;
    let url = database.shifted(-3600).await;
    let spool = node(&url, "mx1").await.unwrap();
    let now = || Clock::real().now();
    put_due(&spool, 10, "a@x.example", now()).await.unwrap();
    let lease = claim_soon(&spool).await.remove(0).lease;
    let update = Update {
        attempts: 1,
        warned: false,
        last: None,
        dsn: None,
    };
    let again = Settlement::Reschedule(now(), update);
    assert_eq!(spool.settle(vec![(lease, again)]).await, [Ok(())]);
    assert_eq!(claim_soon(&spool).await.len(), 1);
    let findings = Cluster::new(&Settings::new(&url, "cli")).unwrap();
    let findings = findings.findings().await.unwrap();
    let named = |finding: &queue_pg::Finding| finding.to_string().contains(" s behind");
    assert!(findings.iter().any(named), "{findings:?}");
}

/// What it was asked to claim reaches the database only when it has given that up: nobody would deliver it until the lease ends.
#[tokio::test]
#[ignore = "foreign: PostgreSQL"]
async fn a_claim_that_comes_late_claims_nothing() {
    let database = Database::new().await;
    let (link, url) = database.link().await;
    let cut = PgSpool::open(Settings::new(&url, "cut")).await.unwrap();
    let other = Settings::new(&database.url, "other");
    let other = PgSpool::open(other).await.unwrap();
    put(&cut, 10, "a@x.example").await.unwrap();
    link.stop(true);
    let want = Want {
        max: 10,
        per_host: 10,
        lease: Duration::from_mins(3),
    };
    assert!(matches!(cut.claim(&want).await, Err(Error::Unknown(_))));
    link.stop(false);
    put(&cut, 10, "b@y.example").await.unwrap();
    let leased = "SELECT count(*) FROM onward.legs WHERE owner IS NOT NULL";
    assert_eq!(database.ask(leased).await, "0");
    assert!(!claim_soon(&other).await.is_empty());
}

#[tokio::test]
#[ignore = "foreign: PostgreSQL"]
async fn a_name_is_one_node_s() {
    let database = Database::new().await;
    let first = database.node("mx1").await;
    let second = node(&database.url, "mx1").await;
    assert!(matches!(second, Err(StartError::NameTaken(_))));
    put(&first, 10, "a@x.example").await.unwrap();
    assert_eq!(claim(&first).await.len(), 1);
    drop(first);
    // What it worked on is its own again, without a wait.
    let again = database.node("mx1").await;
    assert_eq!(claim(&again).await.len(), 1);
}

/// It was silent for so long that a second process could take its name. It begins anew when that has left, or died.
#[tokio::test]
#[ignore = "foreign: PostgreSQL"]
async fn who_has_lost_its_name_takes_it_back() {
    for leaves in [true, false] {
        let database = Database::new().await;
        let (link, url) = database.link().await;
        let first = node(&url, "mx1").await.unwrap();
        link.stop(true);
        let second = database.node("mx1").await;
        link.stop(false);
        put(&second, 10, "a@x.example").await.unwrap();
        assert_eq!(claim(&second).await.len(), 1);
        let began = Instant::now();
        while began.elapsed() < PACE.dead * 2 {
            assert!(put(&first, 10, "b@y.example").await.is_err());
            tokio::time::sleep(PACE.beat).await;
        }
        match leaves {
            true => second.close().await,
            false => drop(second),
        }
        // What that one worked on is free.
        assert_eq!(claim_soon(&first).await.len(), 1, "left: {leaves}");
        put(&first, 10, "b@y.example").await.unwrap();
    }
}

#[tokio::test]
#[ignore = "foreign: PostgreSQL"]
async fn a_node_that_is_gone_is_forgotten_and_may_come_back() {
    let database = Database::new().await;
    let (link, url) = database.link().await;
    let cut = node(&url, "cut").await.unwrap();
    let cluster = Cluster::new(&Settings {
        pace: PACE,
        ..Settings::new(&database.url, "cli")
    });
    let cluster = cluster.unwrap();
    put(&cut, 10, "a@x.example").await.unwrap();
    assert_eq!(claim(&cut).await.len(), 1);
    assert!(!cluster.forget("nobody").await.unwrap());
    assert!(!cluster.forget("cut").await.unwrap(), "it is at work");
    link.stop(true);
    let began = Instant::now();
    while !cluster.forget("cut").await.unwrap() {
        assert!(began.elapsed() < testkit::PATIENCE, "it is never gone");
        tokio::time::sleep(PACE.beat).await;
    }
    assert_eq!(cluster.nodes().await.unwrap(), []);
    // Nobody else has given it up, and what it worked on is free.
    let other = database.node("other").await;
    assert_eq!(claim_soon(&other).await.len(), 1);
    link.stop(false);
    let began = Instant::now();
    while put(&cut, 10, "b@y.example").await.is_err() {
        assert!(began.elapsed() < testkit::PATIENCE, "it does not come back");
        tokio::time::sleep(PACE.beat).await;
    }
    assert_eq!(cluster.nodes().await.unwrap().len(), 2);
}

#[tokio::test]
#[ignore = "foreign: PostgreSQL"]
async fn a_drained_node_takes_no_more_legs() {
    let database = Database::new().await;
    let (one, two) = (database.node("one").await, database.node("two").await);
    let cluster = Cluster::new(&Settings::new(&database.url, "cli")).unwrap();
    assert!(!cluster.drain("nobody", true).await.unwrap());
    assert!(cluster.drain("one", true).await.unwrap());
    // It hears of that in a moment.
    let mut legs = 0;
    loop {
        put(&one, 10, "a@x.example").await.unwrap();
        match claim(&one).await.len() {
            0 => break,
            more => legs += more as u64,
        }
    }
    assert_eq!(claim_soon(&two).await.len(), 1);
    let nodes = cluster.nodes().await.unwrap();
    let shown: Vec<_> = nodes
        .iter()
        .map(|it| (&*it.name, it.alive, it.draining, it.legs))
        .collect();
    assert_eq!(shown, [("one", true, true, legs), ("two", true, false, 1)]);
    // Who leaves hands over at once.
    assert!(cluster.drain("one", false).await.unwrap());
    put(&one, 10, "a@x.example").await.unwrap();
    assert!(!claim_soon(&one).await.is_empty());
    one.close().await;
    let left = Instant::now();
    assert!(!claim_soon(&two).await.is_empty());
    assert!(left.elapsed() < PACE.dead);
}

/// The last two legs, ended by two nodes in one moment: one of them takes the message with it.
#[tokio::test]
#[ignore = "foreign: PostgreSQL"]
async fn a_message_ends_with_its_last_leg_whoever_ends_it() {
    let database = Database::new().await;
    let (one, two) = (database.node("one").await, database.node("two").await);
    for _ in 0..30 {
        put(&one, 10, "a@x.example b@y.example").await.unwrap();
        let claims = claim(&one).await;
        assert_eq!(claims.len(), 2);
        let [a, b] = [0, 1].map(|n| claims[n].lease.clone());
        // A lease is its owner's; who says so is not asked.
        let (a, b) = tokio::join!(one.complete(a, None), two.complete(b, None));
        assert_eq!((a, b), (Ok(()), Ok(())));
    }
    assert_eq!(
        database.ask("SELECT count(*) FROM onward.messages").await,
        "0"
    );
}

/// A large body whose node dies before the commit.
#[tokio::test]
#[ignore = "foreign: PostgreSQL"]
async fn pieces_that_nobody_will_commit_are_cleared_away() {
    let database = Database::new().await;
    let dead = database.node("dead").await;
    let ids = IdSource::new();
    let begin = async |spool: &PgSpool| -> (MessageId, _) {
        let id = ids.next(Clock::real().now());
        let mut writer = spool.begin(id).await.unwrap();
        writer.write(Bytes::from(vec![0; 600_000])).await.unwrap();
        (id, writer)
    };
    let (_, writer) = begin(&dead).await;
    assert_eq!(
        database.ask("SELECT count(*) FROM onward.bodies").await,
        "2"
    );
    std::mem::forget(writer);
    drop(dead);
    let alive = database.node("alive").await;
    // One that is abandoned by a node that lives goes at once.
    let (_, writer) = begin(&alive).await;
    drop(writer);
    until(&database, "SELECT count(*) FROM onward.bodies", "0").await;
    assert_eq!(
        database.ask("SELECT count(*) FROM onward.drafts").await,
        "0"
    );
}

/// By a name that came with it, a move would take it to have come.
#[tokio::test]
#[ignore = "foreign: PostgreSQL"]
async fn a_message_that_does_not_come_leaves_no_name_behind() {
    let database = Database::new().await;
    let node = database.node("mx1").await;
    let id = put(&node, 10, "a@x.example").await.unwrap();
    let page = node.list(&Filter::only(id), None, 1).await.unwrap();
    change_all(&node, &Filter::only(id), Action::Remove, drop)
        .await
        .unwrap();
    let mut writer = node.begin(id).await.unwrap();
    writer.write(Bytes::from(vec![0; 600_000])).await.unwrap();
    let later = Clock::real().now().plus(Duration::from_hours(1));
    let token = node.token("moved", later);
    writer.keep(token.clone());
    // All of it is sent; then it is cleared away.
    writer.read_back().await.unwrap();
    database.ask("DELETE FROM onward.drafts").await;
    let back = node.bring_back(writer, page.entries).await;
    assert!(matches!(back, Err(Error::Unknown(_))));
    assert_eq!(node.recall(&token.name).await, Ok(None));
}

/// Without it, a node would look only every few seconds.
#[tokio::test]
#[ignore = "foreign: PostgreSQL"]
async fn a_change_on_one_node_is_a_hint_to_the_others() {
    let database = Database::new().await;
    let slow = Pace {
        beat: Duration::from_secs(600),
        lost: Duration::from_secs(1200),
        ..Pace::default()
    };
    let open = |name: &str| {
        PgSpool::open(Settings {
            pace: slow,
            ..Settings::new(&database.url, name)
        })
    };
    let (one, two) = (open("one").await.unwrap(), open("two").await.unwrap());
    let began = Instant::now();
    let mut told = false;
    while !told && began.elapsed() < testkit::PATIENCE {
        // The first may come before the other has begun to listen.
        put(&one, 10, "a@x.example").await.unwrap();
        let mut changes = two.changed();
        told = tokio::time::timeout(Duration::from_secs(2), changes.changed())
            .await
            .is_ok();
    }
    assert!(told && !claim(&two).await.is_empty());
}
