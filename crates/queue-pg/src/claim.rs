//! Legs taken to be worked on: those that are due, those whose sender must be told, and the leases on them.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use envelope::{Claim, Lease, LegId, Message, MessageId};
use spool::{Error, Overdue, Want, Why};
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use crate::connect::{Parameters, timed, trouble};
use crate::engine::Shared;
use crate::rows::{BOTH, Id, LegRow, Malformed, read_leg, read_message};
use crate::time::{NOT_GIVEN_UP, span, timestamp};

impl Shared {
    pub(crate) async fn claim_due(&self, want: &Want) -> Result<Vec<Claim>, Error> {
        let now = self.time.now();
        let asked = self.front.lock().due(now, want.max);
        if asked.is_empty() || !self.may_claim() {
            return Ok(Vec::new());
        }
        let until = self.lease_end(want.lease);
        let (room, max) = (count(want.per_host.min(want.max)), count(want.max));
        let (run, end) = (self.run(), self.time.given_up());
        let (rows, left) = timed(async {
            let client = self.database.get().await?;
            let take = client.prepare_cached(&CLAIM).await.map_err(trouble)?;
            let rest = client.prepare_cached(LEFT).await.map_err(trouble)?;
            let taking: Parameters<'_> = &[&run, &until, &end, &now, &max, &room, &asked];
            let left: Parameters<'_> = &[&asked];
            let (rows, left) =
                tokio::join!(biased; client.query(&take, taking), client.query(&rest, left));
            let both = (rows.map_err(trouble)?, left.map_err(trouble)?);
            client.done();
            Ok(both)
        })
        .await
        .inspect_err(|_| self.unheard.lock().push(until))?;
        let found = self.leased(&rows).await;
        let taken = found.iter().map(|(leg, _)| leg.leg.destination());
        let taken: HashSet<String> = taken.map(|destination| destination.to_string()).collect();
        let mut front = self.front.lock();
        for row in &left {
            let (destination, ready): (&str, Option<i64>) = (row.get(0), row.get(1));
            let until = taken.contains(destination).then_some(until);
            front.claimed(destination, until, ready);
        }
        drop(front);
        let claims = found.into_iter();
        Ok(claims
            .map(|(leg, message)| self.claim_of(leg, message, until))
            .collect())
    }

    pub(crate) async fn take_overdue(
        &self,
        max: usize,
        lease: Duration,
    ) -> Result<Vec<Overdue>, Error> {
        if !self.may_claim() {
            return Ok(Vec::new());
        }
        let now = self.time.now();
        let until = self.lease_end(lease);
        let (max, run, end) = (count(max), self.run(), self.time.given_up());
        let rows = timed(async {
            let client = self.database.get().await?;
            let taking: Parameters<'_> = &[&run, &until, &end, &now, &max];
            let rows = client.rows(&OVERDUE, taking).await?;
            client.done();
            Ok(rows)
        })
        .await
        .inspect_err(|_| self.unheard.lock().push(until))?;
        let found = self.leased(&rows).await;
        let overdue = found.into_iter().map(|(leg, message)| Overdue {
            why: match () {
                () if leg.bounced => Why::Bounced,
                () if timestamp(now) >= leg.deadlines.expire => Why::Expired,
                () => Why::Warn,
            },
            due: self.time.own(leg.due),
            last: leg.last.clone(),
            claim: self.claim_of(leg, message, until),
        });
        Ok(overdue.collect())
    }

    pub(crate) async fn extend_leases(
        &self,
        leases: &[Lease],
        lease: Duration,
    ) -> Vec<Result<(), Error>> {
        if leases.is_empty() {
            return Vec::new();
        }
        let until = self.lease_end(lease);
        let columns = Columns::of(leases);
        let [messages, numbers, tokens, owners] = columns.parameters();
        let given: Parameters<'_> = &[messages, numbers, tokens, owners, &until];
        match self.database.ask(EXTEND, given).await {
            Err(error) => leases.iter().map(|_| Err(error.clone())).collect(),
            Ok(rows) => {
                let key = |row: &Row| (leg_id(row), row.get::<_, i64>("token"));
                let done: HashSet<_> = rows.iter().map(key).collect();
                let result =
                    |lease: &Lease| match done.contains(&(lease.leg, lease.token.cast_signed())) {
                        true => Ok(()),
                        false => Err(Error::Fenced(lease.leg)),
                    };
                leases.iter().map(result).collect()
            }
        }
    }

    /// What cannot be read is put on hold: the others are not to wait for it, and it would come again for ever.
    async fn leased(&self, rows: &[Row]) -> Vec<(LegRow, Arc<Message>)> {
        let (mut messages, mut damaged) = (HashMap::new(), Vec::new());
        let read = rows.iter().filter_map(|row| {
            let read = read_both(row, &mut messages);
            read.map_err(|error| damaged.push((row, error.to_string())))
                .ok()
        });
        let read = read.collect();
        for (row, error) in damaged {
            let Id(message) = row.get("message");
            let number = Some(row.get("number"));
            self.hold_damaged(message, number, &error).await;
        }
        read
    }

    /// When leases end that are asked for now, and no others.
    pub(crate) fn lease_end(&self, lease: Duration) -> i64 {
        let now = self.time.now();
        let mut end = now.saturating_add(span(lease));
        let mut ends = self.ends.lock();
        *ends = ends.split_off(&now);
        while !ends.insert(end) {
            end -= 1;
        }
        end
    }

