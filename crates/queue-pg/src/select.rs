//! Which legs a filter means: as far as SQL can say it, to read few rows; [`Filter::matches`] has the last word.

use std::collections::HashMap;
use std::sync::Arc;

use envelope::{IdPattern, LegId, Message, ReversePath};
use spool::{AGE_MINUTES, Ages, By, Error, Filter, State, Tally, error_name, sender_name};
use tokio_postgres::types::ToSql;

use crate::claim::{count, number, read_both};
use crate::connect::{Borrowed, trouble};
use crate::rows::{BOTH, Id, LegRow, read_last};
use crate::time::{self, timestamp};

/// Legs that were found, and where to go on.
pub(crate) struct Found {
    pub(crate) legs: Vec<(LegRow, Arc<Message>)>,
    pub(crate) next: Option<LegId>,
}

/// The text of a statement, and what its parameters stand for.
struct Select {
    conditions: Vec<String>,
    parameters: Vec<Box<dyn ToSql + Sync + Send>>,
}

impl Select {
    /// The conditions, and what their parameters stand for.
    fn parts(&self) -> (String, Vec<&(dyn ToSql + Sync)>) {
        let parameters = self.parameters.iter();
        let parameters = parameters.map(|it| it.as_ref() as &(dyn ToSql + Sync));
        (self.conditions.join(" AND "), parameters.collect())
    }

    fn parameter(&mut self, value: impl ToSql + Sync + Send + 'static) -> usize {
        self.parameters.push(Box::new(value));
        self.parameters.len()
    }

    fn of(filter: &Filter, cursor: Option<LegId>, now: i64) -> Self {
        let mut select = Self {
            conditions: vec!["true".to_owned()],
            parameters: Vec::new(),
        };
        if let Some(cursor) = cursor {
            let message = select.parameter(Id(cursor.message));
            let leg = select.parameter(number(cursor));
            let behind = format!("(l.message, l.number) > (${message}, ${leg})");
            select.conditions.push(behind);
        }
        if !filter.ids.is_empty() {
            let ids = filter.ids.iter().map(|id| match id {
                IdPattern::Message(message) => Id(*message),
                IdPattern::Leg(leg) => Id(leg.message),
            });
            let ids = select.parameter(ids.collect::<Vec<_>>());
            select.conditions.push(format!("l.message = ANY(${ids})"));
        }
        if !filter.hosts.is_empty() {
            // `host`, or `host way`: nothing else stands between it and `host!`.
            let one = |select: &mut Self, host: String| {
                let end = select.parameter(format!("{host}!"));
                let begin = select.parameter(host);
                format!("(l.destination >= ${begin} AND l.destination < ${end})")
            };
            let hosts = filter
                .hosts
                .iter()
                .map(|host| one(&mut select, host.to_string()));
            let hosts = hosts.collect::<Vec<_>>().join(" OR ");
            select.conditions.push(format!("({hosts})"));
        }
        if !filter.users.is_empty() {
            let users: Vec<String> = filter.users.iter().map(|it| it.to_string()).collect();
            let users = select.parameter(users);
            select
                .conditions
                .push(format!("lower(m.user_name) = ANY(${users})"));
        }
        if !filter.states.is_empty() {
            let now = select.parameter(now);
            let states = filter.states.iter().map(|state| state_is(*state, now));
            let states = states.collect::<Vec<_>>().join(" OR ");
            select.conditions.push(format!("({states})"));
        }
        for (span, sign) in [(filter.older_than, '<'), (filter.younger_than, '>')] {
            if let Some(span) = span {
                let at = now.saturating_sub(time::span(span));
                let at = select.parameter(at);
                select.conditions.push(format!("m.arrived {sign} ${at}"));
            }
        }
        select
    }
}

