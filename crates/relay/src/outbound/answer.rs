//! The destination's verdict as the answer to a message: it is delivered while its client waits, from memory. What cannot be had in
//! time is queued as any mail, and the attempt that runs goes on as its first.

#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bounce::Redactor;
use envelope::{Claim, Lease, Leg, LegId, MessageId, Outcome, Reply};
use journal::Event;
use spool::{Arrival, BodyWriter, Error, Settlement, Spool};

use super::Outbound;
use super::leases::{LEASE, RENEWED_FOR};
use super::online::{Back, Letter, Verdict, is_delivered};
use super::unread::Print;
use crate::replies;

/// How answers wait for destinations.
#[derive(Debug, Clone)]
pub struct Answering {
    /// `delivery.answer_within`: how long a client is kept waiting.
    pub within: Duration,
    /// `delivery.answer_memory`: octets of all messages whose clients wait.
    pub octets_max: u64,
    /// Where it is kept what was answered and not read; none: in memory only.
    pub folder: Option<PathBuf>,
}

impl Default for Answering {
    fn default() -> Self {
        Self {
            within: Duration::from_secs(25),
            octets_max: 32 << 20,
            folder: None,
        }
    }
}

/// Ends the wait of a client that goes away before its answer.
struct Wait<'a, S: Spool>(&'a Outbound<S>, MessageId);

impl<S: Spool> Drop for Wait<'_, S> {
    fn drop(&mut self) {
        let Self(outbound, id) = *self;
        outbound.leave(id);
    }
}

impl<S: Spool> Outbound<S> {
    /// Has a message delivered while its client waits, and says what came of it. After an error nobody answers for it.
    pub(crate) async fn answer(
        self: &Arc<Self>,
        mut writer: S::Writer,
        mut arrival: Arrival,
        print: Print,
    ) -> Result<Reply, Error> {
        let (id, begun, now) = (arrival.message.id, Instant::now(), self.clock.now());
        let all = arrival.legs.len();
        let is_open = |leg: &Leg| !self.unread.knows(print.of_leg(leg), now);
        arrival.legs.retain(is_open);
        if arrival.legs.is_empty() || self.unread.knows(print, now) {
            self.log_answer(id, "answered-before", "", begun);
            return Ok(replies::known(id));
        }
        let verdict = match arrival.legs.len() == all {
            true => self.ask(&mut writer, &arrival, print).await?,
            false => Verdict::Open("some of it is delivered already"),
        };
        let not_asked = match verdict {
            Verdict::Delivered(back) => {
                self.log_unqueued(&back);
                self.log_answer(id, "answered-delivered", "", begun);
                return Ok(replies::delivered(id));
            }
            Verdict::Refused(back) => {
                self.log_unqueued(&back);
                self.log_answer(id, "answered-refused", "", begun);
                return Ok(refusal(&back));
            }
            Verdict::Again => return Ok(replies::still_asking()),
            Verdict::Open(not_asked) => not_asked,
        };
        let is_asked = not_asked.is_empty();
        // A client that goes away now has no 250; but the attempt that runs must find the legs.
        let queued = tokio::spawn(Arc::clone(self).take_back(writer, arrival, is_asked)).await;
        queued.unwrap_or_else(|_| {
            self.leave(id);
            Err(Error::Closed)
        })?;
        self.log_answer(id, "answered-queued", not_asked, begun);
        Ok(replies::queued(id))
    }

    /// Begins an attempt, and waits for what comes of it.
    async fn ask(
        &self,
        writer: &mut S::Writer,
        arrival: &Arrival,
        print: Print,
    ) -> Result<Verdict, Error> {
        let (id, legs, size) = (arrival.message.id, arrival.legs.len(), arrival.message.size);
        let Some(delivery) = self.delivery() else {
            return Ok(Verdict::Open("delivery has not begun"));
        };
        if !writer.is_in_memory() {
            return Ok(Verdict::Open("it is on disk already"));
        }
        let body = writer.read_back().await?;
        let decided = match self.online.begin(id, print, legs, size, body) {
            Ok(decided) => decided,
            Err(verdict) => return Ok(verdict),
        };
        let wait = Wait(self, id);
        if !delivery.offer(self.unqueued(arrival)).await {
            self.online.queued(id);
            return Ok(Verdict::Open("the destination does not take mail at once"));
        }
        tokio::select! {
            () = decided.notified() => {}
            () = tokio::time::sleep(self.answering.within) => {}
            () = delivery.stopping() => {}
        }
        let verdict = self.online.end_wait(id);
        // It was there to the end.
        std::mem::forget(wait);
        Ok(verdict)
    }

