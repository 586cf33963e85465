//! What the sender's own mail server says of the sender. Of an address of ours the forwards tell.

use delivery::Finding;
use envelope::{Diagnosis, ForwardPath, Mailbox};
use forwarder::Route;
use journal::Event;
use policy::Callout;
use spool::Spool;

use super::Inquiry;

impl<S: Spool> Inquiry<'_, S> {
    pub(super) async fn callout(&self) -> Callout {
        // The null sender is never verified: so two relays that verify each other's senders cannot ask each other for ever.
        let Some(sender) = self.case.transaction.sender() else {
            return Callout::Exempt;
        };
        let path = ForwardPath::Mailbox(sender.clone());
        let (inbound, routing) = (self.inbound, self.sources.routing);
        let routed = routing.route(&*inbound.spool, &path, true, inbound.clock.now());
        match routed.await {
            Ok(Route::NotHosted) => self.ask(sender).await,
            Ok(Route::Forward(_) | Route::Discard(_) | Route::Return { .. }) => Callout::Exists,
            Ok(Route::Unknown | Route::SrsRefused(_)) => no_such("no such address here"),
            Ok(Route::Refused(reply)) => no_such(&reply.text),
            Ok(Route::Token(_)) => unreachable!("a token is looked up with its route"),
            Err(error) => Callout::Unknown(error.to_string()),
        }
    }

    async fn ask(&self, sender: &Mailbox) -> Callout {
        let callouts = &self.inbound.callouts;
        let (finding, asked) = match self.counts {
            true => callouts.verify(sender).await,
            false => (callouts.known(sender), false),
        };
        if let (Some(diagnosis), true) = (finding.diagnosis(), asked) {
            self.inbound.journal.record(Event::Callout {
                sender: sender.clone(),
                outcome: finding.as_str(),
                diagnosis: diagnosis.clone(),
            });
        }
        match finding {
            Finding::Exists(_) => Callout::Exists,
            Finding::Refused(Diagnosis {
                host,
                reply: Some(reply),
                ..
            }) => Callout::Refused {
                server: Some(name_of(host, sender)),
                reason: reply.to_string(),
            },
            Finding::Refused(reason) => no_such(&reason.text),
            Finding::Unknown(reason) => Callout::Unknown(reason.to_string()),
            Finding::Exempt => Callout::Exempt,
        }
    }
}

/// Of the server: without its address, which may be that of a route of ours.
fn name_of(host: Option<String>, sender: &Mailbox) -> String {
    let name = host.as_deref().and_then(|host| host.split('[').next());
    let name = name.filter(|name| !name.is_empty()).map(str::to_owned);
    name.unwrap_or_else(|| sender.host().to_string())
}

fn no_such(reason: &str) -> Callout {
    Callout::Refused {
        server: None,
        reason: reason.to_owned(),
    }
}
