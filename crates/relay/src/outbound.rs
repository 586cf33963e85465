//! The outbound side, between queue, delivery and bounces: due legs out, outcomes back, notices to senders.
//!
//! What an outcome *means* is said elsewhere: when to try again in `spool::next_due`, who is told and in which words
//! in `bounce`. This joins them, and has the one back edge of the flow: a notice goes back into the queue. It cannot loop,
//! because a notice has a null sender and a null sender is never told anything.

mod alerts;
mod answer;
mod budget;
mod checkup;
mod deadlines;
mod freezes;
mod gather;
mod leases;
mod notices;
mod online;
mod proof;
mod reporting;
mod telling;
#[cfg(test)]
mod tests;
mod unread;
mod way;
mod work;

use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use delivery::Dispatcher;
use envelope::{Claim, Destination, Diagnosis, Domain, Lease, Mailbox, Timestamp, Trip};
use journal::{Attempt, Journal};
use parking_lot::Mutex;
use spool::{Clock, Error, IdSource, Schedule, Settlement, Spool};
use sts::Policies;
use tokio::sync::{Notify, watch};

use crate::counting::Counting;
use crate::tls_reports::TlsReports;
use crate::{Core, Settings, routing};
use leases::Leases;
use notices::Notices;
use online::Online;
use unread::Unread;

pub use alerts::{Alerts, Secret};
pub use answer::Answering;
pub(crate) use freezes::users;
pub use reporting::TlsReporter;
pub use reqwest::Url;
pub(crate) use unread::Print;

/// Due legs out, outcomes back.
pub struct Outbound<S: Spool> {
    spool: Arc<S>,
    ids: Arc<IdSource>,
    clock: Clock,
    journal: Journal,
    leases: Leases,
    /// What the last claim has seen of the queue.
    changes: Mutex<watch::Receiver<()>>,
    schedule: Schedule,
    /// Our own name, in notices.
    hostname: Domain,
    postmaster: Mailbox,
    bounce_octets_max: usize,
    /// What was told of late, and what waits to be.
    notices: Notices,
    /// Says who gets notices, and where those to hosted senders go.
    routing: routing::Shared,
    resolver: dns::Backend,
    trouble: OnceLock<Trouble>,
    /// What delivers by this.
    delivery: OnceLock<Weak<Delivery<S>>>,
    answering: Answering,
    online: Online<S::Reader>,
    unread: Unread,
    counting: Arc<Counting>,
    tls_reports: Arc<TlsReports>,
    sts: Option<Arc<Policies<dns::Backend>>>,
    reporter: TlsReporter,
    /// Say where strangers may lead us.
    delivery_settings: Arc<delivery::Settings>,
    /// Something new is frozen: to be told by mail, and to be posted.
    to_mail: Notify,
    to_post: Notify,
}

/// Why a leg could not be ended.
#[derive(Debug, Clone, thiserror::Error)]
enum NotEnded {
    #[error(transparent)]
    Spool(#[from] Error),
    #[error("whether its sender is proved cannot be looked up")]
    InDoubt,
}

type Delivery<S> = Dispatcher<Outbound<S>, dns::Backend>;
type Trouble = Box<dyn Fn(&Destination) -> Option<Diagnosis> + Send + Sync>;

impl<S: Spool> Outbound<S> {
    /// The outbound side of a relay.
    pub fn new(core: &Core<S>, settings: &Settings, resolver: dns::Backend) -> Self {
        let core = core.clone();
        Self {
            resolver,
            hostname: core.routing.load().hostname().clone(),
            changes: Mutex::new(core.spool.changed()),
            spool: core.spool,
            ids: core.ids,
            clock: core.clock.clone(),
            journal: core.journal,
            leases: Leases::default(),
            routing: core.routing,
            schedule: settings.schedule.clone(),
            postmaster: settings.postmaster.clone(),
            bounce_octets_max: settings.bounce_octets_max,
            notices: Notices::default(),
            trouble: OnceLock::new(),
            delivery: OnceLock::new(),
            online: Online::new(settings.answering.octets_max),
            unread: Unread::open(settings.answering.folder.as_deref(), core.clock.now()),
            answering: settings.answering.clone(),
            counting: core.counting,
            tls_reports: core.tls_reports,
            sts: core.sts.policies(),
            reporter: settings.reporter.clone(),
            delivery_settings: Arc::new(settings.delivery.clone()),
            to_mail: Notify::new(),
            to_post: Notify::new(),
        }
    }

    /// Sets who knows why a site is down, for legs that were never tried themselves: delivery, which is built after
    /// this. Set once.
    pub fn ask_for_trouble(
        &self,
        knows: impl Fn(&Destination) -> Option<Diagnosis> + Send + Sync + 'static,
    ) {
        let _ = self.trouble.set(Box::new(knows));
    }

    /// Sets what delivers, which is built after this. Set once.
    pub fn deliver_by(&self, delivery: &Arc<Delivery<S>>) {
        let _ = self.delivery.set(Arc::downgrade(delivery));
    }

    fn delivery(&self) -> Option<Arc<Delivery<S>>> {
        self.delivery.get()?.upgrade()
    }

    async fn settle_all(&self, legs: Vec<(Lease, Settlement)>) {
        let leases: Vec<Lease> = legs.iter().map(|(lease, _)| lease.clone()).collect();
        let results = self.spool.settle(legs).await;
        for (lease, result) in leases.iter().zip(results) {
            self.report(|| lease.clone(), result.map_err(NotEnded::from))
                .await;
        }
    }

    /// A lease that was lost is no trouble: its new owner sees to the leg. After any other error the leg comes out again soon.
    async fn report(&self, lease: impl FnOnce() -> Lease + Send, result: Result<(), NotEnded>) {
        match result {
            Ok(()) => {}
            Err(NotEnded::Spool(Error::Fenced(leg))) => {
                tracing::debug!(%leg, "lease lost: the leg has another owner");
            }
            // Each try delivers again what was refused.
            Err(error @ NotEnded::InDoubt) => {
                let lease = lease();
                tracing::warn!(leg = %lease.leg, %error, "the leg rests, and is tried again");
                self.spool.extend(&[lease], DOUBT_PAUSE).await;
            }
            Err(error) => {
                tracing::error!(%error, "cannot end a leg; it will be tried again");
                self.spool.extend(&[lease()], TROUBLE_PAUSE).await;
            }
        }
    }
}

fn attempt(claim: &Claim, attempt: u32, trip: Trip, now: Timestamp) -> Attempt {
    Attempt {
        id: claim.lease.leg,
        recipient: claim.leg.recipient.clone(),
        target: claim.leg.target.clone(),
        attempt,
        delay: now.since(claim.message.arrived),
        trip,
    }
}

/// How long a leg rests whose outcome could not be written.
const TROUBLE_PAUSE: Duration = Duration::from_mins(1);
/// How long a leg rests whose sender could not be looked up.
const DOUBT_PAUSE: Duration = Duration::from_mins(15);
