//! Forwards from somewhere else: a database, or an HTTP service.
//!
//! Two ways of asking. A **snapshot** is everything at once, as the text of a forwards file, which the one loader reads
//! ([`Snapshot`]). A **look-up** is a question for each recipient, with answers kept for some seconds ([`Lookups`]); what
//! cannot be asked is neither known nor unknown. Either way a row becomes a line of the forwards file ([`Row`]), and is judged by
//! its parser.
//!
//! It does *not* decide what a line means, and writes nothing.

mod http;
mod lookup;
mod render;
mod settings;
mod snapshot;
mod sql;

pub use lookup::{Down, Lookups, News, Unless};
pub use render::{Check, Rendered, Row, Rows};
pub use settings::{Questions, Settings, SettingsError, Way};
pub use snapshot::Snapshot;

/// Why nothing could be learned. Without the address of the source, which may hold a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Failed(pub String);

/// Whose fault it is.
#[derive(Debug)]
enum Trouble {
    /// The source answers nobody.
    Source(Failed),
    /// This question cannot be answered, others can: nobody must be able to stop all mail by what he asks.
    Question(Failed),
}

impl From<Failed> for Trouble {
    fn from(failed: Failed) -> Self {
        Self::Source(failed)
    }
}

impl From<Trouble> for Failed {
    fn from(trouble: Trouble) -> Self {
        let (Trouble::Source(failed) | Trouble::Question(failed)) = trouble;
        failed
    }
}
