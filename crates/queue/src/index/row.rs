//! A message's row in sled: the message and its legs in one value, so that a new message is one row and not four.
//!
//! Fields as in a commit record: 1 message · 2 leg (each), and 3: how many more legs have rows of their own behind it, so
//! that no value grows over 64 KiB (sled leaks disk there).

use envelope::{Destination, LegId, MessageId};
use sled::Batch;

use crate::index::entry::{Entry, Stored};
use crate::index::tree;
use crate::log::codec::{Dates, LegRow, LegState, MessageRow};
use crate::log::fields::{FieldReader, FieldWriter, Malformed, number32};

/// A row that was read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct MessageValue {
    pub(crate) row: MessageRow,
    pub(crate) legs: Vec<LegRow>,
    /// Legs with rows of their own.
    pub(crate) apart: u32,
}

/// What the orders need to know of a leg, without the rest of its row.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Glance {
    pub(crate) number: u32,
    pub(crate) to: Destination,
    pub(crate) state: LegState,
}

/// Writes what sled should know of a message, and remembers what it then knows.
pub(super) fn write(id: MessageId, entry: &mut Entry, batch: &mut Batch) {
    let name = |number| LegId {
        message: id,
        number,
    };
    let over = entry.legs().is_empty();
    let mut apart = Vec::new();
    if over {
        batch.remove(&tree::message_key(id));
    } else {
        let legs = entry.legs().iter().map(|leg| &leg.row);
        let (row, beside) = encode(&entry.row(), legs);
        apart = beside;
        batch.insert(&tree::message_key(id), row);
    }
    for old in &entry.stored.apart {
        if apart.binary_search(old).is_err() {
            batch.remove(&tree::leg_key(name(*old)));
        }
    }
    let was_apart = std::mem::take(&mut entry.stored.apart);
    for leg in entry.legs_mut() {
        let number = leg.row.number;
        let known = !std::mem::take(&mut leg.dirty) && was_apart.binary_search(&number).is_ok();
        if !known && apart.binary_search(&number).is_ok() {
            batch.insert(&tree::leg_key(name(number)), leg.row.encode());
        }
    }
    entry.stored = Stored { row: !over, apart };
    entry.dirty = false;
}

/// Writes a row with as many of the legs as fit; says which do not.
fn encode<'a>(row: &MessageRow, legs: impl Iterator<Item = &'a LegRow>) -> (Vec<u8>, Vec<u32>) {
    let mut out = FieldWriter::default();
    out.nested(VALUE_MESSAGE, |out| row.write(out, true));
    let mut apart = Vec::new();
    for leg in legs {
        if out.0.len() < PACKED_OCTETS {
            out.nested(VALUE_LEG, |out| leg.write(out));
        } else {
            apart.push(leg.number);
        }
    }
    if !apart.is_empty() {
        out.number(VALUE_APART, apart.len() as u64);
    }
    (out.0, apart)
}

impl MessageValue {
    pub(crate) fn decode(value: &[u8]) -> Result<Self, Malformed> {
        let (mut row, mut legs, mut apart) = (None, Vec::new(), 0);
        for field in FieldReader(value) {
            match field? {
                (VALUE_MESSAGE, value) => row = Some(MessageRow::decode(value)?),
                (VALUE_LEG, value) => legs.push(LegRow::decode(value)?),
                (VALUE_APART, value) => apart = number32(value)?,
                _ => {}
            }
        }
        let row = row.ok_or(Malformed("row without a message"))?;
        Ok(Self { row, legs, apart })
    }
}

/// What the orders need to know of a row's message, and the legs in it: as quick as a start over a million rows needs it.
pub(crate) fn glance(value: &[u8]) -> Result<(Dates, &str, Vec<Glance>), Malformed> {
    let (mut message, mut legs) = (None, Vec::with_capacity(1));
    for field in FieldReader(value) {
        match field? {
            (VALUE_MESSAGE, value) => message = Some(MessageRow::glance(value)?),
            (VALUE_LEG, value) => legs.push(glance_leg(value)?),
            _ => {}
        }
    }
    let (dates, sender) = message.ok_or(Malformed("row without a message"))?;
    Ok((dates, sender, legs))
}

/// The same of a leg's own row.
pub(crate) fn glance_leg(value: &[u8]) -> Result<Glance, Malformed> {
    let (number, to, state) = LegRow::glance(value)?;
    Ok(Glance { number, to, state })
}

/// Octets of a row beyond which its legs stand apart; the last within may be as long again as a leg can be.
const PACKED_OCTETS: usize = 8 << 10;

const VALUE_MESSAGE: u8 = 1;
const VALUE_LEG: u8 = 2;
const VALUE_APART: u8 = 3;
