//! A lane: one connection of a site, from its first parcel to its close. It takes parcel after parcel, so connections are
//! reused without being handed around, and a message costs no task of its own.
//!
//! ```text
//!   first parcel ─► reach ─► deliver ─► settle ─► next ─► … ─► idle ─► QUIT
//!                     │ nobody: the site is down               ▲  │ work came
//!                     ▼                                        └──┘
//!                   settle as deferred, end
//! ```

use std::pin::pin;
use std::sync::Arc;

use dns::Resolver;
use envelope::{Diagnosis, EnhancedStatus, Outcome};
use tokio::time::{Instant, sleep_until};

use crate::connection::{Connection, Delivery};
use crate::dispatcher::Dispatcher;
use crate::parcel::Parcel;
use crate::reach::Reached;
use crate::sites::{LaneSite, Next, SiteId};
use crate::work::{BodyError, Work};

/// A lane at work.
pub(crate) struct Lane<W, R> {
    dispatcher: Arc<Dispatcher<W, R>>,
    id: SiteId,
    site: LaneSite,
}

/// What became of a connection over a parcel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum After {
    /// It can take another one.
    Ready,
    /// It is gone, or must not be used any more.
    Gone,
}

impl<W: Work, R: Resolver> Lane<W, R> {
    pub(crate) fn new(dispatcher: Arc<Dispatcher<W, R>>, id: SiteId, site: LaneSite) -> Self {
        Self {
            dispatcher,
            id,
            site,
        }
    }

    /// Runs to the end. The site already counts this lane as connecting.
    pub(crate) async fn run(self) {
        let Some(parcel) = self.dispatcher.first_parcel(self.id).await else {
            return self.dispatcher.connect_ended(self.id).await;
        };
        match self.reach(&parcel, None).await {
            Some(Reached::Connected(connection)) => {
                self.dispatcher.connected(self.id).await;
                self.work(connection, parcel).await;
                self.dispatcher.closed(self.id).await;
            }
            Some(Reached::Nobody(reason)) => {
                // The site first, so that nothing more is claimed for it.
                let failed = self
                    .dispatcher
                    .connect_failed(self.id, parcel, reason.clone());
                if let Some(parcel) = failed.await {
                    self.settle_all(parcel, &Outcome::Deferred(reason)).await;
                }
            }
            Some(Reached::Refused(outcome)) => {
                self.settle_all(parcel, &outcome).await;
                self.dispatcher.connect_ended(self.id).await;
            }
            None => {
                self.dispatcher.give_back(parcel.into_claims()).await;
                self.dispatcher.connect_ended(self.id).await;
            }
        }
    }

    /// A connection for the parcel; `None` when all is ending.
    async fn reach(&self, parcel: &Parcel, current: Option<Box<Connection>>) -> Option<Reached> {
        let LaneSite { key, memory, .. } = &self.site;
        let reached = self.dispatcher.reacher.reach(key, parcel, memory, current);
        let limit = self.dispatcher.settings.attempt_timeout;
        tokio::select! {
            biased;
            () = self.dispatcher.stopping.cancelled() => None,
            reached = reached => Some(reached),
            () = tokio::time::sleep(limit) => {
                let late = Diagnosis::local(TOO_LONG, "no connection within the time for an attempt");
                Some(Reached::Nobody(late))
            }
        }
    }

    /// Parcel after parcel, until there is no more work, or no more connection.
    async fn work(&self, mut connection: Box<Connection>, mut parcel: Parcel) {
        loop {
            if let Some(rest) = parcel.split(connection.capabilities()) {
                self.dispatcher.put_back(self.id, rest).await;
            }
            if self.deliver(&mut connection, parcel).await == After::Gone {
                return;
            }
            if connection.transactions() >= self.dispatcher.settings.messages_per_connection as u64
            {
                return connection.quit().await;
            }
            let Some(next) = self.next(&mut connection).await else {
                return connection.quit().await;
            };
            parcel = next;
            let anyway = self.dispatcher.settings.eight_bit_anyway;
            if parcel.is_beyond(connection.capabilities(), anyway) {
                connection = match self.reach(&parcel, Some(connection)).await {
                    Some(Reached::Connected(better)) => better,
                    // Ending, or out of time: the leg was not tried.
                    _ => return self.dispatcher.give_back(parcel.into_claims()).await,
                };
            }
        }
    }

