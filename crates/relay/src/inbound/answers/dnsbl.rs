//! Which blocklists name the client or the sender.

use policy::{Blocklisted, Name};
use spool::Spool;

use super::Inquiry;

impl<S: Spool> Inquiry<'_, S> {
    /// Not known: the configuration has no blocklist yet.
    pub(super) async fn dnsbl(&self, zones: &[Name]) -> Vec<(Name, Blocklisted)> {
        let unknown = |name| (Name::clone(name), Blocklisted::Unknown);
        zones.iter().map(unknown).collect()
    }
}
