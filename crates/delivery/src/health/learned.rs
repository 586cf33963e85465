//! What other nodes say of a site.

use std::time::{Duration, Instant};

use super::{Down, Health};

impl Health {
    /// Another node has found the site down, or gets through again; false: this one knows better, or it is as it was.
    ///
    /// One node that cannot reach the world must not keep the others from it: who was connected lately tries for itself, and so does
    /// everyone now and then.
    pub(crate) fn learn(&mut self, down: Option<Down>, now: Instant) -> bool {
        let Some(down) = down else {
            let is_learned = self.down.as_ref().is_some_and(|down| down.learned > 0);
            if is_learned {
                self.down = None;
                self.window = 1;
                self.probing = false;
            }
            return is_learned;
        };
        let lately = |at: Instant| now.saturating_duration_since(at) < BELIEVED_FOR;
        let is_up = self.down.is_none() && (self.open > 0 || self.connected_at.is_some_and(lately));
        let learned = self.down.as_ref().map_or(0, |down| down.learned);
        if is_up || learned >= LEARNED_MAX {
            return false;
        }
        let learned = learned + 1;
        self.down = Some(Down { learned, ..down });
        true
    }

    /// Whether others will find the same: nothing answers there. A peer that says no says it to us.
    pub(crate) fn is_unreachable(&self) -> bool {
        self.down.as_ref().is_some_and(|down| {
            let reason = &down.reason;
            let is_network = reason.status.subject == 4 && reason.status.detail <= 2;
            !down.throttled && is_network && reason.reply.is_none() && reason.host.is_some()
        })
    }
}

/// What a connection of our own has shown counts for more than what others say, for so long.
const BELIEVED_FOR: Duration = Duration::from_mins(10);
/// After so many probes of others, it is our turn.
const LEARNED_MAX: u32 = 3;
