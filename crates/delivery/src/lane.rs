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
use std::time::Duration;

use dns::Resolver;
use envelope::{Diagnosis, EnhancedStatus, Outcome, TlsFinding, Trip};
use smtp::Capabilities;
use tokio::time::{Instant, sleep, sleep_until};

use crate::catch_panic::catch_panic;
use crate::connection::{Connection, Delivery};
use crate::dispatcher::{BUG, Dispatcher, internal_error};
use crate::health::Answer;
use crate::parcel::Parcel;
use crate::patience::Patience;
use crate::plan::SiteKey;
use crate::reach::{Reached, part};
use crate::sites::{LaneSite, Next, NoConnection, SiteId, Sites, Todo};
use crate::work::Work;

/// A lane at work.
pub(crate) struct Lane<W, R> {
    dispatcher: Arc<Dispatcher<W, R>>,
    id: SiteId,
    site: LaneSite,
}

/// How far a lane is. Kept beside its work, so that after a panic there it is known what is left to be done.
#[derive(Debug, Default)]
struct Standing {
    /// What the site counts it as.
    stage: Stage,
    /// The legs that it works on.
    parcel: Option<Parcel>,
    /// How it goes with them.
    trip: Trip,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Stage {
    #[default]
    Connecting,
    Open,
    Ended,
}

/// What became of a connection over a parcel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum After {
    /// It can take another one.
    Ready,
    /// It is gone, or must not be used any more.
    Gone,
    /// It takes no more, perhaps: the parcel in hand is to be tried over a new one. It took so many before.
    TurnedAway(u64),
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
        let mut standing = Standing::default();
        if catch_panic(self.serve(&mut standing)).await.is_err() {
            self.clean_up(standing).await;
        }
    }

    async fn serve(&self, standing: &mut Standing) {
        let Some(parcel) = self.dispatcher.first_parcel(self.id).await else {
            return self.end(standing).await;
        };
        standing.parcel = Some(parcel);
        standing.trip.site = Some(self.site.key.to_string().into());
        match self.reach(standing, None).await {
            Some(Reached::Connected(connection)) => {
                standing.stage = Stage::Open;
                self.tell(Sites::connected).await;
                self.work(connection, standing).await;
            }
            Some(Reached::Nobody(reason, back_at)) => {
                return self.nobody(reason, back_at, standing).await;
            }
            Some(Reached::Busy) => self.put_back(standing).await,
            Some(Reached::Refused(outcome)) => self.settle_all(standing, &outcome).await,
            None => self.give_back(standing).await,
        }
        self.end(standing).await;
    }

    /// No host of the site gives us a connection.
    async fn nobody(
        &self,
        reason: Diagnosis,
        back_at: Option<std::time::Instant>,
        standing: &mut Standing,
    ) {
        let Some(parcel) = standing.parcel.take() else {
            unreachable!("a connection was wanted for a parcel")
        };
        standing.stage = Stage::Ended;
        // The site first, so that nothing more is claimed for it.
        let why = NoConnection {
            reason: reason.clone(),
            slow: standing.trip.connect >= self.dispatcher.settings.patience,
            back_at,
        };
        standing.parcel = self.dispatcher.connect_failed(self.id, parcel, why).await;
        self.settle_all(standing, &Outcome::Deferred(reason)).await;
    }

    async fn tell(&self, told: impl FnOnce(&mut Sites, SiteId, std::time::Instant) -> Todo) {
        let told = |sites: &mut Sites, now| told(sites, self.id, now);
        self.dispatcher.tell(told).await;
    }

    /// Tells the site that this lane is no more.
    async fn end(&self, standing: &mut Standing) {
        match std::mem::replace(&mut standing.stage, Stage::Ended) {
            Stage::Connecting => self.tell(Sites::connect_ended).await,
            Stage::Open => self.tell(Sites::closed).await,
            Stage::Ended => {}
        }
    }

    /// After a panic: it costs the connection, and the legs in hand this attempt.
    async fn clean_up(&self, mut standing: Standing) {
        self.end(&mut standing).await;
        let message = standing.parcel.as_ref().map(|p| p.first().message.id);
        let message = message.map_or_else(|| "-".to_owned(), |id| id.to_string());
        tracing::error!(id = message, site = %self.site.key, "{BUG}");
        let deferred = Outcome::Deferred(internal_error());
        self.settle_all(&mut standing, &deferred).await;
    }

    /// A connection for the parcel in hand; `None` when all is ending.
    async fn reach(
        &self,
        standing: &mut Standing,
        current: Option<Box<Connection>>,
    ) -> Option<Reached> {
        let begun = Instant::now();
        let (parcel, mut found) = (standing.parcel.as_ref()?, Vec::new());
        let reached = self.seek(parcel, current, &mut found).await;
        self.dispatcher.work.tls_found(parcel.claims(), &found);
        standing.trip.connect += begun.elapsed();
        if let Some(Reached::Connected(connection)) = &reached {
            let SiteKey { policy, egress, .. } = &self.site.key;
            standing.trip.tls = connection.tls().map(|tls| policy.proved(tls));
            standing.trip.egress = egress.clone().zip(connection.source());
        }
        reached
    }

    async fn seek(
        &self,
        parcel: &Parcel,
        current: Option<Box<Connection>>,
        found: &mut Vec<TlsFinding>,
    ) -> Option<Reached> {
        let LaneSite { key, memory, .. } = &self.site;
        let patience = self.patience();
        let settings = &self.dispatcher.settings;
        let enough = |peer: &Capabilities| !parcel.is_beyond(peer, settings.eight_bit_anyway);
        let reacher = &self.dispatcher.reacher;
        let reached = reacher.reach(key, enough, memory, &patience, current, found);
        let limit = settings.attempt_timeout;
        tokio::select! {
            biased;
            () = self.dispatcher.stopping.cancelled() => None,
            reached = reached => Some(reached),
            () = sleep(limit) => {
                let late = Diagnosis::local(TOO_LONG, "no connection within the time for an attempt");
                Some(Reached::Nobody(late, None))
            }
            () = patience.over() => {
                let text = "no connection yet, and other mail is waiting for a turn";
                Some(Reached::Nobody(Diagnosis::local(TOO_LONG, text), None))
            }
        }
    }

    /// A new connection for the parcel in hand, which an old one took no more.
    async fn renew(&self, standing: &mut Standing) -> Option<Box<Connection>> {
        match self.reach(standing, None).await {
            Some(Reached::Connected(connection)) => return Some(connection),
            Some(Reached::Refused(outcome)) => self.settle_all(standing, &outcome).await,
            // As after any loss of a connection: the next lane finds out what that says of the site.
            Some(Reached::Nobody(..) | Reached::Busy) => self.put_back(standing).await,
            None => self.give_back(standing).await,
        }
        None
    }

    fn patience(&self) -> Patience {
        let (dispatcher, id) = (Arc::clone(&self.dispatcher), self.id);
        let limit = dispatcher.settings.patience;
        Patience::new(limit, move || dispatcher.is_wanted(id))
    }

    /// Parcel after parcel, until there is no more work, or no more connection.
    async fn work(&self, mut connection: Box<Connection>, standing: &mut Standing) {
        let mut suspected = None;
        while let Some(parcel) = &mut standing.parcel {
            if self.site.memory.rests(connection.source()) {
                self.put_back(standing).await;
                break;
            }
            if let Some(rest) = parcel.split(connection.capabilities()) {
                self.tell(|sites, id, now| sites.put_back(id, rest, now))
                    .await;
            }
            let after = self.deliver(&mut connection, standing).await;
            if let After::TurnedAway(messages) = after {
                part(Some(connection));
                let Some(new) = self.renew(standing).await else {
                    return;
                };
                (connection, suspected) = (new, Some(messages));
                continue;
            }
            if let Some(messages) = suspected.take().filter(|_| !connection.is_turned_away()) {
                let now = std::time::Instant::now();
                self.site.memory.learn_messages_max(messages, now);
            }
            if after == After::Gone {
                return;
            }
            if connection.transactions() >= self.messages_max() {
                break;
            }
            let Some(next) = self.next(&mut connection).await else {
                break;
            };
            let next = standing.parcel.insert(next);
            let anyway = self.dispatcher.settings.eight_bit_anyway;
            if next.is_beyond(connection.capabilities(), anyway) {
                connection = match self.reach(standing, Some(connection)).await {
                    Some(Reached::Connected(better)) => better,
                    // Ending, or out of time: the leg was not tried.
                    _ => return self.give_back(standing).await,
                };
            }
        }
        connection.quit().await;
    }

    /// Messages over one connection at most.
    fn messages_max(&self) -> u64 {
        let ours = self.site.messages_max;
        let theirs = self.site.memory.messages_max(std::time::Instant::now());
        theirs.map_or(ours, |theirs| theirs.min(ours))
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
            let idle = self.dispatcher.idle(self.id);
            let source_wanted = connection.source_wanted();
            let stays = tokio::select! {
                () = woken => true,
                () = source_wanted => false,
                () = connection.closed_by_peer() => false,
                () = self.site.crowded.notified() => false,
                () = self.dispatcher.stopping.cancelled() => false,
                () = sleep_until(until) => false,
            };
            drop(idle);
            if !stays {
                return None;
            }
        }
    }

    /// Tries the parcel in hand, which is settled or gone back afterwards.
    async fn deliver(&self, connection: &mut Connection, standing: &mut Standing) -> After {
        let Some(parcel) = &standing.parcel else {
            unreachable!("called with a parcel")
        };
        let body = match self.dispatcher.work.open(&parcel.first().message).await {
            Ok(body) => body,
            Err(error) => {
                self.settle_all(standing, &error.outcome()).await;
                return After::Ready;
            }
        };
        let trace = &parcel.first().leg.trace;
        let begun = Instant::now();
        let until = begun + self.dispatcher.time_for(parcel);
        let delivery = tokio::select! {
            delivery = connection.deliver(parcel.transaction(), trace, body) => delivery,
            () = sleep_until(until) => {
                let late = Diagnosis::local(TOO_LONG, "not done within the time for an attempt");
                standing.trip.transmission = begun.elapsed();
                self.settle_all(standing, &Outcome::Deferred(late)).await;
                return After::Gone;
            }
            // The peer may have it already, and will then get it twice; there is no telling.
            () = self.dispatcher.killed.cancelled() => {
                self.give_back(standing).await;
                return After::Gone;
            }
        };
        let mut outcomes = match delivery {
            Delivery::Done(outcomes) => outcomes,
            Delivery::Stale => {
                self.put_back(standing).await;
                return After::Gone;
            }
            Delivery::TurnedAway(messages) => return After::TurnedAway(messages),
        };
        let source = connection.source();
        let Some(answer) = self.dispatcher.judge(self.id, source, &mut outcomes) else {
            // Our address rests there from now on: another one tries.
            self.put_back(standing).await;
            return After::Gone;
        };
        let lasted = begun.elapsed();
        standing.trip.transmission = lasted;
        self.settle(standing, outcomes).await;
        let ready = tokio::select! {
            ready = connection.ready() => ready,
            () = self.dispatcher.killed.cancelled() => false,
        };
        // A peer that closes after each message works too.
        let answered = ready || answer == Answer::Took;
        let in_time = answered && lasted < IN_TIME * self.dispatcher.settings.patience;
        self.tell(|sites, id, now| sites.answered(id, answer, in_time, now, &mut rand::rng()))
            .await;
        if ready { After::Ready } else { After::Gone }
    }

    /// Leaves the parcel in hand to another connection of the site.
    async fn put_back(&self, standing: &mut Standing) {
        if let Some(parcel) = standing.parcel.take() {
            self.tell(|sites, id, now| sites.put_back(id, parcel, now))
                .await;
        }
    }

    /// Gives the legs in hand back untried.
    async fn give_back(&self, standing: &mut Standing) {
        if let Some(parcel) = standing.parcel.take() {
            self.dispatcher.give_back(parcel.into_claims()).await;
        }
    }

    /// Ends the attempt at the legs in hand, if there are any, with one outcome for all.
    async fn settle_all(&self, standing: &mut Standing, outcome: &Outcome) {
        let legs = standing.parcel.as_ref().map_or(0, Parcel::len);
        self.settle(standing, vec![outcome.clone(); legs]).await;
    }

    async fn settle(&self, standing: &mut Standing, outcomes: Vec<Outcome>) {
        if let Some(parcel) = &standing.parcel {
            self.dispatcher
                .learn_pressure(self.id, parcel.claims(), &outcomes);
            let settled = self
                .dispatcher
                .settle(parcel.claims(), &standing.trip, outcomes);
            settled.await;
        }
        standing.parcel = None;
        // The next one finds the connection as it is.
        standing.trip.connect = Duration::ZERO;
        standing.trip.transmission = Duration::ZERO;
    }
}

/// So many times the patience with one reply is the time for a message: some servers look at each for long.
const IN_TIME: u32 = 3;
/// RFC 3463 §3.5: network or routing status in general: it took too long.
const TOO_LONG: EnhancedStatus = EnhancedStatus::transient(4, 0);
