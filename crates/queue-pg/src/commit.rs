//! New messages: many in one statement, which is one transaction.
//!
//! A commit whose connection broke is asked for again, for as long as clients wait for their answer: an id that is there already
//! changes nothing. So a primary that fails over costs time, and no answer.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use bytes::Bytes;
use envelope::{Claim, Lease, MessageId};
use serde_json::{Value, json};
use spool::{Deadlines, Entry, Error, Lifetime, Token};

use crate::batch::Job;
use crate::connect::{Borrowed, Database, Parameters, timed};
use crate::engine::Shared;
use crate::rows::{self, Id, leg_json, message_json};
use crate::time::{NOT_GIVEN_UP, millis, timestamp};
use crate::tokens::token_json;

/// A message on its way into the tables.
#[derive(Debug)]
pub(crate) struct Entering {
    pub(crate) id: MessageId,
    message: Value,
    legs: Vec<Value>,
    tokens: Vec<Value>,
    body: Body,
    /// Where its legs go, and when the first of them is due there.
    pub(crate) places: Vec<(Box<str>, i64)>,
}

/// Where the body of a message is that comes in.
#[derive(Debug)]
pub(crate) enum Body {
    /// Here.
    Whole(Bytes),
    /// In the database already, in so many pieces.
    Pieces(i32),
}

/// Who works on the legs from the start.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Begun {
    /// The run of a node.
    pub(crate) run: i64,
    /// Until when: by that this commit is known again.
    pub(crate) until: i64,
}

impl Entering {
    /// The legs of one message as they stand, at least one. `begun`: those that may be tried are leased at once.
    pub(crate) fn new(
        legs: &[Entry],
        body: Body,
        tokens: &[Token],
        lifetime: Lifetime,
        begun: Option<Begun>,
    ) -> Self {
        let message = &legs[0].message;
        let deadlines = deadlines(&legs[0], lifetime);
        let (mut rows, mut places) = (Vec::new(), Vec::new());
        for leg in legs {
            let begun = begun.filter(|_| is_free(leg));
            rows.push(leg_json(leg, deadlines, begun));
            if is_free(leg) {
                let ready = begun.map_or_else(|| millis(leg.due), |begun| begun.until);
                places.push((leg.leg.destination().to_string().into(), ready));
            }
        }
        let named = |token| {
            let mut row = token_json(token);
            row["message"] = json!(rows::uuid(message.id));
            row
        };
        Self {
            id: message.id,
            message: message_json(message),
            legs: rows,
            tokens: tokens.iter().map(named).collect(),
            body,
            places,
        }
    }
}

fn is_free(leg: &Entry) -> bool {
    !leg.is_held() && leg.pending.is_none()
}

fn deadlines(leg: &Entry, lifetime: Lifetime) -> Deadlines {
    let own = || lifetime.deadlines(leg.message.arrived);
    leg.deadlines.unwrap_or_else(own)
}

/// The legs that were leased as they came in.
pub(crate) fn claims(legs: Vec<Entry>, lifetime: Lifetime, begun: Begun) -> Vec<Claim> {
    let free = legs.into_iter().filter(is_free);
    let claim = |leg: Entry| Claim {
        lease: Lease {
            leg: leg.id,
            owner: begun.run.unsigned_abs(),
            token: FIRST_TOKEN,
            expires: timestamp(begun.until),
        },
        deadline: deadlines(&leg, lifetime).expire,
        message: leg.message,
        leg: leg.leg,
        attempts: leg.attempts,
        warned: leg.warned,
    };
    free.map(claim).collect()
}

impl Job<Shared> for Entering {
    /// Whether it is new, or leased as it says by an attempt whose answer was lost.
    type Done = bool;
    /// A client waits for its 250 for ten minutes (RFC 5321 §4.5.3.2.6); many less.
    const PATIENCE: Duration = PATIENCE;

    fn weight(&self) -> usize {
        let body = match &self.body {
            Body::Whole(octets) => octets.len(),
            Body::Pieces(_) => 0,
        };
        body + self.legs.len() * LEG_OCTETS
    }

    async fn attempt(shared: &Shared, batch: &[&Self]) -> Result<Vec<Result<bool, Error>>, Error> {
        let end = shared.time.given_up();
        let known = timed(async {
            let client = shared.database.get().await?;
            let known = enter(&client, batch, end).await?;
            client.done();
            Ok(known)
        });
        let known = known.await?;
        let there = batch.iter().filter(|it| known.contains_key(&it.id));
        shared.entered(there.flat_map(|it| &it.places));
        let result = |it: &&Self| {
            let lost = || Error::Unknown(format!("the body of {} was cleared away", it.id));
            known.get(&it.id).copied().ok_or_else(lost)
        };
        Ok(batch.iter().map(result).collect())
    }
}

