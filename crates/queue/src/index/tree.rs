//! The index in sled: one tree, keys told apart by their first octet, so that a batch over all of them is atomic.
//!
//! ```text
//! m id(16)                            message row
//! l id(16) number(4)                  leg row
//! h host 00 due(8) id(16) number(4)   a leg in its host's order; due ffff… is held, …fffe to be bounced
//! d deadline(8) id(16) number(4)      a leg by its next deadline
//! t token                             expires(8) segment(4) value
//! x name                              position, settings, live
//! ```
//!
//! All numbers big-endian, so that keys sort. sled's `flush` is no proof of durability (it does not fdatasync): that is
//! done here through the store. It does *not* decide what is written when.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use envelope::{Host, LegId, MessageId, Timestamp};
use sled::{Batch, IVec};

use crate::index::window::Due;
use crate::log::codec::{LegRow, MessageRow, Token};
use crate::log::record::Position;
use crate::store::Store;

/// sled, and the file that its `flush` forgets to sync.
#[derive(Debug)]
pub(crate) struct Tree {
    db: sled::Db,
    path: PathBuf,
}

impl Tree {
    /// Opens or makes it. sled can panic over damaged files: that is an error here.
    pub(crate) fn open(path: &Path, cache_bytes: u64) -> Result<Self, String> {
        let open = || {
            sled::Config::new()
                .path(path)
                .cache_capacity(cache_bytes)
                .mode(sled::Mode::HighThroughput)
                .flush_every_ms(None)
                .open()
        };
        match std::panic::catch_unwind(open) {
            Ok(Ok(db)) => Ok(Self {
                db,
                path: path.to_owned(),
            }),
            Ok(Err(e)) => Err(e.to_string()),
            Err(_) => Err("sled panicked while opening it".to_owned()),
        }
    }

    /// Writes a batch of some `rows` rows, all or nothing.
    pub(crate) fn apply(&self, batch: Batch, rows: usize) -> Result<(), String> {
        self.db.apply_batch(batch).map_err(|e| e.to_string())?;
        // sled frees replaced pages a few at a time, each 128 operations, and a batch counts as one however many pages it
        // replaces: without these look-ups a million messages (four million rows) held 5.6 GB.
        for _ in 0..rows * LOOKUPS_PER_ROW {
            self.db.contains_key(POSITION).map_err(|e| e.to_string())?;
        }
        Ok(())
    }

    /// Makes all that was applied durable.
    pub(crate) fn sync(&self, store: &Arc<dyn Store>) -> Result<(), String> {
        self.db.flush().map_err(|e| e.to_string())?;
        let file = store.open(&self.path.join("db"));
        file.and_then(|file| file.sync()).map_err(|e| e.to_string())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.db.is_empty()
    }

    /// Up to where in the log it is current, for a spool and its settings.
    pub(crate) fn position(&self, settings: &[u8]) -> Option<Position> {
        if self.db.get(SETTINGS).ok()??.as_ref() != settings {
            return None;
        }
        let position = self.db.get(POSITION).ok()??;
        Some(Position(u64::from_be_bytes(
            position.as_ref().try_into().ok()?,
        )))
    }

    /// The spool and settings it was made for, and up to where in the log it is current.
    pub(crate) fn made_for(&self) -> Option<(IVec, Position)> {
        let settings = self.db.get(SETTINGS).ok()??;
        let position = self.position(&settings)?;
        Some((settings, position))
    }

    pub(crate) fn live(&self) -> Vec<(u32, i64)> {
        let Ok(Some(value)) = self.db.get(LIVE) else {
            return Vec::new();
        };
        let pair = |at: &[u8]| {
            let segment = u32::from_be_bytes(at[..4].try_into().ok()?);
            Some((segment, i64::from_be_bytes(at[4..].try_into().ok()?)))
        };
        value.chunks_exact(12).filter_map(pair).collect()
    }

    pub(crate) fn message(
        &self,
        id: MessageId,
    ) -> Result<Option<(MessageRow, Vec<LegRow>)>, String> {
        let Some(row) = self.db.get(message_key(id)).map_err(|e| e.to_string())? else {
            return Ok(None);
        };
        let row = MessageRow::decode(&row).map_err(|e| e.to_string())?;
        let mut prefix = vec![b'l'];
        prefix.extend_from_slice(&id.bits().to_be_bytes());
        let legs = self.db.scan_prefix(prefix).values().map(|value| {
            let value = value.map_err(|e| e.to_string())?;
            LegRow::decode(&value).map_err(|e| e.to_string())
        });
        Ok(Some((row, legs.collect::<Result<_, String>>()?)))
    }

    /// Message ids from `from` on.
    pub(crate) fn messages(&self, from: MessageId) -> impl Iterator<Item = MessageId> {
        let keys = self
            .db
            .range(message_key(from).to_vec()..vec![b'm' + 1])
            .keys();
        keys.map_while(Result::ok).filter_map(|key| {
            Some(MessageId::from_bits(u128::from_be_bytes(
                key.get(1..)?.try_into().ok()?,
            )))
        })
    }

    /// A host's order from `from` on.
    pub(crate) fn host(&self, host: &Host, from: Due) -> impl Iterator<Item = Due> {
        let mut end = host_prefix(host);
        let start = host_key(host, from);
        end.push(1);
        let keys = self.db.range(start..end).keys();
        keys.map_while(Result::ok).filter_map(|key| due_of(&key))
    }

