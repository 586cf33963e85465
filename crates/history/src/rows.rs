//! The rows of one batch: put together in memory, from what the file has of them, and written once.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;

use control::{TracedLeg, TracedMessage};
use envelope::{LegId, Mailbox, MessageId};
use rusqlite::{Connection, OptionalExtension, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::key;
use crate::words::{self, Found, Words};

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

/// In boxes: a table of rows as long as these would be moved when it grows.
type Kept<T> = HashMap<i64, Box<Row<T>>>;

struct Row<T> {
    row: T,
    is_changed: bool,
    /// Hashes of its words that the index has already.
    words: Vec<u32>,
}

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
        let row = self.file.row(&mut self.messages, key, || blank(id))?;
        Ok(&row.row)
    }

    /// A message, to be changed. None: its place is taken.
    pub(crate) fn message(&mut self, id: MessageId) -> Result<Option<&mut TracedMessage>> {
        let key = key::message(id);
        let row = self.file.row(&mut self.messages, key, || blank(id))?;
        let is_it = row.row.id == Some(id);
        self.missed += u64::from(!is_it);
        row.is_changed |= is_it;
        Ok(is_it.then_some(&mut row.row))
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
        let row = self.file.row(&mut self.legs, key, make)?;
        let is_it = row.row.leg == id;
        self.missed += u64::from(!is_it);
        row.is_changed |= is_it;
        Ok(is_it.then_some(&mut row.row))
    }

    /// Something that was refused before it had an id.
    pub(crate) fn refusal(&mut self, refused: TracedMessage) {
        self.last_refusal = key::refusal(refused.at, self.last_refusal);
        let row = Row {
            row: refused,
            is_changed: true,
            words: Vec::new(),
        };
        self.messages.insert(self.last_refusal, Box::new(row));
    }

    /// Writes what has changed, and its words. How many events had no place.
    pub(crate) fn write(self, now: i64) -> Result<u64> {
        let connection = self.file.connection;
        let mut insert =
            connection.prepare_cached("INSERT OR REPLACE INTO mail VALUES (?1, ?2)")?;
        let mut keys: Vec<i64> = self
            .messages
            .keys()
            .chain(self.legs.keys())
            .copied()
            .collect();
        // In their order, neighbours are written together.
        keys.sort_unstable();
        let (mut found, mut json) = (Found::default(), Vec::new());
        for key in keys {
            json.clear();
            let is_changed = match key % key::ROWS {
                0 => write(&self.messages, key, &mut json, &mut found),
                _ => write(&self.legs, key, &mut json, &mut found),
            };
            if is_changed {
                insert.execute((key, &json))?;
            }
        }
        found.write(connection, now)?;
        Ok(self.missed)
    }
}

impl File<'_> {
    /// A row: of this batch, of the file, or a new one.
    fn row<T: DeserializeOwned + Words>(
        self,
        rows: &mut Kept<T>,
        key: i64,
        make: impl FnOnce() -> T,
    ) -> Result<&mut Row<T>> {
        let slot = match rows.entry(key) {
            Slot::Occupied(slot) => return Ok(slot.into_mut()),
            Slot::Vacant(slot) => slot,
        };
        let mut kept: Option<T> = None;
        if key < self.new_from {
            let select = "SELECT data FROM mail WHERE key = ?1";
            let mut select = self.connection.prepare_cached(select)?;
            let data: Option<Vec<u8>> = select.query_row([key], |row| row.get(0)).optional()?;
            kept = data.and_then(|data| serde_json::from_slice(&data).ok());
        }
        let mut words = Vec::new();
        kept.iter()
            .for_each(|row| row.words(|word| words.push(words::hash(word))));
        Ok(slot.insert(Box::new(Row {
            row: kept.unwrap_or_else(make),
            is_changed: false,
            words,
        })))
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

/// Gives the JSON of a row and its words, if it has changed.
fn write<T: Serialize + Words>(
    rows: &Kept<T>,
    key: i64,
    json: &mut Vec<u8>,
    found: &mut Found,
) -> bool {
    let Some(row) = rows.get(&key).filter(|row| row.is_changed) else {
        return false;
    };
    row.row.words(|word| {
        let hash = words::hash(word);
        if !row.words.contains(&hash) {
            found.add(hash, key / key::ROWS * key::ROWS);
        }
    });
    serde_json::to_writer(json, &row.row).is_ok()
}
