//! What the sender of a message asks of TLS on its way (RFC 8689).

use envelope::{Envelope, SenderTls};
use spool::Spool;

use super::draft::Draft;

impl<S: Spool> Draft<S> {
    /// Has the legs keep it: the command goes before the field.
    pub(super) fn ask_for_tls(&mut self, envelope: &Envelope) {
        let asked = match self.scan.tls_not_required() {
            _ if envelope.require_tls => SenderTls::Required,
            true => SenderTls::NotRequired,
            false => SenderTls::AsUsual,
        };
        for planned in &mut self.plan.legs {
            let options = std::mem::take(&mut planned.leg.options);
            planned.leg.options = options.with_sender_tls(asked);
        }
    }
}