    /// Legs as if they had been claimed. What lease they have is found when they come back: see [`Leases`](super::leases::Leases).
    fn unqueued(&self, arrival: &Arrival) -> Vec<Claim> {
        let message = Arc::new(arrival.message.clone());
        let now = self.clock.now();
        let legs = (0..).zip(&arrival.legs);
        let claim = |(number, leg): (u32, &Leg)| Claim {
            lease: Lease {
                leg: LegId {
                    message: message.id,
                    number,
                },
                owner: 0,
                token: 0,
                expires: now.plus(RENEWED_FOR),
            },
            message: Arc::clone(&message),
            leg: leg.clone(),
            attempts: 0,
            warned: false,
            // The queue's, which only it knows, come days later.
            deadline: now.plus(RENEWED_FOR),
        };
        legs.map(claim).collect()
    }

    /// Commits the message. Its legs are this node's already if an attempt runs, and what has come of that so far is settled.
    async fn take_back(
        self: Arc<Self>,
        writer: S::Writer,
        mut arrival: Arrival,
        is_asked: bool,
    ) -> Result<(), Error> {
        let id = arrival.message.id;
        arrival.lease = is_asked.then_some(LEASE);
        let claims = self.spool.commit(writer, arrival).await;
        let mut claims = claims.inspect_err(|_| self.leave(id))?;
        let now = self.clock.now();
        for claim in &mut claims {
            self.leases.hold(claim, now);
        }
        for back in self.online.queued(id) {
            self.settle_back(back).await;
        }
        Ok(())
    }

    async fn settle_back(&self, back: Back) {
        let Back { claims, tried } = back;
        match tried {
            Some((trip, outcomes)) => self.settle_queued(&claims, &trip, outcomes).await,
            None => self.release_queued(claims).await,
        }
    }

    /// Gives legs back to the queue as they were.
    pub(super) async fn release_queued(&self, claims: Vec<Claim>) {
        let untried = |claim| (self.leases.take(claim), Settlement::Release);
        self.settle_all(claims.iter().map(untried).collect()).await;
    }

    /// Nobody answers for this message.
    fn leave(&self, id: MessageId) {
        if let Some(letter) = self.online.leave(id) {
            self.end_unanswered(id, &letter);
        }
    }

    /// What delivery gives back of a message whose client waits, or waited a moment ago.
    pub(super) async fn keep(&self, back: Back) {
        match self.online.keep(back) {
            Ok(None) => {}
            Ok(Some((id, letter))) => self.end_unanswered(id, &letter),
            Err(back) => self.settle_back(back).await,
        }
    }

    /// The legs of a message that nobody answers for have all come back. What is delivered will not be again.
    fn end_unanswered(&self, id: MessageId, letter: &Letter<S::Reader>) {
        self.log_unqueued(&letter.back);
        let now = self.clock.now();
        for (claim, _, outcome) in letter.back.iter().flat_map(Back::settled) {
            if is_delivered(outcome) {
                self.unread.add(letter.print.of_leg(&claim.leg), now);
            }
        }
        let event = match letter.all(is_delivered) {
            true => "left-delivered",
            false => "left-dropped",
        };
        self.log_answer(id, event, "", Instant::now());
    }

    /// The client left before it read that we have its message.
    pub(crate) fn not_read(&self, id: MessageId, print: Print) {
        self.unread.add(print, self.clock.now());
        self.log_answer(id, "answer-unread", "", Instant::now());
    }

    /// The ends of legs that were never queued.
    fn log_unqueued(&self, back: &[Back]) {
        let now = self.clock.now();
        for (claim, trip, outcome) in back.iter().flat_map(Back::settled) {
            let leg = super::attempt(claim, 1, trip.clone(), now);
            let diagnosis = outcome.diagnosis().clone();
            self.journal.record(match outcome {
                Outcome::Delivered(_) => Event::Delivered { leg, diagnosis },
                // Its client has been told to come back with it.
                Outcome::Deferred(_) => continue,
                Outcome::Failed(_) => {
                    self.count_failure(claim, now);
                    Event::Failed { leg, diagnosis }
                }
            });
        }
    }

    fn log_answer(&self, id: MessageId, event: &'static str, reason: &'static str, begun: Instant) {
        self.journal.record(Event::Answered {
            id,
            event,
            reason,
            took: begun.elapsed(),
        });
    }
}

/// What the destination says of the first leg; all legs are refused.
fn refusal(back: &[Back]) -> Reply {
    let settled = || back.iter().flat_map(Back::settled);
    let redactor = Redactor::new(settled().map(|(claim, ..)| &claim.leg));
    let first = settled().next();
    first.map_or_else(replies::spool_trouble, |(claim, _, outcome)| {
        let diagnosis = outcome.diagnosis();
        replies::refused_there(diagnosis, &redactor.verdict(&claim.leg, diagnosis))
    })
}
