//! What other nodes say of a site.

use std::time::{Duration, Instant};

use super::{Down, Health};

impl Health {
    /// Another node has found the site down, or gets through again; false: this one knows better, or it is as it was.
    ///
    /// One node that cannot reach the world must not keep the others from it: who was connected lately tries for itself, and so does
    /// everyone now and then. And who is contradicted tells of no outage until it was connected.
    pub(crate) fn learn(&mut self, down: Option<Down>, now: Instant) -> bool {
        let Some(down) = down else {
            let learned = self.down.as_ref().map(|down| down.learned > 0);
            self.disputed |= learned == Some(false);
            if learned == Some(true) {
                self.down = None;
                self.window = 1;
                self.probing = false;
            }
            return learned == Some(true);
        };
        let lately = |at: Instant| now.saturating_duration_since(at) < BELIEVED_FOR;
        let (knows_better, learned) = match &self.down {
            None => (self.open > 0 || self.connected_at.is_some_and(lately), 0),
            // What a server has said to us is our own matter.
            Some(own) if own.learned == 0 => (!self.is_unreachable(), 0),
            Some(before) => (before.learned >= LEARNED_MAX, before.learned),
        };
        if !knows_better {
            let learned = learned + 1;
            self.down = Some(Down { learned, ..down });
        }
        !knows_better
    }

    /// Whether others will find the same: nothing answers there. A peer that says no says it to us.
    pub(crate) fn is_unreachable(&self) -> bool {
        self.down.as_ref().is_some_and(|down| {
            let reason = &down.reason;
            let is_network = reason.status.subject == 4 && reason.status.detail <= 2;
            !self.disputed
                && !down.throttled
                && is_network
                && reason.reply.is_none()
                && reason.host.is_some()
        })
    }
}

/// What a connection of our own has shown counts for more than what others say, for so long.
const BELIEVED_FOR: Duration = Duration::from_mins(10);
/// After so many probes of others, it is our turn.
const LEARNED_MAX: u32 = 2;
