//! Events become rows and sums, many in one transaction.

use control::{MailStatus, StatsBy, TracedAttempt, TracedMessage, TracedNote, TracedRefusal};
use envelope::{Diagnosis, LegId, Mailbox, PeerTls, Timestamp, millis, network_of};
use journal::{Attempt, Entry, Event};
use rusqlite::{Connection, Result};

use crate::rows::Rows;
use crate::tally::{self, Kind, Tallies};
use crate::{changes, clip, key, words};

/// What is written in one transaction; sums are only added up.
pub(crate) struct Batch<'a> {
    rows: Rows<'a>,
    file: &'a Connection,
    tallies: &'a mut Tallies,
}

/// Whether an event belongs to the history.
pub(crate) fn is_of_interest(event: &Event) -> bool {
    event.message().is_some()
        || matches!(event, Event::Refused { .. } | Event::TurnedAway { .. })
        || changes::is_change(event)
}

impl<'a> Batch<'a> {
    pub(crate) fn new(connection: &'a Connection, tallies: &'a mut Tallies) -> Result<Self> {
        let rows = Rows::new(connection)?;
        Ok(Self {
            rows,
            file: connection,
            tallies,
        })
    }

    /// Takes in one event, which may have been counted in a batch that was not written.
    pub(crate) fn add(&mut self, entry: &Entry, is_counted: bool) -> Result<()> {
        self.tallies.is_closed = is_counted;
        let Entry { at, event } = entry;
        let at = *at;
        match event {
            event if changes::is_change(event) => changes::write(self.file, entry),
            Event::Received { .. } => self.received(at, event),
            Event::Refused { .. } => self.refused(at, event),
            Event::TurnedAway {
                rule, connections, ..
            } => {
                let refused = (Kind::Refused, 0);
                let sums = (*connections, 0);
                self.tallies
                    .add((StatsBy::Rule, at), [rule, ""], refused, sums);
                Ok(())
            }
            Event::Forwarded {
                id,
                recipient,
                target,
                sender,
                ..
            } => {
                if let Some(leg) = self.rows.leg(*id, recipient, target)? {
                    let is_first = leg.sender.replace(sender.to_string()).is_none();
                    if !is_first && leg.others.len() < OTHERS_MAX {
                        let recipient = recipient.to_string();
                        leg.others
                            .extend((leg.recipient != recipient).then_some(recipient));
                    }
                }
                Ok(())
            }
            Event::Delivered { leg, diagnosis } => {
                self.attempted(at, leg, diagnosis, (MailStatus::Delivered, None))
            }
            Event::Failed { leg, diagnosis } => {
                self.attempted(at, leg, diagnosis, (MailStatus::Failed, None))
            }
            Event::Deferred {
                leg,
                diagnosis,
                next,
            } => self.attempted(at, leg, diagnosis, (MailStatus::Deferred, Some(*next))),
            event => self.noted(at, event),
        }
    }

    /// Writes the rows. How many events had no place.
    pub(crate) fn write(self, now: Timestamp) -> Result<u64> {
        self.rows.write(key::at(now))
    }

    fn received(&mut self, at: Timestamp, event: &Event) -> Result<()> {
        let Event::Received {
            id,
            client,
            client_name,
            listener,
            hello,
            tls,
            user,
            sender,
            message_id,
            size,
            before_queue,
            ..
        } = event
        else {
            return Ok(());
        };
        let Some(message) = self.rows.message(*id)? else {
            return Ok(());
        };
        message.at = at;
        message.client = Some(client.to_string());
        message.client_name = client_name.as_ref().map(ToString::to_string);
        message.hello = Some(clip(&**hello, TEXT_OCTETS_MAX));
        message.listener = Some(listener.to_string());
        message.tls = tls.map(|tls| tls.version.to_owned());
        message.user = user.as_deref().map(ToOwned::to_owned);
        message.sender = Some(sender.to_string());
        message.message_id = message_id.as_deref().map(ToOwned::to_owned);
        message.size = Some(*size);
        message.before_queue_ms = Some(millis(*before_queue));
        let sums = (1, *size);
        for (by, name) in origin_of(message).into_iter().flatten() {
            self.tallies
                .add((by, at), [&name, ""], (Kind::Received, 0), sums);
        }
        Ok(())
    }

