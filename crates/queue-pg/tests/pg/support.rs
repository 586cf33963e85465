//! An empty database for each test, on a server that they share; and nodes that notice each other's death soon.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use envelope::{Claim, Leg, Message, MessageId, ReversePath, Timestamp};
use queue_pg::{Pace, PgSpool, Settings, StartError};
use spool::{Arrival, BodyWriter, Clock, Error, IdSource, Spool, Want};
use testkit::link::Link;
use testkit::postgres::Postgres;

/// A spool's database.
pub(crate) struct Database {
    pub(crate) url: String,
    pub(crate) name: String,
    pub(crate) server: Arc<Postgres>,
}

impl Database {
    pub(crate) async fn new() -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let server = Postgres::shared().await;
        let name = format!("t{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let url = server.database(&name).await;
        Self { url, name, server }
    }

    pub(crate) async fn open(&self, node: &str, clock: &Clock) -> PgSpool {
        let settings = Settings {
            clock: clock.clone(),
            ..Settings::new(&self.url, node)
        };
        PgSpool::open(settings).await.unwrap()
    }

    /// A node that goes by the database's clock, and notices within a second who is silent.
    pub(crate) async fn node(&self, name: &str) -> PgSpool {
        node(&self.url, name).await.unwrap()
    }

    /// A way to it that can be stopped, and the URL that goes this way.
    pub(crate) async fn link(&self) -> (Link, String) {
        let port = self.server.port();
        let link = Link::new(port).await;
        let by_port = |port: u16| format!(":{port}/");
        let url = self.url.replace(&by_port(port), &by_port(link.port()));
        (link, url)
    }

    /// The URL by which its clock is so many seconds ahead, which `onward.shift` tells.
    pub(crate) async fn shifted(&self, seconds: i32) -> String {
        let table = format!(
            "CREATE SCHEMA onward; CREATE TABLE onward.shift AS SELECT '{seconds} s'::interval AS by;"
        );
        self.ask(&table).await;
        for clock in ["clock_timestamp", "statement_timestamp"] {
            let shifted = format!(
                "CREATE FUNCTION onward.{clock}() RETURNS timestamptz LANGUAGE sql
                AS 'SELECT pg_catalog.{clock}() + by FROM onward.shift'"
            );
            self.ask(&shifted).await;
        }
        format!("{}?options=-c%20search_path%3Donward,pg_catalog", self.url)
    }

    /// What a query gives, as psql shows it.
    pub(crate) async fn ask(&self, query: &str) -> String {
        let said = self.server.say(&self.name, query).await.success();
        said.stdout.trim().to_owned()
    }
}

pub(crate) async fn node(url: &str, name: &str) -> Result<PgSpool, StartError> {
    PgSpool::open(Settings {
        pace: PACE,
        ..Settings::new(url, name)
    })
    .await
}

/// Waits until a query gives this.
pub(crate) async fn until(database: &Database, query: &str, expected: &str) {
    let began = Instant::now();
    while database.ask(query).await != expected {
        assert!(
            began.elapsed() < testkit::PATIENCE,
            "{query} never gave {expected}"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Commits a message that is due at once.
pub(crate) async fn put(spool: &PgSpool, octets: usize, target: &str) -> Result<MessageId, Error> {
    put_due(spool, octets, target, Timestamp::from_unix_millis(1)).await
}

pub(crate) async fn put_due(
    spool: &PgSpool,
    octets: usize,
    target: &str,
    due: Timestamp,
) -> Result<MessageId, Error> {
    static IDS: std::sync::LazyLock<IdSource> = std::sync::LazyLock::new(IdSource::new);
    let now = Clock::real().now();
    let id = IDS.next(now);
    let mut writer = spool.begin(id).await?;
    writer.write(Bytes::from(vec![b'x'; octets])).await?;
    let message = Message::new(id, now, ReversePath::Null, octets as u64);
    let legs = target.split(' ').map(|target| {
        let recipient = "alice@example.org".parse().unwrap();
        Leg::new(ReversePath::Null, target.parse().unwrap(), recipient)
    });
    let arrival = Arrival::new(message, legs.collect(), due);
    spool.commit(writer, arrival).await?;
    Ok(id)
}

pub(crate) async fn claim(spool: &PgSpool) -> Vec<Claim> {
    try_claim(spool).await.unwrap()
}

pub(crate) async fn try_claim(spool: &PgSpool) -> Result<Vec<Claim>, Error> {
    let want = Want {
        max: 1000,
        per_host: 1000,
        lease: Duration::from_mins(1),
    };
    spool.claim(&want).await
}

/// Claims until there is something.
pub(crate) async fn claim_soon(spool: &PgSpool) -> Vec<Claim> {
    let began = Instant::now();
    loop {
        let claims = claim(spool).await;
        if !claims.is_empty() {
            return claims;
        }
        assert!(began.elapsed() < testkit::PATIENCE, "nothing to claim");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

pub(crate) const PACE: Pace = Pace {
    beat: Duration::from_millis(100),
    lost: Duration::from_millis(500),
    dead: Duration::from_millis(800),
};
