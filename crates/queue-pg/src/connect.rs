//! Connections to the database: a few, each used by one piece of work at a time.
//!
//! What takes too long is given up, and its connection with it: what the database makes of it then, nobody here learns. It is
//! looked at again by whoever may do it twice. The database ends a statement by the same limit, but no commit: cancelling one that
//! waits for its standby would make it one that did not.

use std::ops::Deref;
use std::time::{Duration, Instant};

use deadpool_postgres::{Manager, ManagerConfig, Object, Pool, RecyclingMethod, Runtime};
use spool::Error;
use tokio_postgres::config::TargetSessionAttrs;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Config, Row};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::hosts::{self, Hosts};
use crate::settings::{Settings, StartError, WORK_MAX};
use crate::tls;

/// The database.
#[derive(Clone)]
pub(crate) struct Database {
    pool: Pool,
    /// For what listens, and is no part of the pool.
    pub(crate) hosts: Hosts,
}

/// A connection for one piece of work. It is closed if the work is not [`Borrowed::done`]: it may be in the middle of something.
pub(crate) struct Borrowed {
    object: Option<Object>,
    done: bool,
    since: Instant,
}

/// What the parameters of a statement stand for.
pub(crate) type Parameters<'a> = &'a [&'a (dyn ToSql + Sync)];

impl Database {
    /// Connects to nothing yet.
    pub(crate) fn new(settings: &Settings) -> Result<Self, StartError> {
        let (url, verify) = tls::split(&settings.url);
        let each: Result<Vec<_>, _> = hosts::split(&url)
            .iter()
            .map(|url| prepare(url, &settings.node))
            .collect();
        let each = each.map_err(|error| StartError::Url(words(&error)))?;
        let tls = MakeRustlsConnect::new(verify.map_or_else(|| Ok(tls::unproved()), tls::proved)?);
        let hosts = Hosts { each, tls };
        let manager = Manager::from_connect(
            Config::new(),
            hosts.clone(),
            ManagerConfig {
                recycling_method: RecyclingMethod::Fast,
            },
        );
        let pool = Pool::builder(manager)
            .max_size(settings.connections.max(CONNECTIONS_MIN))
            .runtime(Runtime::Tokio1)
            .wait_timeout(Some(WORK_MAX))
            .create_timeout(Some(CONNECT_MAX))
            .build()
            .map_err(|error| StartError::Url(error.to_string()))?;
        Ok(Self { pool, hosts })
    }

    pub(crate) async fn get(&self) -> Result<Borrowed, Error> {
        let object = Box::pin(self.pool.get()).await;
        let object = object.map_err(|error| Error::Unknown(pool_words(&error)))?;
        Ok(Borrowed {
            object: Some(object),
            done: false,
            since: Instant::now(),
        })
    }

    /// The rows that one statement gives which may be run twice.
    pub(crate) async fn ask(
        &self,
        statement: &str,
        parameters: Parameters<'_>,
    ) -> Result<Vec<Row>, Error> {
        twice(|| async {
            let client = self.get().await?;
            let rows = client.rows(statement, parameters).await?;
            client.done();
            Ok(rows)
        })
        .await
    }

    /// All connections: what is under way is given up.
    pub(crate) fn close(&self) {
        self.pool.close();
    }
}

impl Borrowed {
    /// The rows that a statement gives; it is prepared once for each connection.
    pub(crate) async fn rows(
        &self,
        statement: &str,
        parameters: Parameters<'_>,
    ) -> Result<Vec<Row>, Error> {
        let statement = self.prepare_cached(statement).await.map_err(trouble)?;
        self.query(&statement, parameters).await.map_err(trouble)
    }

    /// Runs statements without parameters.
    pub(crate) async fn run(&self, statements: &str) -> Result<(), Error> {
        self.batch_execute(statements).await.map_err(trouble)
    }

    /// The work is whole: the connection may be used by others.
    pub(crate) fn done(mut self) {
        self.done = true;
    }
}

impl Deref for Borrowed {
    type Target = deadpool_postgres::ClientWrapper;

    fn deref(&self) -> &Self::Target {
        match &self.object {
            Some(object) => object,
            None => unreachable!("it is there until dropped"),
        }
    }
}

impl Drop for Borrowed {
    fn drop(&mut self) {
        let Some(object) = self.object.take().filter(|_| !self.done) else {
            return;
        };
        // The other connections may lead to the same host, which stands still.
        if let Some(pool) = Object::pool(&object).filter(|_| self.since.elapsed() > WORK_MAX / 2) {
            pool.retain(|_, _| false);
        }
        drop(Object::take(object));
    }
}

/// How one host is connected to.
fn prepare(url: &str, node: &str) -> Result<Config, tokio_postgres::Error> {
    let mut config: Config = url.parse()?;
    let given = config.get_options().unwrap_or_default();
    // A statement begins after the work that it is part of: nobody waits any more for what is ended by this.
    let limit = WORK_MAX.as_secs();
    let options = format!("{OPTIONS} -c statement_timeout={limit}s {given}");
    config.options(options.trim_end());
    config.application_name(application(node));
    // Several hosts are a primary and its standbys.
    config.target_session_attrs(TargetSessionAttrs::ReadWrite);
    config.connect_timeout(CONNECT_MAX);
    config.keepalives_idle(Duration::from_secs(10));
    config.tcp_user_timeout(LINK_MAX);
    Ok(config)
}

/// Does a piece of work within its time.
pub(crate) async fn timed<T>(work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    // What talks to a database is large, and the futures of its callers are to stay small.
    let done = tokio::time::timeout(WORK_MAX, Box::pin(work)).await;
    done.unwrap_or_else(|_| {
        let text = format!(
            "the database did not answer within {} s",
            WORK_MAX.as_secs()
        );
        Err(Error::Unknown(text))
    })
}

/// Does a piece of work that may be done twice: again, if its connection broke. After a fail-over each connection is found broken once.
pub(crate) async fn twice<T, F: Future<Output = Result<T, Error>>>(
    work: impl Fn() -> F,
) -> Result<T, Error> {
    patiently(TWICE_WITHIN, || timed(work())).await
}

/// Does a piece of work that may be done twice, until it is done, for so long at most. So a primary that fails over costs time, and no
/// answer.
pub(crate) async fn patiently<T, F: Future<Output = Result<T, Error>>>(
    patience: Duration,
    work: impl Fn() -> F,
) -> Result<T, Error> {
    let began = Instant::now();
    loop {
        match work().await {
            Err(error) if is_passing(&error) && began.elapsed() < patience => {
                tracing::debug!(%error, "the shared spool: trying again");
                tokio::time::sleep(AGAIN_AFTER).await;
            }
            done => return done,
        }
    }
}

/// What went wrong, as callers know it.
pub(crate) fn trouble(error: tokio_postgres::Error) -> Error {
    match error.code() {
        Some(code) if *code == SqlState::DISK_FULL => {
            Error::Full("the database's disk is full".to_owned())
        }
        // Something is wrong with what was asked: its data, its names, its size.
        Some(code) if REFUSALS.iter().any(|class| code.code().starts_with(class)) => {
            Error::Refused(words(&error))
        }
        _ => Error::Unknown(words(&error)),
    }
}

/// Whether the same again may go well: nothing is wrong with what was asked.
pub(crate) fn is_passing(error: &Error) -> bool {
    matches!(error, Error::Unknown(_) | Error::Full(_))
}

/// With what the server said, which the error itself leaves to its source.
pub(crate) fn words(error: &tokio_postgres::Error) -> String {
    let source = std::error::Error::source(error);
    match source {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

/// As `pg_stat_activity` shows the connections of a node: PostgreSQL cuts it after 63 octets.
pub(crate) fn application(node: &str) -> String {
    let node = node.chars().filter(char::is_ascii_graphic).take(48);
    format!("onward {}", node.collect::<String>())
}

fn pool_words(error: &deadpool_postgres::PoolError) -> String {
    match error {
        deadpool_postgres::PoolError::Backend(error) => words(error),
        error => error.to_string(),
    }
}

/// A plan that is kept is for a queue as long as it was then: made while it is empty, it reads the whole of a long one. A new one each
/// time costs a third of a millisecond a batch.
/// What a node leaves behind that loses its power is not to hold locks for long.
const OPTIONS: &str = "-c search_path=onward -c client_min_messages=warning -c plan_cache_mode=force_custom_plan -c jit=off \
    -c default_transaction_isolation=read\\ committed -c idle_in_transaction_session_timeout=15s \
    -c tcp_keepalives_idle=10 -c tcp_keepalives_interval=5 -c tcp_keepalives_count=3";
/// Classes of errors that come again however often one asks.
const REFUSALS: [&str; 6] = ["0A", "21", "22", "23", "42", "54"];
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// A link that acknowledges nothing for so long is dead.
const LINK_MAX: Duration = Duration::from_secs(15);
pub(crate) const AGAIN_AFTER: Duration = Duration::from_millis(300);
/// What failed later than that was given time enough.
const TWICE_WITHIN: Duration = Duration::from_secs(2);
const CONNECTIONS_MIN: usize = 4;
