//! The index in sled: one tree, keys told apart by their first octet, so that a batch over all of them is atomic.
//!
//! ```text
//! m id(16)                            a message and its legs (`row`)
//! m id(16) number(4)                  a leg that did not fit there
//! t token                             expires(8) unused(4) value: of an older Onward, until it has expired
//! x name                              position, settings, live, notes
//! ```
//!
//! All numbers big-endian, so that keys sort. sled's `flush` is no proof of durability (it does not fdatasync): that is
//! done here through the store. It does *not* decide what is written when.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use envelope::{LegId, MessageId, Timestamp};
use sled::{Batch, IVec};
use spool::Token;

use crate::index::reclaim::Notes;
use crate::index::row::{Glance, MessageValue, glance, glance_leg};
use crate::log::codec::{Dates, LegRow};
use crate::log::record::Position;
use crate::store::{PRIVATE_DIR, Store};

/// A leg, and what the orders need to know of its message.
pub(crate) type Seen = (LegId, Dates, Arc<str>, Glance);

/// sled, and the file that its `flush` forgets to sync.
#[derive(Debug)]
pub(crate) struct Tree {
    /// `None` when it could not be opened anew.
    db: Option<sled::Db>,
    path: PathBuf,
    cache_bytes: u64,
}

impl Tree {
    /// Opens or makes it. sled can panic over damaged files: that is an error here.
    pub(crate) fn open(path: &Path, cache_bytes: u64) -> Result<Self, String> {
        let open = || {
            // Its own files it makes by the umask.
            let folder = DirBuilder::new()
                .recursive(true)
                .mode(PRIVATE_DIR)
                .create(path);
            folder.map_err(sled::Error::Io)?;
            sled::Config::new()
                .path(path)
                .cache_capacity(cache_bytes)
                .mode(sled::Mode::HighThroughput)
                .flush_every_ms(None)
                .open()
        };
        match std::panic::catch_unwind(open) {
            Ok(Ok(db)) => Ok(Self {
                db: Some(db),
                path: path.to_owned(),
                cache_bytes,
            }),
            Ok(Err(e)) => Err(e.to_string()),
            Err(_) => Err("sled panicked while opening it".to_owned()),
        }
    }

    fn db(&self) -> sled::Result<&sled::Db> {
        let gone = || sled::Error::Unsupported("the index is not open".to_owned());
        self.db.as_ref().ok_or_else(gone)
    }

