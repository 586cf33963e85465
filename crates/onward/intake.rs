//! The intake: puts our trace on top of a message, looks for loops, makes legs of its recipients, and commits.

use std::sync::Arc;

use envelope::{Envelope, LegId, Message, MessageId, Reply, Timestamp};
use forwarder::{HeaderScan, LoopVerdict, Plan, PlannedLeg, trace};
use queue::{BodyWriter, Error, IdSource, Spool};
use smtp_in::Client;

use crate::desk::Desk;
use crate::log::{Event, Log, now};
use crate::replies;
use crate::routing::{self, Routing, Shared};

/// What the intake knows.
pub(crate) struct Intake<S> {
    pub(crate) routing: Shared,
    pub(crate) spool: Arc<S>,
    pub(crate) ids: Arc<IdSource>,
    pub(crate) desk: Arc<Desk<S>>,
    pub(crate) log: Log,
    pub(crate) received_max: u32,
}

/// A message on its way in, under the routing of the moment its data began.
pub(crate) struct Draft<S: Spool> {
    id: MessageId,
    client: Client,
    envelope: Envelope,
    plan: Plan,
    scan: HeaderScan,
    /// The first octets, kept only when some legs could go round and others not.
    head: Vec<u8>,
    writer: S::Writer,
    intake: Shares<S>,
}

/// What a draft needs of its intake.
struct Shares<S> {
    spool: Arc<S>,
    desk: Arc<Desk<S>>,
    log: Log,
    received_max: u32,
}

impl<S: Spool> smtp_in::Intake for Intake<S> {
    type Draft = Draft<S>;

    async fn begin(&self, client: &Client, envelope: &Envelope) -> Result<Draft<S>, Reply> {
        let now = now();
        let id = self.ids.next(now);
        let routing = self.routing.load_full();
        let plan = self.plan(&routing, envelope, now).await?;
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
        Ok(Draft {
            id,
            client: client.clone(),
            envelope: envelope.clone(),
            plan,
            scan: HeaderScan::new(),
            head: Vec::new(),
            writer,
            intake: Shares {
                spool: Arc::clone(&self.spool),
                desk: Arc::clone(&self.desk),
                log: self.log.clone(),
                received_max: self.received_max,
            },
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
                error.reply()
            })
    }
}

impl<S: Spool> smtp_in::Draft for Draft<S> {
    async fn write(&mut self, chunk: Vec<u8>) -> Result<(), Reply> {
        self.scan.feed(&chunk);
        if self.envelope.recipients.len() > 1 && self.head.len() < bounce::HEADER_OCTETS_MAX {
            let room = bounce::HEADER_OCTETS_MAX - self.head.len();
            self.head.extend_from_slice(&chunk[..room.min(chunk.len())]);
        }
        self.writer
            .write(chunk)
            .await
            .map_err(|error| refusal(self.id, &error))
    }

    async fn commit(mut self) -> Reply {
        self.scan.finish();
        let now = now();
        let message = self.message(now);
        match self.plan.check_loops(&self.scan, self.intake.received_max) {
            LoopVerdict::Clear => {}
            LoopVerdict::Refuse(reply) => return self.refused(reply),
            LoopVerdict::Split(looping) => {
                if let Err(error) =
                    tell_looping(&self.intake.desk, &message, looping, &self.head).await
                {
                    return refusal(self.id, &error);
                }
            }
        }
        self.store(message, now)
            .await
            .unwrap_or_else(|(id, error)| refusal(id, &error))
    }
}

impl<S: Spool> Draft<S> {
    /// Everything that the 250 promises, in the order in which a crash may cut it off: a token or a notice without
    /// its message does no harm.
    async fn store(self, message: Message, now: Timestamp) -> Result<Reply, (MessageId, Error)> {
        let id = self.id;
        let failed = |error| (id, error);
        let Shares { spool, log, .. } = self.intake;
        for token in &self.plan.tokens {
            let sender = token.sender.to_string();
            spool
                .remember(&token.token, &sender, token.expires)
                .await
                .map_err(failed)?;
        }
        let received = Event::Received {
            id,
            client: self.client.peer,
            hello: self
                .client
                .hello
                .as_ref()
                .map(|hello| hello.name.to_string())
                .unwrap_or_default(),
            tls: self.client.tls.map(|tls| tls.version.to_owned()),
            sender: message.reverse_path.clone(),
            recipients: self.envelope.recipients.len(),
            size: message.size,
        };
        let discarded = self.plan.discarded.clone();
        let legs = self.plan.into_legs();
        let forwarded = forwarded(id, &legs);
        let nothing_to_keep = legs.is_empty();
        if !nothing_to_keep {
            spool
                .commit(self.writer, message, legs, now)
                .await
                .map_err(failed)?;
        }
        log.write(received);
        forwarded.into_iter().for_each(|event| log.write(event));
        discarded
            .into_iter()
            .for_each(|recipient| log.write(Event::Discarded { id, recipient }));
        Ok(if nothing_to_keep {
            replies::discarded(id)
        } else {
            replies::queued(id)
        })
    }

    fn message(&self, now: Timestamp) -> Message {
        Message {
            id: self.id,
            arrived: now,
            reverse_path: self.envelope.reverse_path.clone(),
            size: self.writer.len(),
            body: self.envelope.body,
            smtputf8: self.envelope.smtputf8,
            ret: self.envelope.ret,
            envid: self.envelope.envid.clone(),
        }
    }

    fn refused(&self, reply: Reply) -> Reply {
        self.intake.log.write(Event::Refused {
            client: self.client.peer,
            stage: "message",
            rule: "loop",
            sender: Some(self.envelope.reverse_path.clone()),
            recipient: None,
            reply: reply.clone(),
        });
        reply
    }
}

/// Some recipients' mail goes round, others' does not: the sender is told of the former.
async fn tell_looping<S: Spool>(
    desk: &Desk<S>,
    message: &Message,
    looping: Vec<(PlannedLeg, Reply)>,
    head: &[u8],
) -> Result<(), Error> {
    for (planned, reply) in looping {
        desk.refuse_leg(message, &planned.leg, reply, head).await?;
    }
    Ok(())
}

fn forwarded(id: MessageId, legs: &[envelope::Leg]) -> Vec<Event> {
    let numbered = legs.iter().zip(0u32..);
    numbered
        .map(|(leg, number)| Event::Forwarded {
            id: LegId {
                message: id,
                number,
            },
            recipient: leg.recipient.clone(),
            target: leg.target.clone(),
            sender: leg.reverse_path.clone(),
        })
        .collect()
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
        hostname: &routing.hostname,
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
