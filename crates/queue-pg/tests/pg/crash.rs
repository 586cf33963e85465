//! The database dies while mail comes in: what was said to be committed is there.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::HashSet;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use envelope::{Leg, Mailbox, Message, MessageId, ReversePath, Timestamp};
use futures_util::future::join_all;
use queue_pg::{PgSpool, Settings};
use rustix::process::{Pid, Signal, kill_process};
use spool::{Arrival, Dsn, Filter, Spool};
use testkit::postgres::Postgres;
use tokio::task::JoinSet;

use crate::support::{Database, claim_soon, node, put, try_claim};

async fn all(spool: &PgSpool) -> HashSet<MessageId> {
    let (mut ids, mut cursor) = (HashSet::new(), None);
    loop {
        let page = spool.list(&Filter::default(), cursor, 1000).await.unwrap();
        ids.extend(page.entries.iter().map(|entry| entry.id.message));
        cursor = page.next;
        if cursor.is_none() {
            return ids;
        }
    }
}

/// Writers that commit until told to stop; what was acknowledged.
fn load(spool: &Arc<PgSpool>, until: Instant) -> JoinSet<Vec<MessageId>> {
    let mut writers = JoinSet::new();
    for _ in 0..20 {
        let spool = Arc::clone(spool);
        writers.spawn(async move {
            let mut acknowledged = Vec::new();
            while Instant::now() < until {
                match put(&spool, 2000, "a@x.example").await {
                    Ok(id) => acknowledged.push(id),
                    Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
                }
            }
            acknowledged
        });
    }
    writers
}

/// The server is killed, as by a loss of power, and started again, three times.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "foreign: PostgreSQL"]
async fn nothing_is_lost_when_the_database_is_killed() {
    let mut server = Postgres::start(&[]).await;
    let url = server.database("mail").await;
    let spool = Arc::new(node(&url, "mx1").await.unwrap());
    let writers = load(&spool, Instant::now() + Duration::from_secs(6));
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(900)).await;
        server.kill();
        server.go_on().await;
    }
    let acknowledged = writers.join_all().await.concat();
    assert!(acknowledged.len() > 100, "{}", acknowledged.len());
    let there = all(&spool).await;
    let lost: Vec<_> = acknowledged
        .iter()
        .filter(|id| !there.contains(id))
        .collect();
    assert_eq!(lost, Vec::<&MessageId>::new());
}

/// The primary is killed for good, and its standby promoted, which each commit has waited for.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "foreign: PostgreSQL"]
async fn nothing_is_lost_when_a_standby_takes_over() {
    let mut primary = Postgres::start(&[]).await;
    primary.database("mail").await;
    let standby = primary.standby("s1").await;
    let (one, two) = (primary.port(), standby.port());
    let hosts = format!("127.0.0.1:{one},127.0.0.1:{two}");
    let url = format!("postgres://onward@{hosts}/mail?target_session_attrs=read-write");
    let spool = Arc::new(node(&url, "mx1").await.unwrap());
    let writers = load(&spool, Instant::now() + Duration::from_secs(6));
    tokio::time::sleep(Duration::from_secs(2)).await;
    primary.kill();
    tokio::time::sleep(Duration::from_millis(500)).await;
    standby.promote().await;
    let acknowledged = writers.join_all().await.concat();
    let there = all(&spool).await;
    let lost: Vec<_> = acknowledged
        .iter()
        .filter(|id| !there.contains(id))
        .collect();
    assert_eq!(lost, Vec::<&MessageId>::new());
    // Both before and after.
    let after = put(&spool, 10, "a@x.example").await.unwrap();
    assert!(acknowledged.len() > 100 && !there.contains(&after));
    println!("{} acknowledged, none lost", acknowledged.len());
}

/// What is about to be sent waits for it, however long: here until its node knows again what its leases are worth.
#[tokio::test]
#[ignore = "foreign: PostgreSQL"]
async fn a_body_waits_for_the_database() {
    let mut server = Postgres::start(&[]).await;
    let spool = node(&server.database("mail").await, "mx1").await.unwrap();
    let id = put(&spool, 10, "a@x.example").await.unwrap();
    let lease = claim_soon(&spool).await.remove(0).lease;
    server.kill();
    let back = async {
        while spool.holds(&lease) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        server.go_on().await;
    };
    let (opened, ()) = tokio::join!(spool.open_body(id), back);
    opened.unwrap();
}

/// Its host hangs or has lost its power: connections are made, or not even that, and nobody answers.
#[tokio::test]
#[ignore = "foreign: PostgreSQL"]
async fn a_host_that_is_silent_keeps_no_node_from_the_others() {
    let database = Database::new().await;
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = silent.local_addr().unwrap();
    let url = database
        .url
        .replace("127.0.0.1", &format!("{silent},127.0.0.1"));
    let spool = node(&url, "mx1").await.unwrap();
    put(&spool, 10, "a@x.example").await.unwrap();
}