    /// Opens it anew after sled has failed: from then on it fails whatever it is asked, though the disk may be well again. What
    /// was synced is there then; of what was applied since, perhaps a part.
    pub(crate) fn reopen(&mut self) -> Result<(), String> {
        let old = self.db.take();
        // sled holds its lock until the last handle goes, and tries to write once more as it does.
        if std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(old))).is_err() {
            tracing::warn!("sled panicked while closing the index");
        }
        self.db = Self::open(&self.path, self.cache_bytes)?.db;
        Ok(())
    }

    /// Writes a batch of some `rows` rows, all or nothing.
    pub(crate) fn apply(&self, batch: Batch, rows: usize) -> Result<(), String> {
        let db = self.db().map_err(|e| e.to_string())?;
        db.apply_batch(batch).map_err(|e| e.to_string())?;
        // sled frees replaced pages a few at a time, each 128 operations, and a batch counts as one however many pages it
        // replaces: without these look-ups a million messages (four million rows) held 5.6 GB.
        for _ in 0..rows * LOOKUPS_PER_ROW {
            db.contains_key(POSITION).map_err(|e| e.to_string())?;
        }
        Ok(())
    }

    /// Makes all that was applied durable.
    pub(crate) fn sync(&self, store: &Arc<dyn Store>) -> Result<(), String> {
        let flushed = self.db().and_then(|db| db.flush());
        flushed.map_err(|e| e.to_string())?;
        // It makes files as it goes. Where that is refused, the start has said so.
        let _ = store.keep_private(&self.path);
        let file = store.open(&self.path.join("db"));
        file.and_then(|file| file.sync()).map_err(|e| e.to_string())
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn cache_bytes(&self) -> u64 {
        self.cache_bytes
    }

    /// What its files take; 0 when that cannot be read.
    pub(super) fn octets_on_disk(&self) -> u64 {
        self.db().and_then(|db| db.size_on_disk()).unwrap_or(0)
    }

    /// Some rows from a key on, but for those that vouch for the log's position.
    pub(super) fn rows(&self, from: &[u8], n: usize) -> Result<Vec<(IVec, IVec)>, String> {
        let db = self.db().map_err(|e| e.to_string())?;
        let rows = db.range(from..&b"x"[..]).take(n);
        rows.collect::<Result<_, _>>().map_err(|e| e.to_string())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.db().is_ok_and(|db| db.is_empty())
    }

    /// Up to where in the log it is current, for a spool and its settings.
    pub(crate) fn position(&self, settings: &[u8]) -> Option<Position> {
        let db = self.db().ok()?;
        if db.get(SETTINGS).ok()??.as_ref() != settings {
            return None;
        }
        let position = db.get(POSITION).ok()??;
        Some(Position(u64::from_be_bytes(
            position.as_ref().try_into().ok()?,
        )))
    }

    /// The spool and settings it was made for, and up to where in the log it is current.
    pub(crate) fn made_for(&self) -> Option<(IVec, Position)> {
        let settings = self.db().ok()?.get(SETTINGS).ok()??;
        let position = self.position(&settings)?;
        Some((settings, position))
    }

    pub(crate) fn live(&self) -> Vec<(u32, i64)> {
        let Ok(Some(value)) = self.db().and_then(|db| db.get(LIVE)) else {
            return Vec::new();
        };
        let pair = |at: &[u8]| {
            let segment = u32::from_be_bytes(at[..4].try_into().ok()?);
            Some((segment, i64::from_be_bytes(at[4..].try_into().ok()?)))
        };
        value.chunks_exact(12).filter_map(pair).collect()
    }

    /// What segments hold beside messages; `None` when nobody counted.
    pub(crate) fn notes(&self) -> Option<Notes> {
        Notes::decode(&self.db().ok()?.get(NOTES).ok()??)
    }

    /// A message with all its legs.
    pub(crate) fn message(&self, id: MessageId) -> Result<Option<MessageValue>, String> {
        let key = message_key(id);
        let db = self.db().map_err(|e| e.to_string())?;
        let Some(row) = db.get(key).map_err(|e| e.to_string())? else {
            return Ok(None);
        };
        let mut message = MessageValue::decode(&row).map_err(|e| e.to_string())?;
        if message.apart > 0 {
            for row in db.scan_prefix(key).skip(1) {
                let (_, value) = row.map_err(|e| e.to_string())?;
                let leg = LegRow::decode(&value).map_err(|e| e.to_string())?;
                message.legs.push(leg);
            }
        }
        Ok(Some(message))
    }

    /// Message ids from `from` on.
    pub(crate) fn messages(&self, from: MessageId) -> impl Iterator<Item = MessageId> {
        let range = message_key(from).to_vec()..vec![b'm' + 1];
        let keys = self.db().ok().map(|db| db.range(range).keys());
        let keys = keys.into_iter().flatten();
        // Keys of legs that stand apart are longer.
        keys.map_while(Result::ok).filter_map(|key| {
            Some(MessageId::from_bits(u128::from_be_bytes(
                key.get(1..)?.try_into().ok()?,
            )))
        })
    }

    /// Gives out all legs, some at a time, with the dates and the sender's domain of their messages; says how many messages there
    /// are.
    pub(crate) fn each_batch(
        &self,
        at_once: usize,
        mut each: impl FnMut(Vec<Seen>),
    ) -> Result<u64, String> {
        let (mut dates, mut messages) = ((Timestamp::from_unix_millis(0), None), 0);
        let mut sender: Arc<str> = "".into();
        let mut batch = Vec::with_capacity(at_once);
        let db = self.db().map_err(|e| e.to_string())?;
        for row in db.scan_prefix(b"m") {
            let (key, value) = row.map_err(|e| e.to_string())?;
            let id = key
                .get(1..MESSAGE_KEY_OCTETS)
                .and_then(|id| id.try_into().ok());
            let id = id.ok_or("a message's key is too short")?;
            let message = MessageId::from_bits(u128::from_be_bytes(id));
            let legs = if key.len() == MESSAGE_KEY_OCTETS {
                messages += 1;
                let (found, by, legs) = glance(&value).map_err(|e| e.to_string())?;
                dates = found;
                if *sender != *by {
                    sender = by.into();
                }
                legs
            } else {
                vec![glance_leg(&value).map_err(|e| e.to_string())?]
            };
            let named = legs.into_iter().map(|leg| {
                let number = leg.number;
                (LegId { message, number }, dates, Arc::clone(&sender), leg)
            });
            batch.extend(named);
            if batch.len() >= at_once {
                each(std::mem::replace(&mut batch, Vec::with_capacity(at_once)));
            }
        }
        each(batch);
        Ok(messages)
    }

    /// A token of an older Onward.
    pub(crate) fn token(&self, name: &str) -> Option<Token> {
        let value = self.db().ok()?.get(token_key(name)).ok()??;
        read_token(name, &value)
    }

    /// All tokens of an older Onward.
    pub(crate) fn tokens(&self) -> Result<Vec<Token>, String> {
        let rows = self.rows(b"t", usize::MAX)?;
        let token =
            |(key, value): &(IVec, IVec)| read_token(std::str::from_utf8(&key[1..]).ok()?, value);
        Ok(rows.iter().filter_map(token).collect())
    }

    /// Looks at some tokens of an older Onward from a key on: the keys of those that have expired, and where to go on.
    pub(super) fn expired_tokens(
        &self,
        from: &[u8],
        now: Timestamp,
        n: usize,
    ) -> Result<(Vec<IVec>, Option<Vec<u8>>), String> {
        let rows = self.rows(from, n)?;
        let next = rows.last().filter(|_| rows.len() == n);
        let next = next.map(|(key, _)| [key, &[0][..]].concat());
        let expired = |value: &[u8]| read_token("", value).is_none_or(|token| token.expires <= now);
        let gone = rows.into_iter().filter(|(_, value)| expired(value));
        Ok((gone.map(|(key, _)| key).collect(), next))
    }
}

