//! A visit: what the relay knows of one connection, from CONNECT to the 250.
//!
//! It tells `policy` the case, answers the questions that policy asks (`answers.rs`), and logs each refusal with its rule.
//! A transaction takes one snapshot of the routing, at MAIL, and routes each recipient once, at RCPT, so a reload in between
//! changes nothing for it. What happens to the body is in `draft.rs`.

mod answers;
mod budget;
mod client_name;
mod draft;
mod strip;
#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::sync::Arc;

use envelope::{Envelope, MessageId, Recipient, Reply, Verdict};
use forwarder::{LEGS_MAX, Route};
use futures_util::future::join_all;
use journal::{Event, Journal, Unfinished};
use policy::{Case, Decision, Effect, Stage, Standing, Step};
use smtp::server::{Hello, Refusal};
use smtp_in::{Client, Ending, Incident};
use spool::{Clock, IdSource, Spool};

use crate::replies;
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
    journal: Journal,
}

/// One connection.
pub struct Visit<S: Spool> {
    inbound: Arc<Inbound<S>>,
    name: ClientName,
    /// What policy knows.
    case: Case,
    /// The snapshot of the transaction.
    routing: Option<Arc<Routing>>,
    transaction: Option<Transaction<S>>,
    /// Of a message whose body is complete.
    id: Option<MessageId>,
    refusals: u64,
}

/// From MAIL to the end of its body.
struct Transaction<S: Spool> {
    /// Of the recipient that RCPT asks about.
    route: Option<Route>,
    /// Of the accepted recipients, in their order.
    routes: Vec<Route>,
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
            journal: core.journal,
        }
    }
}

impl<S: Spool> smtp_in::Service for Inbound<S> {
    type Visit = Visit<S>;

    fn visit(self: &Arc<Self>) -> Visit<S> {
        Visit {
            inbound: Arc::clone(self),
            name: ClientName::Known(None),
            case: Case::default(),
            routing: None,
            transaction: None,
            id: None,
            refusals: 0,
        }
    }

    fn trusts(&self, client: IpAddr) -> bool {
        self.routing.load().trusted.contains(client)
    }
}

impl<S: Spool> smtp_in::Visit for Visit<S> {
    async fn connect(&mut self, client: &Client) -> Verdict {
        self.meet(client);
        self.name = self.inbound.names.ask(client.peer.ip());
        self.decide(Stage::Connect, client).await.answer
    }

    async fn hello(&mut self, client: &Client, hello: &Hello) -> Verdict {
        self.meet(client);
        self.case.hello = hello.name.to_string();
        self.decide(Stage::Hello, client).await.answer
    }

    async fn mail(&mut self, client: &Client, envelope: &Envelope) -> Verdict {
        self.routing = Some(self.inbound.routing.load_full());
        self.meet(client);
        self.case.begin(envelope.reverse_path.clone());
        let verdict = self.decide(Stage::Mail, client).await.answer;
        if verdict == Verdict::Accept {
            self.transaction = Some(Transaction {
                route: None,
                routes: Vec::new(),
                draft: None,
            });
        } else {
            self.reset();
        }
        verdict
    }

    async fn rcpt(
        &mut self,
        client: &Client,
        _envelope: &Envelope,
        recipient: &Recipient,
    ) -> Verdict {
        self.case.next_recipient(recipient.forward_path.clone());
        let verdict = self.decide(Stage::Rcpt, client).await.answer;
        let transaction = self.transaction();
        // A refused recipient's route must not become another's.
        let route = transaction.route.take();
        if verdict == Verdict::Accept {
            let Some(route) = route else {
                unreachable!("each ground asks for the route: a 250 without legs loses mail");
            };
            transaction.routes.push(route);
            self.case.accept_recipient();
        }
        verdict
    }

    async fn data(&mut self, client: &Client, envelope: &Envelope) -> Verdict {
        let verdict = self.decide(Stage::Data, client).await.answer;
        if verdict != Verdict::Accept {
            return verdict;
        }
        let name = self.name.get().await.cloned();
        let (inbound, routing) = (Arc::clone(&self.inbound), self.routing());
        let mut draft = match Draft::begin(&inbound, &routing, client, name, envelope).await {
            Ok(draft) => draft,
            // The recipients stay as they are, for the next DATA.
            Err(error) => return Verdict::Refuse(self.not_stored(Stage::Data, client, &error)),
        };
        let transaction = self.transaction();
        let routes = std::mem::take(&mut transaction.routes);
        draft.plan(&inbound, &routing, envelope, routes);
        transaction.draft = Some(draft);
        Verdict::Accept
    }

    async fn write(&mut self, client: &Client, chunk: Vec<u8>) -> Result<(), Reply> {
        let written = match &mut self.transaction().draft {
            Some(draft) => draft.write(chunk).await,
            None => unreachable!("a body begins with DATA or BDAT"),
        };
        written.map_err(|error| self.not_stored(Stage::Message, client, &error))
    }

    async fn commit(&mut self, client: &Client, envelope: &Envelope) -> Reply {
        let Some(draft) = self.transaction.take().and_then(|open| open.draft) else {
            unreachable!("a body begins with DATA or BDAT");
        };
        self.id = Some(draft.id);
        let reply = match self.conclude(draft, client, envelope).await {
            Ok(reply) => reply,
            Err(error) => self.not_stored(Stage::Message, client, &error),
        };
        self.reset();
        reply
    }

    fn normalized(&mut self, newlines: u64) {
        if let Some(draft) = self.transaction().draft.as_mut() {
            draft.normalized = newlines;
        }
    }

