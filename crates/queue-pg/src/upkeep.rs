//! What keeps the tables small: rows that nobody needs are deleted, and indexes that a backlog has blown up are made anew.

use std::time::Duration;

use spool::Error;

use crate::connect::Database;
use crate::time::span;

/// Expired tokens, pieces of messages whose node is gone, leases of nodes that are, and on what was put on hold, notes that hold no more.
pub(crate) async fn sweep(database: &Database, now: i64) -> Result<(), Error> {
    for (statement, kept) in SWEPT {
        let before = now.saturating_sub(span(kept));
        database.ask(statement, &[&before]).await?;
    }
    database.ask(ORPHANS, &[]).await.map(drop)
}

/// Tables give back what their rows took, by autovacuum; their indexes do not. While one is made anew, mail goes on. One node at a
/// time does it.
pub(crate) async fn shrink(database: &Database) -> Result<(), Error> {
    let client = database.get().await?;
    let mine = client.rows(LOCK, &[]).await?;
    if !mine.iter().any(|row| row.get(0)) {
        client.done();
        return Ok(());
    }
    client
        .run("SET statement_timeout = 0; SET lock_timeout = '5s'")
        .await?;
    for left in client.rows(LEFT_OVER, &[]).await? {
        client.run(left.get(0)).await?;
    }
    for bloated in client.rows(BLOATED, &[&OCTETS_A_ROW]).await? {
        let name: &str = bloated.get(0);
        let work = tokio::time::timeout(REINDEX_MAX, client.run(name));
        work.await
            .map_err(|_| Error::Unknown(format!("{name} takes too long")))??;
        tracing::info!(name, "indexes are made anew");
    }
    client.run(UNLOCK).await?;
    client
        .run("RESET statement_timeout; RESET lock_timeout")
        .await?;
    client.done();
    Ok(())
}

/// What is older than so long goes.
const SWEPT: [(&str, Duration); 6] = [
    (EXPIRED, Duration::ZERO),
    (ABANDONED, DRAFT_MAX),
    (STALE, Duration::ZERO),
    (GONE, NOTE_MAX),
    (PASSED, PASSING_MAX),
    (UNREAD, QUESTION_MAX),
];
const EXPIRED: &str =
    "DELETE FROM tokens WHERE name IN (SELECT name FROM tokens WHERE expires <= $1 LIMIT 10000)";
const ABANDONED: &str = "WITH d AS (
        DELETE FROM drafts WHERE message IN (
            SELECT message FROM drafts WHERE begun < $1 OR run NOT IN (SELECT run FROM nodes) LIMIT 100) RETURNING message)
    DELETE FROM bodies WHERE message IN (SELECT message FROM d) AND NOT EXISTS (SELECT FROM messages WHERE id = message)";
const STALE: &str = "UPDATE legs SET owner = NULL, lease_end = NULL WHERE (held OR bounced) AND owner IS NOT NULL AND lease_end <= $1";
/// A claim that was still under way when its node was given up, or that was locked just then. By the owner that it was found with:
/// a node that claims it meanwhile is not known to this.
const ORPHANS: &str = "WITH dead AS (SELECT owner FROM legs WHERE owner IS NOT NULL EXCEPT SELECT run FROM nodes),
    held AS (SELECT message, number FROM legs JOIN dead USING (owner) FOR UPDATE OF legs SKIP LOCKED)
    UPDATE legs SET owner = NULL, lease_end = NULL FROM held WHERE legs.message = held.message AND legs.number = held.number";
const GONE: &str = "DELETE FROM notes WHERE text IS NULL AND at < $1";
const PASSED: &str = "DELETE FROM notes WHERE passing AND at < $1";
const UNREAD: &str =
    "WITH q AS (DELETE FROM questions WHERE at < $1) DELETE FROM answers WHERE at < $1";
const LOCK: &str = "SELECT pg_try_advisory_lock(31364012)";
const UNLOCK: &str = "SELECT pg_advisory_unlock(31364012)";
/// Of a node that died at it.
const LEFT_OVER: &str = "SELECT format('DROP INDEX CONCURRENTLY %I.%I', n.nspname, c.relname) FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid
    JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE n.nspname = 'onward' AND NOT i.indisvalid AND c.relname LIKE '%\\_cc%'";
const BLOATED: &str = "SELECT format('REINDEX TABLE CONCURRENTLY onward.%I', relname) FROM pg_class
    WHERE relnamespace = 'onward'::regnamespace AND relname IN ('legs', 'messages')
        AND pg_indexes_size(oid) > 16777216 + greatest(reltuples, 0) * $1::float8";
/// What the indexes of a table may take for each row: twice what they need when they are new.
const OCTETS_A_ROW: f64 = 400.0;
const REINDEX_MAX: Duration = Duration::from_mins(30);
/// Who was away for longer has begun anew, and read all notes.
const NOTE_MAX: Duration = Duration::from_hours(30 * 24);
const PASSING_MAX: Duration = Duration::from_hours(24);
const QUESTION_MAX: Duration = Duration::from_mins(1);
/// No client takes longer to hand a message over.
const DRAFT_MAX: Duration = Duration::from_hours(24);
