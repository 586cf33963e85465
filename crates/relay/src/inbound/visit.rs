//! A visit: what the relay knows of one connection.
//!
//! A transaction takes one snapshot of the routing, at MAIL, and routes each recipient once, at RCPT, so a reload in between
//! changes nothing for it.

mod ending;

use std::sync::Arc;
use std::time::Duration;

use counters::Key;
use envelope::{Envelope, MessageId, Recipient, Reply, Timestamp, Verdict};
use forwarder::Route;
use journal::Event;
use policy::{Case, Decision, Effect, Measures, Stage, Standing, Why};
use smtp::server::{Credentials, Hello, Refusal};
use smtp_in::{Client, Incident};
use spool::Spool;
use tokio::sync::OwnedSemaphorePermit;

use super::answers::limits;
use super::client_name::ClientName;
use super::deciding::{Known, Sources};
use super::draft::Draft;
use super::filtering::facts;
use super::{Inbound, hello};
use crate::filters::Letter;
use crate::outbound::Print;
use crate::replies;
use crate::routing::Routing;

/// One connection.
pub struct Visit<S: Spool> {
    pub(super) inbound: Arc<Inbound<S>>,
    pub(super) name: ClientName,
    /// How late each reply is, and the place among those who wait.
    tarpit: Option<(Duration, OwnedSemaphorePermit)>,
    /// What policy knows.
    pub(super) case: Case,
    /// When the last MAIL came.
    begun: Timestamp,
    /// The snapshot of the transaction.
    routing: Option<Arc<Routing>>,
    transaction: Option<Transaction<S>>,
    /// What limits count the accepted recipients by; none where there are no limits.
    recipients: Vec<Key>,
    /// The message of the last answer that matters if it is not read.
    unread: Option<(MessageId, Print)>,
    /// Of a message whose body is complete.
    pub(super) id: Option<MessageId>,
    pub(super) refusals: u64,
    failed_logins: u32,
    /// To be counted by.
    _visits: Arc<()>,
}

/// From MAIL to the end of its body.
struct Transaction<S: Spool> {
    /// Of the recipient that RCPT asks about.
    route: Option<Route>,
    /// Of the accepted recipients, in their order.
    routes: Vec<(Route, Arc<Measures>)>,
    draft: Option<Draft<S>>,
    /// See [`Inbound::transactions`]; open until the client has its answer.
    counted: Arc<()>,
}

impl<S: Spool> smtp_in::Visit for Visit<S> {
    async fn connect(&mut self, client: &Client) -> Verdict {
        self.meet(client);
        self.case.client.talked_early = client.talked_early;
        let verdict = self.decide(Stage::Connect, client).await.answer;
        // One that is refused costs no look-up.
        if verdict == Verdict::Accept {
            self.name = self.inbound.names.ask(client.peer.ip());
            self.tarpit = self.inbound.tarpit(&self.case.client);
        }
        verdict
    }

    async fn xclient(&mut self, client: &Client) -> Verdict {
        self.case = Case::default();
        if let Some(name) = &client.user {
            let routing = self.routing();
            let Some(user) = routing.users.find(name) else {
                let reply = replies::unknown_login();
                self.log_refusal(Stage::Connect, client, "unknown-login", &reply);
                return Verdict::Refuse(reply);
            };
            self.case.client.log_in(Arc::clone(&user.policy));
        }
        self.connect(client).await
    }

    async fn hello(&mut self, client: &Client, hello: &Hello) -> Verdict {
        self.meet(client);
        self.case.hello = hello.name.to_string();
        self.decide(Stage::Hello, client).await.answer
    }