fn read_token(name: &str, value: &[u8]) -> Option<Token> {
    let expires = u64::from_be_bytes(value.get(..8)?.try_into().ok()?);
    Some(Token {
        name: name.into(),
        value: std::str::from_utf8(value.get(12..)?).ok()?.into(),
        expires: Timestamp::from_unix_millis(expires),
    })
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

pub(crate) fn put_notes(batch: &mut Batch, notes: &Notes) {
    batch.insert(NOTES, notes.encode());
}

pub(crate) fn put_token(batch: &mut Batch, token: &Token) {
    let mut value = token.expires.unix_millis().to_be_bytes().to_vec();
    value.extend_from_slice(&[0; 4]);
    value.extend_from_slice(token.value.as_bytes());
    batch.insert(token_key(&token.name), value);
}

fn token_key(name: &str) -> Vec<u8> {
    [b"t", name.as_bytes()].concat()
}

pub(crate) fn message_key(id: MessageId) -> [u8; MESSAGE_KEY_OCTETS] {
    let mut key = [b'm'; MESSAGE_KEY_OCTETS];
    key[1..].copy_from_slice(&id.bits().to_be_bytes());
    key
}

pub(crate) fn leg_key(id: LegId) -> [u8; MESSAGE_KEY_OCTETS + 4] {
    let mut key = [b'm'; MESSAGE_KEY_OCTETS + 4];
    key[..MESSAGE_KEY_OCTETS].copy_from_slice(&message_key(id.message));
    key[MESSAGE_KEY_OCTETS..].copy_from_slice(&id.number.to_be_bytes());
    key
}

const LOOKUPS_PER_ROW: usize = 2;
const MESSAGE_KEY_OCTETS: usize = 17;
const POSITION: &[u8] = b"xposition";
const SETTINGS: &[u8] = b"xsettings";
const LIVE: &[u8] = b"xlive";
const NOTES: &[u8] = b"xnotes";
