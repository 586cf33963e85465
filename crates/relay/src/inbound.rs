//! A visit: what the relay knows of one connection, from CONNECT to the 250.
//!
//! It gathers the facts that `policy` decides on, and logs what was refused and by which rule. A transaction takes one
//! snapshot of the routing, at MAIL, and routes each recipient once, at RCPT; so what was accepted is what is queued,
//! whatever is reloaded meanwhile. What becomes of the body is in `draft.rs`.

mod budget;
mod client_name;
mod destination;
mod draft;
#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::sync::Arc;

use envelope::{Domain, Envelope, ForwardPath, Mailbox, Recipient, Reply, ReversePath, Verdict};
use forwarder::{LEGS_MAX, Route};
use journal::{Event, Log, Unfinished};
use policy::Decision;
use policy::facts::{self, Accepted, Standing};
use smtp::server::{Hello, Refusal};
use smtp_in::{Client, Ending, Incident};
use spool::{Clock, IdSource, Spool};

use crate::routing::{Routing, Shared};
use crate::{Core, Settings};
use budget::Budget;
use client_name::{ClientName, ClientNames};
use draft::Draft;

/// What all visits share.
pub struct Inbound<S> {
    routing: Shared,
    spool: Arc<S>,
    clock: Clock,
    ids: Arc<IdSource>,
    names: ClientNames,
    budget: Budget,
    accept_nonnull: bool,
    log: Log,
}

/// One connection.
pub struct Visit<S: Spool> {
    inbound: Arc<Inbound<S>>,
    name: ClientName,
    transaction: Option<Transaction<S>>,
    refusals: u64,
}

/// From an accepted MAIL to the end of its body.
struct Transaction<S: Spool> {
    routing: Arc<Routing>,
    sender: ReversePath,
    /// Of the accepted recipients, in their order.
    routes: Vec<Route>,
    /// How many targets these stand for.
    targets: usize,
    recipients: usize,
    accepted: Accepted,
    draft: Option<Draft<S>>,
}

impl<S> Inbound<S> {
    /// The inbound side of a relay.
    pub fn new(core: &Core<S>, settings: &Settings, resolver: dns::Backend) -> Self {
        let core = core.clone();
        Self {
            routing: core.routing,
            spool: core.spool,
            clock: core.clock,
            ids: core.ids,
            names: ClientNames::new(resolver),
            budget: Budget::new(settings.bounces_per_day),
            accept_nonnull: settings.accept_nonnull,
            log: core.log,
        }
    }
}

impl<S: Spool> smtp_in::Service for Inbound<S> {
    type Visit = Visit<S>;

    fn visit(self: &Arc<Self>) -> Visit<S> {
        Visit {
            inbound: Arc::clone(self),
            name: ClientName::Known(None),
            transaction: None,
            refusals: 0,
        }
    }

    fn trusts(&self, client: IpAddr) -> bool {
        self.routing.load().trusted.contains(client)
    }
}

impl<S: Spool> smtp_in::Visit for Visit<S> {
    async fn connect(&mut self, client: &Client) -> Verdict {
        let facts = facts::Connect {
            address: client.peer.ip(),
            role: role(client),
            standing: standing(&self.inbound.routing.load(), client),
        };
        self.name = self.inbound.names.ask(client.peer.ip());
        self.decided("connect", client, None, None, policy::connect(&facts))
    }

    async fn hello(&mut self, client: &Client, hello: &Hello) -> Verdict {
        let facts = facts::Hello {
            name: hello.name.to_string(),
            standing: standing(&self.inbound.routing.load(), client),
        };
        self.decided("hello", client, None, None, policy::hello(&facts))
    }

    async fn mail(&mut self, client: &Client, envelope: &Envelope) -> Verdict {
        let routing = self.inbound.routing.load_full();
        let facts = facts::Mail {
            role: role(client),
            standing: standing(&routing, client),
        };
        let sender = Some(&envelope.reverse_path);
        let verdict = self.decided("mail", client, sender, None, policy::mail(&facts));
        self.transaction = (verdict == Verdict::Accept).then(|| Transaction {
            routing,
            sender: envelope.reverse_path.clone(),
            routes: Vec::new(),
            targets: 0,
            recipients: 0,
            accepted: Accepted::default(),
            draft: None,
        });
        verdict
    }

