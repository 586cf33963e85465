//! The rows of one batch: put together in memory, from what the file has of them, and written once.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;

use control::{TracedLeg, TracedMessage};
use envelope::{LegId, Mailbox, MessageId};
use rusqlite::{Connection, OptionalExtension, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{key, words};

/// Messages and legs by their keys.
pub(crate) struct Rows<'a> {
    file: File<'a>,
    messages: Kept<TracedMessage>,
    legs: Kept<TracedLeg>,
    last_refusal: i64,
    /// Events that have no place.
    pub(crate) missed: u64,
}

#[derive(Clone, Copy)]
struct File<'a> {
    connection: &'a Connection,
    /// It has nothing from this key on.
    new_from: i64,
}

/// Rows, and whether they have changed.
type Kept<T> = HashMap<i64, (T, bool)>;

impl<'a> Rows<'a> {
    pub(crate) fn new(connection: &'a Connection) -> Result<Self> {
        let mut last = connection.prepare_cached("SELECT max(key) FROM mail")?;
        let last: Option<i64> = last.query_row([], |row| row.get(0))?;
        let last = last.unwrap_or_default();
        Ok(Self {
            file: File {
                connection,
                new_from: last + 1,
            },
            messages: HashMap::new(),
            legs: HashMap::new(),
            last_refusal: last,
            missed: 0,
        })
    }

    /// A message, to be looked at.
    pub(crate) fn look(&mut self, id: MessageId) -> Result<&TracedMessage> {
        let key = key::message(id);
        let (row, _) = self.file.row(&mut self.messages, key, || blank(id))?;
        Ok(row)
    }

    /// A message, to be changed. None: its place is taken.
    pub(crate) fn message(&mut self, id: MessageId) -> Result<Option<&mut TracedMessage>> {
        let key = key::message(id);
        let (row, is_changed) = self.file.row(&mut self.messages, key, || blank(id))?;
        *is_changed = row.id == Some(id);
        self.missed += u64::from(!*is_changed);
        Ok(is_changed.then_some(row))
    }

    /// A leg, to be changed. None: there is no place for it.
    pub(crate) fn leg(
        &mut self,
        id: LegId,
        recipient: &Mailbox,
        target: &Mailbox,
    ) -> Result<Option<&mut TracedLeg>> {
        let Some(key) = key::leg(id) else {
            self.missed += 1;
            return Ok(None);
        };
        let make = || TracedLeg {
            leg: id,
            status: control::MailStatus::Queued,
            recipient: recipient.to_string(),
            others: Vec::new(),
            target: target.to_string(),
            sender: None,
            attempts: Vec::new(),
        };
        let (row, is_changed) = self.file.row(&mut self.legs, key, make)?;
        *is_changed = row.leg == id;
        self.missed += u64::from(!*is_changed);
        Ok(is_changed.then_some(row))
    }

    /// Something that was refused before it had an id.
    pub(crate) fn refusal(&mut self, refused: TracedMessage) {
        self.last_refusal = key::refusal(refused.at, self.last_refusal);
        self.messages.insert(self.last_refusal, (refused, true));
    }

    /// Writes what has changed, its words in this run of the index. How many messages there are.
    pub(crate) fn write(self, run: i64) -> Result<usize> {
        let (mut rows, mut found_by) = (Vec::new(), Vec::new());
        for (key, row) in changed(&self.messages) {
            words::of_message(row, |word| found_by.push((run, words::hash(word), key)));
            rows.extend(json(key, row));
        }
        for (key, row) in changed(&self.legs) {
            let message = key / key::ROWS * key::ROWS;
            words::of_leg(row, |word| found_by.push((run, words::hash(word), message)));
            rows.extend(json(key, row));
        }
        let connection = self.file.connection;
        // In their order, neighbours are written together.
        rows.sort_unstable();
        let mut insert =
            connection.prepare_cached("INSERT OR REPLACE INTO mail VALUES (?1, ?2)")?;
        for row in rows {
            insert.execute(row)?;
        }
        found_by.sort_unstable();
        found_by.dedup();
        let mut insert =
            connection.prepare_cached("INSERT OR IGNORE INTO word VALUES (?1, ?2, ?3)")?;
        for word in found_by {
            insert.execute(word)?;
        }
        Ok(self.messages.len())
    }
}

impl File<'_> {
    /// A row: of this batch, of the file, or a new one.
    fn row<T: DeserializeOwned>(
        self,
        rows: &mut Kept<T>,
        key: i64,
        make: impl FnOnce() -> T,
    ) -> Result<&mut (T, bool)> {
        let slot = match rows.entry(key) {
            Slot::Occupied(slot) => return Ok(slot.into_mut()),
            Slot::Vacant(slot) => slot,
        };
        let mut kept = None;
        if key < self.new_from {
            let select = "SELECT data FROM mail WHERE key = ?1";
            let mut select = self.connection.prepare_cached(select)?;
            let data: Option<String> = select.query_row([key], |row| row.get(0)).optional()?;
            kept = data.and_then(|data| serde_json::from_str(&data).ok());
        }
        Ok(slot.insert((kept.unwrap_or_else(make), false)))
    }
}

/// A message of which nothing is known.
pub(crate) fn blank(id: MessageId) -> TracedMessage {
    TracedMessage {
        id: Some(id),
        at: id.timestamp(),
        ..TracedMessage::default()
    }
}

fn changed<T>(rows: &Kept<T>) -> impl Iterator<Item = (i64, &T)> {
    let changed = rows.iter().filter(|(_, (_, is_changed))| *is_changed);
    changed.map(|(key, (row, _))| (*key, row))
}

fn json(key: i64, row: &impl Serialize) -> Option<(i64, String)> {
    Some((key, serde_json::to_string(row).ok()?))
}
