//! What is too old, or too much: deleted in small pieces, the oldest first.

use std::time::{Duration, Instant};

use control::StatsBy;
use envelope::Timestamp;
use rusqlite::Result;

use crate::store::Store;
use crate::{Settings, changes, key, tally, trace, words};

/// Deletes until nothing is left to delete, or until `deadline`. Whether it is done.
pub(crate) fn run(
    store: &Store,
    settings: &Settings,
    now: Timestamp,
    deadline: Instant,
) -> Result<bool> {
    let connection = &store.connection;
    let kept_from = now.minus(settings.keep.max(SUMS_KEPT));
    let sums_from = tally::hour(kept_from);
    let hours_from = tally::hour(now) - HOURS_KEPT;
    while Instant::now() < deadline {
        let is_too_much = store.octets()? > settings.octets_max;
        let keep = match is_too_much {
            true => settings.keep.min(SPARED),
            false => settings.keep,
        };
        let mut mail = connection.prepare_cached(MAIL)?;
        let mut deleted = mail.execute([key::at(now.minus(keep))])?;
        // Strangers choose the names of sums: without this, many of them would leave no room for mail.
        let sums_from = match is_too_much && deleted == 0 {
            true => i64::MAX,
            false => sums_from,
        };
        let oldest = trace::oldest(connection)?;
        deleted += words::prune(connection, oldest.map_or(0, key::at))?;
        deleted += changes::prune(connection, key::at(kept_from))?;
        for by in StatsBy::ALL.iter().copied() {
            let mut delete = connection.prepare_cached(SUMS)?;
            deleted += delete.execute((sums_from, tally::number(by)))?;
            deleted += tally::roll_up(connection, by, hours_from)?;
        }
        if is_too_much && deleted == 0 {
            deleted = mail.execute([i64::MAX])?;
        }
        if deleted == 0 {
            return Ok(true);
        }
    }
    Ok(false)
}

const MAIL: &str = "DELETE FROM mail WHERE key IN
    (SELECT key FROM mail WHERE key < ?1 ORDER BY key LIMIT 500)";
const SUMS: &str = "DELETE FROM tally WHERE (by, hour, name, code) IN
    (SELECT by, hour, name, code FROM tally WHERE by = ?2 AND hour < ?1 LIMIT 500)";

/// If the file is too large, mail older than this makes room first; then sums do as well.
const SPARED: Duration = Duration::from_hours(1);

/// Hours after which sums are of days.
pub(crate) const HOURS_KEPT: i64 = 24;

/// Sums are kept for longer than messages: a forward fails for weeks before anybody asks.
const SUMS_KEPT: Duration = Duration::from_hours(35 * 24);
