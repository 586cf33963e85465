//! The Received field of a message, from what is known of its client.

use envelope::{Domain, Envelope, MessageId, Timestamp};
use forwarder::trace;
use smtp_in::Client;

use crate::routing::Routing;

pub(super) fn received(
    routing: &Routing,
    client: &Client,
    client_name: Option<&Domain>,
    envelope: &Envelope,
    id: MessageId,
    now: Timestamp,
) -> String {
    let recipient = match envelope.recipients.as_slice() {
        [only] => only.forward_path.mailbox(),
        _ => None,
    };
    let hello = client.hello.as_ref();
    trace::received(&trace::Facts {
        hello: hello.map_or("", |hello| &hello.name),
        client: client.peer.ip(),
        client_name,
        hostname: routing.hostname(),
        extended: hello.is_some_and(|hello| hello.extended),
        tls: client.tls,
        authenticated: client.user.is_some(),
        hides_client: client.user.is_some() && routing.hides_users,
        smtputf8: envelope.smtputf8,
        id,
        recipient,
        arrived: now,
    })
}
