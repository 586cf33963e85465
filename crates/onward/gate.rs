//! The gate: gathers the facts that `policy` decides on, and logs what was refused and by which rule.

use std::collections::HashMap;
use std::sync::Arc;

use envelope::{Envelope, ForwardPath, Recipient, ReversePath, Verdict};
use forwarder::{LEGS_MAX, Route, SrsRefusal};
use parking_lot::Mutex;
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
    pub(crate) fan_out: FanOut,
}

/// By how much the targets of open transactions outnumber their recipients, by connection: kept only where they do.
#[derive(Debug, Default)]
pub(crate) struct FanOut(Mutex<HashMap<u64, usize>>);

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
        let (destination, targets) = self.destination(&recipient.forward_path).await;
        let before = self.fan_out.targets(client.id, envelope.recipients.len());
        let facts = facts::Rcpt {
            standing: self.standing(client),
            reverse_path_null: envelope.reverse_path.is_null(),
            destination,
            too_many_targets: before + targets > LEGS_MAX,
            accept_nonnull: self.accept_nonnull,
        };
        let decision = policy::rcpt(&facts);
        if decision.verdict == Verdict::Accept {
            self.fan_out.add(client.id, targets);
        }
        let sender = Some(&envelope.reverse_path);
        let recipient = Some(&recipient.forward_path);
        self.decided("rcpt", client, sender, recipient, decision)
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
        if let Incident::Closed(_) = incident {
            self.fan_out.forget(client.id);
        }
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

    /// What a forward path is to us, and how many targets it stands for.
    async fn destination(&self, path: &ForwardPath) -> (Destination, usize) {
        let routing = self.routing.load_full();
        match routing.route(&*self.spool, path, now()).await {
            Ok(route) => {
                let targets = targets(&route);
                (destination(&routing, path, route), targets)
            }
            Err(error) => {
                tracing::error!(%error, "cannot look up an SRS token");
                (Destination::Undecided, 0)
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

impl FanOut {
    /// The targets of a transaction with so many recipients.
    fn targets(&self, connection: u64, recipients: usize) -> usize {
        let mut beyond = self.0.lock();
        if recipients == 0 {
            // A new transaction, or one that was reset.
            beyond.remove(&connection);
        }
        recipients + beyond.get(&connection).copied().unwrap_or(0)
    }

    /// A recipient with so many targets was accepted.
    fn add(&self, connection: u64, targets: usize) {
        if targets > 1 {
            *self.0.lock().entry(connection).or_default() += targets - 1;
        }
    }

    fn forget(&self, connection: u64) {
        self.0.lock().remove(&connection);
    }
}

fn targets(route: &Route) -> usize {
    match route {
        Route::Forward(expansion) | Route::Return { expansion, .. } => expansion.targets.len(),
        Route::NotHosted => 1,
        _ => 0,
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
