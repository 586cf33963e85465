//! The desk between queue, delivery and bounces: hands out due legs, takes outcomes back, tells senders.
//!
//! What an outcome *means* is said elsewhere: when to try again in `spool::next_due`, who is told and in which words
//! in `bounce`. This is the wiring between them, and the one back edge of the flow: a notice goes back into the
//! queue. It cannot loop, because a notice has a null sender and a null sender is never told anything.

mod budget;
mod gather;
mod notices;
mod overdue;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bounce::{Kind, Redactor};
use bytes::Bytes;
use delivery::{BodyError, SiteEvent, Want, Work};
use envelope::{Claim, Diagnosis, Domain, Host, Lease, Mailbox, MessageId, Outcome, Timestamp};
use spool::{
    Action, BodyReader, Error, Filter, IdSource, OpenError, Schedule, Spool, State, Update,
};

use crate::log::{Attempt, Event, Log, now};
use crate::routing;
pub(crate) use notices::Notices;
use notices::Told;

/// What the desk needs to know.
pub(crate) struct Desk<S> {
    pub(crate) spool: Arc<S>,
    pub(crate) ids: Arc<IdSource>,
    pub(crate) log: Log,
    pub(crate) schedule: Schedule,
    pub(crate) hostname: Domain,
    pub(crate) postmaster: Mailbox,
    /// How long delivery may work on a leg.
    pub(crate) lease: Duration,
    /// Notices about a message carry it whole up to this many octets in all.
    pub(crate) bounce_octets_max: usize,
    pub(crate) notices: Notices,
    /// Where notices to those who live here go.
    pub(crate) routing: routing::Shared,
    /// Why the site of a host is down, for legs that waited for it and were never tried themselves. Delivery knows, and is
    /// built after the desk.
    pub(crate) trouble: OnceLock<Trouble>,
    /// The moment of the last claim, in milliseconds: what became due after it has not been seen.
    pub(crate) claimed_at: AtomicU64,
}

/// See [`Desk::trouble`].
pub(crate) type Trouble = Box<dyn Fn(&Host) -> Option<Diagnosis> + Send + Sync>;

/// A queued body as delivery reads it.
pub(crate) struct Body<R>(R);

impl<S: Spool> Work for Desk<S> {
    type Body = Body<S::Reader>;

    async fn claim(&self, want: &Want) -> Vec<Claim> {
        self.spool.park(&want.park).await;
        let now = now();
        self.claimed_at.store(now.unix_millis(), Ordering::Relaxed);
        let want = spool::Want {
            max: want.max,
            per_host: want.per_host,
            lease: self.lease,
        };
        self.spool.claim(&want, now).await.unwrap_or_else(|error| {
            tracing::error!(%error, "cannot claim from the queue");
            Vec::new()
        })
    }

    async fn open(&self, id: MessageId) -> Result<Self::Body, BodyError> {
        match self.spool.open_body(id).await {
            Ok(reader) => Ok(Body(reader)),
            Err(OpenError::NotFound) => Err(BodyError::NotFound),
            Err(error) => Err(BodyError::Unavailable(io::Error::other(error))),
        }
    }

    async fn settle(&self, attempt: &[Claim], outcomes: Vec<Outcome>) {
        let now = now();
        let others =
            (attempt.len() > 1).then(|| Redactor::new(attempt.iter().map(|claim| &claim.leg)));
        let told = |diagnosis: &Diagnosis| match &others {
            Some(others) => others.diagnosis(diagnosis),
            None => diagnosis.clone(),
        };
        let (mut delivered, mut failed) = (Vec::new(), Vec::new());
        for (claim, outcome) in attempt.iter().zip(outcomes) {
            let leg = this_attempt(claim, now);
            match outcome {
                Outcome::Delivered(diagnosis) => {
                    let wanted = !diagnosis.dsn_relayed && bounce::wants(Kind::Relayed, &claim.leg);
                    let told = wanted.then(|| Told::new(claim, told(&diagnosis)));
                    self.log.write(Event::Delivered { leg, diagnosis });
                    match told {
                        Some(told) => delivered.push(told),
                        None => self.complete(&claim.lease).await,
                    }
                }
                Outcome::Deferred(diagnosis) => {
                    let last = in_words(&told(&diagnosis));
                    self.defer(claim, leg, diagnosis, last, now).await;
                }
                Outcome::Failed(diagnosis) => {
                    failed.push((claim.clone(), told(&diagnosis)));
                    self.log.write(Event::Failed { leg, diagnosis });
                }
            }
        }
        self.complete_told(&delivered, now).await;
        if let Some(claim) = attempt.first() {
            self.gather(&claim.message, failed, now).await;
        }
        self.tell_gathered(now).await;
    }

    async fn release(&self, claims: Vec<Claim>) {
        for claim in claims {
            let result = self.spool.release(claim.lease.clone()).await;
            self.report(&claim.lease, result).await;
        }
    }

