//! Which lists name the sender or the client.

use policy::Name;
use spool::Spool;

use super::Inquiry;

impl<S: Spool> Inquiry<'_, S> {
    /// Nobody is on a list: the configuration has none yet.
    pub(super) fn listed(&self, lists: &[Name]) -> Vec<(Name, bool)> {
        lists
            .iter()
            .map(|name| (Name::clone(name), false))
            .collect()
    }
}