    fn refused(&mut self, at: Timestamp, event: &Event) -> Result<()> {
        let Event::Refused {
            id,
            client,
            client_name,
            listener,
            hello,
            stage,
            rule,
            sender,
            recipient,
            user,
            reply,
            ..
        } = event
        else {
            return Ok(());
        };
        let text = |text: &Option<String>| text.as_deref().map(|text| clip(text, TEXT_OCTETS_MAX));
        let refused = TracedMessage {
            id: *id,
            at,
            client: Some(client.to_string()),
            client_name: client_name.as_ref().map(ToString::to_string),
            listener: Some(listener.to_string()),
            hello: text(hello),
            user: text(user),
            sender: text(sender),
            recipient: text(recipient),
            refused: Some(TracedRefusal {
                stage: (*stage).to_owned(),
                rule: (*rule).to_owned(),
                reply: clip(reply.to_string(), TEXT_OCTETS_MAX),
            }),
            ..TracedMessage::default()
        };
        let code = tally::code_of(reply);
        let client = network_of(client.ip()).to_string();
        for (by, name) in [
            (StatsBy::Rule, Some(*rule)),
            (StatsBy::Client, Some(&*client)),
            (StatsBy::SenderDomain, sender.as_deref().map(words::domain)),
            (StatsBy::Hosted, recipient.as_deref().map(words::domain)),
        ] {
            if let Some(name) = name {
                self.count((by, at), name, (Kind::Refused, code));
            }
        }
        match id {
            None => self.rows.refusal(refused),
            Some(id) => match self.rows.message(*id)? {
                Some(message) if message.client.is_none() => *message = refused,
                Some(message) => message.refused = refused.refused,
                None => {}
            },
        }
        Ok(())
    }

    /// An attempt, or the end of a leg without one.
    fn attempted(
        &mut self,
        at: Timestamp,
        of: &Attempt,
        diagnosis: &Diagnosis,
        (result, next): (MailStatus, Option<Timestamp>),
    ) -> Result<()> {
        let tls = of.trip.tls.map(|PeerTls { tls, proof }| {
            format!("{} {} verified={}", tls.version, tls.cipher, proof.name())
        });
        let reply = diagnosis.reply.as_ref();
        let attempt = TracedAttempt {
            attempt: of.attempt,
            at,
            result,
            site: of.trip.site.as_deref().map(ToOwned::to_owned),
            host: diagnosis.host.clone(),
            source: {
                let egress = of.trip.egress.as_ref();
                egress.map(|(name, source)| format!("{name} {source}"))
            },
            tls,
            code: diagnosis.status.to_string(),
            reply: reply.map(|reply| clip(reply.to_string(), TEXT_OCTETS_MAX)),
            text: clip(&*diagnosis.text, TEXT_OCTETS_MAX),
            delay_ms: millis(of.delay),
            connect_ms: millis(of.trip.connect),
            transmission_ms: millis(of.trip.transmission),
            next,
        };
        self.count_attempt(of, &attempt, tally::code(diagnosis.status))?;
        if let Some(leg) = self.rows.leg(of.id, &of.recipient, &of.target)? {
            leg.status = match (leg.status, result) {
                // Asked for while it was tried.
                (asked @ (MailStatus::Held | MailStatus::Removed), MailStatus::Deferred) => asked,
                _ => result,
            };
            if leg.attempts.len() >= ATTEMPTS_MAX {
                leg.attempts.remove(1);
            }
            leg.attempts.reserve_exact(1);
            leg.attempts.push(attempt);
        }
        Ok(())
    }

