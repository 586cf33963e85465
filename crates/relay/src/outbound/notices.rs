//! Notices to senders: made and queued here, worded in `bounce`.
//!
//! A notice goes to the original reverse path under a null sender, and is never made for a null sender.

use std::time::Duration;

use bounce::{Composed, Excerpt, HEADER_OCTETS_MAX, Kind, Notice, Report};
use envelope::{
    Claim, Diagnosis, ForwardPath, Leg, Message, MessageId, Origin, Return, ReversePath, Timestamp,
};
use forwarder::Route;
use journal::Event;
use spool::{Arrival, BodyReader, Dsn, Error, Settlement, Spool, Update};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::budget::Budget;
use super::gather::Gathered;
use super::proof::needs_proof;
use super::way::legs;
use super::{NotEnded, Outbound};

/// The limits of notices, and the legs that wait for theirs.
#[derive(Debug)]
pub(super) struct Notices {
    pub(super) gathered: Gathered,
    budget: Budget,
    /// Memory for notices in the making, in KiB: many small ones at a time, or one that is as large as may be.
    room: Semaphore,
    /// Lanes of delivery that may look for a proof at once.
    proofs: Semaphore,
}

impl Default for Notices {
    fn default() -> Self {
        Self {
            gathered: Gathered::default(),
            budget: Budget::default(),
            room: Semaphore::new(ROOM_KIB as usize),
            proofs: Semaphore::new(PROOFS_IN_LANES),
        }
    }
}

/// A notice, ready to be queued, and the memory that it takes until it is.
#[derive(Debug)]
struct Made<'a> {
    dsn: Dsn,
    /// Whether it gives the message back.
    whole: bool,
    /// `None` only once the relay ends.
    _room: Option<SemaphorePermit<'a>>,
}

/// Why there is no notice.
#[derive(Debug)]
pub(super) enum Unmade {
    /// There is to be none.
    Never(&'static str),
    /// It cannot be made now.
    Later(Error),
    /// It cannot be told now whether there is to be one.
    InDoubt,
}

impl From<&'static str> for Unmade {
    fn from(reason: &'static str) -> Self {
        Self::Never(reason)
    }
}

/// A leg, and what its sender may be told became of it.
#[derive(Debug)]
pub(super) struct Told<'a> {
    pub(super) claim: &'a Claim,
    pub(super) diagnosis: Diagnosis,
    /// When it is tried again, and what the last attempt came to; none: it ends.
    again: Option<(Timestamp, Option<&'a Diagnosis>)>,
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
    pub(super) fn going_on(self, due: Timestamp, last: Option<&'a Diagnosis>) -> Self {
        let again = Some((due, last));
        Self { again, ..self }
    }

    pub(super) fn goes_on(&self) -> bool {
        self.again.is_some()
    }

    fn settlement(&self, dsn: Option<Dsn>) -> Settlement {
        let Some((due, last)) = self.again else {
            return Settlement::Complete(dsn);
        };
        let update = Update {
            attempts: self.claim.attempts,
            warned: true,
            last: last.cloned(),
            dsn,
        };
        Settlement::Reschedule(due, update)
    }
}

