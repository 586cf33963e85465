//! What operators see of the queue, and do to it: on any node, all of it.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use envelope::{Diagnosis, EnhancedStatus, LegId, MessageId};
use spool::{Action, By, Changed, Counts, DAMAGED, Error, Filter, Page, State, Tally};

use crate::claim::{leg_id, number};
use crate::connect::{Borrowed, Parameters, twice};
use crate::engine::Shared;
use crate::rows::{Id, LegRow, last_json};
use crate::select::{Found, find, state_is, tally};
use crate::settle::remove;

impl Shared {
    pub(crate) async fn listed(
        &self,
        filter: &Filter,
        cursor: Option<LegId>,
        n: usize,
    ) -> Result<Page, Error> {
        let now = self.time.now();
        let found = twice(|| async {
            let client = self.database.get().await?;
            let found = find(&client, filter, (cursor, n), now, false).await?;
            client.done();
            Ok(found)
        });
        let Found { legs, next } = found.await?;
        let entries = legs
            .into_iter()
            .map(|(leg, message)| leg.entry(message, now));
        Ok(Page {
            entries: entries.collect(),
            next,
        })
    }

    /// Of a queue so large that counting takes its time, the figures may be somewhat old: who asks every second is not to keep the
    /// database busy.
    pub(crate) async fn counted(&self) -> Result<Counts, Error> {
        let mut known = self.counts.lock().await;
        if let Some((counted, took, counts)) = &*known
            && *took > COUNTED_FAST
            && counted.elapsed() < *took * COUNTED_REST
        {
            return Ok(counts.clone());
        }
        let began = Instant::now();
        let counts = self.count_all().await?;
        *known = Some((Instant::now(), began.elapsed(), counts.clone()));
        Ok(counts)
    }

    async fn count_all(&self) -> Result<Counts, Error> {
        let now = self.time.now();
        let rows = self.database.ask(&COUNT, &[&now]).await?;
        let mut counts = Counts::default();
        let mut hosts: HashMap<&str, u64> = HashMap::new();
        for row in &rows {
            let number = |column: usize| row.get::<_, i64>(column).unsigned_abs();
            let (all, active, held, deferred) = (number(1), number(2), number(3), number(4));
            counts.active += active;
            counts.held += held;
            counts.deferred += deferred;
            counts.ready += all - active - held - deferred;
            let destination: &str = row.get(0);
            let host = destination.split(' ').next().unwrap_or(destination);
            *hosts.entry(host).or_default() += all;
        }
        let hosts = hosts
            .into_iter()
            .filter_map(|(host, legs)| Some((host.parse().ok()?, legs)));
        counts.rank(hosts);
        Ok(counts)
    }

    /// Puts the legs of a message on hold, or one of them, that are not what was taken in: an operator is to look at them.
    pub(crate) async fn hold_damaged(&self, id: MessageId, leg: Option<i32>, text: &str) {
        let last = Diagnosis::local(EnhancedStatus::transient(3, 0), format!("{DAMAGED}{text}"));
        let held: Parameters<'_> = &[&Id(id), &leg, &last_json(&last)];
        let held = self.database.ask(HOLD, held).await;
        let held = held.err().map(|error| error.to_string());
        tracing::error!(%id, leg, text, not_held = held, "a message is damaged: its legs are put on hold");
    }

    pub(crate) async fn tallied(&self, filter: &Filter, by: By) -> Result<Option<Tally>, Error> {
        let now = self.time.now();
        twice(|| async {
            let client = self.database.get().await?;
            let tally = tally(&client, filter, by, now).await?;
            client.done();
            Ok(tally)
        })
        .await
    }

    pub(crate) async fn acted(
        &self,
        filter: &Filter,
        action: Action,
        cursor: Option<LegId>,
        n: usize,
    ) -> Result<Changed, Error> {
        let now = self.time.now();
        let (found, matched) = twice(|| async {
            let client = self.database.get().await?;
            client.run("BEGIN").await?;
            let is_removed = action == Action::Remove;
            // What is removed is locked by its messages first, as those who settle do.
            let mut found = find(&client, filter, (cursor, n), now, !is_removed).await?;
            let matched = found.legs.len() as u64;
            found.legs.retain(|(leg, _)| changes(leg, action, now));
            let changed = apply(&client, &found.legs, action, now).await?;
            found.legs.retain(|(leg, _)| changed.contains(&leg.id));
            client.run("COMMIT").await?;
            client.done();
            Ok((found, matched))
        })
        .await?;
        let mut front = self.front.lock();
        for (leg, _) in &found.legs {
            front.note(&leg.leg.destination().to_string(), now);
        }
        drop(front);
        let entries = found
            .legs
            .into_iter()
            .map(|(leg, message)| leg.entry(message, now));
        Ok(Changed {
            matched,
            entries: entries.collect(),
            next: found.next,
        })
    }
}

/// Whether an action would change a leg.
fn changes(leg: &LegRow, action: Action, now: i64) -> bool {
    match action {
        Action::Hold => !leg.held,
        Action::Release => leg.held,
        Action::RetryNow => !leg.held && leg.state(now) != State::Active && leg.due != now,
        Action::Bounce => leg.held || !leg.bounced,
        Action::Remove => true,
    }
}

/// Says which legs it changed: what is removed may have ended meanwhile.
async fn apply<T>(
    client: &Borrowed,
    legs: &[(LegRow, T)],
    action: Action,
    now: i64,
) -> Result<HashSet<LegId>, Error> {
    let (mut messages, mut numbers) = (Vec::new(), Vec::new());
    for (leg, _) in legs {
        messages.push(Id(leg.id.message));
        numbers.push(number(leg.id));
    }
    let change = match action {
        Action::Hold => "held = true",
        Action::Release => "held = false, due = $3",
        Action::RetryNow => "due = $3",
        Action::Bounce => "bounced = true, held = false",
        Action::Remove => {
            let rows = remove(client, &messages, REMOVE, &[&messages, &numbers]).await?;
            return Ok(rows.iter().map(leg_id).collect());
        }
    };
    let statement = format!(
        "UPDATE legs SET {change} FROM unnest($1::uuid[], $2::int4[]) AS g (message, number) \
        WHERE legs.message = g.message AND legs.number = g.number AND $3::int8 IS NOT NULL RETURNING legs.message, legs.number"
    );
    let rows = client
        .rows(&statement, &[&messages, &numbers, &now])
        .await?;
    Ok(rows.iter().map(leg_id).collect())
}

const HOLD: &str =
    "UPDATE legs SET held = true, last = $3 WHERE message = $1 AND number = coalesce($2, number)";
const REMOVE: &str = "DELETE FROM legs USING unnest($1::uuid[], $2::int4[]) AS g (message, number)
    WHERE legs.message = g.message AND legs.number = g.number RETURNING legs.message, legs.number";
static COUNT: std::sync::LazyLock<String> = std::sync::LazyLock::new(|| {
    let [active, held, deferred] = [State::Active, State::Held, State::Deferred]
        .map(|state| format!("count(*) FILTER (WHERE {})", state_is(state, 1)));
    format!(
        "SELECT destination, count(*), {active}, {held}, {deferred} FROM legs AS l GROUP BY destination"
    )
});
/// What is counted within this time is counted anew each time.
const COUNTED_FAST: Duration = Duration::from_millis(50);
/// Else the figures are used for so many times as long as it took.
const COUNTED_REST: u32 = 20;
