//! Which lists name the sender or the client.

use policy::Name;
use spool::Spool;

use super::Inquiry;

impl<S: Spool> Inquiry<'_, S> {
    /// For each list.
    pub(super) fn listed(&self, lists: &[Name]) -> Vec<(Name, bool)> {
        let (client, known) = (self.case.client.address, &self.sources.routing.lists);
        let sender = self.case.transaction.sender();
        let names = |name: &Name| {
            known
                .get(name)
                .is_some_and(|list| list.names(sender, client))
        };
        let answer = lists.iter().map(|name| (Name::clone(name), names(name)));
        answer.collect()
    }
}
