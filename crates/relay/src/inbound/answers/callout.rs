//! What the sender's own mail server says of the sender.

use policy::Callout;
use spool::Spool;

use super::Inquiry;

impl<S: Spool> Inquiry<'_, S> {
    /// Not known: no measure asks for it yet.
    pub(super) async fn callout(&self) -> Callout {
        Callout::Unknown("not asked".to_owned())
    }
}
