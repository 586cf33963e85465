//! A delivery attempt as the log tells of it.

#![expect(
    missing_docs,
    reason = "most fields are named as in the lines that operators read"
)]

use std::time::Duration;

use envelope::{LegId, Mailbox, Trip};

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
