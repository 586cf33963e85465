//! Sums, read from the tallies and added up by name.

use std::collections::HashMap;
use std::time::Instant;

use control::{
    FailingForward, FailingForwards, MailStatus, PAGE_ROWS_MAX, StatsBy, StatsPage, StatsRow, ask,
};
use envelope::Timestamp;
use rusqlite::{Connection, Result};

use crate::store::Error;
use crate::tally::{self, Kind};
use crate::trace::{self, Search};

/// Answers the question, as far as there is time.
pub(crate) fn answer(
    file: &Connection,
    ask: &ask::Stats,
    until: Instant,
) -> Result<StatsPage, Error> {
    let since = tally::hour(ask.since);
    let codes = match ask.reply.as_deref() {
        Some(reply) => tally::codes(reply).ok_or_else(|| Error::NotACode(reply.to_owned()))?,
        None => (0, i64::MAX),
    };
    let mut sums: HashMap<String, StatsRow> = HashMap::new();
    let is_cut = read(
        file,
        ask.by,
        since,
        until,
        |name, _, kind, code, [n, octets]| {
            if code < codes.0 || code >= codes.1 {
                return;
            }
            let is_full = sums.len() >= NAMES_MAX;
            let sum = match sums.get_mut(name) {
                Some(sum) => sum,
                None if is_full => return,
                None => sums.entry(name.to_owned()).or_default(),
            };
            let count = match kind {
                Kind::Received => &mut sum.received,
                Kind::Refused => &mut sum.refused,
                Kind::Delivered => &mut sum.delivered,
                Kind::Deferred => &mut sum.deferred,
                Kind::Failed => &mut sum.failed,
            };
            *count += n;
            sum.octets += octets;
        },
    )?;
    let (keys, mut rows) = (sums.len(), sums.into_iter().collect::<Vec<_>>());
    rows.sort_unstable_by(|(a, one), (b, other)| {
        weight(other).cmp(&weight(one)).then_with(|| a.cmp(b))
    });
    rows.truncate(ask.limit.clamp(1, PAGE_ROWS_MAX) as usize);
    let first = first_hour(file, ask.by)?;
    for (name, row) in &mut rows {
        row.is_new = first.is_some_and(|first| first < since)
            && Instant::now() < until
            && !was_before(file, ask.by, name, since)?;
        (row.key, row.target) = tally::split(name);
    }
    Ok(StatsPage {
        rows: rows.into_iter().map(|(_, row)| row).collect(),
        keys: keys as u64,
        is_cut: is_cut || keys >= NAMES_MAX,
        oldest: first.map(at),
    })
}

/// Forwards of which at least nine attempts in ten failed for a reason that lies with the mailbox, and none since got through.
pub(crate) fn failing(
    file: &Connection,
    ask: &ask::ForwardsFailing,
    until: Instant,
) -> Result<FailingForwards, Error> {
    let (by, since) = (StatsBy::Forward, tally::hour(ask.since));
    let mut bad: HashMap<String, FailingForward> = HashMap::new();
    let mut is_cut = read(file, by, since, until, |name, hour, kind, code, [n, _]| {
        if !is_of_mailbox(code) || bad.len() >= NAMES_MAX && !bad.contains_key(name) {
            return;
        }
        let forward = bad.entry(name.to_owned()).or_insert_with(|| {
            let (recipient, target) = tally::split(name);
            FailingForward {
                recipient,
                target: target.unwrap_or_default(),
                delivered: 0,
                failed: 0,
                deferred: 0,
                code: String::new(),
                reply: None,
                last_failure: at(hour),
                last_success: None,
            }
        });
        match kind {
            Kind::Failed => forward.failed += n,
            _ => forward.deferred += n,
        }
        forward.code = tally::written(code);
        forward.last_failure = forward.last_failure.max(at(hour));
    })?;
    is_cut |= read(file, by, since, until, |name, hour, kind, _, [n, _]| {
        if kind == Kind::Delivered
            && let Some(forward) = bad.get_mut(name)
        {
            forward.delivered += n;
            forward.last_success = forward.last_success.max(Some(at(hour)));
        }
    })?;
    let mut forwards: Vec<_> = bad.into_values().filter(is_failing).collect();
    forwards.sort_by(|a, b| {
        let weight = |forward: &FailingForward| forward.failed + forward.deferred;
        weight(b)
            .cmp(&weight(a))
            .then_with(|| a.recipient.cmp(&b.recipient))
    });
    let limit = ask.limit.clamp(1, PAGE_ROWS_MAX) as usize;
    is_cut |= forwards.len() > limit;
    forwards.truncate(limit);
    for forward in &mut forwards {
        forward.reply = last_reply(file, forward, until)?;
    }
    Ok(FailingForwards {
        forwards,
        is_cut,
        oldest: first_hour(file, by)?.map(at),
    })
}

