//! New messages: many in one statement, which is one transaction.
//!
//! A commit whose connection broke is asked for again, for as long as clients wait for their answer: an id that is there already
//! changes nothing. So a primary that fails over costs time, and no answer.

use std::collections::HashSet;

use bytes::Bytes;
use envelope::{Claim, Lease, LegId, Message, MessageId};
use serde_json::{Value, json};
use spool::{Action, Arrival, Deadlines, Entry, Error, Lifetime, Token};
use tokio_util::sync::CancellationToken;

use crate::batch::Batcher;
use crate::connect::{Borrowed, Database, is_passing, patiently, timed, twice};
use crate::rows::{self, Id, leg_json, message_json};
use crate::time::{millis, timestamp};
use crate::tokens::token_json;

/// A message on its way into the tables.
#[derive(Debug, Clone)]
pub(crate) struct Entering {
    id: MessageId,
    message: Value,
    legs: Vec<Value>,
    tokens: Vec<Value>,
    /// None: it is there already, in pieces.
    body: Option<Bytes>,
    /// Where its legs go, and when the first of them is due there.
    pub(crate) places: Vec<(Box<str>, i64)>,
}

/// Who works on the legs from the start: the run of a node, and until when.
pub(crate) type Begun = (i64, i64);

impl Entering {
    /// `begun`: the legs that are not on hold are leased at once.
    pub(crate) fn new(
        arrival: &Arrival,
        body: Option<Bytes>,
        tokens: &[Token],
        lifetime: Lifetime,
        begun: Option<Begun>,
    ) -> Self {
        let id = arrival.message.id;
        let deadlines = deadlines(arrival, lifetime);
        let first = millis(arrival.first_due);
        let mut places = Vec::new();
        let legs = (0u32..).zip(&arrival.legs).map(|(number, leg)| {
            let mut row = leg_json(
                LegId {
                    message: id,
                    number,
                },
                leg,
                deadlines,
                first,
            );
            match arrival.held.get(&number) {
                Some(why) => {
                    row["held"] = json!(true);
                    row["last"] = rows::last_json(why);
                }
                None => {
                    if let Some((run, until)) = begun {
                        row["owner"] = json!(run);
                        row["token"] = json!(1);
                        row["lease_end"] = json!(until);
                    }
                    let ready = begun.map_or(first, |(_, until)| until);
                    places.push((leg.destination().to_string().into(), ready));
                }
            }
            row
        });
        let legs = legs.collect();
        Self::with(&arrival.message, body, tokens, legs, places)
    }

    /// What was in a queue before, as it stood there; `None` without legs.
    pub(crate) fn again(
        stood: &[Entry],
        body: Option<Bytes>,
        tokens: &[Token],
        lifetime: Lifetime,
    ) -> Option<Self> {
        let first = stood.first()?;
        let own = || lifetime.deadlines(first.message.arrived);
        let deadlines = first.deadlines.unwrap_or_else(own);
        let mut places = Vec::new();
        let legs = stood.iter().map(|entry| {
            let due = millis(entry.due);
            let mut row = leg_json(entry.id, &entry.leg, deadlines, due);
            let bounced = entry.pending == Some(Action::Bounce);
            row["attempts"] = json!(entry.attempts);
            row["warned"] = json!(entry.warned);
            row["held"] = json!(entry.is_held());
            row["bounced"] = json!(bounced);
            row["last"] = entry.last.as_ref().map_or(Value::Null, rows::last_json);
            if !entry.is_held() && !bounced {
                places.push((entry.leg.destination().to_string().into(), due));
            }
            row
        });
        let legs = legs.collect();
        Some(Self::with(&first.message, body, tokens, legs, places))
    }

    fn with(
        message: &Message,
        body: Option<Bytes>,
        tokens: &[Token],
        legs: Vec<Value>,
        places: Vec<(Box<str>, i64)>,
    ) -> Self {
        Self {
            id: message.id,
            message: message_json(message),
            legs,
            tokens: tokens.iter().map(token_json).collect(),
            body,
            places,
        }
    }
}

/// When the sender of a message is told something.
pub(crate) fn deadlines(arrival: &Arrival, lifetime: Lifetime) -> Deadlines {
    let own = || lifetime.deadlines(arrival.message.arrived);
    arrival.deadlines.unwrap_or_else(own)
}

/// The legs that were leased as they came in.
pub(crate) fn claims(arrival: Arrival, lifetime: Lifetime, (run, until): Begun) -> Vec<Claim> {
    let deadline = deadlines(&arrival, lifetime).expire;
    let id = arrival.message.id;
    let message = std::sync::Arc::new(arrival.message);
    let legs = (0u32..).zip(arrival.legs);
    let free = legs.filter(|(number, _)| !arrival.held.contains_key(number));
    let claim = |(number, leg)| Claim {
        lease: Lease {
            leg: LegId {
                message: id,
                number,
            },
            owner: run.unsigned_abs(),
            token: 1,
            expires: timestamp(until),
        },
        message: std::sync::Arc::clone(&message),
        leg,
        attempts: 0,
        warned: false,
        deadline,
    };
    free.map(claim).collect()
}

/// Commits what comes; says of each message whether it is new.
pub(crate) fn start(database: &Database, stopped: &CancellationToken) -> Batcher<Entering, bool> {
    let database = database.clone();
    Batcher::start(COMMITTERS, stopped, move |batch: Vec<Entering>| {
        let database = database.clone();
        async move { commit(&database, batch).await }
    })
}

async fn commit(database: &Database, batch: Vec<Entering>) -> Vec<Result<bool, Error>> {
    match patiently(|| attempt(database, &batch)).await {
        Ok(new) => batch.iter().map(|it| Ok(new.contains(&it.id))).collect(),
        Err(error) => alone(database, batch, error).await,
    }
}

