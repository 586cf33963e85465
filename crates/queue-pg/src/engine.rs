//! The engine: the trait `Spool` over the tables, and the tasks that keep a node alive.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant};

use envelope::{Claim, Destination, Lease, LegId, MessageId, Timestamp};
use futures_util::future::join_all;
use parking_lot::Mutex;
use spool::{
    Action, Arrival, By, Changed, Clock, Counts, Dsn, Entry, Error, Filter, Lifetime, OpenError,
    Overdue, Page, Settlement, Spool, Summary, Token, Want, summarise,
};
use tokio::sync::{Notify, watch};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::batch::Batcher;
use crate::board::Board;
use crate::body::{PgReader, PgWriter};
use crate::commit::{Begun, Body, Entering, PATIENCE, claims};
use crate::connect::{Database, patiently};
use crate::front::Front;
use crate::hints;
use crate::nodes;
use crate::promise;
use crate::schema;
use crate::settings::{Pace, Settings, StartError};
use crate::settle::Settling;
use crate::time::{Time, timestamp};
use crate::tokens;
use crate::upkeep;

/// The spool that several nodes share.
pub struct PgSpool {
    pub(crate) shared: Arc<Shared>,
    board: Arc<Board>,
    commits: Batcher<Entering, bool>,
    settlements: Batcher<Settling, ()>,
    lifetime: Lifetime,
    _stop: DropGuard,
}

/// What the tasks and the writers need too.
pub(crate) struct Shared {
    pub(crate) database: Database,
    pub(crate) node: String,
    pub(crate) pace: Pace,
    pub(crate) run: AtomicI64,
    pub(crate) time: Time,
    pub(crate) front: Mutex<Front>,
    pub(crate) changes: watch::Sender<()>,
    /// When the last heartbeat was sent that went well.
    pub(crate) beaten: Mutex<Instant>,
    /// Since when they have without a gap.
    pub(crate) well_since: Mutex<Instant>,
    /// Before that, the front is not brought up to date again.
    pub(crate) look_next: Mutex<Instant>,
    /// Another process has this node's name.
    pub(crate) usurped: AtomicBool,
    /// Somebody has an order for this node: ask for it now.
    pub(crate) beat_asked: Notify,
    /// There is something new in the queue: look now.
    pub(crate) look_asked: Notify,
    pub(crate) draining: AtomicBool,
    /// What the database would have to keep, if it does not: no mail is taken then.
    pub(crate) broken: Mutex<Option<String>>,
    pub(crate) accept_risk: bool,
    /// When the queue was counted, how long that took, and what came of it.
    pub(crate) counts: tokio::sync::Mutex<Option<(Instant, Duration, Counts)>>,
    /// When its leases end: those of each request at a moment of their own.
    pub(crate) ends: Mutex<BTreeSet<i64>>,
    /// The ends of those whose answer was lost.
    pub(crate) unheard: Mutex<Vec<i64>>,
    /// Something that other nodes may want to know.
    pub(crate) told: Notify,
    /// Another node has put something on the board.
    pub(crate) heard: watch::Sender<()>,
}

impl Shared {
    /// What its leases are known by.
    pub(crate) fn run(&self) -> i64 {
        self.run.load(Ordering::SeqCst)
    }

    /// The database was not reached for so long that others may be about to take what this node works on; or another process has its name.
    pub(crate) fn is_lost(&self) -> bool {
        self.usurped.load(Ordering::Relaxed) || self.beaten.lock().elapsed() > self.pace.lost
    }

    pub(crate) fn may_claim(&self) -> bool {
        !self.draining.load(Ordering::Relaxed) && !self.is_lost()
    }

    /// Legs may be claimed there, and then, that could not be.
    pub(crate) fn entered<'a>(&self, places: impl Iterator<Item = &'a (Box<str>, i64)>) {
        let (mut front, mut is_news) = (self.front.lock(), false);
        for (destination, ready) in places {
            front.note(destination, *ready);
            is_news = true;
        }
        drop(front);
        if is_news {
            self.tell();
        }
    }

    fn tell(&self) {
        self.changes.send_replace(());
        self.told.notify_one();
    }
}

