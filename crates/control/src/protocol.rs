//! The lines on the socket: requests, responses, and their limits.
//!
//! ```text
//! C: {"v":2,"do":"queue_list","filter":{"to":"example.org"},"cursor":null,"limit":100}
//! S: {"answer":{"legs":[…],"next":"01J….1"}}
//! C: {"v":2,"do":"queue_cat","id":"01J…","part":"header"}
//! S: {"chunk":"UmVjZWl2ZWQ6…"}        base64, any number of times
//! S: "end"                            or an error, when the rest could not be read
//! ```

use std::fmt::Display;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::names::named;

/// The version of this protocol: daemon and command line must agree.
pub const PROTOCOL: u32 = 2;

/// A request line is no longer than this: some 10,000 forwards of a domain.
pub const LINE_OCTETS_MAX: usize = 1024 * 1024;

/// The most rows in one page; a higher limit is lowered to this.
pub const PAGE_ROWS_MAX: u32 = 1000;

/// What the daemon answers.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Response {
    /// To what [`Ask`](crate::Ask) says.
    Answer(Box<RawValue>),
    /// To a `queue_cat`: base64 of at most 48 KiB.
    Chunk(String),
    /// After the last chunk.
    End,
    /// It did not work.
    Error(Fault),
}

/// Which part of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// The header, with the empty line after it.
    Header,
    /// What comes after the header.
    Body,
    /// All of it.
    Whole,
}

named! {
    /// What an operator can do to legs.
    pub enum QueueAction {
        /// Try now.
        Retry = "retry",
        /// Do not try until released.
        Hold = "hold",
        /// End the hold.
        Release = "release",
        /// End it without telling anyone.
        Remove = "remove",
        /// Give up, and tell the sender.
        Bounce = "bounce",
    }
}

/// Why something did not work, for the operator's eyes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}{}", self.hint.iter().map(|hint| format!("\n\nhint: {hint}")).collect::<String>())]
pub struct Fault {
    /// What is wrong: lower case, no full stop.
    pub message: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// What kind of fault, for doors that have a code for it.
    #[serde(default)]
    pub kind: FaultKind,
}

named! {
    /// How something did not work.
    #[derive(Default)]
    pub enum FaultKind {
        /// It cannot be done, or not so.
        #[default]
        Refused = "refused",
        /// What was asked for is not there; nothing else is wrong.
        Missing = "missing",
        /// It was changed since whoever asks looked at it.
        Stale = "stale",
    }
}

impl Fault {
    /// Without a hint.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            hint: None,
            kind: FaultKind::default(),
        }
    }

    /// What an error says, its hint apart: the other way round than [`Display`].
    pub fn of(error: impl Display) -> Self {
        let text = error.to_string();
        match text.split_once("\n\nhint: ") {
            Some((message, hint)) => Self::new(message).with_hint(hint),
            None => Self::new(text),
        }
    }

    /// What was asked for is not there.
    pub fn missing(message: impl Into<String>) -> Self {
        Self {
            kind: FaultKind::Missing,
            ..Self::new(message)
        }
    }

    /// Adds a hint.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// A request as it stands on the line.
#[derive(Serialize, Deserialize)]
pub(crate) struct Call<R> {
    pub(crate) v: u32,
    #[serde(flatten)]
    pub(crate) request: R,
}

/// Read before the request itself, which another version may have written in a way unknown to us.
#[derive(Deserialize)]
pub(crate) struct CallVersion {
    pub(crate) v: u32,
}

/// Octets of a message in one chunk line.
pub(crate) const CHUNK_OCTETS: usize = 48 * 1024;
