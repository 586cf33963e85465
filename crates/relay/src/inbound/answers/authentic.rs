//! What the message proves of its sender: DKIM, ARC, DMARC.

use policy::{Authentic, DmarcFound};
use spool::Spool;

use super::Inquiry;

impl<S: Spool> Inquiry<'_, S> {
    /// Not known: no measure asks for it yet.
    pub(super) async fn authentic(&self) -> Authentic {
        Authentic {
            dmarc: DmarcFound::TempError,
        }
    }
}