impl PgSpool {
    /// Connects, brings the tables up to date, looks at what the database promises, and takes the name of the node.
    pub async fn open(settings: Settings) -> Result<Self, StartError> {
        let database = Database::new(&settings)?;
        schema::migrate(&database).await?;
        let findings = promise::read(&database).await?;
        if findings.iter().any(|finding| finding.breaks) && !settings.accept_risk {
            let breaking = findings.into_iter().filter(|finding| finding.breaks);
            return Err(StartError::NoPromise(breaking.collect()));
        }
        for finding in &findings {
            tracing::warn!("the shared spool: {finding}");
        }
        let time = Time::new(settings.clock.clone());
        let client = database.get().await?;
        time.ask(&client, || {}).await?;
        client.done();
        let run = nodes::register(&database, &settings, || time.now()).await?;
        let shared = Arc::new(Shared {
            node: settings.node,
            pace: settings.pace,
            run: AtomicI64::new(run),
            time,
            front: Mutex::default(),
            changes: watch::Sender::new(()),
            beaten: Mutex::new(Instant::now()),
            well_since: Mutex::new(Instant::now()),
            look_next: Mutex::new(Instant::now()),
            usurped: AtomicBool::new(false),
            beat_asked: Notify::new(),
            look_asked: Notify::new(),
            draining: AtomicBool::new(false),
            broken: Mutex::default(),
            accept_risk: settings.accept_risk,
            ends: Mutex::default(),
            unheard: Mutex::default(),
            told: Notify::new(),
            heard: watch::Sender::new(()),
            counts: tokio::sync::Mutex::default(),
            database,
        });
        shared.look().await?;
        let stopped = CancellationToken::new();
        tokio::spawn(Arc::clone(&shared).keep_alive(stopped.clone()));
        tokio::spawn(Arc::clone(&shared).keep_up(stopped.clone()));
        tokio::spawn(Arc::clone(&shared).keep_small(stopped.clone()));
        tokio::spawn(hints::listen(Arc::clone(&shared), stopped.clone()));
        tokio::spawn(hints::tell(Arc::clone(&shared), stopped.clone()));
        Ok(Self {
            commits: Batcher::start(&shared, &stopped),
            settlements: Batcher::start(&shared, &stopped),
            board: Arc::new(Board::new(Arc::clone(&shared))),
            shared,
            lifetime: settings.lifetime,
            _stop: stopped.drop_guard(),
        })
    }

    /// Hands what this node works on to the others, and lets the database go.
    pub async fn close(&self) {
        if let Err(error) = self.shared.leave().await {
            tracing::warn!(%error, "cannot leave the shared spool: the others wait until this node is silent for {} s", self.shared.pace.dead.as_secs());
        }
        self.shared.database.close();
    }

    /// The clock of this machine.
    pub fn clock(&self) -> &Clock {
        self.shared.time.clock()
    }

    /// Makes bloated indexes anew. For tests and benches; a node does it by itself now and then.
    pub async fn shrink(&self) -> Result<(), Error> {
        upkeep::shrink(&self.shared.database).await
    }

    fn entering(&self, Dsn { mut arrival, body }: Dsn) -> Entering {
        arrival.first_due = self.shared.time.translated(arrival.first_due);
        let body = Body::Whole(body);
        Entering::new(&arrival.entries(), body, &[], self.lifetime, None)
    }
}

impl Spool for PgSpool {
    type Writer = PgWriter;
    type Reader = PgReader;

    async fn begin(&self, id: MessageId) -> Result<PgWriter, Error> {
        if self.shared.is_lost() {
            let text = "the shared spool does not answer";
            return Err(Error::Unknown(text.to_owned()));
        }
        if let Some(broken) = &*self.shared.broken.lock() {
            return Err(Error::Unknown(format!(
                "the database keeps no promise: {broken}"
            )));
        }
        Ok(PgWriter::new(Arc::clone(&self.shared), id))
    }

    async fn commit(
        &self,
        mut writer: PgWriter,
        mut arrival: Arrival,
    ) -> Result<Vec<Claim>, Error> {
        arrival.first_due = self.shared.time.translated(arrival.first_due);
        debug_assert_eq!(
            writer.id, arrival.message.id,
            "the writer is another message's"
        );
        let body = writer.finish().await?;
        writer.kept = true;
        let begun = arrival.lease.map(|lease| Begun {
            run: self.shared.run(),
            until: self.shared.lease_end(lease),
        });
        let legs = arrival.entries();
        let entering = Entering::new(&legs, body, &writer.tokens, self.lifetime, begun);
        let done = self.commits.run(entering).await;
        let is_ours = done.inspect_err(|_| {
            // It may be there all the same, or come yet: nobody here works on it.
            let until = begun.map(|begun| begun.until);
            self.shared.unheard.lock().extend(until);
        })?;
        Ok(match begun.filter(|_| is_ours) {
            // It may have waited for longer than its lease lasts.
            Some(begun) if begun.until > self.shared.time.now() => {
                claims(legs, self.lifetime, begun)
            }
            _ => Vec::new(),
        })
    }

