//! The intake: puts our trace on top of a message, looks for loops, makes legs of its recipients, and commits.

use std::sync::Arc;

use envelope::{Envelope, Leg, LegId, Message, MessageId, Reply, Timestamp};
use forwarder::{HeaderScan, LEGS_MAX, Plan, PlannedLeg, trace};
use queue::{BodyWriter, Error, IdSource, Spool};
use smtp_in::Client;

use crate::log::{Event, Log, now};
use crate::replies;
use crate::routing::{self, Routing, Shared};

/// What the intake knows.
pub(crate) struct Intake<S> {
    pub(crate) routing: Shared,
    pub(crate) spool: Arc<S>,
    pub(crate) ids: Arc<IdSource>,
    pub(crate) log: Log,
}

/// A message on its way in, under the routing of the moment its data began.
pub(crate) struct Draft<S: Spool> {
    about: About,
    plan: Plan,
    scan: HeaderScan,
    writer: S::Writer,
    spool: Arc<S>,
    received_max: u32,
}

/// What is known of the message before its body, and the log that hears of it.
struct About {
    id: MessageId,
    client: Client,
    envelope: Envelope,
    log: Log,
}

impl<S: Spool> smtp_in::Intake for Intake<S> {
    type Draft = Draft<S>;

    async fn begin(&self, client: &Client, envelope: &Envelope) -> Result<Draft<S>, Reply> {
        let now = now();
        let id = self.ids.next(now);
        let routing = self.routing.load_full();
        let plan = self.plan(&routing, envelope, now).await?;
        check_again(&routing, client, &plan)?;
        for broken in &plan.broken {
            tracing::warn!(%id, address = %broken.address, fault = ?broken.fault, "a target of a forward leads nowhere");
        }
        let mut writer = self
            .spool
            .begin(id)
            .await
            .map_err(|error| refusal(id, &error))?;
        let received = received(&routing, client, envelope, id, now);
        writer
            .write(received.into_bytes())
            .await
            .map_err(|error| refusal(id, &error))?;
        let about = About {
            id,
            client: client.clone(),
            envelope: envelope.clone(),
            log: self.log.clone(),
        };
        Ok(Draft {
            about,
            plan,
            scan: HeaderScan::new(),
            writer,
            spool: Arc::clone(&self.spool),
            received_max: routing.forwarder.settings().received_max,
        })
    }
}

impl<S: Spool> Intake<S> {
    async fn plan(
        &self,
        routing: &Routing,
        envelope: &Envelope,
        now: Timestamp,
    ) -> Result<Plan, Reply> {
        let tokens = routing.forwarder.tokens(&routing.table, envelope, now);
        let recalled = routing::recall(&*self.spool, tokens, now)
            .await
            .map_err(|error| {
                tracing::error!(%error, "cannot look up an SRS token");
                replies::spool_trouble()
            })?;
        routing
            .forwarder
            .plan(&routing.table, envelope, &recalled, now)
            .map_err(|error| {
                tracing::info!(%error, "the routing of an accepted recipient has changed");
                forwarder::routing_changed()
            })
    }
}

/// `policy` let these pass under the routing of RCPT. Should a reload have come between, what was hosted then may look
/// foreign now, and must not go out as it is; and there may be more targets than a message may have.
fn check_again(routing: &Routing, client: &Client, plan: &Plan) -> Result<(), Reply> {
    if plan.legs.len() > LEGS_MAX {
        return Err(forwarder::routing_changed());
    }
    if routing.trusted.contains(client.peer.ip()) {
        return Ok(());
    }
    let foreign = |leg: &&PlannedLeg| leg.is_relayed() && !routing.relays(&leg.leg.target);
    match plan.legs.iter().find(foreign) {
        None => Ok(()),
        Some(_) => Err(forwarder::routing_changed()),
    }
}

impl<S: Spool> smtp_in::Draft for Draft<S> {
    async fn write(&mut self, chunk: Vec<u8>) -> Result<(), Reply> {
        self.scan.feed(&chunk);
        let written = self.writer.write(chunk).await;
        written.map_err(|error| refusal(self.about.id, &error))
    }