    /// Gives back what was leased without this node hearing of it, because a connection broke; whether there was something. It is
    /// known by when its lease ends.
    pub(crate) async fn give_back_unheard(&self) -> Result<bool, Error> {
        let now = self.time.now();
        let lost = {
            let mut unheard = self.unheard.lock();
            // So long the database may still be at it.
            unheard.retain(|end| *end > now);
            unheard.clone()
        };
        if lost.is_empty() {
            return Ok(false);
        }
        let rows = self.database.ask(GIVE_BACK, &[&self.run(), &lost]).await?;
        Ok(!rows.is_empty())
    }

    fn claim_of(&self, leg: LegRow, message: Arc<Message>, until: i64) -> Claim {
        Claim {
            lease: Lease {
                leg: leg.id,
                owner: leg.owner.unsigned_abs(),
                token: leg.token.unsigned_abs(),
                expires: timestamp(until),
            },
            message,
            attempts: leg.attempts,
            warned: leg.warned,
            deadline: leg.deadlines.expire,
            leg: leg.leg,
        }
    }
}

/// Leases, column by column.
pub(crate) struct Columns {
    pub(crate) messages: Vec<Id>,
    numbers: Vec<i32>,
    tokens: Vec<i64>,
    owners: Vec<i64>,
}

impl Columns {
    pub(crate) fn of<'a>(leases: impl IntoIterator<Item = &'a Lease>) -> Self {
        let mut columns = Self {
            messages: Vec::new(),
            numbers: Vec::new(),
            tokens: Vec::new(),
            owners: Vec::new(),
        };
        for lease in leases {
            columns.messages.push(Id(lease.leg.message));
            columns.numbers.push(number(lease.leg));
            columns.tokens.push(lease.token.cast_signed());
            columns.owners.push(lease.owner.cast_signed());
        }
        columns
    }

    pub(crate) fn parameters(&self) -> [&(dyn ToSql + Sync); 4] {
        [&self.messages, &self.numbers, &self.tokens, &self.owners]
    }
}

/// A leg and its message, which the legs of one message share.
pub(crate) fn read_both(
    row: &Row,
    messages: &mut HashMap<MessageId, Arc<Message>>,
) -> Result<(LegRow, Arc<Message>), Malformed> {
    let leg = read_leg(row)?;
    let message = match messages.get(&leg.id.message) {
        Some(message) => Arc::clone(message),
        None => {
            let message = Arc::new(read_message(row)?);
            messages.insert(message.id, Arc::clone(&message));
            message
        }
    };
    Ok((leg, message))
}

/// The leg of a row that begins with its two columns.
pub(crate) fn leg_id(row: &Row) -> LegId {
    let (Id(message), number): (Id, i32) = (row.get("message"), row.get("number"));
    LegId {
        message,
        number: number.unsigned_abs(),
    }
}

pub(crate) fn number(leg: LegId) -> i32 {
    i32::try_from(leg.number).unwrap_or(i32::MAX)
}

pub(crate) fn count(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

/// Leases what is picked.
fn leasing(picked: &str, order: &str) -> String {
    format!(
        "WITH picked AS ({picked}),
        l AS (
            UPDATE legs SET owner = $1, token = token + 1, lease_end = $2
            FROM picked WHERE legs.message = picked.message AND legs.number = picked.number RETURNING legs.*, picked.place)
        SELECT {BOTH} FROM l JOIN messages AS m ON m.id = l.message ORDER BY {order}"
    )
}

/// As [`Want::choose`] says. Rows that another node has locked are passed by. The destinations are gone through until there are
/// enough.
static CLAIM: LazyLock<String> = LazyLock::new(|| {
    let due = "SELECT message, number FROM legs
        WHERE destination = a.destination AND ready_at <= $4::int8 AND NOT held AND NOT bounced";
    let picked = format!(
        "SELECT p.message, p.number, a.place FROM unnest($7::text[]) WITH ORDINALITY AS a (destination, place), LATERAL (
            SELECT * FROM (
                {due} ORDER BY ready_at, message, number LIMIT $6::int8 - $6::int8 / 4 FOR UPDATE SKIP LOCKED) AS oldest
            UNION
            SELECT * FROM (
                {due} ORDER BY ready_at DESC, message DESC, number DESC LIMIT $6::int8 / 4 FOR UPDATE SKIP LOCKED) AS newest
        ) AS p WHERE {NOT_GIVEN_UP} $3::int8 LIMIT $5::int8"
    );
    leasing(&picked, "l.place, l.due, l.message, l.number")
});
const LEFT: &str = "SELECT a.destination, (
        SELECT ready_at FROM legs WHERE destination = a.destination AND ready_at IS NOT NULL AND NOT held AND NOT bounced
        ORDER BY ready_at LIMIT 1)
    FROM unnest($1::text[]) AS a (destination)";
static OVERDUE: LazyLock<String> = LazyLock::new(|| {
    let picked = format!(
        "SELECT message, number, 0 AS place FROM legs WHERE tell_at <= $4::int8 AND (owner IS NULL OR lease_end <= $4::int8)
            AND {NOT_GIVEN_UP} $3::int8
        ORDER BY tell_at LIMIT $5::int8 FOR UPDATE SKIP LOCKED"
    );
    leasing(&picked, "l.message, l.number")
});
const GIVE_BACK: &str = "UPDATE legs SET owner = NULL, lease_end = NULL WHERE owner = $1 AND lease_end = ANY($2) RETURNING number";
const EXTEND: &str = "UPDATE legs SET lease_end = $5
    FROM unnest($1::uuid[], $2::int4[], $3::int8[], $4::int8[]) AS g (message, number, token, owner)
    WHERE legs.message = g.message AND legs.number = g.number AND legs.token = g.token AND legs.owner = g.owner
    RETURNING legs.message, legs.number, legs.token";