/// It was made all the same: what it has leased is given back long before the lease is over.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "foreign: PostgreSQL"]
async fn a_claim_whose_answer_is_lost_holds_no_mail_up() {
    let server = Postgres::start(&[]).await;
    let url = server.database("mail").await;
    let spool = PgSpool::open(Settings::new(url, "mx1")).await.unwrap();
    let spool = Arc::new(spool);
    put(&spool, 10, "a@x.example").await.unwrap();
    wait_for(&server, "nobody").await;
    let claiming = Arc::clone(&spool);
    let claiming = tokio::spawn(async move { try_claim(&claiming).await });
    lose_answer(&server, "WITH picked").await;
    assert!(claiming.await.unwrap().is_err());
    wait_for(&server, "").await;
    assert_eq!(claim_soon(&spool).await.len(), 1);
}

/// They were done, and are asked for again: a commit gives its leases all the same, and a leg that has ended with its notice ends once.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "foreign: PostgreSQL"]
async fn a_commit_and_an_end_whose_answer_is_lost_are_this_node_s() {
    let server = Postgres::start(&[]).await;
    let url = server.database("mail").await;
    let spool = PgSpool::open(Settings::new(url, "mx1")).await.unwrap();
    let spool = Arc::new(spool);
    let arrival = |n, lease| {
        let id = MessageId::new(spool.clock().now(), n);
        let message = Message::new(id, spool.clock().now(), ReversePath::Null, 0);
        let to: Mailbox = "a@x.example".parse().unwrap();
        let leg = Leg::new(ReversePath::Null, to.clone(), to);
        let due = spool.clock().now();
        Arrival {
            lease,
            ..Arrival::new(message, vec![leg], due)
        }
    };
    let begun = arrival(1, Some(Duration::from_mins(3)));
    let writer = spool.begin(begun.message.id).await.unwrap();
    wait_for(&server, "nobody").await;
    let committing = Arc::clone(&spool);
    let committing = tokio::spawn(async move { committing.commit(writer, begun).await });
    lose_answer(&server, "WITH j").await;
    wait_for(&server, "").await;
    let claims = committing.await.unwrap().unwrap();
    assert_eq!(claims.len(), 1);

    let notice = Dsn {
        arrival: arrival(2, None),
        body: Bytes::new(),
    };
    wait_for(&server, "nobody").await;
    let (ending, lease) = (Arc::clone(&spool), claims[0].lease.clone());
    let ending = tokio::spawn(async move { ending.complete(lease, Some(notice)).await });
    lose_answer(&server, "COMMIT").await;
    wait_for(&server, "").await;
    assert_eq!(ending.await.unwrap(), Ok(()));
    assert_eq!(claim_soon(&spool).await.len(), 1);
}

/// One that cannot commit may be a primary that was replaced.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "foreign: PostgreSQL"]
async fn a_name_is_unknown_to_a_primary_alone() {
    let server = Postgres::start(&[]).await;
    let spool = node(&server.database("mail").await, "mx1").await.unwrap();
    let end = Timestamp::from_unix_millis(u64::MAX / 4);
    let token = spool.token("someone@sender.example", end);
    spool
        .keep_tokens(std::slice::from_ref(&token))
        .await
        .unwrap();
    assert_eq!(spool.recall("PUNKNOWN").await, Ok(None));
    wait_for(&server, "nobody").await;
    let known = spool.recall(&token.name).await.unwrap();
    assert_eq!(known.as_deref(), Some("someone@sender.example"));
    assert!(spool.recall("PUNKNOWN").await.is_err());
}

async fn wait_for(server: &Postgres, standby: &str) {
    let change = format!("ALTER SYSTEM SET synchronous_standby_names = '{standby}';");
    server.say("postgres", &change).await.success();
    let reload = server.say("postgres", "SELECT pg_reload_conf();");
    reload.await.success();
    if !standby.is_empty() {
        // It takes a moment, until the next heartbeat at most.
        of_waiting(server, "UPDATE nodes", "pid").await;
    }
}

/// Ends the connection that commits this, while it waits for a standby that is not there: it is done all the same.
async fn lose_answer(server: &Postgres, query: &str) {
    of_waiting(server, query, "pg_terminate_backend(pid)").await;
}

async fn of_waiting(server: &Postgres, query: &str, what: &str) {
    let ask = format!(
        "SELECT {what} FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND query LIKE '{query}%';"
    );
    let began = Instant::now();
    while server.say("mail", &ask).await.success().stdout.is_empty() {
        assert!(began.elapsed() < testkit::PATIENCE, "{query}");
    }
}

