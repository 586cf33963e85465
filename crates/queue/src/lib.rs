//! The spool and the schedule: a segment log that is the truth, a sled index over it.
//!
//! [`Spool`] is what the rest of Onward sees; [`LogSpool`] is the embedded engine. `spool/README.md` describes the
//! format on disk, the states, and what a crash can do at each point.
//!
//! It does *not* know where mail goes, what a bounce says, or how a delivery is done.

mod cache;
mod ends;
mod engine;
mod fault;
#[doc(hidden)]
pub mod fuzzing;
mod ids;
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
mod schedule;
mod settings;
mod spool;
pub mod store;
mod tokens;
pub mod verify;
mod write;

pub use engine::LogSpool;
pub use ids::IdSource;
pub use read::LogReader;
pub use schedule::{Schedule, next_due};
pub use settings::{Settings, StartError};
pub use spool::{
    Action, BodyReader, BodyWriter, Changed, Counts, DAMAGED, Dsn, Entry, Error, Filter,
    HOSTS_COUNTED_MAX, LAST_OCTETS_MAX, OpenError, Overdue, Page, Spool, State,
    TOKEN_NAME_OCTETS_MAX, TOKEN_OCTETS_MAX, Token, Update, Want, Why,
};
pub use write::LogWriter;
