//! What payloads say: commits, changes, tokens, chunks, as tagged fields (`fields`) around `rows`.
//!
//! The tags are the constants below; `spool/README.md` lists them with their meaning.

use std::ops::Range;

use bytes::Bytes;
use envelope::{LegId, MessageId};
use spool::Token;

use crate::log::fields::{FieldReader, FieldWriter, Malformed, number32, text};
use crate::log::record::{Kind, Payload};
pub(crate) use crate::log::rows::{Dates, Extent, LegRow, MessageRow};
use crate::log::rows::{decode_id, decode_time};
pub(crate) use crate::log::state::LegState;

/// A leg's new state, or (`None`) its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) leg: LegId,
    pub(crate) since: u32,
    pub(crate) state: Option<LegState>,
}

/// A commit record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Commit {
    pub(crate) row: MessageRow,
    pub(crate) legs: Vec<LegRow>,
    /// A change of another message's leg in the same transaction: a notice is queued as its leg ends or is warned.
    pub(crate) also: Option<Change>,
    /// What outlives the message.
    pub(crate) tokens: Vec<Token>,
    /// The body's place in the payload, when the body is in the record, with its checksum.
    pub(crate) inline: Option<(Range<usize>, u32)>,
}

impl Commit {
    /// The record's payload with the body in it, if given, and the commit as its reader will see it.
    pub(crate) fn into_payload(mut self, body: Option<Bytes>) -> (Payload, Self) {
        let inline = body
            .as_ref()
            .map(|body| (body.len() as u32, crc32fast::hash(body)));
        let front = self.encode(inline);
        self.inline = inline.map(|(octets, crc)| (front.len()..front.len() + octets as usize, crc));
        let parts = std::iter::once(front).chain(body).collect();
        (Payload::new(Kind::Commit, parts), self)
    }

    /// The payload's front: `u32` length, then fields; an inline body follows.
    pub(crate) fn encode(&self, inline: Option<(u32, u32)>) -> Bytes {
        let mut out = FieldWriter(vec![0; 4]);
        out.nested(COMMIT_MESSAGE, |out| self.row.write(out, false));
        for leg in &self.legs {
            out.nested(COMMIT_LEG, |out| leg.write(out));
        }
        if let Some(also) = &self.also {
            out.nested(COMMIT_ALSO, |out| also.write(out));
        }
        for token in &self.tokens {
            out.nested(COMMIT_TOKEN, |out| write_token(token, out));
        }
        if let Some((octets, crc)) = inline {
            out.nested(COMMIT_INLINE, |out| {
                out.number(INLINE_OCTETS, u64::from(octets));
                out.number(INLINE_CRC, u64::from(crc));
            });
        }
        let length = u32::try_from(out.0.len() - 4).unwrap_or(u32::MAX);
        out.0[..4].copy_from_slice(&length.to_le_bytes());
        out.0.into()
    }

    pub(crate) fn decode(payload: &[u8]) -> Result<Self, Malformed> {
        let front: [u8; 4] = payload
            .get(..4)
            .and_then(|front| front.try_into().ok())
            .ok_or(Malformed("commit cut short"))?;
        let body_at = u32::from_le_bytes(front) as usize + 4;
        let fields = payload
            .get(4..body_at)
            .ok_or(Malformed("commit beyond its end"))?;
        let (mut row, mut legs, mut also, mut inline) = (None, Vec::new(), None, None);
        let mut tokens = Vec::new();
        for field in FieldReader(fields) {
            match field? {
                (COMMIT_MESSAGE, value) => row = Some(MessageRow::decode(value)?),
                (COMMIT_LEG, value) => legs.push(LegRow::decode(value)?),
                (COMMIT_ALSO, value) => also = Some(Change::decode(value)?),
                (COMMIT_TOKEN, value) => tokens.push(decode_token(value)?),
                (COMMIT_INLINE, value) => inline = Some(decode_inline(value)?),
                _ => {}
            }
        }
        let inline = match inline {
            Some((octets, crc)) if body_at + octets as usize == payload.len() => {
                Some((body_at..payload.len(), crc))
            }
            None if body_at == payload.len() => None,
            _ => return Err(Malformed("body of another length")),
        };
        Ok(Self {
            row: row.ok_or(Malformed("commit without a message"))?,
            legs,
            also,
            tokens,
            inline,
        })
    }
}

fn decode_inline(value: &[u8]) -> Result<(u32, u32), Malformed> {
    let (mut octets, mut crc) = (0, 0);
    for field in FieldReader(value) {
        match field? {
            (INLINE_OCTETS, value) => octets = number32(value)?,
            (INLINE_CRC, value) => crc = number32(value)?,
            _ => {}
        }
    }
    Ok((octets, crc))
}

impl Change {
    pub(crate) fn encode(&self) -> Bytes {
        let mut out = FieldWriter::default();
        self.write(&mut out);
        out.0.into()
    }

