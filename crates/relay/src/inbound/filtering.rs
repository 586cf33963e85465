//! What content filters are told of a message, and what they add to it.

use envelope::{Domain, Envelope, Message};
use filter::Facts;
use smtp_in::Client;
use spool::Spool;

use super::Visit;
use super::draft::Draft;
use crate::routing::Routing;

/// Beside the message itself.
pub(super) fn facts<'a, S: Spool>(
    draft: &Draft<S>,
    routing: &'a Routing,
    client: &'a Client,
    name: Option<&'a Domain>,
    envelope: &'a Envelope,
    message: &'a Message,
) -> Facts<'a> {
    let hello = client.hello.as_ref();
    Facts {
        id: draft.id,
        hostname: routing.hostname(),
        client: client.peer,
        client_name: name,
        hello: hello.map_or("", |hello| &hello.name),
        tls: client.tls,
        user: message.user.as_deref(),
        envelope,
        size: draft.size(),
    }
}

impl<S: Spool> Visit<S> {
    /// Puts on top of all else what filters add.
    pub(super) fn put_filtered(&self, message: &mut Message) {
        let said = self.case.message.filtered.iter().flatten();
        let fields: String = said.map(|(_, said)| &*said.fields).collect();
        if !fields.is_empty() {
            message.size += fields.len() as u64;
            message.trace = (fields + &message.trace).into();
        }
    }
}