    async fn commit(mut self) -> Reply {
        self.scan.finish();
        let message = self.about.message(self.writer.len(), now());
        self.about.log_received(&message);
        if let Some(reply) = self.plan.find_loop(&self.scan, self.received_max) {
            return self.about.refused("loop", reply);
        }
        let Self {
            about,
            plan,
            writer,
            spool,
            ..
        } = self;
        let stored = async {
            remember(&*spool, &plan).await?;
            store(&*spool, &about, plan, writer, message).await
        };
        match stored.await {
            Ok(reply) => reply,
            Err(error) => about.refused("spool", refusal(about.id, &error)),
        }
    }
}

impl About {
    fn message(&self, size: u64, arrived: Timestamp) -> Message {
        Message {
            id: self.id,
            arrived,
            reverse_path: self.envelope.reverse_path.clone(),
            size,
            body: self.envelope.body,
            smtputf8: self.envelope.smtputf8,
            ret: self.envelope.ret,
            envid: self.envelope.envid.clone(),
        }
    }

    fn log_received(&self, message: &Message) {
        let hello = self.client.hello.as_ref();
        self.log.write(Event::Received {
            id: self.id,
            client: self.client.peer,
            hello: hello
                .map(|hello| hello.name.to_string())
                .unwrap_or_default(),
            tls: self.client.tls.map(|tls| tls.version.to_owned()),
            sender: message.reverse_path.clone(),
            recipients: self.envelope.recipients.len(),
            size: message.size,
        });
    }

    fn refused(&self, rule: &'static str, reply: Reply) -> Reply {
        self.log.write(Event::Refused {
            id: Some(self.id),
            client: self.client.peer,
            stage: "message",
            rule,
            sender: Some(self.envelope.reverse_path.clone()),
            recipient: None,
            reply: reply.clone(),
        });
        reply
    }
}

/// Commits the legs: after this the 250 may be said. What is logged before is true whatever comes of it.
async fn store<S: Spool>(
    spool: &S,
    about: &About,
    plan: Plan,
    writer: S::Writer,
    message: Message,
) -> Result<Reply, Error> {
    let About { id, log, .. } = about;
    for recipient in &plan.discarded {
        let recipient = recipient.clone();
        log.write(Event::Discarded { id: *id, recipient });
    }
    let legs = plan.into_legs();
    if legs.is_empty() {
        return Ok(replies::discarded(*id));
    }
    forwarded(*id, &legs).for_each(|event| log.write(event));
    let due = message.arrived;
    spool.commit(writer, message, legs, due).await?;
    Ok(replies::queued(*id))
}

/// Keeps senders that SRS could not express. A token without its message does no harm, so it goes first.
async fn remember<S: Spool>(spool: &S, plan: &Plan) -> Result<(), Error> {
    for token in &plan.tokens {
        let sender = token.sender.to_string();
        spool.remember(&token.token, &sender, token.expires).await?;
    }
    Ok(())
}

fn forwarded(id: MessageId, legs: &[Leg]) -> impl Iterator<Item = Event> {
    legs.iter()
        .zip(0u32..)
        .map(move |(leg, number)| Event::Forwarded {
            id: LegId {
                message: id,
                number,
            },
            recipient: leg.recipient.clone(),
            target: leg.target.clone(),
            sender: leg.reverse_path.clone(),
        })
}

fn received(
    routing: &Routing,
    client: &Client,
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
        client_name: None,
        hostname: routing.hostname(),
        extended: hello.is_some_and(|hello| hello.extended),
        tls: client.tls.map(|tls| trace::Tls {
            version: tls.version,
            cipher: tls.cipher,
        }),
        authenticated: false,
        smtputf8: envelope.smtputf8,
        id,
        recipient,
        arrived: now,
    })
}

/// The spool's trouble as the client hears it; the operator hears it all.
fn refusal(id: MessageId, error: &Error) -> Reply {
    tracing::error!(%id, %error, "message not taken");
    match error {
        Error::Full(_) => replies::spool_full(),
        _ => replies::spool_trouble(),
    }
}
