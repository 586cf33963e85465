//! Who changed what the daemon does: starts, reloads, orders and freezes, which belong to no message.

use control::{Change, PAGE_ROWS_MAX, ask};
use journal::{Entry, Event};
use rusqlite::{Connection, Result};

use crate::{clip, key};

/// Whether an event is one.
pub(crate) fn is_change(event: &Event) -> bool {
    match event {
        // What comes of these has an event of its own.
        Event::OperatorAsked { action, .. } => !OWN_EVENT.iter().any(|own| action.starts_with(own)),
        Event::Ready { .. }
        | Event::Stopping { .. }
        | Event::Reloaded { .. }
        | Event::ReloadFailed { .. }
        | Event::ForwardsKeptOut { .. }
        | Event::SiteOrdered { .. }
        | Event::Drained { .. }
        | Event::Frozen { .. }
        | Event::FreezeLifted { .. } => true,
        _ => false,
    }
}

/// Whether strangers can bring it about, as often as they like.
fn is_of_strangers(event: &Event) -> bool {
    matches!(event, Event::Frozen { .. } | Event::FreezeLifted { .. })
}

/// Writes one down.
pub(crate) fn write(file: &Connection, Entry { at, event }: &Entry) -> Result<()> {
    let change = Change {
        at: *at,
        event: event.name().to_owned(),
        text: clip(event.fields_text(), TEXT_OCTETS_MAX),
    };
    let json = serde_json::to_vec(&change).unwrap_or_default();
    let mut insert = file.prepare_cached(INSERT)?;
    insert.execute((key::at(*at), json, is_of_strangers(event)))?;
    Ok(())
}

/// The latest.
pub(crate) fn answer(file: &Connection, ask: &ask::Changes) -> Result<Vec<Change>> {
    let until = ask.until.map_or(i64::MAX, key::at);
    let mut changes = file.prepare_cached(SELECT)?;
    let rows = changes.query_map((until, ask.limit.clamp(1, PAGE_ROWS_MAX)), |row| {
        Ok(serde_json::from_slice(row.get_ref(0)?.as_blob()?).ok())
    })?;
    rows.filter_map(Result::transpose).collect()
}

/// Deletes those before a key, some of them; and all but the latest of strangers and of others, whatever their age. How many.
pub(crate) fn prune(file: &Connection, key: i64) -> Result<usize> {
    let mut delete = file.prepare_cached(DELETE)?;
    Ok(delete.execute((key, KEPT_MAX, true))? + delete.execute((key, KEPT_MAX, false))?)
}

/// A file of an older version has none.
pub(crate) const SCHEMA: &str =
    "CREATE TABLE IF NOT EXISTS change (key INTEGER PRIMARY KEY, data BLOB NOT NULL) STRICT;";
/// Odd keys are those of strangers. (An older version did not count so: some of its rows are pruned as theirs.)
const INSERT: &str =
    "INSERT INTO change SELECT max(?1, coalesce(max(key) / 2 * 2 + 2, 0)) + ?3, ?2 FROM change";
const SELECT: &str = "SELECT data FROM change WHERE key < ?1 ORDER BY key DESC LIMIT ?2";
const DELETE: &str = "DELETE FROM change WHERE key IN (SELECT key FROM change WHERE key % 2 = ?3 AND key < max(?1,
    coalesce((SELECT key FROM change WHERE key % 2 = ?3 ORDER BY key DESC LIMIT 1 OFFSET ?2), 0)) LIMIT 500)";

/// Of each.
const KEPT_MAX: i64 = 10_000;
const TEXT_OCTETS_MAX: usize = 2000;
const OWN_EVENT: [&str; 4] = ["site-", "drain", "freeze-", "srs-"];
