//! Legs taken back: many in one transaction, each fenced by its lease.
//!
//! The rows of messages whose legs end are locked first, in one order: of two nodes that end the last two legs of a message, the
//! later one sees that it is the last, and takes the message with it.

use std::collections::HashMap;
use std::time::Duration;

use envelope::{Lease, LegId};
use serde_json::{Value, json};
use spool::{Dsn, Error, Settlement};
use tokio_postgres::Row;

use crate::batch::Job;
use crate::claim::{Columns, leg_id};
use crate::commit::{Entering, enter};
use crate::connect::{Borrowed, Database, Parameters, timed, trouble};
use crate::engine::Shared;
use crate::rows::{Id, last_json, uuid};
use crate::time::millis;

/// A leg that was worked on, and what becomes of it.
#[derive(Debug)]
pub(crate) struct Settling {
    lease: Lease,
    /// None: it ends.
    moved: Option<Value>,
    notice: Option<Entering>,
}

impl Settling {
    fn key(&self) -> Key {
        (self.lease.leg, self.lease.token.cast_signed())
    }

    /// `enter`: how a notice comes into the queue.
    pub(crate) fn new(
        lease: Lease,
        settlement: Settlement,
        enter: impl FnOnce(Dsn) -> Entering,
    ) -> Self {
        let named = |mut row: Value| {
            row["message"] = json!(uuid(lease.leg.message));
            row["number"] = json!(lease.leg.number);
            row["token"] = json!(lease.token);
            row["owner"] = json!(lease.owner);
            row
        };
        let (moved, notice) = match settlement {
            Settlement::Complete(notice) => (None, notice),
            Settlement::Release => (Some(named(json!({}))), None),
            Settlement::Reschedule(due, update) => {
                let row = json!({
                    "due": millis(due),
                    "attempts": update.attempts,
                    "warned": update.warned,
                    "last": update.last.as_ref().map(last_json),
                });
                (Some(named(row)), update.dsn)
            }
        };
        Self {
            lease,
            moved,
            notice: notice.map(enter),
        }
    }
}

/// A leg under one lease.
type Key = (LegId, i64);

fn key(row: &Row) -> Key {
    (leg_id(row), row.get("token"))
}

/// Where a leg that was given back may be claimed, and when; none: it has ended, or is on hold.
type Again = Option<(Box<str>, i64)>;

impl Job<Shared> for Settling {
    type Done = ();
    /// What was delivered is not to be delivered again because the database was away. Nobody waits for the answer, and until the lease
    /// ends nobody else delivers it.
    const PATIENCE: Duration = Duration::from_secs(150);

    fn weight(&self) -> usize {
        1 + self.notice.as_ref().map_or(0, Job::weight)
    }

    async fn attempt(shared: &Shared, batch: &[&Self]) -> Result<Vec<Result<(), Error>>, Error> {
        let done = timed(settle(&shared.database, batch)).await?;
        let notices = batch.iter().filter_map(|it| it.notice.as_ref());
        let places = notices.flat_map(|notice| &notice.places);
        shared.entered(done.values().flatten().chain(places));
        let result = |it: &&Self| match done.contains_key(&it.key()) {
            true => Ok(()),
            false => Err(Error::Fenced(it.lease.leg)),
        };
        Ok(batch.iter().map(result).collect())
    }
}

/// In one transaction. Those that are fenced are not in what comes of it.
async fn settle(database: &Database, batch: &[&Settling]) -> Result<HashMap<Key, Again>, Error> {
    let client = database.get().await?;
    client.run("BEGIN").await?;
    let mut done = end(&client, batch).await?;
    done.extend(go_on(&client, batch).await?);
    let notices = batch.iter().filter(|it| done.contains_key(&it.key()));
    let notices: Vec<_> = notices.filter_map(|it| it.notice.as_ref()).collect();
    if !notices.is_empty() {
        // Without them there is to be no end: who gave this up sends no COMMIT.
        enter(&client, &notices, i64::MAX).await?;
    }
    let fenced = batch.iter().copied();
    let fenced = fenced.filter(|it| !done.contains_key(&it.key()));
    let before = done_before(&client, fenced).await?;
    done.extend(before);
    client.run("COMMIT").await?;
    client.done();
    Ok(done)
}