/// Writes messages with all that is theirs, in the transaction that runs or in one of its own. Says which are there, and which of them
/// are new, or were at an attempt before. A body in pieces is taken from its draft: if that was cleared away, there is no message. Nor
/// is there one if the database gets to it only after `end`.
pub(crate) async fn enter(
    client: &Borrowed,
    batch: &[&Entering],
    end: i64,
) -> Result<HashMap<MessageId, bool>, Error> {
    let mut seen = HashSet::new();
    let batch: Vec<&&Entering> = batch.iter().filter(|it| seen.insert(it.id)).collect();
    let messages = Value::Array(batch.iter().map(|it| it.message.clone()).collect());
    let legs = Value::Array(batch.iter().flat_map(|it| it.legs.clone()).collect());
    let tokens = Value::Array(batch.iter().flat_map(|it| it.tokens.clone()).collect());
    let (mut ids, mut bodies, mut crcs) = (Vec::new(), Vec::new(), Vec::new());
    let (mut pieced, mut pieces) = (Vec::new(), Vec::new());
    for it in &batch {
        match &it.body {
            Body::Whole(octets) => {
                ids.push(Id(it.id));
                crcs.push(crc(octets));
                bodies.push(&**octets);
            }
            Body::Pieces(count) => {
                pieced.push(Id(it.id));
                pieces.push(*count);
            }
        }
    }
    let rows = client
        .rows(
            &ENTER,
            &[
                &messages, &ids, &bodies, &crcs, &legs, &tokens, &pieced, &pieces, &end,
            ],
        )
        .await?;
    let known = rows.iter().map(|row| (row.get::<_, Id>(0).0, row.get(1)));
    let mut known: HashMap<MessageId, bool> = known.collect();
    // Rarely: asked for in one statement, it costs each commit a fifth of its time.
    if known.values().any(|is_new| !is_new) {
        for row in client.rows(BEGUN, &[&legs]).await? {
            known.insert(row.get::<_, Id>(0).0, true);
        }
    }
    Ok(known)
}

/// A piece of a body that cannot wait for its commit.
pub(crate) async fn enter_piece(
    database: &Database,
    (id, piece): (MessageId, i32),
    octets: &[u8],
    (run, now): (i64, i64),
) -> Result<(), Error> {
    let (message, crc) = (Id(id), crc(octets));
    let row: Parameters<'_> = &[&message, &piece, &crc, &octets, &run, &now];
    let rows = database.ask(ENTER_PIECE, row).await?;
    match rows.first().is_some_and(|row| row.get(0)) {
        true => Ok(()),
        false => Err(Error::Unknown(format!(
            "the beginning of {id} was cleared away"
        ))),
    }
}

/// Clears away the pieces of a message that does not come any more.
pub(crate) async fn drop_draft(database: &Database, id: MessageId) -> Result<(), Error> {
    database.ask(DROP_DRAFT, &[&Id(id)]).await.map(drop)
}

pub(crate) fn crc(octets: &[u8]) -> i64 {
    i64::from(crc32fast::hash(octets))
}

/// What is there already is locked: that takes a transaction id, so that the answer waits for the standbys that the first commit may
/// not have waited for. Tokens go in by name, so that no two wait for each other; and never without their message: by such a one
/// a move knows that it has come.
static ENTER: std::sync::LazyLock<String> = std::sync::LazyLock::new(|| {
    let (message, leg) = (rows::MESSAGE, rows::LEG);
    format!(
        "WITH j AS (SELECT * FROM json_populate_recordset(null::messages, $1) WHERE {NOT_GIVEN_UP} $9::int8),
        p AS (SELECT * FROM unnest($7::uuid[], $8::int4[]) AS p (id, pieces) WHERE id IN (SELECT id FROM j)),
        d AS (DELETE FROM drafts USING p WHERE message = p.id
            AND (SELECT count(*) FROM bodies WHERE bodies.message = p.id) = p.pieces RETURNING message),
        k AS (SELECT id FROM messages WHERE id = ANY($2::uuid[] || $7::uuid[]) FOR KEY SHARE),
        m AS (
            INSERT INTO messages ({message}, crc, body)
            SELECT {message}, b.crc, b.body
            FROM j LEFT JOIN unnest($2::uuid[], $3::bytea[], $4::int8[]) AS b (of, body, crc) ON b.of = id
            WHERE b.body IS NOT NULL OR id IN (SELECT message FROM d)
            ON CONFLICT (id) DO NOTHING RETURNING id),
        l AS (
            INSERT INTO legs ({leg}) SELECT {leg} FROM json_populate_recordset(null::legs, $5)
            WHERE message IN (SELECT id FROM m)),
        t AS (
            INSERT INTO tokens (name, value, expires)
            SELECT name, value, expires FROM json_to_recordset($6) AS g (message uuid, name text, value text, expires int8)
            WHERE message IN (SELECT id FROM m) OR message IN (SELECT id FROM k) ORDER BY name
            ON CONFLICT (name) DO NOTHING)
        SELECT id, true FROM m UNION ALL SELECT id, false FROM k"
    )
});
/// Messages with legs that are leased just so: by an attempt whose answer was lost.
const BEGUN: &str = "SELECT message FROM json_populate_recordset(null::legs, $1) AS g JOIN legs USING (message, number, owner, lease_end)";
/// The first piece makes the draft, and the others need it: what was cleared away does not come back without its head.
const ENTER_PIECE: &str = "WITH d AS (
        INSERT INTO drafts (message, run, begun) SELECT $1::uuid, $5::int8, $6::int8 WHERE $2::int4 = 0
        ON CONFLICT (message) DO NOTHING RETURNING message),
    k AS (SELECT message FROM d UNION ALL SELECT message FROM drafts WHERE message = $1::uuid),
    b AS (INSERT INTO bodies (message, piece, crc, octets)
        SELECT $1::uuid, $2::int4, $3::int8, $4::bytea WHERE EXISTS (SELECT FROM k) ON CONFLICT DO NOTHING)
    SELECT EXISTS (SELECT FROM k)";
const DROP_DRAFT: &str = "WITH d AS (DELETE FROM drafts WHERE message = $1 RETURNING message)
    DELETE FROM bodies WHERE message IN (SELECT message FROM d)
        AND NOT EXISTS (SELECT FROM messages WHERE id = message)";
/// A leg as a row.
const LEG_OCTETS: usize = 600;
pub(crate) const PATIENCE: Duration = Duration::from_secs(45);
/// Of who begins at once.
pub(crate) const FIRST_TOKEN: u64 = 1;
