//! A limit: what may happen how often, and what happens beyond.

use std::time::Duration;

use crate::key::Kind;

/// So much of something, in so long, for each key of a kind. A limit that a reload leaves as it is keeps its counts.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Limit {
    /// What the operator calls it.
    pub name: Box<str>,
    /// By what it counts.
    pub key: Kind,
    /// What it counts.
    pub of: Of,
    /// This much at once, and this much in each `per`.
    pub max: u64,
    /// In how long.
    pub per: Duration,
    /// What happens beyond.
    pub then: Then,
    /// Above zero: a recipient may get this many times what it usually gets, where that is more than `max`.
    pub usual: u32,
    /// Senders that the recipient had mail from before are let through.
    pub passes_known: bool,
}

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Of {
    /// Messages that were accepted.
    Messages,
    /// Their recipients.
    Recipients,
    /// What was refused while the client was connected.
    Refusals,
    /// What failed for good after it was accepted.
    Failures,
    /// Octets of the messages that were accepted.
    Octets,
    /// Connections of a client.
    Connections,
    /// Commands of a client.
    Commands,
}

impl Of {
    /// Its word, in the configuration and to operators.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Messages => "messages",
            Self::Recipients => "recipients",
            Self::Refusals => "refusals",
            Self::Failures => "failures",
            Self::Octets => "octets",
            Self::Connections => "connections",
            Self::Commands => "commands",
        }
    }
}

/// What happens beyond a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Then {
    /// The client is to come again later.
    Defer,
    /// It is refused for good.
    Refuse,
    /// The key is shut out until an operator lifts it.
    Freeze,
    /// It is accepted, and waits for an operator.
    Hold,
}
