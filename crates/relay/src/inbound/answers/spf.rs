//! Whether the client may send for the sender's domain.

use policy::{Identity, SpfFound, SpfResult};
use spool::Spool;

use super::Inquiry;

impl<S: Spool> Inquiry<'_, S> {
    /// Not known: no measure asks for it yet.
    pub(super) async fn spf(&self) -> SpfFound {
        SpfFound {
            result: SpfResult::TempError,
            identity: Identity::MailFrom,
            domain: String::new(),
            problem: None,
            explanation: None,
        }
    }
}
