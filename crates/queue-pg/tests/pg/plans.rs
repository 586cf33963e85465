//! How the database finds rows: as in a long queue, although the first of them came into an empty one.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use queue_pg::{PgSpool, Settings};
use spool::Spool;

use crate::support::{Database, claim, put, until};

/// A message in, claimed, and ended.
async fn round(node: &PgSpool) {
    put(node, 10, "a@x.example").await.unwrap();
    let lease = claim(node).await.remove(0).lease;
    node.complete(lease, None).await.unwrap();
}

#[tokio::test]
#[ignore = "foreign: PostgreSQL"]
async fn a_queue_that_grows_is_not_read_as_a_whole() {
    let database = Database::new().await;
    // Its heartbeats, and what it does beside them, are to be few.
    let node = PgSpool::open(Settings::new(&database.url, "mx1"));
    let node = node.await.unwrap();
    round(&node).await;
    database.ask("VACUUM ANALYZE").await;
    round(&node).await;
    let fill = "INSERT INTO onward.legs (message, number, destination, target, recipient, trace, options, merged, merged_more,
            warn_at, expire_at, due, attempts, warned, held, bounced, token)
        SELECT gen_random_uuid(), 0, 'y.example', 'b@y.example', 'b@y.example', '', '', '{}', 0, 1e15, 1e15, 1e15, 0, false, false, false, 0
        FROM generate_series(1, 20000);
        INSERT INTO onward.messages (id, arrived, origin, trace, size, eight_bit, smtputf8)
        SELECT message, 0, 0, '', 0, false, false FROM onward.legs;";
    database.ask(fill).await;
    for _ in 0..10 {
        round(&node).await;
    }
    // Its connections tell what they read when they end.
    node.close().await;
    drop(node);
    let connected = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'onward mx1' AND datname = current_database()";
    until(&database, connected, "0").await;
    let read =
        "SELECT sum(seq_tup_read) FROM pg_stat_user_tables WHERE relname IN ('messages', 'legs')";
    let read: u64 = database.ask(read).await.parse().unwrap();
    // Filling it reads the legs once. Each round read them four times.
    assert!(read < 20_000 * 10, "{read} rows were read in order");
}
