//! What can still be proved of a damaged record.
//!
//! Two checksums cover a commit record with its body in it: the record's over all of it, and the body's own. When only the
//! body is damaged, the first can be put together from the envelope as it stands and the body's: if that fits, every
//! octet of the envelope is as written. And when the payload fits, a header with one bad octet can be written again.
//!
//! It does *not* guess: what is not proved is left to the quarantine.

use std::ops::Range;

use crc32fast::Hasher;

use crate::log::codec::Commit;
use crate::log::record::{Header, Kind, Position};

/// What a damaged piece of a segment turned out to be.
#[derive(Debug)]
pub(crate) enum Repaired {
    /// One octet of the header was bad; the payload is whole. Where that is in the piece.
    Header(Header, Range<usize>),
    /// The envelope of a message is whole, its body is not.
    Envelope(Header, Box<Commit>),
}

/// Looks at a damaged piece that should begin with the record at `position` and end where the next begins.
pub(crate) fn repair(piece: &[u8], position: Position) -> Option<Repaired> {
    match Header::decode(piece, position) {
        Ok(header) => {
            envelope(piece, &header).map(|commit| Repaired::Envelope(header, Box::new(commit)))
        }
        Err(_) => header(piece, position)
            .map(|header| Repaired::Header(header, Header::OCTETS..piece.len())),
    }
}

fn envelope(piece: &[u8], header: &Header) -> Option<Commit> {
    if header.kind != Some(Kind::Commit) {
        return None;
    }
    let end = Header::OCTETS.checked_add(header.octets as usize)?;
    let payload = piece.get(Header::OCTETS..end)?;
    let commit = Commit::decode(payload).ok()?;
    let (body, body_crc) = commit.inline.clone()?;
    let mut hasher = Hasher::new();
    hasher.update(payload.get(..body.start)?);
    hasher.combine(&Hasher::new_with_initial_len(body_crc, body.len() as u64));
    (hasher.finalize() == header.payload_crc).then_some(commit)
}

fn header(piece: &[u8], position: Position) -> Option<Header> {
    let (stands, payload) = piece.split_at_checked(Header::OCTETS)?;
    let (octets, crc) = (u32::try_from(payload.len()).ok()?, crc32fast::hash(payload));
    let kinds = Kind::ALL.iter().map(|(kind, _)| *kind);
    kinds
        .flat_map(|kind| [(kind, false), (kind, true)])
        .map(|(kind, opens)| Header::write(kind, octets, crc, position, opens))
        .find(|wanted| wanted.iter().zip(stands).filter(|(a, b)| a != b).count() <= 1)
        .and_then(|wanted| Header::decode(&wanted, position).ok())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use envelope::{Message, MessageId, ReversePath, Timestamp};

    use super::*;
    use crate::log::record::Payload;
    use crate::log::rows::MessageRow;

    const AT: Position = Position(3 << 32 | 64);

    /// A commit record of a message with the body `body`, and where the body begins.
    fn record(body: &'static [u8]) -> (Vec<u8>, usize) {
        let row = MessageRow {
            message: Message::new(
                MessageId::from_bits(7),
                Timestamp::from_unix_millis(1),
                ReversePath::Null,
                body.len() as u64,
            ),
            since: 0,
            commit_segment: 0,
            commit_octets: 0,
            body: Vec::new(),
            deadlines: None,
        };
        let commit = Commit {
            row,
            legs: Vec::new(),
            also: None,
            tokens: Vec::new(),
            inline: None,
        };
        let (payload, commit) = commit.into_payload(Some(Bytes::from_static(body)));
        let mut bytes = Header::encode(&payload, AT, true).to_vec();
        payload
            .parts
            .iter()
            .for_each(|part| bytes.extend_from_slice(part));
        let start = commit.inline.map_or(0, |(range, _)| range.start);
        (bytes, Header::OCTETS + start)
    }

    #[test]
    fn each_flipped_bit_is_told_apart() {
        let (whole, body_at) = record(b"Subject: x\r\n\r\nbody\r\n");
        let written = Header::decode(&whole, AT).unwrap();
        for bit in 0..whole.len() * 8 {
            let mut bad = whole.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            match (bit / 8, repair(&bad, AT)) {
                (at, Some(Repaired::Header(header, payload))) if at < Header::OCTETS => {
                    assert_eq!(header, written, "bit {bit}");
                    assert_eq!(payload, Header::OCTETS..whole.len());
                }
                (at, Some(Repaired::Envelope(header, commit))) if at >= body_at => {
                    assert_eq!(header, written, "bit {bit}");
                    assert_eq!(commit.row.message.id, MessageId::from_bits(7));
                }
                (at, None) if (Header::OCTETS..body_at).contains(&at) => {}
                (at, other) => panic!("bit {bit} at {at}: {other:?}"),
            }
        }
    }

    #[test]
    fn a_header_with_two_bad_octets_is_not_guessed() {
        let payload = Payload::new(Kind::Change, vec![Bytes::from_static(b"abc")]);
        let mut bytes = Header::encode(&payload, AT, true).to_vec();
        bytes.extend_from_slice(b"abc");
        bytes[1] ^= 1;
        bytes[5] ^= 1;
        assert!(repair(&bytes, AT).is_none());
        assert!(repair(b"OR", AT).is_none());
    }
}