/// The legs that a filter means, in the order of their ids from behind `cursor`, among the next `n` at most. `locked`: nobody else
/// changes them until the transaction ends.
pub(crate) async fn find(
    client: &Borrowed,
    filter: &Filter,
    (cursor, n): (Option<LegId>, usize),
    now: i64,
    locked: bool,
) -> Result<Found, Error> {
    let n = n.min(FOUND_MAX);
    let select = Select::of(filter, cursor, now);
    let (conditions, parameters) = select.parts();
    let lock = if locked { "FOR UPDATE OF l" } else { "" };
    let statement = format!(
        "SELECT {BOTH} FROM legs AS l JOIN messages AS m ON m.id = l.message WHERE {conditions}
        ORDER BY l.message, l.number LIMIT {n} {lock}",
        n = count(n),
    );
    let rows = client.query(&statement, &parameters).await;
    let rows = rows.map_err(trouble)?;
    let mut found = Found {
        legs: Vec::new(),
        next: rows
            .last()
            .filter(|_| rows.len() == n)
            .map(crate::claim::leg_id),
    };
    let mut messages = HashMap::new();
    for row in &rows {
        match read_both(row, &mut messages) {
            Ok(both) => found.legs.push(both),
            // Whoever claims it tells of it, and `verify` does.
            Err(error) => {
                let leg = crate::claim::leg_id(row);
                tracing::debug!(%leg, %error, "a row of the shared spool cannot be read");
            }
        }
    }
    let now_at = timestamp(now);
    found
        .legs
        .retain(|(leg, message)| filter.matches(&leg.entry(Arc::clone(message), now), now_at));
    Ok(found)
}

/// Counts the legs that a filter means by what they have in common, as SQL can; `None`: it cannot say all that the filter does.
pub(crate) async fn tally(
    client: &Borrowed,
    filter: &Filter,
    by: By,
    now: i64,
) -> Result<Option<Tally>, Error> {
    let is_leg = |id: &IdPattern| matches!(id, IdPattern::Leg(_));
    let is_sql = filter.to.is_none()
        && filter.from.is_none()
        && filter.error.is_none()
        && filter.classes.is_empty()
        && !filter.not_since_arrival
        && !filter.ids.iter().any(is_leg);
    if !is_sql {
        return Ok(None);
    }
    let mut select = Select::of(filter, None, now);
    let ages = select.parameter(
        AGE_MINUTES
            .map(|minutes| i64::from(minutes as u32))
            .to_vec(),
    );
    let at = select.parameter(now);
    let (conditions, parameters) = select.parts();
    let name = match by {
        By::Host => "split_part(l.destination, ' ', 1)",
        By::Sender => "m.reverse_path",
        By::Error => "l.last::text",
    };
    let statement = format!(
        "SELECT name, width_bucket((${at} - arrived) / 60000, ${ages}::int8[]), count(*), min(arrived) FROM (
            SELECT {name} AS name, ('x0000' || left(replace(l.message::text, '-', ''), 12))::bit(64)::int8 AS arrived
            FROM legs AS l JOIN messages AS m ON m.id = l.message WHERE {conditions}) AS s GROUP BY 1, 2"
    );
    let rows = client.query(&statement, &parameters).await;
    let rows = rows.map_err(trouble)?;
    let mut tally = Tally::new(timestamp(now));
    for row in &rows {
        let (name, bucket): (Option<&str>, i32) = (row.get(0), row.get(1));
        let mut counted = Ages {
            oldest: Some(timestamp(row.get(3))),
            ..Ages::default()
        };
        let bucket = usize::try_from(bucket).unwrap_or(0).min(AGE_MINUTES.len());
        counted.buckets[bucket] = row.get::<_, i64>(2).unsigned_abs();
        tally.merge(&named(by, name), &counted);
    }
    Ok(Some(tally))
}

/// As [`By::name`] has it.
fn named(by: By, name: Option<&str>) -> String {
    match by {
        By::Host => name.unwrap_or_default().to_owned(),
        By::Sender => {
            let mailbox = name.and_then(|name| name.parse().ok());
            let path = mailbox.map_or(ReversePath::Null, ReversePath::Mailbox);
            sender_name(&path).into_owned()
        }
        By::Error => {
            let last = name.and_then(|name| serde_json::from_str(name).ok());
            error_name(last.as_ref().and_then(read_last).as_ref())
        }
    }
}

pub(crate) fn state_is(state: State, now: usize) -> String {
    let active = format!("(l.owner IS NOT NULL AND l.lease_end > ${now})");
    match state {
        State::Active => active,
        State::Held => format!("(l.held AND NOT {active})"),
        State::Deferred => {
            format!("(NOT l.held AND NOT {active} AND (l.bounced OR l.due > ${now}))")
        }
        State::Ready => {
            format!("(NOT l.held AND NOT {active} AND NOT l.bounced AND l.due <= ${now})")
        }
    }
}

/// Rows read at once.
const FOUND_MAX: usize = 5000;