    /// All legs in their hosts' orders.
    pub(crate) fn all_legs(&self) -> impl Iterator<Item = (Host, Due)> {
        let keys = self.db.scan_prefix(b"h").keys();
        keys.map_while(Result::ok)
            .filter_map(|key| Some((host_of(&key)?, due_of(&key)?)))
    }

    /// The first leg of each host, without reading the others.
    pub(crate) fn first_legs(&self) -> impl Iterator<Item = (Host, Due)> {
        let mut from = vec![b'h'];
        std::iter::from_fn(move || {
            let (key, _) = self.db.range(from.clone()..vec![b'h' + 1]).next()?.ok()?;
            let (host, due) = (host_of(&key)?, due_of(&key)?);
            from = host_prefix(&host);
            from.push(1);
            Some((host, due))
        })
    }

    pub(crate) fn deadlines(&self, from: Option<Due>) -> impl Iterator<Item = Due> {
        let start = from.map_or_else(|| vec![b'd'], deadline_key);
        let keys = self.db.range(start..vec![b'd' + 1]).keys();
        keys.map_while(Result::ok).filter_map(|key| due_of(&key))
    }

    /// A token, and the segment it is in.
    pub(crate) fn token(&self, token: &str) -> Option<(Token, u32)> {
        let value = self.db.get(token_key(token)).ok()??;
        read_token(token, &value)
    }
}

fn read_token(token: &str, value: &[u8]) -> Option<(Token, u32)> {
    let expires = u64::from_be_bytes(value.get(..8)?.try_into().ok()?);
    let segment = u32::from_be_bytes(value.get(8..12)?.try_into().ok()?);
    let token = Token {
        token: token.into(),
        value: std::str::from_utf8(&value[12..]).ok()?.into(),
        expires: Timestamp::from_unix_millis(expires),
    };
    Some((token, segment))
}

pub(crate) fn put_position(batch: &mut Batch, settings: &[u8], position: Position) {
    batch.insert(SETTINGS, settings);
    batch.insert(POSITION, &position.0.to_be_bytes());
}

pub(crate) fn put_live(batch: &mut Batch, live: impl Iterator<Item = (u32, i64)>) {
    let pairs = live.flat_map(|(segment, octets)| {
        segment
            .to_be_bytes()
            .into_iter()
            .chain(octets.to_be_bytes())
    });
    batch.insert(LIVE, pairs.collect::<Vec<u8>>());
}

pub(crate) fn put_token(batch: &mut Batch, token: &Token, segment: u32) {
    let mut value = token.expires.unix_millis().to_be_bytes().to_vec();
    value.extend_from_slice(&segment.to_be_bytes());
    value.extend_from_slice(token.value.as_bytes());
    batch.insert(token_key(&token.token), value);
}

pub(crate) fn token_key(token: &str) -> Vec<u8> {
    [b"t", token.as_bytes()].concat()
}

pub(crate) fn message_key(id: MessageId) -> [u8; 17] {
    let mut key = [b'm'; 17];
    key[1..].copy_from_slice(&id.bits().to_be_bytes());
    key
}

pub(crate) fn leg_key(id: LegId) -> [u8; 21] {
    let mut key = [b'l'; 21];
    key[1..17].copy_from_slice(&id.message.bits().to_be_bytes());
    key[17..].copy_from_slice(&id.number.to_be_bytes());
    key
}

pub(crate) fn host_key(host: &Host, due: Due) -> Vec<u8> {
    let mut key = host_prefix(host);
    key.push(0);
    push_due(&mut key, due);
    key
}

pub(crate) fn deadline_key(due: Due) -> Vec<u8> {
    let mut key = vec![b'd'];
    push_due(&mut key, due);
    key
}

fn host_prefix(host: &Host) -> Vec<u8> {
    format!("h{host}").into_bytes()
}

fn push_due(key: &mut Vec<u8>, (due, id): Due) {
    key.extend_from_slice(&due.unix_millis().to_be_bytes());
    key.extend_from_slice(&id.message.bits().to_be_bytes());
    key.extend_from_slice(&id.number.to_be_bytes());
}

/// The end of a key of an order.
fn due_of(key: &IVec) -> Option<Due> {
    let tail = key.get(key.len().checked_sub(DUE_OCTETS)?..)?;
    let id = LegId {
        message: MessageId::from_bits(u128::from_be_bytes(tail[8..24].try_into().ok()?)),
        number: u32::from_be_bytes(tail[24..].try_into().ok()?),
    };
    let due = u64::from_be_bytes(tail[..8].try_into().ok()?);
    Some((Timestamp::from_unix_millis(due), id))
}

fn host_of(key: &IVec) -> Option<Host> {
    let text = key.get(1..key.len().checked_sub(DUE_OCTETS + 1)?)?;
    std::str::from_utf8(text).ok()?.parse().ok()
}

const LOOKUPS_PER_ROW: usize = 2;
const DUE_OCTETS: usize = 28;
const POSITION: &[u8] = b"xposition";
const SETTINGS: &[u8] = b"xsettings";
const LIVE: &[u8] = b"xlive";
