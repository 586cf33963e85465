//! The tables, and how they are brought up to date.
//!
//! Migrations are numbered and only add: two neighbouring versions of this program work on one schema, so that nodes are upgraded
//! one after another. One node at a time migrates, under an advisory lock.

use crate::connect::{Database, words};
use crate::settings::StartError;

/// In order; the number of one is its place, from 1.
const MIGRATIONS: [&str; 2] = [
    include_str!("../migrations/1.sql"),
    include_str!("../migrations/2.sql"),
];

/// Makes what is missing.
pub(crate) async fn migrate(database: &Database) -> Result<(), StartError> {
    let failed = |error: tokio_postgres::Error| StartError::Database(words(&error));
    let client = database.get().await;
    let mut client = client.map_err(|error| StartError::Database(error.to_string()))?;
    let transaction = client.transaction().await.map_err(failed)?;
    let lock = format!("SELECT pg_advisory_xact_lock({LOCK})");
    let tables = "CREATE SCHEMA IF NOT EXISTS onward; CREATE TABLE IF NOT EXISTS onward.migrations \
        (version integer PRIMARY KEY, applied timestamptz NOT NULL DEFAULT now())";
    let patience = "SET LOCAL statement_timeout = 0";
    transaction.batch_execute(patience).await.map_err(failed)?;
    transaction.batch_execute(&lock).await.map_err(failed)?;
    // Who may not make a schema may still use one that is there.
    let there = "SELECT to_regclass('onward.migrations') IS NOT NULL";
    let is_there: bool = transaction
        .query_one(there, &[])
        .await
        .map_err(failed)?
        .get(0);
    if !is_there {
        transaction.batch_execute(tables).await.map_err(failed)?;
    }
    let found = "SELECT coalesce(max(version), 0) FROM onward.migrations";
    let found: i32 = transaction
        .query_one(found, &[])
        .await
        .map_err(failed)?
        .get(0);
    let known = MIGRATIONS.len() as i32;
    if found > known + NEWER_ALLOWED {
        return Err(StartError::NewerSchema { found, known });
    }
    for (number, migration) in (1..).zip(MIGRATIONS).skip(found.max(0) as usize) {
        let note = format!("INSERT INTO onward.migrations (version) VALUES ({number})");
        transaction.batch_execute(migration).await.map_err(failed)?;
        transaction.batch_execute(&note).await.map_err(failed)?;
        tracing::info!(
            version = number,
            "the tables of the shared spool are made or changed"
        );
    }
    transaction.commit().await.map_err(failed)?;
    client.done();
    Ok(())
}

/// Of nobody else: "onward", in ASCII.
const LOCK: i64 = 0x006f_6e77_6172_6400;
/// The migration of the next version only adds to what this one knows.
const NEWER_ALLOWED: i32 = 1;