    async fn rcpt(
        &mut self,
        client: &Client,
        envelope: &Envelope,
        recipient: &Recipient,
    ) -> Verdict {
        let inbound = Arc::clone(&self.inbound);
        let transaction = self.transaction();
        let routing = &transaction.routing;
        let path = &recipient.forward_path;
        let route = routing
            .route(&*inbound.spool, path, inbound.clock.now())
            .await;
        let targets = transaction.targets + destination::targets(&route);
        let facts = facts::Rcpt {
            standing: standing(routing, client),
            reverse_path_null: envelope.reverse_path.is_null(),
            accepted: transaction.accepted,
            destination: destination::of(routing, path, &route, &inbound.budget),
            too_many_targets: targets > LEGS_MAX,
            routed: route
                .as_ref()
                .is_ok_and(|route| routing.is_routed(path, route)),
            accept_nonnull: inbound.accept_nonnull,
        };
        let decision = policy::rcpt(&facts);
        if let (Verdict::Accept, Ok(route)) = (&decision.verdict, route) {
            transaction.accept(route, targets);
        }
        let sender = Some(&envelope.reverse_path);
        self.decided("rcpt", client, sender, Some(path), decision)
    }

    async fn data(&mut self, client: &Client, envelope: &Envelope) -> Verdict {
        let inbound = Arc::clone(&self.inbound);
        let accept_nonnull = inbound.accept_nonnull;
        let reverse_path_null = envelope.reverse_path.is_null();
        let transaction = self.transaction();
        let facts = facts::Data {
            reverse_path_null,
            accepted: transaction.accepted,
            accept_nonnull,
            // What will be refused takes nothing of the budget.
            over_budget: (reverse_path_null || accept_nonnull)
                && transaction
                    .returns()
                    .any(|sender| !inbound.budget.take(sender)),
        };
        let srs = transaction.srs_recipient(envelope);
        let sender = Some(&envelope.reverse_path);
        let verdict = self.decided("data", client, sender, srs, policy::data(&facts));
        if verdict != Verdict::Accept {
            return verdict;
        }
        let name = self.name.get().await.cloned();
        let begun = self.transaction().begin(&inbound, client, name, envelope);
        match begun.await {
            Ok(()) => Verdict::Accept,
            Err(reply) => self.decided("data", client, sender, None, no_room(reply)),
        }
    }

    async fn write(&mut self, client: &Client, chunk: Vec<u8>) -> Result<(), Reply> {
        let transaction = self.transaction();
        let written = match &mut transaction.draft {
            Some(draft) => draft.write(chunk).await,
            None => unreachable!("a body begins with DATA or BDAT"),
        };
        if let Err(reply) = &written {
            let sender = transaction.sender.clone();
            self.decided(
                "message",
                client,
                Some(&sender),
                None,
                no_room(reply.clone()),
            );
        }
        written
    }

    async fn commit(&mut self, client: &Client, envelope: &Envelope) -> Reply {
        match self.transaction.take().and_then(|open| open.draft) {
            Some(draft) => draft.commit(&self.inbound, client, envelope).await,
            None => unreachable!("a body begins with DATA or BDAT"),
        }
    }

    fn normalized(&mut self, newlines: u64) {
        if let Some(draft) = self.transaction().draft.as_mut() {
            draft.normalized = newlines;
        }
    }

    fn reset(&mut self) {
        self.transaction = None;
    }

    fn refused(&mut self, client: &Client, refusal: Refusal) {
        let Refusal {
            stage,
            rule,
            typed,
            reply,
        } = refusal;
        let open = self.transaction.as_ref();
        let sender = open.map(|open| open.sender.to_string());
        let typed = Some(typed.into_string()).filter(|typed| !typed.is_empty());
        let (sender, recipient, command) = match stage {
            "mail" => (typed, None, None),
            "rcpt" => (sender, typed, None),
            _ => (sender, None, typed),
        };
        self.log_refused(Event::Refused {
            id: None,
            client: client.peer,
            hello: hello(client),
            stage,
            rule,
            sender,
            recipient,
            command,
            reply,
        });
    }