    /// The next parcel, when there is one before the connection has been idle for too long.
    async fn next(&self, connection: &mut Connection) -> Option<Parcel> {
        let until = Instant::now() + self.dispatcher.settings.idle;
        loop {
            // Listening before looking: work that comes in between is heard of.
            let mut woken = pin!(self.site.wake.notified());
            woken.as_mut().enable();
            match self.dispatcher.next(self.id).await {
                Next::Parcel(parcel) => return Some(parcel),
                Next::Close => return None,
                Next::Idle => {}
            }
            let stays = tokio::select! {
                () = woken => true,
                () = connection.closed_by_peer() => false,
                () = self.site.crowded.notified() => false,
                () = self.dispatcher.stopping.cancelled() => false,
                () = sleep_until(until) => false,
            };
            self.dispatcher.idle_ended(self.id);
            if !stays {
                return None;
            }
        }
    }

    async fn deliver(&self, connection: &mut Connection, parcel: Parcel) -> After {
        let body = match self.dispatcher.work.open(parcel.first().message.id).await {
            Ok(body) => body,
            Err(error) => {
                self.settle_all(parcel, &without_body(&error)).await;
                return After::Ready;
            }
        };
        let trace = parcel.first().leg.trace.clone();
        let until = Instant::now() + self.dispatcher.time_for(&parcel);
        let delivery = tokio::select! {
            delivery = connection.deliver(parcel.transaction(), &trace, body) => delivery,
            () = sleep_until(until) => {
                let late = Diagnosis::local(TOO_LONG, "not done within the time for an attempt");
                self.settle_all(parcel, &Outcome::Deferred(late)).await;
                return After::Gone;
            }
            // The peer may have it already, and will then get it twice; there is no telling.
            () = self.dispatcher.killed.cancelled() => {
                self.dispatcher.give_back(parcel.into_claims()).await;
                return After::Gone;
            }
        };
        let (outcomes, after) = match delivery {
            Delivery::Ready(outcomes) => (outcomes, After::Ready),
            Delivery::Closed(outcomes) => (outcomes, After::Gone),
            Delivery::Stale => {
                self.dispatcher.put_back(self.id, parcel).await;
                return After::Gone;
            }
        };
        // A peer that closes after each message works too.
        let took = |outcome: &Outcome| matches!(outcome, Outcome::Delivered(_));
        let worked = after == After::Ready || outcomes.iter().any(took);
        self.settle(parcel, outcomes).await;
        if worked {
            self.dispatcher.worked(self.id).await;
        }
        after
    }

    async fn settle_all(&self, parcel: Parcel, outcome: &Outcome) {
        let outcomes = vec![outcome.clone(); parcel.len()];
        self.settle(parcel, outcomes).await;
    }

    async fn settle(&self, parcel: Parcel, outcomes: Vec<Outcome>) {
        self.dispatcher.settle(parcel.into_claims(), outcomes).await;
    }
}

fn without_body(error: &BodyError) -> Outcome {
    match error {
        BodyError::NotFound => Outcome::Failed(Diagnosis::local(BODY_LOST, error.to_string())),
        BodyError::Unavailable(_) => {
            Outcome::Deferred(Diagnosis::local(BODY_UNREADABLE, error.to_string()))
        }
    }
}

/// RFC 3463 §3.5: network or routing status in general: it took too long.
const TOO_LONG: EnhancedStatus = EnhancedStatus::transient(4, 0);
/// RFC 3463 §3.4: mail system status in general.
const BODY_LOST: EnhancedStatus = EnhancedStatus::permanent(3, 0);
const BODY_UNREADABLE: EnhancedStatus = EnhancedStatus::transient(3, 0);
