//! The shared spool as an operator sees it from outside: no node is needed for that, and none is made.

use std::time::Duration;

use spool::Error;
use tokio_postgres::Row;

use crate::connect::Database;
use crate::engine::PgSpool;
use crate::hints::TELL;
use crate::promise::{self, Finding};
use crate::settings::{Pace, Settings, StartError};

/// All nodes, and the database that they share.
pub struct Cluster(pub(crate) Database, Pace);

/// A node, as all of them see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Whether it is at work: it has sent a heartbeat of late.
    pub alive: bool,
    /// Whether it takes no more legs.
    pub draining: bool,
    /// Since its last heartbeat.
    pub silent: Duration,
    /// How long ago it was started.
    pub up: Duration,
    /// Of Onward.
    pub version: String,
    /// Legs that it works on.
    pub legs: u64,
}

impl PgSpool {
    /// Of its nodes, by its connections.
    pub fn cluster(&self) -> Cluster {
        Cluster(self.shared.database.clone(), self.shared.pace)
    }
}

impl Cluster {
    /// Connects to nothing yet.
    pub fn new(settings: &Settings) -> Result<Self, StartError> {
        Ok(Self(Database::new(settings)?, settings.pace))
    }

    /// What the database's settings say of its promises.
    pub async fn findings(&self) -> Result<Vec<Finding>, Error> {
        promise::read(&self.0).await
    }

    /// All nodes that ever were, by name.
    pub async fn nodes(&self) -> Result<Vec<Node>, Error> {
        let rows = self.0.ask(NODES, &[]).await?;
        Ok(rows.iter().map(|row| node(row, self.1.dead)).collect())
    }

    /// Takes a node that is gone from the list, and frees what it worked on; false: none of that name is gone.
    pub async fn forget(&self, node: &str) -> Result<bool, Error> {
        let dead = crate::time::span(self.1.dead);
        let found = self.0.ask(FORGET, &[&node, &dead]).await?;
        Ok(!found.is_empty())
    }

    /// Has a node take no more legs, or take them again; false: there is none of that name. What it works on, it ends; what it
    /// has not begun, others take.
    pub async fn drain(&self, node: &str, draining: bool) -> Result<bool, Error> {
        let found = self.0.ask(DRAIN, &[&node, &draining]).await?;
        self.0.ask(TELL, &[&""]).await?;
        Ok(!found.is_empty())
    }
}

fn node(row: &Row, dead: Duration) -> Node {
    let span = |column| Duration::from_millis(row.get::<_, i64>(column).max(0).unsigned_abs());
    let silent = span("silent");
    Node {
        name: row.get("name"),
        alive: row.get::<_, i64>("run") != 0 && silent < dead,
        silent,
        up: span("up"),
        draining: row.get("draining"),
        version: row.get("version"),
        legs: row.get::<_, i64>("legs").unsigned_abs(),
    }
}

const NODES: &str = "SELECT name, run, draining, version, at - heartbeat AS silent, at - since AS up,
        (SELECT count(*) FROM legs WHERE owner = run) AS legs
    FROM nodes, (SELECT (extract(epoch FROM clock_timestamp()) * 1000)::int8 AS at) AS clock ORDER BY name";
const FORGET: &str = "WITH gone AS (
        DELETE FROM nodes WHERE name = $1
            AND (run = 0 OR heartbeat < (extract(epoch FROM clock_timestamp()) * 1000)::int8 - $2::int8) RETURNING run),
    freed AS (UPDATE legs SET owner = NULL, lease_end = NULL FROM gone WHERE owner = run)
    SELECT FROM gone";
const DRAIN: &str = "UPDATE nodes SET draining = $2 WHERE name = $1 RETURNING name";
