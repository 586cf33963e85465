//! The end of a visit: what is logged of it, and the answer that its client may not have read.

use journal::{Event, Unfinished};
use smtp_in::{Client, Ending, Incident};
use spool::Spool;

use super::Visit;
use crate::inbound::draft::Draft;
use crate::inbound::hello;
use crate::inbound::refusals::REFUSALS_LOGGED_MAX;

impl<S: Spool> Visit<S> {
    pub(super) fn log_end(&mut self, client: &Client, incident: Incident) {
        if let (Some((id, print)), Incident::Closed(ending)) = (self.unread.take(), &incident)
            && *ending != Ending::Session
        {
            self.inbound.outbound.not_read(id, print);
        }
        let mut transaction = std::mem::take(&mut self.case.transaction);
        let open = self.transaction.take().zip(transaction.reverse_path.take());
        let open = open.map(|(open, sender)| Unfinished {
            hello: hello(client),
            sender,
            recipients: transaction.accepted(),
            size: open.draft.as_ref().map(Draft::size),
        });
        let unlogged = self.refusals.saturating_sub(REFUSALS_LOGGED_MAX);
        let reason = match incident {
            Incident::Connected => return,
            Incident::Closed(Ending::Session | Ending::Drained) if unlogged == 0 => return,
            Incident::Closed(Ending::PeerClosed) if unlogged == 0 && open.is_none() => return,
            Incident::Refused(_) | Incident::Closed(Ending::MadeRoom)
                if !self.inbound.turned_away.has_line("cap", client.peer.ip()) =>
            {
                return;
            }
            Incident::Refused(cap) => format!("refused: {cap}"),
            Incident::Closed(ending) if unlogged == 0 => ending.to_string(),
            Incident::Closed(ending) => format!("{ending}, after {unlogged} more refusals"),
        };
        self.inbound.journal.record(Event::ConnectionClosed {
            client: client.peer,
            reason,
            open,
        });
    }
}