    fn write(&self, out: &mut FieldWriter) {
        out.bytes(CHANGE_MESSAGE, &self.leg.message.bits().to_be_bytes());
        out.number(CHANGE_LEG, u64::from(self.leg.number));
        out.number(CHANGE_SINCE, u64::from(self.since));
        if let Some(state) = &self.state {
            out.nested(CHANGE_STATE, |out| state.write(out));
        }
    }

    pub(crate) fn decode(value: &[u8]) -> Result<Self, Malformed> {
        let (mut message, mut leg, mut since, mut state) = (None, None, 0, None);
        for field in FieldReader(value) {
            match field? {
                (CHANGE_MESSAGE, value) => message = Some(decode_id(value)?),
                (CHANGE_LEG, value) => leg = Some(number32(value)?),
                (CHANGE_SINCE, value) => since = number32(value)?,
                (CHANGE_STATE, value) => state = Some(LegState::decode(value)?),
                _ => {}
            }
        }
        Ok(Self {
            leg: LegId {
                message: message.ok_or(Malformed("change of no message"))?,
                number: leg.ok_or(Malformed("change of no leg"))?,
            },
            since,
            state,
        })
    }
}

/// A token's payload.
pub(crate) fn encode_token(token: &Token) -> Bytes {
    let mut out = FieldWriter::default();
    write_token(token, &mut out);
    out.0.into()
}

fn write_token(token: &Token, out: &mut FieldWriter) {
    out.text(TOKEN_NAME, &token.name);
    out.text(TOKEN_VALUE, &token.value);
    out.number(TOKEN_EXPIRES, token.expires.unix_millis());
}

/// A token from its payload.
pub(crate) fn decode_token(value: &[u8]) -> Result<Token, Malformed> {
    let (mut name, mut meaning, mut expires) = (None, None, None);
    for field in FieldReader(value) {
        match field? {
            (TOKEN_NAME, value) => name = Some(text(value)?),
            (TOKEN_VALUE, value) => meaning = Some(text(value)?),
            (TOKEN_EXPIRES, value) => expires = Some(decode_time(value)?),
            _ => {}
        }
    }
    let malformed = Malformed("half a token");
    Ok(Token {
        name: name.ok_or(malformed)?.into(),
        value: meaning.ok_or(malformed)?.into(),
        expires: expires.ok_or(malformed)?,
    })
}

/// A chunk's payload: id, then octets. The id lets a reader of the log alone tell whose it is.
pub(crate) fn chunk_front(id: MessageId) -> Bytes {
    Bytes::copy_from_slice(&id.bits().to_be_bytes())
}

/// Whose chunk it is.
pub(crate) fn chunk_owner(payload: &[u8]) -> Result<MessageId, Malformed> {
    decode_id(
        payload
            .get(..CHUNK_FRONT_OCTETS)
            .ok_or(Malformed("chunk cut short"))?,
    )
}

/// Octets of a chunk's payload before the body's.
pub(crate) const CHUNK_FRONT_OCTETS: usize = 16;

pub(crate) const COMMIT_MESSAGE: u8 = 1;
pub(crate) const COMMIT_LEG: u8 = 2;
const COMMIT_ALSO: u8 = 3;
const COMMIT_INLINE: u8 = 4;
const COMMIT_TOKEN: u8 = 5;

const INLINE_OCTETS: u8 = 1;
const INLINE_CRC: u8 = 2;

const CHANGE_MESSAGE: u8 = 1;
const CHANGE_LEG: u8 = 2;
const CHANGE_SINCE: u8 = 3;
const CHANGE_STATE: u8 = 4;

const TOKEN_NAME: u8 = 1;
const TOKEN_VALUE: u8 = 2;
const TOKEN_EXPIRES: u8 = 3;

#[cfg(test)]
mod tests {
    use envelope::{
        BodyKind, Diagnosis, EnhancedStatus, Leg, Mailbox, Merged, Message, Notify, Origin,
        OriginalRecipient, Peer, Reply, Return, ReversePath, Timestamp,
    };

    use super::*;

    fn mailbox(text: &str) -> Mailbox {
        text.parse().unwrap()
    }

    fn peer() -> Peer {
        Peer {
            address: "2001:db8::1".parse().unwrap(),
            hello: "mx.a.example".into(),
        }
    }

    fn state() -> LegState {
        LegState {
            due: Timestamp::from_unix_millis(1_700_000_000_123),
            attempts: 3,
            warned: true,
            held: false,
            bounced: true,
            damaged: false,
            last: Some(Box::new(last())),
        }
    }

    fn last() -> Diagnosis {
        let busy = EnhancedStatus::transient(2, 1);
        Diagnosis {
            reply: Some(Reply::new(450, busy, "busy\ntry later")),
            host: Some("mx.example[192.0.2.1]:25".to_owned()),
            ..Diagnosis::local(busy, "while sending RCPT TO")
        }
    }

