//! Entries for the fuzz targets (`crates/fuzz-targets`); no part of the API.

use std::io;
use std::ops::Range;

use bytes::Bytes;

use crate::log::codec::{Change, Commit, chunk_owner, decode_token, encode_token};
use crate::log::fields::Malformed;
use crate::log::recovery::{Item, SegmentBytes};
use crate::store::StoreFile;

/// What a segment holds, by octets.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Scanned {
    /// The payloads of its records, repaired ones too.
    pub records: Vec<Range<usize>>,
    /// What is set aside, or has lost its body.
    pub damage: Vec<Range<usize>>,
    /// Where the next record would go.
    pub end: u32,
    /// Whether an end record stands there.
    pub ended: bool,
}

/// Reads a segment as recovery does.
pub fn scan(file: &dyn StoreFile, number: u32) -> io::Result<Scanned> {
    let scan = SegmentBytes::of_file(file, number)?.items(0);
    let mut scanned = Scanned {
        end: scan.end,
        ended: scan.ended,
        ..Scanned::default()
    };
    for item in scan.items {
        match item {
            Item::Record(_, payload) | Item::Repaired(_, payload) => scanned.records.push(payload),
            Item::Damage(octets) | Item::Envelope(.., octets) => scanned.damage.push(octets),
        }
    }
    Ok(scanned)
}

/// Reads a payload of this kind (its number on disk), and writes what was understood; `None` if it is malformed.
pub fn recode(kind: u8, payload: &[u8]) -> Option<Vec<u8>> {
    recoded(kind, payload).ok()
}

fn recoded(kind: u8, payload: &[u8]) -> Result<Vec<u8>, Malformed> {
    Ok(match kind {
        2 => {
            let commit = Commit::decode(payload)?;
            let body = commit.inline.clone().and_then(|(at, _)| payload.get(at));
            let body = body.map(Bytes::copy_from_slice);
            commit.into_payload(body).0.parts.concat()
        }
        3 => chunk_owner(payload)?.bits().to_be_bytes().to_vec(),
        4 => Change::decode(payload)?.encode().to_vec(),
        5 => encode_token(&decode_token(payload)?).to_vec(),
        _ => Vec::new(),
    })
}
