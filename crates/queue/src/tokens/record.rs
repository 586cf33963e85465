//! A token's name and its record: what is written where the name says.
//!
//! ```text
//! name: 13 octets in base 32, big-endian     hour u24 (since 1970, in which it expires) · offset u40 · nonce u40
//!
//! record:  0  u8       `T`                   numbers little-endian
//!          1  u16      octets of the value
//!          3  u40      the name's nonce, big-endian
//!          8  u64      expires
//!         16  u32      crc32 of the name's 13 octets, the expiry and the value
//!         20  value
//! ```
//!
//! The nonce is random: a name that was not given out, or whose record was lost and its place used again, fits no
//! record, and so nobody's value is ever told under another's name. Zeros are a hole: that name came into no message.

use data_encoding::BASE32_NOPAD;
use envelope::Timestamp;
use spool::{TOKEN_OCTETS_MAX, Token};

/// Where a value lies, by hour and offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) hour: u32,
    pub(crate) offset: u64,
    nonce: u64,
}

impl Place {
    pub(super) fn new(hour: u32, offset: u64) -> Self {
        Self {
            hour,
            offset,
            nonce: rand::random::<u64>() & U40_MAX,
        }
    }

    fn octets(self) -> [u8; NAME_OCTETS] {
        let mut out = [0; NAME_OCTETS];
        out[..3].copy_from_slice(&self.hour.to_be_bytes()[1..]);
        out[3..8].copy_from_slice(&self.offset.to_be_bytes()[3..]);
        out[8..].copy_from_slice(&self.nonce.to_be_bytes()[3..]);
        out
    }

    pub(super) fn name(self) -> Box<str> {
        BASE32_NOPAD.encode(&self.octets()).into()
    }

    /// The place that a name leads to; `None` if it is none of ours.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        let octets = BASE32_NOPAD.decode(name.as_bytes()).ok()?;
        let octets: [u8; NAME_OCTETS] = octets.try_into().ok()?;
        Some(Self {
            hour: number(&octets[..3]) as u32,
            offset: number(&octets[3..8]),
            nonce: number(&octets[8..]),
        })
    }
}

/// The hour of a moment: the number of its file.
pub(super) fn hour(at: Timestamp) -> u32 {
    (at.unix_millis() / HOUR_MILLIS).min(HOUR_MAX) as u32
}

/// What the record of a value takes.
pub(super) fn octets(value: &str) -> u64 {
    (HEAD_OCTETS + value.len()) as u64
}

pub(super) fn write(place: Place, token: &Token, out: &mut Vec<u8>) {
    let (name, value) = (place.octets(), token.value.as_bytes());
    let expires = token.expires.unix_millis().to_le_bytes();
    out.push(MAGIC);
    out.extend_from_slice(&(value.len() as u16).to_le_bytes());
    out.extend_from_slice(&name[8..]);
    out.extend_from_slice(&expires);
    out.extend_from_slice(&checksum(&name, &expires, value).to_le_bytes());
    out.extend_from_slice(value);
}

/// The record that `bytes` begin with, if it is the place's.
pub(super) fn read(place: Place, bytes: &[u8]) -> Option<Token> {
    let (found, expires, value) = read_at(place.hour, place.offset, bytes)?;
    if found != place {
        return None;
    }
    Some(Token {
        name: place.name(),
        value: std::str::from_utf8(value).ok()?.into(),
        expires: Timestamp::from_unix_millis(expires),
    })
}

/// The whole record that stands at an offset: its place, expiry and value.
fn read_at(hour: u32, offset: u64, bytes: &[u8]) -> Option<(Place, u64, &[u8])> {
    let (head, rest) = bytes.split_first_chunk::<HEAD_OCTETS>()?;
    let value = rest.get(..usize::from(u16::from_le_bytes([head[1], head[2]])))?;
    let nonce = number(&head[3..8]);
    let place = Place {
        hour,
        offset,
        nonce,
    };
    let crc = checksum(&place.octets(), &head[8..16], value).to_le_bytes();
    let whole = head[0] == MAGIC && head[16..] == crc;
    let expires: [u8; 8] = head[8..16].try_into().ok()?;
    whole.then_some((place, u64::from_le_bytes(expires), value))
}

/// Where in a file something stands that is neither record nor hole.
pub(super) fn survey(hour: u32, bytes: &[u8]) -> Vec<u64> {
    let (mut damage, mut damaged) = (Vec::new(), false);
    walk(hour, bytes, |at, record| {
        if record.is_none() && !damaged {
            damage.push(at);
        }
        damaged = record.is_none();
    });
    damage
}

/// What stands in a file.
pub(super) fn all(hour: u32, bytes: &[u8]) -> Vec<Token> {
    let mut all = Vec::new();
    walk(hour, bytes, |_, record| {
        all.extend(record.and_then(|(place, ..)| read(place, &bytes[place.offset as usize..])));
    });
    all
}

/// Goes through a file: each record, and each octet that is neither record nor hole.
fn walk(hour: u32, bytes: &[u8], mut visit: impl FnMut(u64, Option<(Place, u64, &[u8])>)) {
    let mut at = 0;
    while let Some(zeros) = bytes[at..].iter().position(|octet| *octet != 0) {
        at += zeros;
        let record = read_at(hour, at as u64, &bytes[at..]);
        visit(at as u64, record);
        at += record.map_or(1, |(.., value)| HEAD_OCTETS + value.len());
    }
}

fn checksum(name: &[u8], expires: &[u8], value: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    let parts = [name, expires, value];
    parts.iter().for_each(|part| hasher.update(part));
    hasher.finalize()
}

fn number(big_endian: &[u8]) -> u64 {
    let add = |n, octet: &u8| n << 8 | u64::from(*octet);
    big_endian.iter().fold(0, add)
}

/// The most that a record takes.
pub(super) const OCTETS_MAX: usize = HEAD_OCTETS + TOKEN_OCTETS_MAX;
const HEAD_OCTETS: usize = 20;
const NAME_OCTETS: usize = 13;
const MAGIC: u8 = b'T';
const U40_MAX: u64 = (1 << 40) - 1;
const HOUR_MILLIS: u64 = 3_600_000;
/// The year 3885: what expires later does not expire.
const HOUR_MAX: u64 = (1 << 24) - 1;
