//! What every queue of mail must do, whichever engine runs: the trait [`Spool`], its nouns, the schedule of retries.
//!
//! It does *not* name an engine: the embedded one is the crate `queue`.

mod board;
mod clock;
#[cfg(feature = "conformance")]
pub mod conformance;
mod error;
mod ids;
#[cfg(feature = "memory")]
pub mod memory;
mod nouns;
mod schedule;
mod spool;
mod summary;

pub use board::{Board, Boxed, Note, Question, Reply, Rule};
pub use clock::Clock;
pub use error::{Error, OpenError};
pub use ids::IdSource;
pub use nouns::{
    Action, Arrival, Changed, Counts, DAMAGED, Disk, Dsn, Entry, Filter, HOSTS_COUNTED_MAX,
    LAST_OCTETS_MAX, Overdue, Page, Settlement, State, TOKEN_NAME_OCTETS_MAX, TOKEN_OCTETS_MAX,
    Token, Update, Want, Why,
};
pub use schedule::{Deadlines, Lifetime, Schedule, next_due};
pub use spool::{BodyReader, BodyWriter, Spool, change_all};
pub use summary::{AGE_MINUTES, Ages, By, Summary, Tally, error_name, sender_name, summarise};