/// All processes of the primary stand still, and its standby is promoted.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "foreign: PostgreSQL"]
async fn a_primary_that_stands_still_is_replaced() {
    let primary = Postgres::start(&[]).await;
    primary.database("mail").await;
    let standby = primary.standby("s1").await;
    let (one, two) = (primary.port(), standby.port());
    let url = format!("postgres://onward@127.0.0.1:{one},127.0.0.1:{two}/mail");
    let spool = Arc::new(node(&url, "mx1").await.unwrap());
    let writers = load(&spool, Instant::now() + Duration::from_secs(6));
    tokio::time::sleep(Duration::from_secs(2)).await;
    // Nor are those used again that nobody used just then.
    let list = async |_| spool.list(&Filter::default(), None, 1).await;
    join_all((0..12).map(list)).await;
    let _still = primary.freeze().await;
    let frozen = Instant::now();
    standby.promote().await;
    while let Err(error) = put(&spool, 10, "a@x.example").await {
        assert!(frozen.elapsed() < testkit::PATIENCE * 3, "{error}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    println!("mail is taken again after {:?}", frozen.elapsed());
    for n in 0..20 {
        list(n).await.unwrap();
    }
    let listens = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'LISTEN%';";
    while standby.say("mail", listens).await.success().stdout.trim() != "1" {
        assert!(frozen.elapsed() < testkit::PATIENCE * 3, "nobody listens");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let acknowledged = writers.join_all().await.concat();
    let there = all(&spool).await;
    assert!(acknowledged.iter().all(|id| there.contains(id)));
}

/// A process of the database stands still for longer than a piece of work may take, whatever it holds, and goes on then. What it was
/// asked to do is asked of others meanwhile, and comes once.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "foreign: PostgreSQL"]
async fn a_process_of_the_database_that_stands_still_doubles_nothing() {
    let server = Postgres::start(&[]).await;
    let spool = Arc::new(node(&server.database("mail").await, "mx1").await.unwrap());
    let writers = load(&spool, Instant::now() + Duration::from_secs(16));
    tokio::time::sleep(Duration::from_secs(1)).await;
    let busy = "SELECT pid FROM pg_stat_activity WHERE application_name = 'onward mx1' AND query LIKE 'WITH j%' LIMIT 1;";
    let pid = server.say("mail", busy).await.success().stdout;
    let pid = Pid::from_raw(pid.trim().parse().unwrap()).unwrap();
    kill_process(pid, Signal::STOP).unwrap();
    tokio::time::sleep(Duration::from_secs(12)).await;
    kill_process(pid, Signal::CONT).unwrap();
    let acknowledged = writers.join_all().await.concat();
    let there = all(&spool).await;
    assert!(acknowledged.iter().all(|id| there.contains(id)));
    let messages = server
        .say("mail", "SELECT count(*) FROM onward.messages;")
        .await
        .success();
    assert_eq!(messages.stdout.trim(), acknowledged.len().to_string());
    println!("{} acknowledged, each once", acknowledged.len());
}

/// A database that was made careless under a node that runs: it takes no more mail until that is put right.
#[tokio::test]
#[ignore = "foreign: PostgreSQL"]
async fn a_promise_that_ends_is_noticed() {
    let server = Postgres::start(&[]).await;
    let spool = node(&server.database("mail").await, "mx1").await.unwrap();
    put(&spool, 10, "a@x.example").await.unwrap();
    let set = async |to: &str| {
        let change = format!("ALTER SYSTEM SET full_page_writes = {to};");
        server.say("postgres", &change).await.success();
        server
            .say("postgres", "SELECT pg_reload_conf();")
            .await
            .success();
    };
    let until = async |taken: bool| {
        let began = Instant::now();
        while put(&spool, 10, "a@x.example").await.is_ok() != taken {
            assert!(began.elapsed() < testkit::PATIENCE, "taken: {taken}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    set("off").await;
    until(false).await;
    set("on").await;
    until(true).await;
}

/// Each of its connections is ended by the server, again and again: a client sees nothing of it.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "foreign: PostgreSQL"]
async fn a_connection_that_breaks_costs_no_answer() {
    let database = Database::new().await;
    let spool = Arc::new(database.node("mx1").await);
    let mut writers = load(&spool, Instant::now() + Duration::from_secs(2));
    for _ in 0..5 {
        tokio::time::sleep(Duration::from_millis(300)).await;
        database
            .ask("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'onward mx1' AND datname = current_database()")
            .await;
    }
    let mut acknowledged = Vec::new();
    while let Some(some) = writers.join_next().await {
        acknowledged.extend(some.unwrap());
    }
    let there = all(&spool).await;
    assert_eq!(there.len(), acknowledged.len(), "each once, and no other");
    assert!(acknowledged.iter().all(|id| there.contains(id)));
}

/// A statement that waits for a lock for longer than its node waits for it.
#[tokio::test]
#[ignore = "foreign: PostgreSQL"]
async fn what_was_given_up_does_not_run_on() {
    let server = Postgres::start(&[]).await;
    let spool = node(&server.database("mail").await, "mx1").await.unwrap();
    put(&spool, 10, "a@x.example").await.unwrap();
    let waiting = async || {
        let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND application_name LIKE 'onward%';";
        server.say("mail", waiting).await.success().stdout
    };
    let given_up = async {
        // Before the table is locked, it is listed at once.
        while spool.list(&Filter::default(), None, 1).await.is_ok() {}
        let began = Instant::now();
        while waiting().await.trim() != "0" {
            assert!(began.elapsed() < Duration::from_secs(5), "it runs on");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let locked = server.say(
        "mail",
        "BEGIN; LOCK TABLE onward.messages; SELECT pg_sleep(60);",
    );
    tokio::select! {
        it = locked => panic!("{it}"),
        () = given_up => {}
    }
}
