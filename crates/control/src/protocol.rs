//! The lines on the socket: requests, responses, and their limits.
//!
//! ```text
//! C: {"v":1,"do":"queue_list","filter":{"to":"example.org"},"cursor":null,"limit":100}
//! S: {"page":{"legs":[…],"next":"01J….1"}}
//! C: {"v":1,"do":"queue_cat","id":"01J…","part":"header"}
//! S: {"chunk":"UmVjZWl2ZWQ6…"}        base64, any number of times
//! S: "end"                            or an error, when the rest could not be read
//! ```

use envelope::MessageId;
use serde::{Deserialize, Serialize};

use crate::data::{Count, FreezePage, Lifted, MessageDetails, Page, Reloaded, SrsAnswer, Status};
use crate::explanation::{Explanation, Mail};
use crate::selector::{Lift, Selector};
use crate::text;

/// The version of this protocol: daemon and command line must agree.
pub const PROTOCOL: u32 = 1;

/// A request line is no longer than this: some 2,000 ids.
pub const LINE_OCTETS_MAX: usize = 64 * 1024;

/// The most rows in one page; a higher limit is lowered to this.
pub const PAGE_ROWS_MAX: u32 = 1000;

/// What the command line asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Request {
    /// Are you there? → [`Response::Pong`]
    Ping,
    /// → [`Response::Status`]
    Status,
    /// Read configuration, tables, certificates and secrets again. → [`Response::Reloaded`]
    Reload {
        /// Take a table that has lost much of what it had.
        #[serde(default)]
        force: bool,
    },
    /// Say what a reload would do, and change nothing. → [`Response::Reloaded`]
    ReloadCheck,
    /// → [`Response::Page`]
    QueueList {
        /// Which legs; empty = all.
        #[serde(default)]
        filter: Selector,
        /// [`Page::next`] of the page before.
        #[serde(default)]
        cursor: Option<String>,
        /// Rows at most; 1 to [`PAGE_ROWS_MAX`].
        limit: u32,
    },
    /// → [`Response::Message`]
    QueueShow {
        /// The message.
        #[serde(with = "text")]
        id: MessageId,
    },
    /// → any number of [`Response::Chunk`], then [`Response::End`]
    QueueCat {
        /// The message.
        #[serde(with = "text")]
        id: MessageId,
        /// How much of it.
        part: Part,
    },
    /// → [`Response::Count`]
    QueueAction {
        /// What to do.
        action: QueueAction,
        /// With which legs; never empty.
        selector: Selector,
    },
    /// → [`Response::Freezes`]
    FreezeList {
        /// [`FreezePage::next`] of the page before.
        #[serde(default)]
        cursor: Option<String>,
        /// Rows at most; 1 to [`PAGE_ROWS_MAX`].
        limit: u32,
    },
    /// → [`Response::Lifted`]
    FreezeLift(Lift),
    /// The address that a reverse path would be rewritten to. → [`Response::Srs`]
    SrsEncode {
        /// The sender's address.
        address: String,
    },
    /// The address that an SRS address stands for. → [`Response::Srs`]
    SrsDecode {
        /// The SRS address.
        address: String,
    },
    /// What would be decided on a mail. → [`Response::Explanation`]
    Explain {
        /// Who writes to whom.
        mail: Mail,
        /// Whether the message follows, as any number of [`Response::Chunk`] and [`Response::End`].
        has_message: bool,
    },
}

/// What the daemon answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Response {
    /// The daemon's program version.
    Pong {
        /// `CARGO_PKG_VERSION`.
        version: String,
    },
    /// To [`Request::Status`].
    Status(Status),
    /// To [`Request::Reload`] and [`Request::ReloadCheck`].
    Reloaded(Reloaded),
    /// To [`Request::QueueList`].
    Page(Page),
    /// To [`Request::QueueShow`].
    Message(MessageDetails),
    /// To [`Request::QueueCat`]: base64 of at most 48 KiB.
    Chunk(String),
    /// After the last chunk.
    End,
    /// To [`Request::QueueAction`].
    Count(Count),
    /// To [`Request::FreezeList`].
    Freezes(FreezePage),
    /// To [`Request::FreezeLift`].
    Lifted(Lifted),
    /// To [`Request::SrsEncode`] and [`Request::SrsDecode`].
    Srs(SrsAnswer),
    /// To [`Request::Explain`].
    Explanation(Explanation),
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

/// What an operator can do to legs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QueueAction {
    /// Try now.
    Retry,
    /// Do not try until released.
    Hold,
    /// End the hold.
    Release,
    /// End it without telling anyone.
    Remove,
    /// Give up, and tell the sender.
    Bounce,
}

impl QueueAction {
    /// As it is typed and logged.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Hold => "hold",
            Self::Release => "release",
            Self::Remove => "remove",
            Self::Bounce => "bounce",
        }
    }
}

/// Why something did not work, for the operator's eyes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Fault {
    /// What is wrong: lower case, no full stop.
    pub message: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Fault {
    /// Without a hint.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            hint: None,
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
