//! Notices to senders, as the desk makes and queues them. Which words they have is `bounce`'s.
//!
//! A notice goes to the original reverse path under a null sender, and is never made for a null sender.

use bounce::{Excerpt, Kind, Notice, Report};
use envelope::{Claim, Diagnosis, Leg, Message, MessageId, Notify, ReversePath, Timestamp};
use queue::{BodyReader, Dsn, Error, Spool, Update};

use super::Desk;
use crate::log::Event;

/// A leg, and what its sender may be told became of it.
#[derive(Debug)]
pub(super) struct Told<'a> {
    pub(super) claim: &'a Claim,
    pub(super) diagnosis: Diagnosis,
    /// When it is tried again, and what the last attempt came to; none: it ends.
    again: Option<(Timestamp, &'a str)>,
}

impl<'a> Told<'a> {
    /// Of a leg that ends.
    pub(super) fn new(claim: &'a Claim, diagnosis: Diagnosis) -> Self {
        Self {
            claim,
            diagnosis,
            again: None,
        }
    }

    /// It does not end, but is tried again.
    pub(super) fn going_on(self, due: Timestamp, last: &'a str) -> Self {
        let again = Some((due, last));
        Self { again, ..self }
    }

    pub(super) fn goes_on(&self) -> bool {
        self.again.is_some()
    }
}

impl<S: Spool> Desk<S> {
    /// Ends legs of one message, or puts them back, and tells the sender of all of them in one notice.
    ///
    /// The notice is queued with the end of the first leg, in one durable transaction; the others follow. A crash in between
    /// has those tried and told of once more, but no leg ends without its notice.
    pub(super) async fn tell_together(&self, kind: Kind, told: &[Told<'_>], now: Timestamp) {
        let mut told = told;
        while let [first, rest @ ..] = told {
            let dsn = self.notice(kind, told, now).await;
            let result = self.end(first, dsn).await;
            self.report(&first.claim.lease, result.clone()).await;
            match result {
                // Somebody else sees to this one, and will tell of it.
                Err(Error::Fenced(_)) => told = rest,
                result => {
                    for told in rest {
                        let result = match &result {
                            Ok(()) => self.end(told, None).await,
                            Err(error) => Err(error.clone()),
                        };
                        self.report(&told.claim.lease, result).await;
                    }
                    return;
                }
            }
        }
    }

    async fn end(&self, told: &Told<'_>, dsn: Option<Dsn>) -> Result<(), Error> {
        let lease = told.claim.lease.clone();
        let Some((due, last)) = told.again else {
            return self.spool.complete(lease, dsn).await;
        };
        let update = Update {
            attempts: told.claim.attempts,
            warned: true,
            last: last.to_owned(),
            dsn,
        };
        self.spool.reschedule(lease, due, update).await
    }

    /// A success notice, when the sender wants one and the next hop will not send it (RFC 3461 §5.2.2).
    pub(super) async fn relayed_notice(
        &self,
        claim: &Claim,
        diagnosis: &Diagnosis,
        told: impl Fn(&Diagnosis) -> Diagnosis,
        now: Timestamp,
    ) -> Option<Dsn> {
        if diagnosis.dsn_relayed || !bounce::wants(Kind::Relayed, &claim.leg) {
            return None;
        }
        let told = Told::new(claim, told(diagnosis));
        self.notice(Kind::Relayed, &[told], now).await
    }

    /// A notice to the sender of a queued message about some of its legs, ready to be queued; logged.
    pub(super) async fn notice(
        &self,
        kind: Kind,
        told: &[Told<'_>],
        now: Timestamp,
    ) -> Option<Dsn> {
        let message = &told.first()?.claim.message;
        if let Some(reason) = unwanted(kind, message, told) {
            // A delay that nobody asked about is no event; an end that nobody hears of is.
            if kind == Kind::Failed {
                let id = message.id;
                self.log.write(Event::NotBounced { id, reason });
            }
            return None;
        }
        let late = kind == Kind::Delayed;
        let reports = told.iter().map(|told| Report {
            leg: &told.claim.leg,
            diagnosis: &told.diagnosis,
            last_attempt: (told.claim.attempts > 0 || !late).then_some(now),
            will_retry_until: late.then(|| message.arrived.plus(self.schedule.expire)),
        });
        let reports: Vec<_> = reports.collect();
        let (bytes, complete) = self.excerpt(message.id).await;
        let notice = Notice {
            id: self.ids.next(now),
            kind,
            reporting_mta: &self.hostname,
            postmaster: &self.postmaster,
            message,
            reports: &reports,
            now,
            entropy: rand::random(),
        };
        let bytes = &bytes;
        let composed = bounce::compose(&notice, Excerpt { bytes, complete })?;
        self.log.write(Event::Bounced {
            id: message.id,
            kind: kind_name(kind),
            bounce: notice.id,
            to: ReversePath::Mailbox(composed.recipient.clone()),
        });
        Some(to_queue(notice.id, composed, now))
    }

    /// The beginning of the message, and whether it is all of it. Without a readable body the notice says less, but goes.
    async fn excerpt(&self, id: MessageId) -> (Vec<u8>, bool) {
        let mut bytes = Vec::new();
        let Ok(mut reader) = self.spool.open_body(id).await else {
            return (bytes, false);
        };
        while bytes.len() <= self.bounce_octets_max {
            match reader.chunk().await {
                Ok(Some(chunk)) => bytes.extend_from_slice(&chunk),
                Ok(None) => return (bytes, true),
                Err(_) => return (bytes, false),
            }
        }
        bytes.truncate(self.bounce_octets_max);
        (bytes, false)
    }
}

/// Why the sender is told nothing, when that is so.
fn unwanted(kind: Kind, message: &Message, told: &[Told<'_>]) -> Option<&'static str> {
    if message.reverse_path.is_null() {
        return Some("its sender is null: it is itself a notification");
    }
    let wanted = |told: &Told<'_>| bounce::wants(kind, &told.claim.leg);
    (!told.iter().any(wanted)).then_some("its sender asked not to be told (NOTIFY)")
}

/// The notice as a message of its own.
fn to_queue(id: MessageId, composed: bounce::Composed, now: Timestamp) -> Dsn {
    let message = Message {
        id,
        arrived: now,
        reverse_path: ReversePath::Null,
        size: composed.bytes.len() as u64,
        body: composed.body,
        smtputf8: composed.smtputf8,
        ret: None,
        envid: None,
    };
    let leg = Leg {
        reverse_path: ReversePath::Null,
        target: composed.recipient.clone(),
        recipient: composed.recipient,
        original: None,
        notify: Some(Notify::NEVER),
        trace: "".into(),
    };
    Dsn {
        message,
        legs: vec![leg],
        body: composed.bytes.into(),
        first_due: now,
    }
}

fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Failed => "failed",
        Kind::Delayed => "delayed",
        Kind::Relayed => "relayed",
    }
}
