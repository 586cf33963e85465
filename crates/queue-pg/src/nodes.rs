//! The nodes of the shared spool: each sends a heartbeat; who stops is given up, and what it worked on goes to the others.
//!
//! A node draws a new *run* when it starts, and when it finds that it was given up: leases are a run's, so that nothing that
//! an earlier one still does counts.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use spool::Error;
use tokio_util::sync::CancellationToken;

use crate::connect::{Borrowed, Database, application, timed};
use crate::engine::Shared;
use crate::hints::TELL;
use crate::promise;
use crate::settings::{Settings, StartError};
use crate::upkeep;

/// Takes this node's name; the run that it begins, and the time of the database.
pub(crate) async fn register(
    database: &Database,
    settings: &Settings,
    now: impl Fn() -> i64,
) -> Result<i64, StartError> {
    let failed = |error: Error| StartError::Database(error.to_string());
    wait_for_name(database, settings, &now).await?;
    let run = draw();
    let done = timed(async {
        let client = database.get().await?;
        let version = env!("CARGO_PKG_VERSION");
        client
            .rows(REGISTER, &[&settings.node, &run, &now(), &version])
            .await?;
        client.done();
        Ok(())
    });
    done.await.map_err(failed)?;
    Ok(run)
}

/// A process that died a moment ago has no connections any more, and its name is free at once. One that has some is at work, if
/// its heartbeat moves.
async fn wait_for_name(
    database: &Database,
    settings: &Settings,
    now: impl Fn() -> i64,
) -> Result<(), StartError> {
    let failed = |error: Error| StartError::Database(error.to_string());
    let (began, node) = ((Instant::now(), now()), &settings.node);
    loop {
        let client = database.get().await.map_err(failed)?;
        let row = client
            .row(OTHER, &[&node, &application(node)])
            .await
            .map_err(failed)?;
        client.done();
        let Some(heartbeat) = row.map(|row| row.get::<_, i64>(0)) else {
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
    /// Sends heartbeats until `stopped`.
    pub(crate) async fn keep_alive(self: Arc<Self>, stopped: CancellationToken) {
        let mut beats = 0u64;
        while !stopped.is_cancelled() {
            let told = tokio::select! {
                () = stopped.cancelled() => return,
                () = tokio::time::sleep(self.pace.beat) => false,
                () = self.beat_asked.notified() => true,
            };
            match self.beat(beats, told).await {
                Ok(()) => beats += 1,
                Err(error) => {
                    tracing::error!(%error, "the shared spool does not answer");
                    tokio::time::sleep(Duration::from_millis(500)).await;
                }
            }
        }
    }

    /// Keeps the tables small until `stopped`.
    pub(crate) async fn keep_small(self: Arc<Self>, stopped: CancellationToken) {
        loop {
            tokio::select! {
                () = stopped.cancelled() => return,
                () = tokio::time::sleep(SHRINK_EVERY) => {}
            }
            if let Err(error) = upkeep::shrink(&self.database).await {
                tracing::debug!(%error, "cannot make the indexes of the shared spool smaller");
            }
        }
    }

    /// `told`: another node has changed something.
    async fn beat(&self, beats: u64, told: bool) -> Result<(), Error> {
        if self.run() == GONE {
            return Ok(());
        }
        let sent = Instant::now();
        let was_lost = self.is_lost();
        let mut news = timed(async {
            let client = self.database.get().await?;
            let row = client.row(CLOCK, &[]).await?;
            if let Some(row) = row {
                self.time.set(sent, row.get(0));
            }
            let now = self.time.now();
            let kept = client.row(BEAT, &[&self.node, &self.run(), &now]).await?;
            match kept {
                Some(row) => self.draining.store(row.get(0), Ordering::Relaxed),
                None if self.run() == GONE => {}
                None => self.begin_again(&client).await?,
            }
            *self.beaten.lock() = Instant::now();
            let mut news = self.give_up_dead(&client).await?;
            if was_lost || beats.is_multiple_of(PROMISE_EVERY) {
                self.look_at_promise().await?;
            }
            if beats.is_multiple_of(SWEEP_EVERY) {
                upkeep::sweep(&client, self.time.now()).await?;
            }
            self.look(&client).await?;
            news |= was_lost || told;
            client.done();
            Ok(news)
        })
        .await?;
        if was_lost {
            tracing::warn!("the shared spool answers again");
        }
        news |= self
            .front
            .lock()
            .next()
            .is_some_and(|at| at <= self.time.now());
        if news {
            self.changes.send_replace(());
        }
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

    /// Others have given this node up, and have what it worked on.
    async fn begin_again(&self, client: &Borrowed) -> Result<(), Error> {
        let run = draw();
        let version = env!("CARGO_PKG_VERSION");
        client
            .rows(REGISTER, &[&self.node, &run, &self.time.now(), &version])
            .await?;
        self.run.store(run, Ordering::SeqCst);
        tracing::warn!(
            node = self.node,
            "this node was silent for so long that the others have taken its legs: it begins anew"
        );
        Ok(())
    }

    /// Frees the legs of nodes that send no heartbeat any more.
    async fn give_up_dead(&self, client: &Borrowed) -> Result<bool, Error> {
        let before = self.time.now().saturating_sub(millis(self.pace.dead));
        let rows = client.rows(GIVE_UP, &[&before, &self.node]).await?;
        for row in &rows {
            let (name, legs): (&str, i64) = (row.get(0), row.get(1));
            tracing::warn!(
                node = name,
                legs,
                "a node is silent: what it worked on goes to the others"
            );
        }
        Ok(!rows.is_empty())
    }

    /// Brings the front up to date.
    pub(crate) async fn look(&self, client: &Borrowed) -> Result<(), Error> {
        let rows = client.rows(LOOK, &[]).await?;
        let rows = rows
            .iter()
            .map(|row| (row.get::<_, &str>(0).into(), row.get(1)));
        self.front.lock().load(rows.collect());
        Ok(())
    }

    /// Leaves: what is still leased goes to the others now, and no heartbeat follows.
    pub(crate) async fn leave(&self) -> Result<(), Error> {
        let run = self.run.swap(GONE, Ordering::SeqCst);
        timed(async {
            let client = self.database.get().await?;
            client.rows(LEAVE, &[&self.node, &run]).await?;
            client.run(TELL).await?;
            client.done();
            Ok(())
        })
        .await
    }
}

pub(crate) fn millis(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}

/// The run of a node that has left.
const GONE: i64 = 0;
const CLOCK: &str = "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::int8";
const OTHER: &str = "SELECT heartbeat FROM nodes WHERE name = $1 AND run <> 0 AND EXISTS (
    SELECT FROM pg_stat_activity WHERE application_name = $2 AND pid <> pg_backend_pid() AND datname = current_database())";
/// The legs of the run before are free.
const REGISTER: &str = "WITH old AS (SELECT run FROM nodes WHERE name = $1 AND run <> 0),
    freed AS (UPDATE legs SET owner = NULL, lease_end = NULL FROM old WHERE owner = old.run)
    INSERT INTO nodes (name, run, heartbeat, since, version) VALUES ($1, $2, $3, $3, $4)
    ON CONFLICT (name) DO UPDATE SET run = $2, heartbeat = $3, since = $3, version = $4, draining = false";
const BEAT: &str =
    "UPDATE nodes SET heartbeat = $3 WHERE name = $1 AND run = $2 RETURNING draining";
const GIVE_UP: &str = "WITH dead AS (
        SELECT name, run FROM nodes WHERE heartbeat < $1 AND run <> 0 AND name <> $2 FOR UPDATE SKIP LOCKED),
    gone AS (UPDATE nodes SET run = 0 FROM dead WHERE nodes.name = dead.name),
    freed AS (UPDATE legs SET owner = NULL, lease_end = NULL FROM dead WHERE owner = dead.run RETURNING dead.name)
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
const SWEEP_EVERY: u64 = 15;
const SHRINK_EVERY: Duration = Duration::from_mins(10);