    fn count_attempt(&mut self, of: &Attempt, attempt: &TracedAttempt, code: i64) -> Result<()> {
        let at = attempt.at;
        let kind = match attempt.result {
            MailStatus::Delivered => Kind::Delivered,
            MailStatus::Deferred => Kind::Deferred,
            _ => Kind::Failed,
        };
        let what = match kind {
            Kind::Delivered => (kind, 0),
            _ => (kind, code),
        };
        let (recipient, target) = (of.recipient.to_string(), of.target.to_string());
        let site = attempt.site.as_deref().unwrap_or(NO_SITE);
        let forward = [&*recipient, &*target];
        self.tallies
            .add((StatsBy::Forward, at), forward, what, (1, 0));
        self.count((StatsBy::Hosted, at), words::domain(&recipient), what);
        self.count((StatsBy::RecipientDomain, at), words::domain(&target), what);
        self.count((StatsBy::Site, at), site, what);
        if let (Some(reply), true) = (&attempt.reply, kind != Kind::Delivered) {
            let said = [&*tally::shape(reply), site];
            self.tallies.add((StatsBy::Reply, at), said, what, (1, 0));
        }
        let message = self.rows.look(of.id.message)?;
        for (by, name) in origin_of(message).into_iter().flatten() {
            self.count((by, at), &name, what);
        }
        Ok(())
    }

    /// Anything else that happened to a message.
    fn noted(&mut self, at: Timestamp, event: &Event) -> Result<()> {
        if let Some((id, recipient, target, status)) = standing(event)
            && let Some(leg) = self.rows.leg(id, recipient, target)?
        {
            leg.status = match status {
                MailStatus::Queued if !leg.attempts.is_empty() => MailStatus::Deferred,
                status => status,
            };
        }
        if let Event::Bounced { bounce, to, .. } = event
            && let Some(notice) = self.rows.message(*bounce)?
        {
            notice.at = at;
            notice.sender = Some("<>".to_owned());
            notice.recipient = Some(to.to_string());
        }
        let message = match event.message() {
            Some(id) => self.rows.message(id)?,
            None => None,
        };
        match (message, event) {
            (
                Some(message),
                Event::Authenticated {
                    spf,
                    dkim,
                    arc,
                    dmarc,
                    origin,
                    ..
                },
            ) => {
                message.spf = Some(spf.clone());
                [message.dkim, message.arc, message.dmarc] = [dkim, arc, dmarc].map(Clone::clone);
                message.origin = Some(origin.name().to_owned());
            }
            (Some(message), _) if message.notes.len() < NOTES_MAX => {
                message.notes.push(TracedNote {
                    at,
                    event: event.name().to_owned(),
                    text: clip(event.fields_text(), TEXT_OCTETS_MAX),
                });
            }
            _ => {}
        }
        Ok(())
    }

    fn count(&mut self, to: (StatsBy, Timestamp), name: &str, what: (Kind, i64)) {
        self.tallies.add(to, [name, ""], what, (1, 0));
    }
}

/// What a message that came in is counted under: its client's network, and its sender's domain.
fn origin_of(message: &TracedMessage) -> [Option<(StatsBy, String)>; 2] {
    let client = message.client.as_deref().and_then(words::client);
    let sender = message.sender.as_deref().filter(|_| client.is_some());
    [
        client.map(|client| (StatsBy::Client, network_of(client).to_string())),
        sender.map(|sender| (StatsBy::SenderDomain, words::domain(sender).to_owned())),
    ]
}

/// How a leg stands after an event that is no attempt.
fn standing(event: &Event) -> Option<(LegId, &Mailbox, &Mailbox, MailStatus)> {
    match event {
        Event::Held {
            id,
            recipient,
            target,
            ..
        } => Some((*id, recipient, target, MailStatus::Held)),
        Event::Operator {
            id,
            action,
            recipient,
            target,
            ..
        } => Some((*id, recipient, target, asked(action)?)),
        _ => None,
    }
}

/// How a leg stands that an operator asks this of.
pub(crate) fn asked(action: &str) -> Option<MailStatus> {
    match action {
        "remove" => Some(MailStatus::Removed),
        "hold" => Some(MailStatus::Held),
        "release" => Some(MailStatus::Queued),
        _ => None,
    }
}

/// Where no site was found.
const NO_SITE: &str = "-";

/// More of what a peer said is cut off.
const TEXT_OCTETS_MAX: usize = 1000;

/// Of a leg's attempts, the first and the latest are kept.
const ATTEMPTS_MAX: usize = 60;

/// Recipients of a leg beside the first.
const OTHERS_MAX: usize = 100;

/// Of a message's notes, the first are kept.
const NOTES_MAX: usize = 200;