    fn reset(&mut self) {
        self.case.end();
        self.routing = None;
        self.transaction = None;
        self.id = None;
    }

    fn refused(&mut self, client: &Client, refusal: Refusal) {
        let Refusal {
            stage,
            rule,
            typed,
            reply,
        } = refusal;
        let sender = self.case.transaction.reverse_path.as_ref();
        let sender = sender.map(ToString::to_string);
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
        let policy::Transaction {
            reverse_path,
            returns,
            others,
            ..
        } = std::mem::take(&mut self.case.transaction);
        let open = self.transaction.take().zip(reverse_path);
        let open = open.map(|(open, sender)| Unfinished {
            hello: hello(client),
            sender,
            recipients: returns.len() + others,
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
        self.inbound.journal.record(Event::ConnectionClosed {
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

    /// The snapshot of the transaction, or the routing of now.
    fn routing(&self) -> Arc<Routing> {
        let now = || self.inbound.routing.load_full();
        self.routing.clone().unwrap_or_else(now)
    }

    /// Who the client is, and which settings hold for it.
    fn meet(&mut self, client: &Client) {
        let routing = self.routing();
        let trusted = routing.trusted.contains(client.peer.ip());
        self.case.hello = hello(client).unwrap_or_default();
        self.case.client = policy::Client {
            address: Some(client.peer.ip()),
            role: match client.role {
                smtp_in::Role::Mx => policy::Role::Mx,
                smtp_in::Role::Submission => policy::Role::Submission,
            },
            standing: if trusted {
                Standing::Trusted
            } else {
                Standing::Stranger
            },
        };
        self.case.settings = policy::Settings {
            srs_accepts_nonnull: self.inbound.accept_nonnull,
            targets_max: LEGS_MAX,
            hops_max: routing.forwarder.settings().received_max,
        };
    }

    /// Asks policy for a decision, answers its questions on the way, and logs a refusal.
    async fn decide(&mut self, stage: Stage, client: &Client) -> Decision {
        let decision = loop {
            let questions = match policy::step(stage, &self.case) {
                Step::Ask(questions) => questions,
                Step::Decide(decision) => break decision,
            };
            let (inbound, routing, case) = (&*self.inbound, &*self.routing(), &self.case);
            let find = |question| answers::find(inbound, routing, case, question);
            for (answer, route) in join_all(questions.into_iter().map(find)).await {
                self.case.learn(answer);
                if let (Some(transaction), Some(route)) = (&mut self.transaction, route) {
                    transaction.route = Some(route);
                }
            }
        };
        tracing::debug!(client = %client.peer, stage = stage.as_str(), "{decision}");
        if let Verdict::Refuse(reply) | Verdict::Close(reply) = &decision.answer {
            self.log_refusal(stage, client, decision.rule, reply);
        }
        decision
    }

    /// The body is complete: after its 250 the message is on stable storage.
    async fn conclude(
        &mut self,
        mut draft: Draft<S>,
        client: &Client,
        envelope: &Envelope,
    ) -> Result<Reply, spool::Error> {
        draft.finish().await?;
        let (now, standing) = (self.inbound.clock.now(), self.case.client.standing);
        let message = draft.message(now, envelope, standing);
        draft.record_received(&self.inbound.journal, client, envelope, &message);
        self.case.message = draft.facts();
        let decision = self.decide(Stage::Message, client).await;
        if let Verdict::Refuse(reply) | Verdict::Close(reply) = decision.answer {
            return Ok(reply);
        }
        for effect in decision.effects {
            match effect {
                Effect::LeaveLoopsOut => draft.leave_loops_out(&self.inbound.journal),
            }
        }
        draft.store(&self.inbound, message).await
    }

    /// The spool failed: the client is told to try again later, the operator is told why.
    fn not_stored(&mut self, stage: Stage, client: &Client, error: &spool::Error) -> Reply {
        tracing::error!(%error, "message not taken");
        let reply = match error {
            spool::Error::Full(_) => replies::spool_full(),
            _ => replies::spool_trouble(),
        };
        self.log_refusal(stage, client, "spool", &reply);
        reply
    }

    fn log_refusal(&mut self, stage: Stage, client: &Client, rule: &'static str, reply: &Reply) {
        let transaction = &self.case.transaction;
        let recipient = match stage {
            Stage::Rcpt => self.case.recipient.path.as_ref(),
            // All of policy's rules here are about SRS addresses.
            Stage::Data if rule != "spool" => transaction.returns.first().map(|(path, _)| path),
            _ => None,
        };
        self.log_refused(Event::Refused {
            id: self.id,
            client: client.peer,
            hello: hello(client),
            stage: stage.as_str(),
            rule,
            sender: transaction.reverse_path.as_ref().map(ToString::to_string),
            recipient: recipient.map(ToString::to_string),
            command: None,
            reply: reply.clone(),
        });
    }

    /// After [`REFUSALS_LOGGED_MAX`] lines, further refusals of a client are only counted, so that it cannot fill the disk.
    /// A message that was logged as received always gets a line.
    fn log_refused(&mut self, refused: Event) {
        self.refusals += u64::from(self.id.is_none());
        if self.refusals <= REFUSALS_LOGGED_MAX || self.id.is_some() {
            self.inbound.journal.record(refused);
        }
    }
}

/// The name in the last EHLO or HELO.
fn hello(client: &Client) -> Option<String> {
    let hello = client.hello.as_ref();
    hello.map(|hello| hello.name.to_string())
}

/// Refusals of one connection that have a line of their own. Those of 5xx end it long before.
const REFUSALS_LOGGED_MAX: u64 = 100;
