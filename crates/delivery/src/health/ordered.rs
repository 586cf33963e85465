//! What operators order of a site.

use envelope::Share;

use super::{Health, Rate};
use crate::orders::Limit;

impl Health {
    /// What an operator ordered holds from now on, for this node's share; false: it did already.
    pub(crate) fn obey(&mut self, paused: bool, limit: Limit, share: Share) -> bool {
        let is_same = (self.paused, self.ordered) == (paused, limit);
        if is_same && (self.share == share || limit == Limit::default()) {
            self.share = share;
            return false;
        }
        let was_paused = self.is_paused();
        self.paused = paused;
        if std::mem::replace(&mut self.ordered, limit) != limit {
            self.rate = Rate::default();
        }
        self.share = share;
        if was_paused && !self.is_paused() {
            self.window = 1;
        }
        true
    }

    pub(crate) fn is_ordered_to_pause(&self) -> bool {
        self.paused
    }

    /// Also when all connections that an operator allows are those of other nodes.
    pub(crate) fn is_paused(&self) -> bool {
        let connections = self.ordered.connections;
        self.paused || connections.is_some_and(|n| self.share.of(n) == 0)
    }

    pub(crate) fn ordered(&self) -> Limit {
        self.ordered
    }
}