    async fn auth(&mut self, client: &Client, credentials: &Credentials) -> Verdict {
        self.meet(client);
        self.case.try_login((*credentials.user).into());
        let known = Known {
            credentials: Some(credentials),
            ..Known::default()
        };
        let verdict = self.decide_with(Stage::Auth, client, known).await.answer;
        let user = self.case.end_login(verdict == Verdict::Accept);
        match (&verdict, user) {
            (Verdict::Accept, Some(user)) => self.inbound.journal.record(Event::Login {
                client: client.peer,
                hello: hello(client),
                user: Arc::clone(&user.name),
                mechanism: credentials.mechanism.name(),
            }),
            (Verdict::Refuse(reply), _) if reply.code == WRONG => {
                self.failed_logins += 1;
                if !self.inbound.guesses.slow(self.failed_logins).await {
                    return Verdict::Close(replies::too_many_failed_logins());
                }
            }
            _ => {}
        }
        verdict
    }

    async fn mail(&mut self, client: &Client, envelope: &Envelope) -> Verdict {
        self.routing = Some(self.inbound.routing.load_full());
        self.begun = self.inbound.clock.now();
        self.meet(client);
        self.case.begin(envelope.reverse_path.clone());
        let verdict = self.decide(Stage::Mail, client).await.answer;
        if verdict == Verdict::Accept {
            self.transaction = Some(Transaction {
                route: None,
                routes: Vec::new(),
                draft: None,
                counted: Arc::clone(&self.inbound.transactions),
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
            let keys = match self.case.settings.limits {
                true => limits::recipient(&self.case, Some(&route)),
                false => Vec::new(),
            };
            self.recipients.extend(keys);
            let measures = self.case.accept_recipient();
            self.transaction().routes.push((route, measures));
        }
        verdict
    }

    async fn data(&mut self, client: &Client, envelope: &Envelope) -> Verdict {
        let verdict = self.decide(Stage::Data, client).await.answer;
        if verdict != Verdict::Accept {
            return verdict;
        }
        let name = self.name.get().await;
        let (inbound, routing) = (Arc::clone(&self.inbound), self.routing());
        let mut draft = match Draft::begin(&inbound, &routing, client, name, envelope).await {
            Ok(draft) => draft,
            // The recipients stay as they are, for the next DATA.
            Err(error) => return Verdict::Refuse(self.not_stored(Stage::Data, client, &error)),
        };
        let routes = std::mem::take(&mut self.transaction().routes);
        let user = self.case.client.user.as_ref();
        let user = user.and_then(|user| routing.users.find(&user.name));
        let return_path = user.and_then(|user| user.return_path.as_ref());
        if self.case.transaction.online.is_some() {
            draft.hash();
        }
        draft.plan(&inbound, &routing, envelope, routes, return_path);
        self.transaction().draft = Some(draft);
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
        let open = self.transaction.take();
        let Some((draft, _counted)) = open.and_then(|open| Some((open.draft?, open.counted)))
        else {
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

    fn heard(&mut self) {
        self.unread = None;
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
        self.recipients.clear();
        self.id = None;
    }

    fn commands(&mut self, client: &Client, commands: u64) -> Option<Reply> {
        let limit = self.inbound.over_commands(&self.case.client, commands)?;
        let reply = replies::too_many_commands(&limit);
        self.log_refusal(Stage::Connect, client, "limit", &reply);
        Some(reply)
    }

    fn delay(&mut self) -> Duration {
        let is_stranger = self.case.client.standing == Standing::Stranger;
        let tarpit = self.tarpit.as_ref().filter(|_| is_stranger);
        tarpit.map_or(Duration::ZERO, |(delay, _)| *delay)
    }

    fn refused(&mut self, client: &Client, refusal: Refusal) {
        self.log_protocol(client, refusal);
    }

    fn observe(&mut self, client: &Client, incident: Incident) {
        self.log_end(client, incident);
    }
}

impl<S: Spool> Visit<S> {
    /// Nothing is known yet.
    pub(super) fn new(inbound: Arc<Inbound<S>>) -> Self {
        Self {
            begun: inbound.clock.now(),
            _visits: Arc::clone(&inbound.visits),
            inbound,
            name: ClientName::unknown(),
            tarpit: None,
            case: Case::default(),
            routing: None,
            transaction: None,
            recipients: Vec::new(),
            unread: None,
            id: None,
            refusals: 0,
            failed_logins: 0,
        }
    }

    fn transaction(&mut self) -> &mut Transaction<S> {
        let Some(transaction) = &mut self.transaction else {
            unreachable!("RCPT, DATA and bodies come within a transaction");
        };
        transaction
    }

    /// The snapshot of the transaction, or the routing of now.
    pub(super) fn routing(&self) -> Arc<Routing> {
        let now = || self.inbound.routing.load_full();
        self.routing.clone().unwrap_or_else(now)
    }

    /// Has policy decide, keeps the route of a recipient, and logs a refusal.
    async fn decide(&mut self, stage: Stage, client: &Client) -> Decision {
        self.decide_with(stage, client, Known::default()).await
    }

    async fn decide_with(&mut self, stage: Stage, client: &Client, known: Known<'_>) -> Decision {
        let routing = self.routing();
        let sources = Sources {
            routing: &routing,
            known,
            recipients: &self.recipients,
            name: &self.name,
        };
        let inbound = Arc::clone(&self.inbound);
        let (decision, route) = inbound.decide(stage, &mut self.case, &sources, None).await;
        if let (Some(transaction), Some(route)) = (&mut self.transaction, route) {
            transaction.route = Some(route);
        }
        tracing::debug!(client = %client.peer, stage = stage.name(), "{decision}");
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
        draft.ask_for_tls(envelope);
        let (now, standing) = (self.inbound.clock.now(), self.case.client.standing);
        let mut message = draft.message(now, envelope, client, standing);
        let user = self.case.client.user.as_ref();
        message.user = user.map(|user| Arc::clone(&user.name));
        let (routing, name) = (self.routing(), self.name.get().await);
        let before_queue = now.since(self.begun);
        let received = draft.received(
            client,
            name.as_ref(),
            envelope,
            &message,
            before_queue,
            self.case.transaction.online.is_some(),
        );
        self.inbound.journal.record(received);
        self.case.message = draft.facts();
        let mut examined = draft.examined.take();
        let letter = draft.read_back().await?.map(|body| Letter {
            facts: facts(&draft, &routing, client, name.as_ref(), envelope, &message),
            body,
        });
        let known = Known {
            message: examined.as_ref(),
            letter: letter.as_ref(),
            ..Known::default()
        };
        let decision = self.decide_with(Stage::Message, client, known).await;
        if let Verdict::Refuse(reply) | Verdict::Close(reply) = decision.answer {
            return Ok(reply);
        }
        for effect in decision.effects {
            match effect {
                Effect::LeaveLoopsOut => draft.leave_loops_out(&self.inbound.journal),
                Effect::Hold(why) => draft.hold(why, &self.case),
                Effect::Discard => draft.discard(),
                Effect::Tier(tier) => draft.send_as(tier, &routing, envelope),
            }
        }
        if self.case.transaction.held_by().is_some() {
            draft.hold(Why::Limit, &self.case);
        }
        if message.user.is_some() {
            draft.complete(&routing, examined.as_mut(), &mut message);
        }
        let examined = examined.as_ref();
        self.tell_results(client, name.is_some(), examined, &mut draft, &mut message);
        self.put_filtered(&mut message);
        self.inbound.count_pressure(&self.case, &draft.plan);
        let size = message.size;
        let print = draft.print(client, envelope, &self.case);
        let reply = draft.store(&self.inbound, message, print).await?;
        if reply.code >= 400 {
            self.log_refusal(Stage::Message, client, "destination", &reply);
            return Ok(reply);
        }
        self.unread = self.id.zip(print);
        if self.case.settings.limits {
            let (limits, keys) = (&routing.limits, &self.recipients);
            self.inbound.count_accepted(limits, &self.case, keys, size);
        }
        Ok(reply)
    }
}

/// The reply to credentials that are nobody's (RFC 4954 §6).
const WRONG: u16 = 535;