impl<S: Spool> Outbound<S> {
    /// Ends legs of one message, or puts them back, and tells the sender of all of them in one notice.
    ///
    /// The notice is queued with the end of the first leg, in one durable transaction; the others follow. A crash in between
    /// has those tried and told of once more, but no leg ends without its notice.
    pub(super) async fn tell_together(&self, kind: Kind, told: &[Told<'_>], now: Timestamp) {
        let mut told = told;
        while let [first, rest @ ..] = told {
            let result = self.end_first(kind, told, now).await;
            self.report(|| self.leases.take(first.claim), result.clone())
                .await;
            match result {
                // Another node has this leg now, and tells the sender.
                Err(NotEnded::Spool(Error::Fenced(_))) => told = rest,
                Ok(()) => return self.end_all(rest).await,
                Err(error) => {
                    for told in rest {
                        let result = Err(error.clone());
                        self.report(|| self.leases.take(told.claim), result).await;
                    }
                    return;
                }
            }
        }
    }

    /// Ends legs that the sender was told of, or puts them back.
    pub(super) async fn end_all(&self, told: &[Told<'_>]) {
        let ends = told.iter();
        let ends = ends.map(|told| (self.leases.take(told.claim), told.settlement(None)));
        self.settle_all(ends.collect()).await;
    }

    /// Ends the first of these legs, or puts it back, with the notice about all of them, if there is to be one.
    pub(super) async fn end_first(
        &self,
        kind: Kind,
        told: &[Told<'_>],
        now: Timestamp,
    ) -> Result<(), NotEnded> {
        let Some(first) = told.first() else {
            return Ok(());
        };
        let Some(made) = self.notice(kind, told, now).await? else {
            return Ok(self.end(first, None).await?);
        };
        let notice = &made.dsn.arrival.message;
        let (bounce, octets) = (notice.id, notice.size);
        self.end(first, Some(made.dsn)).await?;
        // Only now: a notice that could not be queued has cost nothing.
        let message = &first.claim.message;
        self.notices.budget.spend(message, made.whole, octets, now);
        self.journal.record(Event::Bounced {
            id: message.id,
            kind: kind_name(kind),
            bounce,
            to: message.reverse_path.clone(),
        });
        Ok(())
    }

    async fn end(&self, told: &Told<'_>, dsn: Option<Dsn>) -> Result<(), Error> {
        let lease = self.leases.take(told.claim);
        let settlement = told.settlement(dsn);
        let result = self.spool.settle_one(lease.clone(), settlement).await;
        if !matches!(result, Ok(()) | Err(Error::Fenced(_))) {
            self.leases.put_back(lease, told.claim);
        }
        result
    }

    /// A notice to the sender of a queued message about some of its legs, ready to be queued. Why there is to be none is logged.
    async fn notice(
        &self,
        kind: Kind,
        told: &[Told<'_>],
        now: Timestamp,
    ) -> Result<Option<Made<'_>>, NotEnded> {
        let Some(first) = told.first() else {
            return Ok(None);
        };
        let message = &first.claim.message;
        let id = message.id;
        if let Some(reason) = unwanted(kind, message, told) {
            // A failure that the sender is not told of is logged; a delay is not.
            if kind == Kind::Failed {
                self.journal.record(Event::NotBounced { id, reason });
            }
            return Ok(None);
        }
        // Also when others of the same message are reported.
        let unheard = |told: &Told<'_>| !bounce::wants(kind, &told.claim.leg);
        if kind == Kind::Failed && told.iter().any(unheard) {
            let reason = NOT_ASKED;
            self.journal.record(Event::NotBounced { id, reason });
        }
        match self.make(kind, told, now).await {
            Ok(made) => Ok(Some(made)),
            Err(Unmade::Never(reason)) => {
                self.journal.record(Event::NotBounced { id, reason });
                Ok(None)
            }
            Err(Unmade::Later(error)) => Err(error.into()),
            Err(Unmade::InDoubt) => Err(NotEnded::InDoubt),
        }
    }

    async fn make(
        &self,
        kind: Kind,
        told: &[Told<'_>],
        now: Timestamp,
    ) -> Result<Made<'_>, Unmade> {
        let Claim {
            message, deadline, ..
        } = match told {
            [first, ..] if !first.claim.message.reverse_path.is_null() => first.claim,
            _ => return Err(NULL_SENDER.into()),
        };
        let wants_whole = kind == Kind::Failed && message.ret == Some(Return::Full);
        let whole_max = self.bounce_octets_max as u64;
        let budget = &self.notices.budget;
        let whole = budget.allows(message, wants_whole, whole_max, now);
        let whole =
            whole.ok_or("budget: its sender was told enough, for now or of this message")?;
        let sender = message.reverse_path.mailbox().ok_or(NULL_SENDER)?;
        // A failure notice waits until our trouble is over; other notices are dropped rather than delay a leg.
        let patient_until = match kind {
            Kind::Failed => deadline.plus(deadline.since(message.arrived)),
            Kind::Delayed | Kind::Relayed => now,
        };
        let routing = self.routing.load_full();
        let forward_path = ForwardPath::Mailbox(sender.clone());
        let route = self.route_to(&routing, &forward_path, now < patient_until, now);
        let route = route.await?;
        // The tag of an SRS address says that we have sent the mail that comes back.
        if !matches!(route, Route::Return { .. }) {
            let is_patient = kind == Kind::Failed && is_worth_waiting(message, *deadline, now);
            let in_lane = kind == Kind::Relayed && needs_proof(message);
            let turn = in_lane.then(|| self.notices.proofs.try_acquire());
            let _turn = turn
                .transpose()
                .map_err(|_| "too many senders are looked up")?;
            self.may_tell(message, routing.bounce_to, is_patient)
                .await?;
        }
        let legs = legs(&routing, forward_path, route, now)?;
        let octets_max = match whole {
            true => self.bounce_octets_max,
            false => self.bounce_octets_max.min(2 * HEADER_OCTETS_MAX),
        };
        let room = self.room_for(message.size.min(octets_max as u64)).await;
        let (bytes, complete) = self.excerpt(message.id, octets_max).await;
        let excerpt = Excerpt {
            bytes: &bytes,
            complete: complete && (whole || !wants_whole),
        };
        let composed = self.compose(kind, told, excerpt, now);
        let (id, mut composed) = composed.ok_or("it cannot be written")?;
        composed.bytes = self.routing.load().keys.sign_notice(composed.bytes, now);
        Ok(Made {
            dsn: to_queue(id, composed, legs, now),
            whole,
            _room: room,
        })
    }

    fn compose(
        &self,
        kind: Kind,
        told: &[Told<'_>],
        excerpt: Excerpt<'_>,
        now: Timestamp,
    ) -> Option<(MessageId, Composed)> {
        let message = &told.first()?.claim.message;
        let late = kind == Kind::Delayed;
        let reports = told.iter().map(|told| Report {
            leg: &told.claim.leg,
            diagnosis: &told.diagnosis,
            last_attempt: (told.claim.attempts > 0 || !late).then_some(now),
            will_retry_until: late.then_some(told.claim.deadline),
        });
        let reports: Vec<_> = reports.collect();
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
        let composed = bounce::compose(&notice, excerpt)?;
        Some((notice.id, composed))
    }

    /// Waits until there is memory for a notice with so much of the message in it: once read, once in its part, once in the notice.
    async fn room_for(&self, octets: u64) -> Option<SemaphorePermit<'_>> {
        let kib = (3 * octets).div_ceil(1024).clamp(1, u64::from(ROOM_KIB));
        let room = self.notices.room.acquire_many(kib as u32).await;
        room.ok()
    }

    /// The beginning of the message, and whether it is all of it. Without a readable body the notice says less, but goes.
    async fn excerpt(&self, id: MessageId, octets_max: usize) -> (Vec<u8>, bool) {
        let mut bytes = Vec::new();
        let Ok(mut reader) = self.spool.open_body(id).await else {
            return (bytes, false);
        };
        while bytes.len() <= octets_max {
            match reader.chunk().await {
                Ok(Some(chunk)) => bytes.extend_from_slice(&chunk),
                Ok(None) => return (bytes, true),
                Err(_) => return (bytes, false),
            }
        }
        bytes.truncate(octets_max);
        (bytes, false)
    }
}

/// A leg whose notice waits for DNS is tried again meanwhile. So only a young message waits, and one that has just expired.
fn is_worth_waiting(message: &Message, deadline: Timestamp, now: Timestamp) -> bool {
    let just_now = |then: Timestamp| then <= now && now.since(then) < DNS_PATIENCE;
    just_now(message.arrived) || just_now(deadline)
}

/// Why the sender is not told, if so.
fn unwanted(kind: Kind, message: &Message, told: &[Told<'_>]) -> Option<&'static str> {
    if message.reverse_path.is_null() {
        return Some(NULL_SENDER);
    }
    let wanted = |told: &Told<'_>| bounce::wants(kind, &told.claim.leg);
    (!told.iter().any(wanted)).then_some(NOT_ASKED)
}

/// The notice as a message of its own.
pub(super) fn to_queue(
    id: MessageId,
    composed: Composed,
    mut legs: Vec<Leg>,
    now: Timestamp,
) -> Dsn {
    for leg in &mut legs {
        leg.options = std::mem::take(&mut leg.options).with_sender_tls(composed.tls);
    }
    let message = Message {
        body: composed.body,
        smtputf8: composed.smtputf8,
        origin: Origin::Ours,
        ..Message::new(id, now, ReversePath::Null, composed.bytes.len() as u64)
    };
    Dsn {
        arrival: Arrival::new(message, legs, now),
        body: composed.bytes.into(),
    }
}

fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Failed => "failed",
        Kind::Delayed => "delayed",
        Kind::Relayed => "relayed",
    }
}

const NULL_SENDER: &str = "its sender is null: it is itself a notification";
const NOT_ASKED: &str = "its sender asked not to be told (NOTIFY)";
const DNS_PATIENCE: Duration = Duration::from_hours(1);
/// A notice of success is not worth more: a lane that waits for DNS delivers nothing.
const PROOFS_IN_LANES: usize = 4;
const ROOM_KIB: u32 = 16 << 10;