    async fn bring_back(&self, mut writer: PgWriter, legs: Vec<Entry>) -> Result<bool, Error> {
        if legs.is_empty() {
            return Ok(false);
        }
        let body = writer.finish().await?;
        writer.kept = true;
        let entering = Entering::new(&legs, body, &writer.tokens, self.lifetime, None);
        self.commits.run(entering).await
    }

    async fn claim(&self, want: &Want) -> Result<Vec<Claim>, Error> {
        self.shared.claim_due(want).await
    }

    async fn park(&self, destinations: &[(Destination, bool)]) {
        let mut front = self.shared.front.lock();
        for (destination, is_parked) in destinations {
            front.park(destination.to_string().into(), *is_parked);
        }
    }

    async fn overdue(&self, max: usize, lease: Duration) -> Result<Vec<Overdue>, Error> {
        self.shared.take_overdue(max, lease).await
    }

    async fn extend(&self, leases: &[Lease], lease: Duration) -> Vec<Result<(), Error>> {
        self.shared.extend_leases(leases, lease).await
    }

    fn board(&self) -> Option<Arc<dyn spool::Board>> {
        Some(Arc::clone(&self.board) as Arc<dyn spool::Board>)
    }

    fn holds(&self, lease: &Lease) -> bool {
        lease.owner == self.shared.run().unsigned_abs() && !self.shared.is_lost()
    }

    async fn settle(&self, legs: Vec<(Lease, Settlement)>) -> Vec<Result<(), Error>> {
        let settling = legs.into_iter().map(|(lease, mut settlement)| {
            if let Settlement::Reschedule(due, _) = &mut settlement {
                *due = self.shared.time.translated(*due);
            }
            let settling = Settling::new(lease, settlement, |dsn| self.entering(dsn));
            self.settlements.run(settling)
        });
        let settling: Vec<_> = settling.collect();
        join_all(settling).await
    }

    async fn open_body(&self, id: MessageId) -> Result<PgReader, OpenError> {
        // A fail-over is to cost no leg one of its attempts: this waits for the database, and until it is known what leases are worth.
        let opened = patiently(PATIENCE, || async {
            match PgReader::open(&self.shared.database, id).await {
                Err(OpenError::Unavailable(text)) => Err(Error::Unknown(text)),
                _ if self.shared.is_lost() => Err(Error::Unknown("this node is lost".to_owned())),
                opened => Ok(opened),
            }
        });
        let opened = opened.await;
        let opened = opened.unwrap_or_else(|error| Err(OpenError::Unavailable(error.to_string())));
        if let Err(OpenError::Damaged(text)) = &opened {
            self.shared.hold_damaged(id, None, text).await;
        }
        opened
    }

    async fn next_due(&self) -> Option<Duration> {
        let next = self.shared.front.lock().next()?;
        Some(timestamp(next).since(timestamp(self.shared.time.now())))
    }

    fn changed(&self) -> watch::Receiver<()> {
        self.shared.changes.subscribe()
    }

    async fn list(&self, filter: &Filter, cursor: Option<LegId>, n: usize) -> Result<Page, Error> {
        self.shared.listed(filter, cursor, n).await
    }

    async fn counts(&self) -> Result<Counts, Error> {
        self.shared.counted().await
    }

    async fn summary(&self, filter: &Filter, by: By, n: usize) -> Result<Summary, Error> {
        match self.shared.tallied(filter, by).await? {
            Some(tally) => Ok(tally.finish(n)),
            None => summarise(self, filter, by, n, timestamp(self.shared.time.now())).await,
        }
    }

    async fn admin(
        &self,
        filter: &Filter,
        action: Action,
        cursor: Option<LegId>,
        n: usize,
    ) -> Result<Changed, Error> {
        let changed = self.shared.acted(filter, action, cursor, n).await?;
        self.shared.tell();
        Ok(changed)
    }

    fn token(&self, value: &str, expires: Timestamp) -> Token {
        tokens::name(value, expires)
    }

    async fn recall(&self, name: &str) -> Result<Option<String>, Error> {
        self.shared.recalled(name).await
    }
}