    fn observe(&mut self, client: &Client, incident: Incident) {
        let open = self.transaction.take().map(|open| Unfinished {
            hello: hello(client),
            sender: open.sender,
            recipients: open.recipients,
            size: open.draft.as_ref().map(Draft::size),
        });
        let unlogged = self.refusals.saturating_sub(REFUSALS_LOGGED_MAX);
        let reason = match incident {
            Incident::Connected => return,
            Incident::Closed(Ending::Session | Ending::Drained) if unlogged == 0 => return,
            Incident::Closed(Ending::PeerClosed) if unlogged == 0 && open.is_none() => return,
            Incident::Refused(cap) => format!("refused: {cap}"),
            Incident::Closed(ending) if unlogged == 0 => ending.to_string(),
            Incident::Closed(ending) => format!("{ending}, after {unlogged} more refusals"),
        };
        self.inbound.log.write(Event::ConnectionClosed {
            client: client.peer,
            reason,
            open,
        });
    }
}

impl<S: Spool> Visit<S> {
    fn transaction(&mut self) -> &mut Transaction<S> {
        let Some(transaction) = &mut self.transaction else {
            unreachable!("RCPT, DATA and bodies come within a transaction");
        };
        transaction
    }

    fn decided(
        &mut self,
        stage: &'static str,
        client: &Client,
        sender: Option<&ReversePath>,
        recipient: Option<&ForwardPath>,
        decision: Decision,
    ) -> Verdict {
        if let Verdict::Refuse(reply) | Verdict::Close(reply) = &decision.verdict {
            self.log_refused(Event::Refused {
                id: None,
                client: client.peer,
                hello: hello(client),
                stage,
                rule: decision.rule,
                sender: sender.map(ToString::to_string),
                recipient: recipient.map(ToString::to_string),
                command: None,
                reply: reply.clone(),
            });
        }
        decision.verdict
    }

    /// A client that goes on and on fills no disk: the rest is counted, and told at the end.
    fn log_refused(&mut self, refused: Event) {
        self.refusals += 1;
        if self.refusals <= REFUSALS_LOGGED_MAX {
            self.inbound.log.write(refused);
        }
    }
}

impl<S: Spool> Transaction<S> {
    fn accept(&mut self, route: Route, targets: usize) {
        let srs = matches!(route, Route::Return { .. });
        self.accepted.srs |= srs;
        self.accepted.other |= !srs;
        self.targets = targets;
        self.recipients += 1;
        self.routes.push(route);
    }

    /// The first of the recipients that is an SRS address of ours.
    fn srs_recipient<'a>(&self, envelope: &'a Envelope) -> Option<&'a ForwardPath> {
        let srs = |(_, route): &(_, &Route)| matches!(route, Route::Return { .. });
        let mut routed = envelope.recipients.iter().zip(&self.routes);
        routed
            .find(srs)
            .map(|(recipient, _)| &recipient.forward_path)
    }

    /// The senders behind the SRS addresses among the recipients.
    fn returns(&self) -> impl Iterator<Item = &Mailbox> {
        self.routes.iter().filter_map(|route| match route {
            Route::Return { sender, .. } => Some(sender),
            _ => None,
        })
    }

    /// Begins the body. When it cannot be begun, the recipients stay as they are, for the next DATA.
    async fn begin(
        &mut self,
        inbound: &Inbound<S>,
        client: &Client,
        name: Option<Domain>,
        envelope: &Envelope,
    ) -> Result<(), Reply> {
        let mut draft = Draft::begin(inbound, &self.routing, client, name, envelope).await?;
        let routes = std::mem::take(&mut self.routes);
        draft.plan(inbound, &self.routing, envelope, routes);
        self.draft = Some(draft);
        Ok(())
    }
}

/// The spool did not take it.
fn no_room(reply: Reply) -> Decision {
    Decision {
        rule: "spool",
        verdict: Verdict::Refuse(reply),
    }
}

fn standing(routing: &Routing, client: &Client) -> Standing {
    if routing.trusted.contains(client.peer.ip()) {
        Standing::Trusted
    } else {
        Standing::Stranger
    }
}

/// The name in the last EHLO or HELO.
fn hello(client: &Client) -> Option<String> {
    let hello = client.hello.as_ref();
    hello.map(|hello| hello.name.to_string())
}

fn role(client: &Client) -> facts::Role {
    match client.role {
        smtp_in::Role::Mx => facts::Role::Mx,
        smtp_in::Role::Submission => facts::Role::Submission,
    }
}

/// Refusals of one connection that have a line of their own. Those of 5xx end it long before.
const REFUSALS_LOGGED_MAX: u64 = 100;
