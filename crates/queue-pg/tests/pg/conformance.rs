//! The suite over the shared engine.

use queue_pg::PgSpool;
use spool::Clock;
use spool::conformance::Engine;

use crate::support::Database;

impl Engine for Database {
    type Spool = PgSpool;

    async fn open(&self, clock: &Clock) -> PgSpool {
        Self::open(self, "node", clock).await
    }
}

spool::conformance!(ignore = "foreign: PostgreSQL", Database::new().await);
