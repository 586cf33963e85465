//! A record: fixed header and payload.
//!
//! ```text
//!  0  u16  magic 0x524f ("OR")        all numbers little-endian
//!  2  u8   kind
//!  3  u8   flags: 1 = first of a batch (all before it in this segment was synced when it was written)
//!  4  u32  octets of the payload
//!  8  u64  position of this header: segment << 32 | offset
//! 16  u32  crc32 of the payload
//! 20  u32  crc32 of octets 0..20
//! 24  payload
//! ```
//!
//! The header has a checksum of its own, so that a damaged payload costs one record and not all behind it; it names
//! its own place, so that the remains of an older life of the file are never taken for records.

use std::io::{self, IoSlice};

use bytes::Bytes;

use crate::log::fields::Malformed;
use crate::store::{StoreFile, write_all};

/// A place in the log; places grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Position(pub(crate) u64);

impl Position {
    pub(crate) fn new(segment: u32, offset: u32) -> Self {
        Self(u64::from(segment) << 32 | u64::from(offset))
    }

    pub(crate) fn segment(self) -> u32 {
        (self.0 >> 32) as u32
    }

    pub(crate) fn offset(self) -> u32 {
        self.0 as u32
    }
}

/// What a payload is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Nothing more in this segment.
    End,
    /// A message with its legs, and its body or where its body is.
    Commit,
    /// A piece of a body.
    Chunk,
    /// A leg's new state, or its end.
    Change,
    /// A token and what it stands for.
    Token,
}

/// A header as read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    /// `None`: from a later program; to be skipped.
    pub(crate) kind: Option<Kind>,
    pub(crate) opens_batch: bool,
    pub(crate) octets: u32,
    pub(crate) position: Position,
    pub(crate) payload_crc: u32,
}

/// A payload ready to be written; its checksum was made on the caller's side.
#[derive(Debug)]
pub(crate) struct Payload {
    pub(crate) kind: Kind,
    pub(crate) parts: Vec<Bytes>,
    pub(crate) octets: u32,
    pub(crate) crc: u32,
}

impl Payload {
    /// The caller bounds the parts: together at most what a segment holds.
    pub(crate) fn new(kind: Kind, parts: Vec<Bytes>) -> Self {
        let mut hasher = crc32fast::Hasher::new();
        parts.iter().for_each(|part| hasher.update(part));
        let octets: usize = parts.iter().map(Bytes::len).sum();
        Self {
            kind,
            octets: u32::try_from(octets).unwrap_or(u32::MAX),
            crc: hasher.finalize(),
            parts,
        }
    }

    /// What it takes in the log, with its header.
    pub(crate) fn record_octets(&self) -> u64 {
        Header::OCTETS as u64 + u64::from(self.octets)
    }
}

impl Kind {
    pub(crate) const ALL: [(Self, u8); 5] = [
        (Self::End, 1),
        (Self::Commit, 2),
        (Self::Chunk, 3),
        (Self::Change, 4),
        (Self::Token, 5),
    ];

    fn number(self) -> u8 {
        Self::ALL
            .iter()
            .find(|(kind, _)| *kind == self)
            .map_or(0, |(_, number)| *number)
    }
}

impl Header {
    pub(crate) const OCTETS: usize = 24;
    pub(crate) const MAGIC: [u8; 2] = *b"OR";

    /// The header of a payload that goes to `position`.
    pub(crate) fn encode(payload: &Payload, position: Position, opens_batch: bool) -> [u8; 24] {
        Self::write(
            payload.kind,
            payload.octets,
            payload.crc,
            position,
            opens_batch,
        )
    }

    pub(super) fn write(
        kind: Kind,
        octets: u32,
        payload_crc: u32,
        position: Position,
        opens_batch: bool,
    ) -> [u8; 24] {
        let mut out = [0; Self::OCTETS];
        out[..2].copy_from_slice(&Self::MAGIC);
        out[2] = kind.number();
        out[3] = u8::from(opens_batch);
        out[4..8].copy_from_slice(&octets.to_le_bytes());
        out[8..16].copy_from_slice(&position.0.to_le_bytes());
        out[16..20].copy_from_slice(&payload_crc.to_le_bytes());
        let crc = crc32fast::hash(&out[..20]);
        out[20..].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// Reads the header that should be at `position`.
    pub(crate) fn decode(bytes: &[u8], position: Position) -> Result<Self, Malformed> {
        let header: &[u8; Self::OCTETS] = bytes
            .get(..Self::OCTETS)
            .and_then(|bytes| bytes.try_into().ok())
            .ok_or(Malformed("header cut short"))?;
        let u32_at = |at: usize| {
            u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
        };
        if header[..2] != Self::MAGIC {
            return Err(Malformed("no record here"));
        }
        if crc32fast::hash(&header[..20]) != u32_at(20) {
            return Err(Malformed("header checksum"));
        }
        if u64::from(u32_at(12)) << 32 | u64::from(u32_at(8)) != position.0 {
            return Err(Malformed("record of another place"));
        }
        Ok(Self {
            kind: Kind::ALL
                .iter()
                .find(|(_, number)| *number == header[2])
                .map(|(kind, _)| *kind),
            opens_batch: header[3] & 1 != 0,
            octets: u32_at(4),
            position,
            payload_crc: u32_at(16),
        })
    }
}

/// Says that a segment ends at `offset`, durably.
pub(crate) fn write_end(file: &dyn StoreFile, segment: u32, offset: u32) -> io::Result<()> {
    write_end_unsynced(file, segment, offset)?;
    file.sync()
}

/// As [`write_end`]; the caller syncs.
pub(crate) fn write_end_unsynced(
    file: &dyn StoreFile,
    segment: u32,
    offset: u32,
) -> io::Result<()> {
    let end = Payload::new(Kind::End, Vec::new());
    let header = Header::encode(&end, Position::new(segment, offset), true);
    write_all(file, &mut [IoSlice::new(&header)], u64::from(offset))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_survives_and_any_flipped_bit_is_seen() {
        let payload = Payload::new(Kind::Change, vec![Bytes::from_static(b"abc")]);
        let at = Position::new(7, 4096);
        let bytes = Header::encode(&payload, at, true);
        let header = Header::decode(&bytes, at).unwrap();
        assert_eq!(
            (header.kind, header.octets, header.opens_batch),
            (Some(Kind::Change), 3, true)
        );
        assert_eq!(header.payload_crc, crc32fast::hash(b"abc"));
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(Header::decode(&bad, at).is_err(), "bit {bit}");
        }
        for cut in 0..bytes.len() {
            assert!(Header::decode(&bytes[..cut], at).is_err());
        }
        assert!(Header::decode(&bytes, Position::new(8, 4096)).is_err());
    }
}
