//! The outbound side, between queue, delivery and bounces: due legs out, outcomes back, notices to senders.
//!
//! What an outcome *means* is said elsewhere: when to try again in `spool::next_due`, who is told and in which words
//! in `bounce`. This joins them, and has the one back edge of the flow: a notice goes back into the queue. It cannot loop,
//! because a notice has a null sender and a null sender is never told anything.

mod budget;
mod deadlines;
mod gather;
mod notices;
#[cfg(test)]
mod tests;
mod work;

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use envelope::{Claim, Diagnosis, Domain, Host, Lease, Mailbox, Timestamp};
use journal::{Attempt, Log};
use spool::{Clock, Error, IdSource, Schedule, Spool};

use crate::routing;
pub use notices::Notices;

/// What the outbound side needs to know.
pub struct Outbound<S> {
    /// What is queued.
    pub spool: Arc<S>,
    /// Ids of notices.
    pub ids: Arc<IdSource>,
    /// Tells the time.
    pub clock: Clock,
    /// Where outcomes are noted.
    pub log: Log,
    /// When a leg is tried again, and when its sender is told.
    pub schedule: Schedule,
    /// Our own name, in notices.
    pub hostname: Domain,
    /// Who signs notices.
    pub postmaster: Mailbox,
    /// How long delivery may work on a leg.
    pub lease: Duration,
    /// Notices about a message carry it whole up to this many octets in all.
    pub bounce_octets_max: usize,
    /// What was told of late, and what waits to be.
    pub notices: Notices,
    /// Where notices to those who live here go.
    pub routing: routing::Shared,
    /// Why the site of a host is down, for legs that waited for it and were never tried themselves. Delivery knows, and is
    /// built after this.
    pub trouble: OnceLock<Trouble>,
    /// The moment of the last claim, in milliseconds: what became due after it has not been seen.
    pub claimed_at: AtomicU64,
}

/// See [`Outbound::trouble`].
pub type Trouble = Box<dyn Fn(&Host) -> Option<Diagnosis> + Send + Sync>;

impl<S: Spool> Outbound<S> {
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
                let soon = self.clock.now().plus(TROUBLE_PAUSE);
                if let Err(error) = self.spool.extend(&mut lease.clone(), soon).await {
                    tracing::debug!(%error, "the leg has another owner, or has ended");
                }
            }
        }
    }
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
