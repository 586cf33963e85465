//! The nodes of the shared spool: each sends a heartbeat; who stops is given up, and what it worked on goes to the others.
//!
//! A node draws a new *run* when it starts, and when it finds that it was given up: leases are a run's, so that nothing that
//! an earlier one still does counts.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use spool::Error;
use tokio_util::sync::CancellationToken;

use crate::connect::{Borrowed, Database, Parameters, application, timed};
use crate::engine::Shared;
use crate::hints::TELL;
use crate::promise;
use crate::settings::{Settings, StartError};
use crate::time::span;
use crate::upkeep;

/// Takes this node's name; the run that it begins, and the time of the database.
pub(crate) async fn register(
    database: &Database,
    settings: &Settings,
    now: impl Fn() -> i64,
) -> Result<i64, StartError> {
    wait_for_name(database, settings, &now).await?;
    let (run, now, version) = (draw(), now(), env!("CARGO_PKG_VERSION"));
    let taken: Parameters<'_> = &[&settings.node, &run, &now, &version];
    database.ask(REGISTER, taken).await?;
    Ok(run)
}

/// A process that died a moment ago has no connections any more, and its name is free at once. One that has some is at work, if
/// its heartbeat moves.
async fn wait_for_name(
    database: &Database,
    settings: &Settings,
    now: impl Fn() -> i64,
) -> Result<(), StartError> {
    let (began, node) = ((Instant::now(), now()), &settings.node);
    loop {
        let rows = database.ask(OTHER, &[&node, &application(node)]).await?;
        let Some(heartbeat) = rows.first().map(|row| row.get::<_, i64>(0)) else {
            return Ok(());
        };
        if heartbeat > began.1 {
            return Err(StartError::NameTaken(node.clone()));
        }
        if began.0.elapsed() > settings.pace.beat * 2 {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn draw() -> i64 {
    (rand::random::<i64>() & i64::MAX).max(GONE + 1)
}

impl Shared {
    /// Sends heartbeats until `stopped`. Nothing else holds them up: a look takes long in a long queue.
    pub(crate) async fn keep_alive(self: Arc<Self>, stopped: CancellationToken) {
        while !stopped.is_cancelled() {
            tokio::select! {
                () = stopped.cancelled() => return,
                () = tokio::time::sleep(self.pace.beat) => {}
                () = self.beat_asked.notified() => {}
            }
            if let Err(error) = self.beat().await {
                tracing::error!(%error, "the shared spool does not answer");
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        }
    }

    /// Looks what there is to do for a node that is not cut off, until `stopped`.
    pub(crate) async fn keep_up(self: Arc<Self>, stopped: CancellationToken) {
        let (mut turns, mut told, mut seen) = (0u64, false, *self.well_since.lock());
        loop {
            let rest = *self.look_next.lock();
            tokio::select! {
                () = stopped.cancelled() => return,
                () = tokio::time::sleep(self.pace.beat) => {}
                () = tokio::time::sleep_until(rest.into()), if told => {}
                () = self.look_asked.notified(), if !told => {
                    told = true;
                    continue;
                }
            }
            let told = Instant::now() >= rest && std::mem::take(&mut told);
            if self.run() == GONE || self.beaten.lock().elapsed() > self.pace.lost {
                continue;
            }
            let well_since = *self.well_since.lock();
            let was_lost = seen != well_since;
            let check = was_lost || turns.is_multiple_of(PROMISE_EVERY);
            match self.catch_up(check, was_lost || told).await {
                Ok(()) => (turns, seen) = (turns + 1, well_since),
                Err(error) => tracing::warn!(%error, "cannot look through the shared spool"),
            }
        }
    }

    /// Keeps the tables small until `stopped`.
    pub(crate) async fn keep_small(self: Arc<Self>, stopped: CancellationToken) {
        for minute in 1u64.. {
            tokio::select! {
                () = stopped.cancelled() => return,
                () = tokio::time::sleep(self.pace.beat * SWEEP_EVERY) => {}
            }
            let swept = upkeep::sweep(&self.database, self.time.now()).await;
            let small = match minute.is_multiple_of(SHRINK_EVERY) {
                true => upkeep::shrink(&self.database).await,
                false => Ok(()),
            };
            if let Err(error) = swept.and(small) {
                tracing::debug!(%error, "cannot clear the shared spool of what nobody needs");
            }
        }
    }

    async fn beat(&self) -> Result<(), Error> {
        if self.run() == GONE {
            return Ok(());
        }
        timed(async {
            let client = self.database.get().await?;
            let jumped = || {
                tracing::warn!("the clock of the shared spool's database is another than before");
                *self.well_since.lock() = Instant::now();
            };
            self.time.ask(&client, jumped).await?;
            let (sent, now) = (Instant::now(), self.time.now());
            let known = client.rows(BEAT, &[&self.node, &self.run(), &now]).await?;
            let begun = match known.first() {
                Some(row) => {
                    let draining = row.get(0);
                    if self.draining.swap(draining, Ordering::Relaxed) != draining {
                        self.look_asked.notify_one();
                    }
                    false
                }
                None => self.run() != GONE && self.begin_again(&client).await?,
            };
            client.done();
            let mut beaten = self.beaten.lock();
            let was_lost = beaten.elapsed() > self.pace.lost;
            if was_lost {
                tracing::warn!("the shared spool answers again");
            }
            if was_lost || begun {
                *self.well_since.lock() = sent;
                self.look_asked.notify_one();
            }
            // What the others see is the time at which it was sent.
            *beaten = sent;
            Ok(())
        })
        .await
    }

    /// `check` what the database promises. `news`: there is something to claim, as far as is known.
    async fn catch_up(&self, check: bool, mut news: bool) -> Result<(), Error> {
        let done = self.find_news(check, &mut news).await;
        // What was left is said once: not while the database is away, where the next claim would fail, too.
        news |= done.is_ok() && self.front.lock().take_left();
        if news {
            self.changes.send_replace(());
        }
        done
    }

    async fn find_news(&self, check: bool, news: &mut bool) -> Result<(), Error> {
        if check {
            self.look_at_promise().await?;
        }
        *news |= self.give_back_unheard().await?;
        // Who was cut off itself, also just now, has seen no heartbeats of those who were not. After a jump of the clock, all are old for
        // a moment.
        let (now, beaten) = (self.time.now(), self.beaten.lock().elapsed());
        if beaten <= self.pace.lost && self.well_since.lock().elapsed() > self.pace.dead {
            *news |= self.give_up_dead(now).await?;
        }
        *news |= self.look().await?;
        Ok(())
    }

    /// After a fail-over it may be another database, and settings change.
    async fn look_at_promise(&self) -> Result<(), Error> {
        let findings = promise::read(&self.database).await?;
        let broken = findings
            .into_iter()
            .find(|finding| finding.breaks && !self.accept_risk);
        let broken = broken.map(|finding| finding.to_string());
        let before = std::mem::replace(&mut *self.broken.lock(), broken.clone());
        match (before, broken) {
            (None, Some(why)) => tracing::error!(
                why,
                "the shared spool keeps no promise any more: no mail is taken"
            ),
            (Some(_), None) => tracing::warn!("the shared spool keeps its promise again"),
            _ => {}
        }
        Ok(())
    }

    /// Others have given this node up, and have what it worked on; or a second process has its name, and then this one waits until
    /// that is gone: false.
    async fn begin_again(&self, client: &Borrowed) -> Result<bool, Error> {
        let run = draw();
        let (before, now) = (self.run(), self.time.now());
        let version = env!("CARGO_PKG_VERSION");
        let taken = client
            .rows(AGAIN, &[&self.node, &before, &run, &now, &version])
            .await?;
        if taken.is_empty() {
            if !self.usurped.swap(true, Ordering::Relaxed) {
                tracing::error!(
                    node = self.node,
                    "another process has this node's name: while that is there, this one takes no mail and sends none; stop one of them"
                );
            }
            return Ok(false);
        }
        self.run.store(run, Ordering::SeqCst);
        let why = match self.usurped.swap(false, Ordering::Relaxed) {
            true => "the other process with this node's name is gone",
            false => "this node was silent for so long that the others have taken its legs",
        };
        tracing::warn!(node = self.node, "{why}: it begins anew");
        Ok(true)
    }

    /// Frees the legs of nodes that send no heartbeat any more.
    async fn give_up_dead(&self, now: i64) -> Result<bool, Error> {
        let before = now.saturating_sub(span(self.pace.dead));
        // Under its own name another may die.
        let spared = match self.usurped.load(Ordering::Relaxed) {
            true => "",
            false => &self.node,
        };
        let rows = self.database.ask(GIVE_UP, &[&before, &spared]).await?;
        for row in &rows {
            let (name, legs): (&str, i64) = (row.get(0), row.get(1));
            tracing::warn!(
                node = name,
                legs,
                "a node is silent: what it worked on goes to the others"
            );
        }
        if !rows.is_empty() {
            self.told.notify_one();
        }
        Ok(!rows.is_empty())
    }

    /// Brings the front up to date; whether something is due that it did not know of. Not so often that it keeps the database busy.
    pub(crate) async fn look(&self) -> Result<bool, Error> {
        if Instant::now() < *self.look_next.lock() {
            return Ok(false);
        }
        let began = Instant::now();
        let rows = self.database.ask(LOOK, &[]).await?;
        *self.look_next.lock() = Instant::now() + began.elapsed() * LOOK_REST;
        let rows = rows
            .iter()
            .map(|row| (row.get::<_, &str>(0).into(), row.get(1)));
        Ok(self.front.lock().load(rows.collect(), self.time.now()))
    }

    /// Leaves: what is still leased goes to the others now, and no heartbeat follows.
    pub(crate) async fn leave(&self) -> Result<(), Error> {
        let run = self.run.swap(GONE, Ordering::SeqCst);
        self.database.ask(LEAVE, &[&self.node, &run]).await?;
        self.database.ask(TELL, &[&self.node]).await.map(drop)
    }
}

/// The run of a node that has left.
const GONE: i64 = 0;
const OTHER: &str = "SELECT heartbeat FROM nodes WHERE name = $1 AND run <> 0 AND EXISTS (
    SELECT FROM pg_stat_activity WHERE application_name = $2 AND pid <> pg_backend_pid() AND datname = current_database())";
/// Unless another process has the name; it may have been forgotten. What was being taken in goes on.
const AGAIN: &str = "WITH d AS (UPDATE drafts SET run = $3 WHERE run = $2)
    INSERT INTO nodes (name, run, heartbeat, since, version) VALUES ($1, $3, $4, $4, $5)
    ON CONFLICT (name) DO UPDATE SET run = $3, heartbeat = $4 WHERE nodes.run IN (0, $2) RETURNING name";
/// The legs of the run before are free.
const REGISTER: &str = "WITH old AS (SELECT run FROM nodes WHERE name = $1 AND run <> 0),
    freed AS (UPDATE legs SET owner = NULL, lease_end = NULL FROM old WHERE owner = old.run)
    INSERT INTO nodes (name, run, heartbeat, since, version) VALUES ($1, $2, $3, $3, $4)
    ON CONFLICT (name) DO UPDATE SET run = $2, heartbeat = $3, since = $3, version = $4, draining = false";
/// One that comes late takes nothing back; but one of before a clock was set back does not stand.
const BEAT: &str = "UPDATE nodes SET heartbeat = CASE WHEN heartbeat BETWEEN $3 AND $3 + 60000 THEN heartbeat ELSE $3 END
    WHERE name = $1 AND run = $2 RETURNING draining";
const GIVE_UP: &str = "WITH dead AS (
        SELECT name, run FROM nodes WHERE heartbeat < $1 AND run <> 0 AND name <> $2 FOR UPDATE SKIP LOCKED),
    gone AS (UPDATE nodes SET run = 0 FROM dead WHERE nodes.name = dead.name),
    held AS (SELECT message, number, dead.name FROM legs JOIN dead ON owner = dead.run FOR UPDATE OF legs SKIP LOCKED),
    freed AS (UPDATE legs SET owner = NULL, lease_end = NULL FROM held
        WHERE legs.message = held.message AND legs.number = held.number RETURNING held.name)
    SELECT name, (SELECT count(*) FROM freed WHERE freed.name = dead.name) FROM dead";
const LEAVE: &str =
    "WITH me AS (UPDATE nodes SET run = 0 WHERE name = $1 AND run = $2 RETURNING name)
    UPDATE legs SET owner = NULL, lease_end = NULL FROM me WHERE owner = $2";
/// By one step in the index for each destination, however many legs there are.
const LOOK: &str = "WITH RECURSIVE d AS (
        (SELECT destination FROM legs WHERE ready_at IS NOT NULL ORDER BY destination LIMIT 1)
        UNION ALL
        SELECT (SELECT destination FROM legs WHERE destination > d.destination AND ready_at IS NOT NULL ORDER BY destination LIMIT 1)
        FROM d WHERE d.destination IS NOT NULL)
    SELECT destination, first FROM d, LATERAL (
        SELECT ready_at AS first FROM legs WHERE legs.destination = d.destination AND ready_at IS NOT NULL AND NOT held AND NOT bounced
        ORDER BY ready_at LIMIT 1) AS l
    WHERE destination IS NOT NULL";
/// Heartbeats between two looks at what the database promises.
const PROMISE_EVERY: u64 = 5;
/// Heartbeats between two sweeps.
const SWEEP_EVERY: u32 = 15;
/// Sweeps between two looks at the indexes.
const SHRINK_EVERY: u64 = 15;
/// A look is followed by a rest of so many times as long as it took.
const LOOK_REST: u32 = 5;
