//! Sums, read from the tallies and added up by name.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap};
use std::time::Instant;

use control::{
    FailingForward, FailingForwards, HourRow, MailStatus, PAGE_ROWS_MAX, StatsBy, StatsPage,
    StatsRow, ask,
};
use envelope::Timestamp;
use rusqlite::{Connection, Result};

use crate::store::Error;
use crate::tally::{self, Kind, Sums};
use crate::trace::{self, Search};
use crate::{key, prune};

/// Answers the question, as far as there is time.
pub(crate) fn answer(
    file: &Connection,
    ask: &ask::Stats,
    until: Instant,
) -> Result<StatsPage, Error> {
    let since = first_of(file, ask.since)?;
    let codes = match ask.reply.as_deref() {
        Some(reply) => tally::codes(reply).ok_or_else(|| Error::NotACode(reply.to_owned()))?,
        None => 0..i64::MAX,
    };
    let mut totals: HashMap<String, Sums> = HashMap::new();
    let is_cut = read(file, ask.by, since, until, |name, _, code, sums| {
        let is_full = totals.len() >= NAMES_MAX;
        if !codes.contains(&code) || is_full && !totals.contains_key(name) {
            return;
        }
        let total = match totals.get_mut(name) {
            Some(total) => total,
            None => totals.entry(name.to_owned()).or_default(),
        };
        add(total, sums);
    })?;
    let keys = totals.len();
    let row = |(name, sums): (String, Sums)| {
        let [received, refused, delivered, deferred, failed, octets] = sums.map(i64::cast_unsigned);
        let (key, target) = tally::split(&name);
        StatsRow {
            key,
            target,
            received,
            octets,
            refused,
            delivered,
            deferred,
            failed,
            is_new: false,
        }
    };
    let mut rows: Vec<_> = totals.into_iter().map(row).collect();
    rows.sort_unstable_by(by_weight);
    rows.truncate(ask.limit.clamp(1, PAGE_ROWS_MAX) as usize);
    let left_out = keys - rows.len();
    let first = first_hour(file, ask.by)?;
    let began_before = first.is_some_and(|first| first < since);
    for row in &mut rows {
        let is_asked = began_before && Instant::now() < until;
        let target = row.target.as_deref().unwrap_or_default();
        let name = tally::joined(ask.by, [&row.key, target]);
        row.is_new = is_asked && !was_before(file, ask.by, &name, since)?;
    }
    Ok(StatsPage {
        rows,
        keys: keys as u64,
        left_out: left_out as u64,
        is_cut: is_cut || keys >= NAMES_MAX,
        oldest: first.map(at),
        silent_nodes: Vec::new(),
    })
}

/// Forwards of which nine attempts in ten failed for a reason that lies with the mailbox, and none since got through.
pub(crate) fn failing(
    file: &Connection,
    ask: &ask::ForwardsFailing,
    until: Instant,
) -> Result<FailingForwards, Error> {
    let (by, since) = (StatsBy::Forward, first_of(file, ask.since)?);
    let names = ask.of.iter();
    let names = names.map(|(recipient, target)| tally::joined(by, [recipient, target]));
    let mut bad: HashMap<String, FailingForward> =
        names.map(|name| (name.clone(), blank(&name))).collect();
    let names_max = if bad.is_empty() { NAMES_MAX } else { 0 };
    let mut is_cut = read(file, by, since, until, |name, hour, code, sums| {
        if !is_of_mailbox(code) || bad.len() >= names_max && !bad.contains_key(name) {
            return;
        }
        let forward = bad.entry(name.to_owned()).or_insert_with(|| blank(name));
        forward.failed += sums[Kind::Failed as usize].cast_unsigned();
        forward.deferred += sums[Kind::Deferred as usize].cast_unsigned();
        forward.code = tally::written(code);
        forward.last_failure = at(hour);
    })?;
    is_cut |= read(file, by, since, until, |name, hour, _, sums| {
        let delivered = sums[Kind::Delivered as usize].cast_unsigned();
        if delivered > 0
            && let Some(forward) = bad.get_mut(name)
        {
            forward.delivered += delivered;
            forward.last_success = Some(at(hour));
        }
    })?;
    let mut forwards: Vec<_> = bad.into_values().collect();
    forwards.retain(|forward| !ask.of.is_empty() || is_failing(forward));
    forwards.sort_by(by_failures);
    let limit = ask.limit.clamp(1, PAGE_ROWS_MAX) as usize;
    let left_out = forwards.len().saturating_sub(limit) as u64;
    is_cut |= left_out > 0;
    forwards.truncate(limit);
    for forward in &mut forwards {
        if forward.failed + forward.deferred == 0 {
            break;
        }
        forward.reply = last_reply(file, forward, until)?;
    }
    Ok(FailingForwards {
        forwards,
        left_out,
        is_cut,
        oldest: first_hour(file, by)?.map(at),
        silent_nodes: Vec::new(),
    })
}

/// One of which nothing is known.
fn blank(name: &str) -> FailingForward {
    let (recipient, target) = tally::split(name);
    FailingForward {
        recipient,
        target: target.unwrap_or_default(),
        ..FailingForward::default()
    }
}

