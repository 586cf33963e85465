//! The tables, and how they are brought up to date.
//!
//! Migrations are numbered and only add: two neighbouring versions of this program work on one schema, so that nodes are upgraded
//! one after another. One node at a time migrates, under an advisory lock.

use crate::connect::Database;
use crate::settings::StartError;

/// In order; the number of one is its place, from 1.
const MIGRATIONS: [&str; 2] = [
    include_str!("../migrations/1.sql"),
    include_str!("../migrations/2.sql"),
];

/// Makes what is missing.
pub(crate) async fn migrate(database: &Database) -> Result<(), StartError> {
    let client = database.get().await?;
    let begin = "BEGIN; SET LOCAL statement_timeout = 0";
    client.run(begin).await?;
    let lock = format!("SELECT pg_advisory_xact_lock({LOCK})");
    client.run(&lock).await?;
    // Who may not make a schema may still use one that is there.
    let there = "SELECT to_regclass('onward.migrations') IS NOT NULL";
    if !client.rows(there, &[]).await?.iter().any(|row| row.get(0)) {
        client.run(TABLES).await?;
    }
    let found = "SELECT coalesce(max(version), 0) FROM onward.migrations";
    let found = client.rows(found, &[]).await?;
    let found: i32 = found.first().map_or(0, |row| row.get(0));
    let known = MIGRATIONS.len() as i32;
    if found > known + NEWER_ALLOWED {
        return Err(StartError::NewerSchema { found, known });
    }
    for (number, migration) in (1..).zip(MIGRATIONS).skip(found.max(0) as usize) {
        let note = format!("INSERT INTO onward.migrations (version) VALUES ({number})");
        client.run(migration).await?;
        client.run(&note).await?;
        tracing::info!(
            version = number,
            "the tables of the shared spool are made or changed"
        );
    }
    client.run("COMMIT").await?;
    client.done();
    Ok(())
}

const TABLES: &str = "CREATE SCHEMA IF NOT EXISTS onward; CREATE TABLE IF NOT EXISTS onward.migrations \
    (version integer PRIMARY KEY, applied timestamptz NOT NULL DEFAULT now())";
/// Of nobody else: "onward", in ASCII.
const LOCK: i64 = 0x006f_6e77_6172_6400;
/// The migration of the next version only adds to what this one knows.
const NEWER_ALLOWED: i32 = 1;
