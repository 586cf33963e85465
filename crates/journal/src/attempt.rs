//! Parts of events: a delivery attempt, and a transaction that came to nothing.

#![expect(
    missing_docs,
    reason = "most fields are named as in the lines that operators read"
)]

use std::time::Duration;

use envelope::{LegId, Mailbox, ReversePath, Trip};

/// What the lines of a delivery attempt have in common.
#[derive(Debug, Clone)]
pub struct Attempt {
    pub id: LegId,
    pub recipient: Mailbox,
    pub target: Mailbox,
    pub attempt: u32,
    /// Since the message came in.
    pub delay: Duration,
    pub trip: Trip,
}

/// A transaction that was lost with its connection.
#[derive(Debug, Clone)]
pub struct Unfinished {
    pub hello: Option<String>,
    pub sender: ReversePath,
    pub recipients: usize,
    /// Octets of the body so far; none before DATA.
    pub size: Option<u64>,
}

impl Attempt {
    /// The part of the delay before this attempt.
    pub fn queued(&self) -> Duration {
        let Trip {
            connect,
            transmission,
            ..
        } = self.trip;
        self.delay.saturating_sub(connect + transmission)
    }
}