    fn commit() -> Commit {
        let leg = Leg {
            original: Some(OriginalRecipient {
                kind: "rfc822".into(),
                address: "Alice@example.org".into(),
            }),
            notify: Some(Notify::NEVER),
            trace: "Delivered-To: alice@example.org\r\n".into(),
            options: "egress=bulk tls=dane".parse().unwrap(),
            merged: Merged {
                named: [mailbox("bob@example.org"), mailbox("\"b c\"@example.org")].into(),
                more: 300,
            },
            ..Leg::new(
                ReversePath::Mailbox(mailbox("SRS0=x=y=a.example=b@us.example")),
                mailbox("\"john doe\"@[IPv6:2001:db8::1]"),
                mailbox("alice@example.org"),
            )
        };
        let row = |number| LegRow {
            number,
            leg: leg.clone(),
            state: state(),
        };
        Commit {
            row: MessageRow {
                message: Message {
                    body: BodyKind::EightBitMime,
                    smtputf8: true,
                    ret: Some(Return::Headers),
                    envid: Some("QQ123".into()),
                    origin: Origin::Forged,
                    peer: Some(peer()),
                    user: Some("ann@us.example".into()),
                    trace: "Authentication-Results: us.example; none\r\n".into(),
                    ..Message::new(
                        MessageId::from_bits(u128::MAX / 3),
                        Timestamp::from_unix_millis(1_700_000_000_000),
                        ReversePath::Null,
                        12345,
                    )
                },
                since: 4,
                commit_segment: 0,
                commit_octets: 0,
                body: vec![Extent {
                    segment: 1,
                    offset: 2,
                    octets: 3,
                    crc: 4,
                }],
                deadlines: Some(spool::Deadlines {
                    warn: Timestamp::from_unix_millis(1_700_000_000_001),
                    expire: Timestamp::from_unix_millis(1_700_000_000_002),
                }),
            },
            legs: vec![row(0), row(7)],
            also: Some(Change {
                leg: LegId {
                    message: MessageId::from_bits(9),
                    number: 1,
                },
                since: 3,
                state: None,
            }),
            tokens: vec![token()],
            inline: None,
        }
    }

    fn token() -> Token {
        Token {
            name: "ABC".into(),
            value: "x@y.example".into(),
            expires: Timestamp::from_unix_millis(1),
        }
    }

    #[test]
    fn a_commit_survives() {
        let mut expected = commit();
        assert_eq!(Commit::decode(&expected.encode(None)), Ok(expected.clone()));
        let mut payload = expected.encode(Some((5, 77))).to_vec();
        let front = payload.len();
        payload.extend_from_slice(b"body\n");
        expected.inline = Some((front..front + 5, 77));
        assert_eq!(Commit::decode(&payload), Ok(expected));
    }

    #[test]
    fn rows_changes_and_tokens_survive() {
        let mut row = commit().row;
        (row.commit_segment, row.commit_octets) = (5, 600);
        let mut out = FieldWriter::default();
        row.write(&mut out, true);
        assert_eq!(MessageRow::decode(&out.0), Ok(row));
        let leg = commit().legs.remove(1);
        assert_eq!(LegRow::decode(&leg.encode()), Ok(leg));
        let mut change = commit().also.unwrap();
        assert_eq!(Change::decode(&change.encode()), Ok(change.clone()));
        change.state = Some(state());
        assert_eq!(Change::decode(&change.encode()), Ok(change));
        assert_eq!(decode_token(&encode_token(&token())), Ok(token()));
    }

    #[test]
    fn a_later_programs_field_is_skipped() {
        let change = commit().also.unwrap();
        let mut bytes = change.encode().to_vec();
        bytes.extend_from_slice(&[200, 2, 1, 2]);
        assert_eq!(Change::decode(&bytes), Ok(change));
    }

    /// Every cut and every flipped bit: an answer of some kind, never a panic.
    #[test]
    fn damage_never_panics() {
        let commit = commit();
        let leg = commit.legs[0].encode();
        let mut row = FieldWriter::default();
        commit.row.write(&mut row, true);
        let inputs = [commit.encode(None).to_vec(), row.0, leg];
        for bytes in inputs {
            let read = |bytes: &[u8]| {
                let _ = (Commit::decode(bytes), MessageRow::decode(bytes));
                let _ = (LegRow::decode(bytes), Change::decode(bytes));
                let _ = (decode_token(bytes), chunk_owner(bytes));
            };
            for cut in 0..bytes.len() {
                read(&bytes[..cut]);
            }
            for bit in 0..bytes.len() * 8 {
                let mut bad = bytes.clone();
                bad[bit / 8] ^= 1 << (bit % 8);
                read(&bad);
            }
        }
    }

    #[test]
    fn no_address_comes_out_that_could_not_come_in() {
        let mut leg = commit().legs[0].encode();
        let at = leg.windows(5).position(|w| w == b"alice").unwrap();
        leg[at + 1] = b'\n';
        assert_eq!(LegRow::decode(&leg), Err(Malformed("not a mail address")));
    }
}