/// One message that the database does not take keeps no other out.
async fn alone(
    database: &Database,
    batch: Vec<Entering>,
    error: Error,
) -> Vec<Result<bool, Error>> {
    if batch.len() == 1 || is_passing(&error) {
        return batch.iter().map(|_| Err(error.clone())).collect();
    }
    let mut results = Vec::new();
    for one in batch {
        let done = attempt(database, std::slice::from_ref(&one)).await;
        results.push(done.map(|new| new.contains(&one.id)));
    }
    results
}

async fn attempt(database: &Database, batch: &[Entering]) -> Result<HashSet<MessageId>, Error> {
    timed(async {
        let client = database.get().await?;
        let new = enter(&client, batch).await?;
        client.done();
        Ok(new)
    })
    .await
}

/// Writes messages with all that is theirs, in the transaction that runs or in one of its own; those that were not there. A body in
/// pieces is taken from its draft: if that was cleared away, there is no message.
pub(crate) async fn enter(
    client: &Borrowed,
    batch: &[Entering],
) -> Result<HashSet<MessageId>, Error> {
    let mut seen = HashSet::new();
    let batch: Vec<&Entering> = batch.iter().filter(|it| seen.insert(it.id)).collect();
    let messages = Value::Array(batch.iter().map(|it| it.message.clone()).collect());
    let legs = Value::Array(batch.iter().flat_map(|it| it.legs.clone()).collect());
    let tokens = Value::Array(batch.iter().flat_map(|it| it.tokens.clone()).collect());
    let bodies = batch
        .iter()
        .filter_map(|it| Some((Id(it.id), it.body.as_deref()?)));
    let (ids, bodies): (Vec<Id>, Vec<&[u8]>) = bodies.unzip();
    let crcs: Vec<i64> = bodies.iter().map(|body| crc(body)).collect();
    let pieced = batch.iter().filter(|it| it.body.is_none());
    let pieced: Vec<Id> = pieced.map(|it| Id(it.id)).collect();
    let rows = client
        .rows(
            &ENTER,
            &[&messages, &ids, &bodies, &crcs, &legs, &tokens, &pieced],
        )
        .await?;
    let (mut new, mut known) = (HashSet::new(), HashSet::new());
    for row in &rows {
        let (Id(id), is_new) = (row.get(0), row.get(1));
        known.insert(id);
        if is_new {
            new.insert(id);
        }
    }
    match batch.iter().find(|it| !known.contains(&it.id)) {
        None => Ok(new),
        // Or it is being committed by a statement that was given up, and is found the next time.
        Some(lost) => Err(Error::Unknown(format!(
            "the body of {} was cleared away",
            lost.id
        ))),
    }
}

/// A piece of a body that cannot wait for its commit.
pub(crate) async fn enter_piece(
    database: &Database,
    (id, piece): (MessageId, i32),
    octets: &[u8],
    (run, now): (i64, i64),
) -> Result<(), Error> {
    twice(|| async {
        let client = database.get().await?;
        client
            .rows(
                ENTER_PIECE,
                &[&Id(id), &piece, &crc(octets), &octets, &run, &now],
            )
            .await?;
        client.done();
        Ok(())
    })
    .await
}

/// Clears away the pieces of messages that do not come any more.
pub(crate) async fn drop_drafts(client: &Borrowed, ids: &[MessageId]) -> Result<(), Error> {
    let ids: Vec<Id> = ids.iter().copied().map(Id).collect();
    client.rows(DROP_DRAFTS, &[&ids]).await.map(drop)
}

pub(crate) fn crc(octets: &[u8]) -> i64 {
    i64::from(crc32fast::hash(octets))
}

static ENTER: std::sync::LazyLock<String> = std::sync::LazyLock::new(|| {
    let (message, leg) = (rows::MESSAGE, rows::LEG);
    format!(
        "WITH j AS (SELECT * FROM json_populate_recordset(null::messages, $1)),
        d AS (DELETE FROM drafts WHERE message = ANY($7) RETURNING message),
        m AS (
            INSERT INTO messages ({message}, crc, body)
            SELECT {columns}, b.crc, b.body
            FROM j LEFT JOIN unnest($2::uuid[], $3::bytea[], $4::int8[]) AS b (id, body, crc) ON b.id = j.id
            WHERE b.body IS NOT NULL OR j.id IN (SELECT message FROM d)
            ON CONFLICT (id) DO NOTHING RETURNING id),
        l AS (
            INSERT INTO legs ({leg}) SELECT {leg} FROM json_populate_recordset(null::legs, $5)
            WHERE message IN (SELECT id FROM m)),
        t AS (
            INSERT INTO tokens (name, value, expires)
            SELECT name, value, expires FROM json_populate_recordset(null::tokens, $6)
            ON CONFLICT (name) DO NOTHING)
        SELECT id, true FROM m UNION ALL SELECT id, false FROM messages WHERE id IN (SELECT id FROM j)",
        columns = message.split(", ").map(|it| format!("j.{it}")).collect::<Vec<_>>().join(", "),
    )
});
const ENTER_PIECE: &str = "WITH d AS (
        INSERT INTO drafts (message, run, begun) VALUES ($1, $5, $6) ON CONFLICT (message) DO NOTHING)
    INSERT INTO bodies (message, piece, crc, octets) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING";
const DROP_DRAFTS: &str = "WITH d AS (DELETE FROM drafts WHERE message = ANY($1) RETURNING message)
    DELETE FROM bodies WHERE message IN (SELECT message FROM d)
        AND NOT EXISTS (SELECT FROM messages WHERE id = message)";
/// While one waits for its fsync and its standby, another is under way.
const COMMITTERS: usize = 3;