/// What an attempt has done whose answer was lost: its notices are there, under ids that nobody else has.
async fn done_before(
    client: &Borrowed,
    fenced: impl Iterator<Item = &Settling>,
) -> Result<Vec<(Key, Again)>, Error> {
    let notices = fenced.filter_map(|it| Some((Id(it.notice.as_ref()?.id), it.key())));
    let (ids, keys): (Vec<Id>, Vec<Key>) = notices.unzip();
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let rows = client.rows(THERE, &[&ids]).await?;
    let there = |row: &Row| ids.iter().position(|id| *id == row.get(0));
    let places = rows.iter().filter_map(there);
    Ok(places.map(|place| (keys[place], None)).collect())
}

/// Ends legs, and the messages whose last they were.
async fn end(client: &Borrowed, batch: &[&Settling]) -> Result<HashMap<Key, Again>, Error> {
    let ending = batch.iter().filter(|it| it.moved.is_none());
    let columns = Columns::of(ending.map(|it| &it.lease));
    if columns.messages.is_empty() {
        return Ok(HashMap::new());
    }
    let ended = remove(client, &columns.messages, END, &columns.parameters()).await?;
    Ok(ended.iter().map(|row| (key(row), None)).collect())
}

/// Takes legs away by a statement, and with them those of these messages that have none left. In a transaction.
pub(crate) async fn remove(
    client: &Borrowed,
    messages: &[Id],
    statement: &str,
    parameters: Parameters<'_>,
) -> Result<Vec<Row>, Error> {
    // All of them first: preparing one takes a round trip of its own.
    let lock = client.prepare_cached(LOCK).await.map_err(trouble)?;
    let legs = client.prepare_cached(statement).await.map_err(trouble)?;
    let clear = client.prepare_cached(CLEAR).await.map_err(trouble)?;
    let of: Parameters<'_> = &[&messages];
    // Sent in this order, and done so; nobody waits for an answer in between.
    let (locked, legs, cleared) = tokio::join!(
        biased;
        client.execute(&lock, of),
        client.query(&legs, parameters),
        client.execute(&clear, of),
    );
    locked.map_err(trouble)?;
    cleared.map_err(trouble)?;
    legs.map_err(trouble)
}

/// Gives legs back.
async fn go_on(client: &Borrowed, batch: &[&Settling]) -> Result<Vec<(Key, Again)>, Error> {
    let moving = || batch.iter().filter(|it| it.moved.is_some());
    let moved: Vec<Value> = moving().filter_map(|it| it.moved.clone()).collect();
    if moved.is_empty() {
        return Ok(Vec::new());
    }
    let messages: Vec<Id> = moving().map(|it| Id(it.lease.leg.message)).collect();
    let moved: Parameters<'_> = &[&Value::Array(moved), &messages];
    let rows = client.rows(GO_ON, moved).await?;
    let again = |row: &Row| {
        let ready: Option<i64> = row.get("ready_at");
        (
            key(row),
            ready.map(|ready| (row.get::<_, &str>("destination").into(), ready)),
        )
    };
    Ok(rows.iter().map(again).collect())
}

const LOCK: &str = "SELECT FROM messages WHERE id = ANY($1) ORDER BY id FOR UPDATE";
const END: &str = "DELETE FROM legs
    USING unnest($1::uuid[], $2::int4[], $3::int8[], $4::int8[]) AS g (message, number, token, owner)
    WHERE legs.message = g.message AND legs.number = g.number AND legs.token = g.token AND legs.owner = g.owner
    RETURNING legs.message, legs.number, legs.token";
const CLEAR: &str = "WITH m AS (
        DELETE FROM messages WHERE id = ANY($1) AND NOT EXISTS (SELECT FROM legs WHERE message = id) RETURNING id, body IS NULL AS pieced)
    DELETE FROM bodies WHERE message IN (SELECT id FROM m WHERE pieced)";
/// That takes a transaction id: so the answer waits for the standbys.
const THERE: &str = "SELECT id FROM messages WHERE id = ANY($1) FOR KEY SHARE";
const GO_ON: &str = "UPDATE legs SET owner = NULL, lease_end = NULL, due = coalesce(g.due, legs.due),
        attempts = coalesce(g.attempts, legs.attempts), warned = coalesce(g.warned, legs.warned),
        last = CASE WHEN g.due IS NULL THEN legs.last ELSE g.last END
    FROM json_populate_recordset(null::legs, $1) AS g
    WHERE legs.message = ANY($2) AND legs.message = g.message AND legs.number = g.number AND legs.token = g.token AND legs.owner = g.owner
    RETURNING legs.message, legs.number, legs.token, legs.destination, legs.ready_at";
