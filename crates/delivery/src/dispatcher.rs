//! The dispatcher: claims due legs in batches, brings them to their sites, and does what [`Sites`] says is to be done.
//!
//! One loop claims; each lookup and each lane is a task. All of them change the state under one lock, for moments, and
//! act outside it. At shutdown nothing new is begun, running transactions may finish, everything else goes back.

mod asked;
mod told;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use dns::Resolver;
use envelope::{Claim, Destination, Diagnosis, EnhancedStatus, Outcome, Timestamp, Trip};
use parking_lot::Mutex;
use sts::Policies;
use tokio::sync::Notify;
use tokio::time::{sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::catch_panic::catch_panic;
use crate::lane::Lane;
use crate::parcel::Parcel;
use crate::plan::{Planner, SiteKey};
use crate::pressure::Sign;
use crate::reach::Reacher;
use crate::settings::Settings;
use crate::sites::{Next, SiteId, Sites, Todo};
use crate::work::Work;

/// Runs all deliveries of a relay.
pub struct Dispatcher<W, R> {
    pub(crate) settings: Arc<Settings>,
    pub(crate) work: Arc<W>,
    pub(crate) reacher: Reacher<R>,
    /// Nothing new is begun.
    pub(crate) stopping: CancellationToken,
    /// Nothing goes on.
    pub(crate) killed: CancellationToken,
    sites: Mutex<Sites>,
    /// See [`Dispatcher::pressed`].
    pressed: Arc<AtomicBool>,
    /// More may be claimed than at the last look.
    changed: Notify,
    /// See [`Dispatcher::news`].
    news: Notify,
    tasks: TaskTracker,
}

impl<W: Work, R: Resolver> Dispatcher<W, R> {
    /// A dispatcher that is not running yet.
    pub fn new(
        settings: Settings,
        work: Arc<W>,
        resolver: R,
        sts: Option<Arc<Policies<R>>>,
    ) -> Arc<Self> {
        let settings = Arc::new(settings);
        let planner = Planner::new(Arc::clone(&settings), Arc::new(resolver), sts);
        let sites = Sites::new(Arc::clone(&settings));
        Arc::new(Self {
            reacher: Reacher::new(Arc::clone(&settings), planner),
            pressed: sites.pressed(),
            sites: Mutex::new(sites),
            settings,
            work,
            stopping: CancellationToken::new(),
            killed: CancellationToken::new(),
            changed: Notify::new(),
            news: Notify::new(),
            tasks: TaskTracker::new(),
        })
    }

    /// Delivers until `shutdown`; then finishes running transactions within [`Settings::drain`], releases the rest, and
    /// returns. To be called once, on a tokio runtime.
    pub async fn run(self: Arc<Self>, shutdown: CancellationToken) {
        let mut waits_for_nothing = 0;
        let mut swept = Instant::now();
        while !shutdown.is_cancelled() {
            let now = Instant::now();
            if now.duration_since(swept) >= SWEEP_EVERY {
                self.sites.lock().sweep(now);
                swept = now;
            }
            let todo = self.sites.lock().tick(now);
            self.perform(todo).await;
            let want = self.sites.lock().want();
            let Some(want) = want else {
                self.wait_for_room(&shutdown).await;
                continue;
            };
            let Ok(claims) = catch_panic(self.work.claim(&want)).await else {
                // What it had leased comes back when that is over; all other mail goes on.
                tracing::error!("{BUG}");
                self.sites.lock().not_claimed(want);
                sleep(BREATH).await;
                continue;
            };
            let got = claims.len();
            if got > 0 {
                waits_for_nothing = 0;
                let todo = self.sites.lock().accept(claims, Instant::now());
                self.perform(todo).await;
            }
            if got < want.max {
                self.wait(&mut waits_for_nothing, &shutdown).await;
            }
        }
        self.drain().await;
    }

    /// Begins an attempt at legs that were not claimed, if they would have their turn at once as far as is known; says whether it
    /// does. They come back through [`Work`], as any.
    pub async fn offer(self: &Arc<Self>, claims: Vec<Claim>) -> bool {
        let todo = self.sites.lock().offer(claims, Instant::now());
        let is_taken = todo.is_some();
        if let Some(todo) = todo {
            self.perform(todo).await;
        }
        is_taken
    }

    /// Waits until nothing new is begun any more.
    pub async fn stopping(&self) {
        self.stopping.cancelled().await;
    }

    /// Waits until legs have left the memory, or a probe is due.
    async fn wait_for_room(&self, shutdown: &CancellationToken) {
        let timer = self.sites.lock().timer();
        let until = timer.unwrap_or_else(|| Instant::now() + SWEEP_EVERY);
        tokio::select! {
            () = self.changed.notified() => {}
            () = shutdown.cancelled() => {}
            () = sleep_until(until.into()) => {}
        }
    }

    /// Waits until a claim may give something.
    async fn wait(&self, for_nothing: &mut u32, shutdown: &CancellationToken) {
        let timer = self.sites.lock().timer();
        let until = timer.unwrap_or_else(|| Instant::now() + SWEEP_EVERY);
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = self.changed.notified() => {}
            () = sleep_until(until.into()) => {}
            () = self.work.wait() => {
                *for_nothing += 1;
                // Woken again and again with nothing to claim: something else is wrong, but the processor is not to
                // burn over it.
                if *for_nothing > WAITS_FOR_NOTHING_MAX {
                    sleep(BREATH).await;
                }
            }
        }
    }

    /// The end: what waits goes back at once, what runs gets some time.
    async fn drain(self: &Arc<Self>) {
        self.stopping.cancel();
        let todo = self.sites.lock().stop();
        self.perform(todo).await;
        self.tasks.close();
        if timeout(self.settings.drain, self.tasks.wait())
            .await
            .is_err()
        {
            self.killed.cancel();
            self.tasks.wait().await;
        }
    }

    /// Does what the state says is to be done.
    async fn perform(self: &Arc<Self>, todo: Todo) {
        for event in &todo.events {
            self.work.site_changed(event);
        }
        todo.resolve.into_iter().for_each(|to| self.look_up(to));
        todo.lanes.into_iter().for_each(|id| self.start_lane(id));
        if !todo.release.is_empty() {
            self.work.release(todo.release).await;
        }
        if todo.news {
            self.news.notify_one();
        }
        // After the release: then the released legs can be claimed too.
        if todo.wake {
            self.changed.notify_one();
        }
    }

    fn start_lane(self: &Arc<Self>, id: SiteId) {
        let Some(site) = self.sites.lock().lane_site(id) else {
            unreachable!("a site with a lane is kept")
        };
        let lane = Lane::new(Arc::clone(self), id, site);
        self.tasks.spawn(lane.run());
    }

    fn look_up(self: &Arc<Self>, to: Destination) {
        let this = Arc::clone(self);
        self.tasks.spawn(async move {
            let site = tokio::select! {
                site = catch_panic(this.find_site(&to)) => site,
                // What waited for it was released when the dispatcher stopped.
                () = this.stopping.cancelled() => return,
            };
            let site = site.unwrap_or_else(|_| {
                tracing::error!(%to, "{BUG}");
                Err(Outcome::Deferred(internal_error()))
            });
            match site {
                Ok((key, address)) => {
                    let now = Instant::now();
                    let todo = this.sites.lock().resolved(to, key, address, now);
                    this.perform(todo).await;
                }
                Err(outcome) => {
                    let claims = this.sites.lock().unresolved(&to);
                    let trip = Trip::default();
                    for attempt in claims.chunk_by(|a, b| a.message.id == b.message.id) {
                        let same = |outcome| vec![outcome; attempt.len()];
                        let settled =
                            catch_panic(this.settle(attempt, &trip, same(outcome.clone()))).await;
                        if settled.is_err() {
                            tracing::error!(%to, "{BUG}");
                            let deferred = same(Outcome::Deferred(internal_error()));
                            this.settle(attempt, &trip, deferred).await;
                        }
                    }
                    this.changed.notify_one();
                }
            }
        });
    }

    /// The site of a destination, and where a connection for it goes first: what is known of the site stays as it is.
    async fn find_site(&self, to: &Destination) -> Result<(SiteKey, Option<SocketAddr>), Outcome> {
        let planner = self.reacher.planner();
        let key = planner.site(to).await?;
        let known = self.sites.lock().knows(&key);
        let address = if known {
            None
        } else {
            planner.first_address(&key).await
        };
        Ok((key, address))
    }

    /// Ends an attempt: one outcome a leg, in order.
    pub(crate) async fn settle(&self, attempt: &[Claim], trip: &Trip, outcomes: Vec<Outcome>) {
        let legs = attempt.len();
        assert_eq!(legs, outcomes.len(), "every leg has exactly one outcome");
        self.work.settle(attempt, trip, outcomes).await;
        if legs > 0 && self.sites.lock().finished(legs) {
            self.changed.notify_one();
        }
    }

    /// What the outcomes of an attempt say of the pressure on the site, and on mailboxes there.
    pub(crate) fn learn_pressure(&self, id: SiteId, attempt: &[Claim], outcomes: &[Outcome]) {
        let signs: Vec<_> = outcomes.iter().map(Sign::of).collect();
        let says_something = |sign: &Sign| matches!(sign, Sign::SiteThrottled | Sign::MailboxFull);
        if self.pressed.load(Ordering::Relaxed) || signs.iter().any(says_something) {
            let (signs, now) = (attempt.iter().zip(signs), Instant::now());
            self.sites.lock().learn_pressure(id, signs, now);
        }
    }

    /// Gives legs back that a lane had taken.
    pub(crate) async fn give_back(&self, claims: Vec<Claim>) {
        let legs = claims.len();
        self.work.release(claims).await;
        self.sites.lock().finished(legs);
        // They are due at once, and nobody else will say so.
        self.changed.notify_one();
    }

    /// The first parcel of a new lane.
    pub(crate) async fn first_parcel(self: &Arc<Self>, id: SiteId) -> Option<Parcel> {
        loop {
            let (parcel, todo) = self.sites.lock().first_parcel(id, Instant::now());
            self.perform(todo).await;
            if let Some(parcel) = self.still_ours(parcel?).await {
                return Some(parcel);
            }
        }
    }

    pub(crate) async fn next(self: &Arc<Self>, id: SiteId) -> Next {
        loop {
            let (next, todo) = self.sites.lock().next(id, Instant::now());
            self.perform(todo).await;
            match next {
                Next::Parcel(parcel) => {
                    if let Some(parcel) = self.still_ours(parcel).await {
                        return Next::Parcel(parcel);
                    }
                }
                other => return other,
            }
        }
    }

    /// Gives back legs that waited here so long that their lease is nearly over: someone else may hold them by the time
    /// they are delivered.
    async fn still_ours(&self, parcel: Parcel) -> Option<Parcel> {
        if lease_left(&parcel) >= LEASE_NEEDED.min(self.settings.attempt_timeout) {
            return Some(parcel);
        }
        tracing::debug!(leg = %parcel.first().lease.leg, "lease nearly over before its turn, given back");
        self.give_back(parcel.into_claims()).await;
        None
    }

    /// How long an attempt may take: no leg is worked on beyond its lease.
    pub(crate) fn time_for(&self, parcel: &Parcel) -> Duration {
        lease_left(parcel).min(self.settings.attempt_timeout)
    }
}

/// The reason for an attempt that a bug of ours broke off (RFC 3463 §3.4: mail system status in general).
pub(crate) fn internal_error() -> Diagnosis {
    Diagnosis::local(EnhancedStatus::transient(3, 0), "internal error")
}

/// How long the first of the parcel's leases lasts, by the wall clock, in which leases are written.
fn lease_left(parcel: &Parcel) -> Duration {
    let since_epoch = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    parcel
        .lease_end()
        .since(Timestamp::default().plus(since_epoch))
}

/// What operators are told to do about a panic.
pub(crate) const BUG: &str = "a bug of Onward broke an attempt off; the mail is kept and tried again. Please report the \
                              panic message on standard error";
/// How often what nobody asks for any more is forgotten, and the longest wait.
const SWEEP_EVERY: Duration = Duration::from_secs(60);
/// A leg with less of its lease left is not begun.
const LEASE_NEEDED: Duration = Duration::from_mins(1);
/// How often in a row the other side may wake us for nothing before we breathe in between.
const WAITS_FOR_NOTHING_MAX: u32 = 3;
/// Short beside any delivery, long beside a claim: two hundred in vain a second cost nothing to speak of.
const BREATH: Duration = Duration::from_millis(5);
