//! The gate: gathers the facts that `policy` decides on, and logs what was refused and by which rule.

use std::sync::Arc;

use envelope::{Envelope, ForwardPath, Recipient, ReversePath, Verdict};
use forwarder::{Route, SrsRefusal};
use policy::Decision;
use policy::facts::{self, Destination, Hosted, Standing};
use queue::Spool;
use smtp::server::Hello;
use smtp_in::{Client, Ending, Incident};
use srs::ReverseError;

use crate::log::{Event, Log, now};
use crate::routing::{Routing, Shared};

/// What the gate knows.
pub(crate) struct Gate<S> {
    pub(crate) routing: Shared,
    pub(crate) spool: Arc<S>,
    pub(crate) accept_nonnull: bool,
    pub(crate) log: Log,
}

impl<S: Spool> smtp_in::Gate for Gate<S> {
    async fn connect(&self, client: &Client) -> Verdict {
        let facts = facts::Connect {
            address: client.peer.ip(),
            role: role(client),
            standing: self.standing(client),
        };
        self.decided("connect", client, None, None, policy::connect(&facts))
    }

    async fn hello(&self, client: &Client, hello: &Hello) -> Verdict {
        let facts = facts::Hello {
            name: hello.name.to_string(),
            standing: self.standing(client),
        };
        self.decided("hello", client, None, None, policy::hello(&facts))
    }

    async fn mail(&self, client: &Client, envelope: &Envelope) -> Verdict {
        let facts = facts::Mail {
            role: role(client),
            standing: self.standing(client),
        };
        self.decided(
            "mail",
            client,
            Some(&envelope.reverse_path),
            None,
            policy::mail(&facts),
        )
    }

    async fn rcpt(&self, client: &Client, envelope: &Envelope, recipient: &Recipient) -> Verdict {
        let facts = facts::Rcpt {
            standing: self.standing(client),
            reverse_path_null: envelope.reverse_path.is_null(),
            destination: self.destination(&recipient.forward_path).await,
            accept_nonnull: self.accept_nonnull,
        };
        let sender = Some(&envelope.reverse_path);
        self.decided(
            "rcpt",
            client,
            sender,
            Some(&recipient.forward_path),
            policy::rcpt(&facts),
        )
    }

    async fn data(&self, client: &Client, envelope: &Envelope) -> Verdict {
        let facts = facts::Data {
            recipients: envelope.recipients.len(),
        };
        self.decided(
            "data",
            client,
            Some(&envelope.reverse_path),
            None,
            policy::data(&facts),
        )
    }

    fn observe(&self, client: &Client, incident: Incident) {
        let reason = match incident {
            Incident::Connected
            | Incident::Closed(Ending::Session | Ending::PeerClosed | Ending::Drained) => return,
            Incident::Refused(cap) => format!("refused: {cap}"),
            Incident::Closed(ending) => ending.to_string(),
        };
        self.log.write(Event::ConnectionClosed {
            client: client.peer,
            reason,
        });
    }
}

impl<S: Spool> Gate<S> {
    fn standing(&self, client: &Client) -> Standing {
        if self.routing.load().trusted.contains(client.peer.ip()) {
            Standing::Trusted
        } else {
            Standing::Stranger
        }
    }

    async fn destination(&self, path: &ForwardPath) -> Destination {
        let routing = self.routing.load_full();
        match routing.route(&*self.spool, path, now()).await {
            Ok(route) => destination(&routing, path, route),
            Err(error) => {
                tracing::error!(%error, "cannot look up an SRS token");
                Destination::Undecided
            }
        }
    }

    fn decided(
        &self,
        stage: &'static str,
        client: &Client,
        sender: Option<&ReversePath>,
        recipient: Option<&ForwardPath>,
        decision: Decision,
    ) -> Verdict {
        if let Verdict::Refuse(reply) | Verdict::Close(reply) = &decision.verdict {
            self.log.write(Event::Refused {
                id: None,
                client: client.peer,
                stage,
                rule: decision.rule,
                sender: sender.cloned(),
                recipient: recipient.map(ToString::to_string),
                reply: reply.clone(),
            });
        }
        decision.verdict
    }
}

/// What a route means for policy.
fn destination(routing: &Routing, path: &ForwardPath, route: Route) -> Destination {
    let is_relayed = || {
        path.mailbox()
            .is_some_and(|address| routing.relays(address))
    };
    match route {
        Route::Forward(_) | Route::Discard => Destination::Hosted(Hosted::Found),
        Route::Return { .. } => Destination::Srs(facts::Srs::Valid),
        Route::Refused(reply) => Destination::Hosted(Hosted::Refused(reply)),
        Route::Unknown => Destination::Hosted(Hosted::Unknown),
        Route::SrsRefused(refusal) => Destination::Srs(refused(refusal)),
        Route::NotHosted if is_relayed() => Destination::Relay,
        Route::NotHosted => Destination::Foreign,
        // `Routing::route` has looked every token up.
        Route::Token(_) => Destination::Undecided,
    }
}

fn refused(refusal: SrsRefusal) -> facts::Srs {
    match refusal {
        SrsRefusal::Invalid(ReverseError::BadTag) => facts::Srs::Forged,
        SrsRefusal::Invalid(ReverseError::Expired { .. }) => facts::Srs::Expired,
        SrsRefusal::Invalid(ReverseError::Future) => facts::Srs::Future,
        SrsRefusal::TokenForgotten => facts::Srs::Forgotten,
        SrsRefusal::Invalid(_) | SrsRefusal::NotAnAddress => facts::Srs::Damaged,
    }
}

fn role(client: &Client) -> facts::Role {
    match client.role {
        smtp_in::Role::Mx => facts::Role::Mx,
        smtp_in::Role::Submission => facts::Role::Submission,
    }
}