    async fn wait(&self) {
        // From the last claim on, not from now: what became due in between would be waited past.
        let seen = Timestamp::from_unix_millis(self.claimed_at.load(Ordering::Relaxed));
        let pause = match self.spool.next_due(seen).await {
            // A little later than due: a timer that fires a hair early would find nothing.
            Some(due) => (due.since(now()) + Duration::from_millis(1)).min(WAIT_MAX),
            None => WAIT_MAX,
        };
        let wakeups = self.spool.wakeups();
        tokio::select! {
            () = wakeups.notified() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }

    fn site_changed(&self, event: &SiteEvent) {
        let event = match event.clone() {
            SiteEvent::Down {
                site,
                reason,
                probe_in,
            }
            | SiteEvent::StillDown {
                site,
                reason,
                probe_in,
                ..
            } => Event::SiteDown {
                site,
                error: in_words(&reason),
                probe_in,
            },
            SiteEvent::Up { site, down_for } => Event::SiteUp { site, down_for },
            SiteEvent::TakesMail { site, hosts } => return self.pull_forward(site, hosts),
        };
        self.log.write(event);
    }
}

impl<R: BodyReader> delivery::Body for Body<R> {
    async fn chunk(&mut self) -> io::Result<Option<Bytes>> {
        self.0.chunk().await.map_err(io::Error::other)
    }
}

impl<S: Spool> Desk<S> {
    /// What waits for a site until later is due now. Its size does not matter: delivery takes up no more than the site does.
    fn pull_forward(&self, site: String, hosts: HashSet<Host>) {
        let (spool, log) = (Arc::clone(&self.spool), self.log.clone());
        tokio::spawn(async move {
            let filter = Filter {
                hosts,
                state: Some(State::Deferred),
                ..Filter::default()
            };
            match spool.admin(&filter, Action::RetryNow, now()).await {
                Ok(changed) => log.write(Event::SiteTakesMail {
                    site,
                    legs: changed.len() as u64,
                }),
                Err(error) => tracing::error!(site, %error, "cannot pull mail forward"),
            }
        });
    }

    async fn defer(
        &self,
        claim: &Claim,
        leg: Attempt,
        diagnosis: Diagnosis,
        last: String,
        now: Timestamp,
    ) {
        let next = self.next_due(claim, now);
        let update = Update {
            attempts: claim.attempts + 1,
            warned: claim.warned,
            last,
            dsn: None,
        };
        self.log.write(Event::Deferred {
            leg,
            diagnosis,
            next,
        });
        let lease = claim.lease.clone();
        let result = self.spool.reschedule(lease, next, update).await;
        self.report(&claim.lease, result).await;
    }

    /// Ends delivered legs whose sender wants to know, and whose next hop will not tell (RFC 3461 §5.2.2): in one notice. They
    /// have ended, whatever becomes of it: left open, they would be delivered again.
    async fn complete_told(&self, delivered: &[Told<'_>], now: Timestamp) {
        let Some(first) = delivered.first() else {
            return;
        };
        let mut rest = delivered;
        match self.end_first(Kind::Relayed, delivered, now).await {
            Ok(()) => rest = &delivered[1..],
            Err(error) => {
                let leg = first.claim.lease.leg;
                tracing::error!(%leg, %error, "cannot queue a notice of success");
            }
        }
        for told in rest {
            self.complete(&told.claim.lease).await;
        }
    }

    async fn complete(&self, lease: &Lease) {
        let result = self.spool.complete(lease.clone(), None).await;
        self.report(lease, result).await;
    }

    /// A lease that was lost is no trouble: whoever has the leg now sees to it. After any other error the leg comes
    /// out again soon, and not only when its lease would end.
    async fn report(&self, lease: &Lease, result: Result<(), Error>) {
        match result {
            Ok(()) => {}
            Err(Error::Fenced(leg)) => {
                tracing::debug!(%leg, "lease lost: the leg has another owner");
            }
            Err(error) => {
                tracing::error!(%error, "cannot write an outcome to the queue; it will be tried again");
                let soon = now().plus(TROUBLE_PAUSE);
                if let Err(error) = self.spool.extend(&mut lease.clone(), soon).await {
                    tracing::debug!(%error, "the leg has another owner, or has ended");
                }
            }
        }
    }

    fn next_due(&self, claim: &Claim, now: Timestamp) -> Timestamp {
        spool::next_due(
            claim.attempts + 1,
            now,
            claim.message.arrived,
            &self.schedule,
            rand::random(),
        )
    }
}

fn this_attempt(claim: &Claim, now: Timestamp) -> Attempt {
    attempt(claim, claim.attempts + 1, now)
}

fn attempt(claim: &Claim, attempt: u32, now: Timestamp) -> Attempt {
    Attempt {
        id: claim.lease.leg,
        recipient: claim.leg.recipient.clone(),
        target: claim.leg.target.clone(),
        attempt,
        delay: now.since(claim.message.arrived),
    }
}

/// One line for operators: our words, the host, its reply.
fn in_words(diagnosis: &Diagnosis) -> String {
    let host = diagnosis
        .host
        .as_ref()
        .map(|host| format!("{host}: "))
        .unwrap_or_default();
    match &diagnosis.reply {
        Some(reply) if diagnosis.text.is_empty() => format!("{host}{reply}"),
        Some(reply) => format!("{host}{}: {reply}", diagnosis.text),
        None => format!("{host}{}", diagnosis.text),
    }
}

/// How long a leg rests whose outcome could not be written.
const TROUBLE_PAUSE: Duration = Duration::from_mins(1);
/// Nothing is forgotten for longer than this, whatever went wrong with a wake-up.
const WAIT_MAX: Duration = Duration::from_mins(1);
