//! Settings of the shared engine, and what can stop it from starting.

use std::time::Duration;

use spool::{Clock, Error, Lifetime};

/// How [`PgSpool`](crate::PgSpool) reaches its database.
#[derive(Clone)]
pub struct Settings {
    /// `postgres://user:password@host,host/database?…`, as libpq has it; `sslmode` is `disable`, `prefer`, `require`,
    /// `verify-ca` or `verify-full`, `sslrootcert` a file of certificates.
    pub url: String,
    /// The name of this node: no two have the same.
    pub node: String,
    /// What tests turn. The system's is taken only for how much time goes by: which time it is, the database says.
    pub clock: Clock,
    /// When senders are told of a delay, and when mail is given up. What is queued keeps the deadlines that it came in with.
    pub lifetime: Lifetime,
    /// Start although the database may lose what it has committed.
    pub accept_risk: bool,
    /// Connections at most; at least 4.
    pub connections: usize,
    /// How soon a silent node is noticed.
    pub pace: Pace,
}

/// How soon a silent node is noticed. It is the same on all nodes.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// A node sends its heartbeat so often.
    pub beat: Duration,
    /// A node that could not do so for so long stops sending: the others may be about to give it up.
    pub lost: Duration,
    /// A node that has not done so for so long is given up: the others take what it worked on.
    pub dead: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            beat: Duration::from_secs(3),
            lost: Duration::from_secs(12),
            dead: Duration::from_secs(18),
        }
    }
}

impl Settings {
    /// The defaults.
    pub fn new(url: impl Into<String>, node: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            node: node.into(),
            clock: Clock::real(),
            lifetime: Lifetime::default(),
            accept_risk: false,
            connections: 12,
            pace: Pace::default(),
        }
    }
}

/// Without the password.
impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let node = &self.node;
        f.debug_struct("Settings").field("node", node).finish()
    }
}

/// Why the shared spool cannot be opened. Each text says where, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The URL cannot be read.
    #[error(
        "`queue.store` is no URL of PostgreSQL: {0}\n\nhint: \"postgres://onward@db1.example.net,db2.example.net/onward?target_session_attrs=read-write\""
    )]
    Url(String),
    /// A file of certificates that the URL names.
    #[error("`queue.store`: cannot read `{file}`: {why}\n\nhint: `sslrootcert` is a PEM file")]
    Certificates {
        /// The file.
        file: String,
        /// What is wrong.
        why: String,
    },
    /// Nobody answers, or what answers refuses us.
    #[error(
        "cannot use the database of `queue.store`: {0}\n\nhint: it must be there, and the user of the URL must own the database or the schema `onward`"
    )]
    Database(String),
    /// The database may lose what it says is committed.
    #[error(
        "the database of `queue.store` may lose mail that was answered 250:\n{}\n\nhint: change that (`ALTER SYSTEM SET …`), or set `store_check = \"warn\"` if you accept it",
        .0.iter().map(|finding| format!("  {finding}")).collect::<Vec<_>>().join("\n")
    )]
    NoPromise(Vec<crate::promise::Finding>),
    /// A later Onward has changed the tables.
    #[error(
        "the tables of `queue.store` have version {found}; this program knows up to {known}\n\nhint: run the version of Onward that the other nodes run, or a newer one; nothing was changed"
    )]
    NewerSchema {
        /// In the database.
        found: i32,
        /// Ours.
        known: i32,
    },
    /// Two nodes of one name.
    #[error(
        "a node named `{0}` is at work already\n\nhint: each needs a name of its own: `hostname`, or `queue.node` if that is the same"
    )]
    NameTaken(String),
}

impl From<Error> for StartError {
    fn from(error: Error) -> Self {
        match error {
            Error::Unknown(words) | Error::Refused(words) => Self::Database(words),
            error => Self::Database(error.to_string()),
        }
    }
}

/// How long one piece of work may take in the database, before its connection is given up.
pub(crate) const WORK_MAX: Duration = Duration::from_secs(10);