/// Gives `take` each sum from this hour on, in the order of time. Whether the time ran out.
fn read(
    file: &Connection,
    by: StatsBy,
    since: i64,
    until: Instant,
    mut take: impl FnMut(&str, i64, Kind, i64, [u64; 2]),
) -> Result<bool> {
    let mut rows = file.prepare_cached(
        "SELECT name, hour, kind, code, n, octets FROM tally WHERE by = ?1 AND hour >= ?2 ORDER BY hour",
    )?;
    let mut rows = rows.query((tally::number(by), since))?;
    let mut count = 0u32;
    while let Some(row) = rows.next()? {
        count += 1;
        if count.is_multiple_of(ROWS_BETWEEN_LOOKS) && Instant::now() >= until {
            return Ok(true);
        }
        let kind = match row.get::<_, i64>(2)? {
            0 => Kind::Received,
            1 => Kind::Refused,
            2 => Kind::Delivered,
            3 => Kind::Deferred,
            _ => Kind::Failed,
        };
        let sum = [row.get::<_, i64>(4)?, row.get(5)?].map(i64::cast_unsigned);
        take(
            row.get_ref(0)?.as_str()?,
            row.get(1)?,
            kind,
            row.get(3)?,
            sum,
        );
    }
    Ok(false)
}

fn first_hour(file: &Connection, by: StatsBy) -> Result<Option<i64>> {
    let mut first = file.prepare_cached("SELECT min(hour) FROM tally WHERE by = ?1")?;
    first.query_row([tally::number(by)], |row| row.get(0))
}

/// Whether there is a sum of this name before an hour: looked for from there on back, where a known name is found soon.
fn was_before(file: &Connection, by: StatsBy, name: &str, since: i64) -> Result<bool> {
    let by = tally::number(by);
    let mut earlier =
        file.prepare_cached("SELECT max(hour) FROM tally WHERE by = ?1 AND hour < ?2")?;
    let mut has =
        file.prepare_cached("SELECT 1 FROM tally WHERE by = ?1 AND hour = ?2 AND name = ?3")?;
    let mut hour = since;
    while let Some(before) = earlier.query_row((by, hour), |row| row.get::<_, Option<i64>>(0))? {
        if has.exists((by, before, name))? {
            return Ok(true);
        }
        hour = before;
    }
    Ok(false)
}

/// The last reply of a failing target, if its message is still there.
fn last_reply(
    file: &Connection,
    forward: &FailingForward,
    until: Instant,
) -> Result<Option<String>, Error> {
    let status = match forward.failed {
        0 => MailStatus::Deferred,
        _ => MailStatus::Failed,
    };
    let search = Search::forward(&forward.recipient, &forward.target, status);
    let mut reply = None;
    trace::search(file, &search, until, |message| {
        let mut legs = message
            .legs
            .iter()
            .filter(|leg| leg.target.eq_ignore_ascii_case(&forward.target));
        reply = legs.find_map(|leg| leg.attempts.last()?.reply.clone());
        reply.is_none()
    })?;
    Ok(reply)
}

/// No such mailbox or domain (X.1.x), or one that takes no mail, or is full (X.2.x).
fn is_of_mailbox(code: i64) -> bool {
    let (class, subject) = (code / 1_000_000, code / 1000 % 1000);
    class == 5 && matches!(subject, 1 | 2) || code == FULL
}

fn is_failing(forward: &FailingForward) -> bool {
    let bad = forward.failed + forward.deferred;
    bad > 9 * forward.delivered
        && forward
            .last_success
            .is_none_or(|last| last <= forward.last_failure)
}

fn weight(row: &StatsRow) -> u64 {
    row.received.max(row.delivered + row.failed) + row.deferred + row.refused
}

fn at(hour: i64) -> Timestamp {
    Timestamp::from_unix_millis(hour.cast_unsigned() * 3_600_000)
}

/// 4.2.2
const FULL: i64 = 4_002_002;

/// Names that are added up in memory.
const NAMES_MAX: usize = 200_000;

const ROWS_BETWEEN_LOOKS: u32 = 4096;
