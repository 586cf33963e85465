//! Why a spool did not do what was asked.

use envelope::LegId;

/// Why the spool did not do it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Space or inodes are short: nothing new is taken, what is queued goes on (452 4.3.1).
    #[error("spool is full: {0}")]
    Full(String),
    /// It failed, and may or may not be found done after a restart (451 4.3.0).
    #[error("spool trouble: {0}")]
    Unknown(String),
    /// The lease is not the leg's any more, or the leg is gone.
    #[error("lease of {0} is lost: its leg has another owner, or is gone")]
    Fenced(LegId),
    /// The engine does not take it, however often it is asked (451 all the same: the fault is ours).
    #[error("spool refuses it: {0}")]
    Refused(String),
    /// Something in it is over a limit of the format.
    #[error("{what} over {max} octets")]
    TooLarge {
        /// What it is.
        what: &'static str,
        /// The limit.
        max: usize,
    },
    /// The spool is closing.
    #[error("spool is closed")]
    Closed,
}

/// Why a body cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// No such message in the queue.
    #[error("no such message in the queue")]
    NotFound,
    /// It is there, but cannot be read now: try later.
    #[error("body cannot be read: {0}")]
    Unavailable(String),
    /// It is there, and its checksum says it is not what was taken in: it must not be sent.
    #[error("body is damaged: {0}")]
    Damaged(String),
}
