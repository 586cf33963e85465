//! The embedded engine of the spool: a segment log that is the truth, a sled index over it.
//!
//! [`Spool`](spool::Spool) is what the rest of Onward sees; [`LogSpool`] is the engine behind it. `spool/README.md` describes the
//! format on disk, the states, and what a crash can do at each point.
//!
//! It does *not* know where mail goes, what a bounce says, or how a delivery is done.

mod cache;
mod completed;
mod engine;
mod fault;
#[doc(hidden)]
pub mod fuzzing;
mod index;
mod last_resort;
mod lock;
mod log;
mod lost;
mod new_commit;
mod open;
mod operations;
mod quarantine;
mod read;
mod rebuild;
mod returned;
mod settings;
pub mod snapshot;
pub mod store;
mod tokens;
pub mod verify;
mod write;

pub use engine::LogSpool;
pub use read::LogReader;
pub use settings::{Settings, StartError};
pub use write::LogWriter;