/// What became of mail, hour by hour: sites and rules are few, so that this is told at once.
pub(crate) fn hours(
    file: &Connection,
    ask: &ask::StatsHours,
    until: Instant,
) -> Result<Vec<HourRow>, Error> {
    let since = first_of(file, ask.since)?;
    let mut hours: BTreeMap<i64, Sums> = BTreeMap::new();
    for by in [StatsBy::Site, StatsBy::Rule] {
        let is_cut = read(file, by, since, until, |_, hour, _, sums| {
            add(hours.entry(hour).or_default(), sums);
        })?;
        if is_cut {
            return Err(Error::Late);
        }
    }
    let row = |(hour, sums): (i64, Sums)| {
        let [_, refused, delivered, deferred, failed, _] = sums.map(i64::cast_unsigned);
        HourRow {
            at: at(hour),
            refused,
            delivered,
            deferred,
            failed,
        }
    };
    Ok(hours.into_iter().map(row).collect())
}

fn add(total: &mut Sums, sums: Sums) {
    for (total, sum) in total.iter_mut().zip(sums) {
        *total += sum;
    }
}

/// Gives `take` each sum from this hour on, in the order of time: name, hour, code, sums. Whether the time ran out.
fn read(
    file: &Connection,
    by: StatsBy,
    since: i64,
    until: Instant,
    mut take: impl FnMut(&str, i64, i64, Sums),
) -> Result<bool> {
    let mut rows = file.prepare_cached(
        "SELECT name, hour, code, received, refused, delivered, deferred, failed, octets
        FROM tally WHERE by = ?1 AND hour >= ?2 ORDER BY hour",
    )?;
    let mut rows = rows.query((tally::number(by), since))?;
    let mut count = 0u32;
    while let Some(row) = rows.next()? {
        count += 1;
        if count.is_multiple_of(ROWS_BETWEEN_LOOKS) && Instant::now() >= until {
            return Ok(true);
        }
        let mut sums = Sums::default();
        for (sum, column) in sums.iter_mut().zip(3..) {
            *sum = row.get(column)?;
        }
        take(row.get_ref(0)?.as_str()?, row.get(1)?, row.get(2)?, sums);
    }
    Ok(false)
}

/// The hour from which sums are meant: where they are of days, that of the day.
fn first_of(file: &Connection, since: Timestamp) -> Result<i64> {
    let hour = tally::hour(since);
    let last: Option<i64> = file.query_row("SELECT max(key) FROM mail", [], |row| row.get(0))?;
    let of_hours = last.map_or(0, |last| tally::hour(key::time(last)) - prune::HOURS_KEPT);
    Ok(match hour < of_hours {
        true => hour / 24 * 24,
        false => hour,
    })
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
    FailingForward {
        recipient,
        target,
        failed,
        ..
    }: &FailingForward,
    until: Instant,
) -> Result<Option<String>, Error> {
    let status = match failed {
        0 => MailStatus::Deferred,
        _ => MailStatus::Failed,
    };
    let search = Search::forward(recipient, target, status);
    let mut reply = None;
    trace::search(file, &search, until, |message| {
        let mut legs = message.legs.iter();
        let leg = legs.find(|leg| leg.target.eq_ignore_ascii_case(target));
        reply = leg.and_then(|leg| leg.attempts.last()?.reply.clone());
        reply.is_none()
    })?;
    Ok(reply)
}

/// No such mailbox or domain (5.1.x), or one that takes no mail, or is full (5.2.x, 4.2.2).
fn is_of_mailbox(code: i64) -> bool {
    let (class, subject) = (code / 1_000_000, code / 1000 % 1000);
    class == 5 && matches!(subject, 1 | 2) || code == FULL
}

/// Those that fail most first.
pub(crate) fn by_failures(a: &FailingForward, b: &FailingForward) -> Ordering {
    let weight = |forward: &FailingForward| forward.failed + forward.deferred;
    (weight(b), &a.recipient).cmp(&(weight(a), &b.recipient))
}

pub(crate) fn is_failing(forward: &FailingForward) -> bool {
    let bad = forward.failed + forward.deferred;
    let last = forward.last_success;
    bad > 9 * forward.delivered && last.is_none_or(|last| last <= forward.last_failure)
}

/// The largest sums first.
pub(crate) fn by_weight(a: &StatsRow, b: &StatsRow) -> Ordering {
    let ended = |row: &StatsRow| row.delivered + row.failed;
    let weight = |row: &StatsRow| row.received.max(ended(row)) + row.deferred + row.refused;
    (weight(b), &a.key, &a.target).cmp(&(weight(a), &b.key, &b.target))
}

fn at(hour: i64) -> Timestamp {
    Timestamp::from_unix_millis(hour.cast_unsigned() * 3_600_000)
}

/// 4.2.2
const FULL: i64 = 4_002_002;

/// Names that are added up in memory.
const NAMES_MAX: usize = 200_000;

const ROWS_BETWEEN_LOOKS: u32 = 4096;
