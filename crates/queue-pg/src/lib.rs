//! The shared engine of the spool: several nodes, one queue in PostgreSQL.
//!
//! It promises what every engine does ([`spool::Spool`]), and that the death of a node loses nothing: what it worked on goes to
//! the others within half a minute. What the database promises, it can promise; so it looks at how that is set up before it
//! starts (`promise.rs`).
//!
//! ```text
//! commit, settle ─► batch ─► one transaction ─► all answered      (while one runs, the next gathers)
//! claim ─► front: which destinations have legs due ─► SKIP LOCKED
//! heartbeat ─► clock of the database · our leases · nodes that died
//! ```
//!
//! It does *not* know SMTP, DNS or SRS, nor does it run the database: replicas and who is the primary are the operator's.

mod admin;
mod batch;
mod board;
mod body;
mod claim;
mod cluster;
mod commit;
mod connect;
mod engine;
mod front;
mod hints;
mod hosts;
mod nodes;
mod promise;
mod rows;
mod schema;
mod select;
mod settings;
mod settle;
mod time;
mod tls;
mod tokens;
mod upkeep;
mod verify;

pub use body::{PgReader, PgWriter};
pub use cluster::{Cluster, Node};
pub use engine::PgSpool;
pub use promise::Finding;
pub use settings::{Pace, Settings, StartError};
pub use verify::{Damage, Report};
