//! What payloads and index rows say: messages, legs, changes, tokens, as tagged fields (`fields`).
//!
//! The tags are the constants below; `spool/README.md` lists them with their meaning. Addresses are written as on the
//! wire and parsed again when read, so that nothing comes out of a spool that could not have come in.

use std::ops::Range;

use bytes::Bytes;
use envelope::{
    BodyKind, Leg, LegId, Mailbox, Message, MessageId, Notify, OriginalRecipient, Return,
    ReversePath, Timestamp,
};

use crate::log::fields::{FieldReader, FieldWriter, Malformed, number, number32, text};
use crate::log::record::{Kind, Payload};

/// Where a piece of a body lies, and its checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Extent {
    pub(crate) segment: u32,
    pub(crate) offset: u32,
    pub(crate) octets: u32,
    pub(crate) crc: u32,
}

/// What changes about a leg in its life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LegState {
    pub(crate) due: Timestamp,
    pub(crate) attempts: u32,
    pub(crate) warned: bool,
    pub(crate) held: bool,
    /// The operator wants it bounced.
    pub(crate) bounced: bool,
    pub(crate) last: Box<str>,
}

/// A leg with its number and state: part of a commit record, and a row of the index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LegRow {
    pub(crate) number: u32,
    pub(crate) leg: Leg,
    pub(crate) state: LegState,
}

/// A message without its legs: part of a commit record, and a row of the index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MessageRow {
    pub(crate) message: Message,
    /// The first segment that may hold a commit record of this message. An end recorded elsewhere must outlive it.
    pub(crate) since: u32,
    /// Where the newest commit record is; not written in the record itself.
    pub(crate) commit_segment: u32,
    /// Octets of that record less the body.
    pub(crate) commit_octets: u32,
    pub(crate) body: Vec<Extent>,
}

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
    /// The body's place in the payload, when the body is in the record, with its checksum.
    pub(crate) inline: Option<(Range<usize>, u32)>,
}

/// A remembered token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) token: Box<str>,
    pub(crate) value: Box<str>,
    pub(crate) expires: Timestamp,
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
        for field in FieldReader(fields) {
            match field? {
                (COMMIT_MESSAGE, value) => row = Some(MessageRow::decode(value)?),
                (COMMIT_LEG, value) => legs.push(LegRow::decode(value)?),
                (COMMIT_ALSO, value) => also = Some(Change::decode(value)?),
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

impl MessageRow {
    /// As a row of the index.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = FieldWriter::default();
        self.write(&mut out, true);
        out.0
    }

    fn write(&self, out: &mut FieldWriter, as_row: bool) {
        let message = &self.message;
        out.bytes(MESSAGE_ID, &message.id.bits().to_be_bytes());
        out.number(MESSAGE_ARRIVED, message.arrived.unix_millis());
        write_path(out, MESSAGE_REVERSE_PATH, &message.reverse_path);
        out.number(MESSAGE_SIZE, message.size);
        let flags = u64::from(message.body == BodyKind::EightBitMime)
            | u64::from(message.smtputf8) << 1
            | match message.ret {
                None => 0,
                Some(Return::Full) => 1 << 2,
                Some(Return::Headers) => 2 << 2,
            };
        out.number(MESSAGE_FLAGS, flags);
        if let Some(envid) = &message.envid {
            out.text(MESSAGE_ENVID, envid);
        }
        out.number(MESSAGE_SINCE, u64::from(self.since));
        if as_row {
            out.number(MESSAGE_COMMIT_SEGMENT, u64::from(self.commit_segment));
            out.number(MESSAGE_COMMIT_OCTETS, u64::from(self.commit_octets));
        }
        if !self.body.is_empty() {
            let extents = self.body.iter().flat_map(|extent| extent.encode());
            out.bytes(MESSAGE_BODY, &extents.collect::<Vec<u8>>());
        }
    }

    pub(crate) fn decode(value: &[u8]) -> Result<Self, Malformed> {
        let mut row = Self {
            message: Message {
                id: MessageId::from_bits(0),
                arrived: Timestamp::from_unix_millis(0),
                reverse_path: ReversePath::Null,
                size: 0,
                body: BodyKind::SevenBit,
                smtputf8: false,
                ret: None,
                envid: None,
            },
            since: 0,
            commit_segment: 0,
            commit_octets: 0,
            body: Vec::new(),
        };
        let message = &mut row.message;
        let mut seen = (false, false);
        for field in FieldReader(value) {
            match field? {
                (MESSAGE_ID, value) => (message.id, seen.0) = (decode_id(value)?, true),
                (MESSAGE_ARRIVED, value) => message.arrived = decode_time(value)?,
                (MESSAGE_REVERSE_PATH, value) => {
                    (message.reverse_path, seen.1) = (decode_path(value)?, true);
                }
                (MESSAGE_SIZE, value) => message.size = number(value)?,
                (MESSAGE_FLAGS, value) => read_flags(message, number(value)?),
                (MESSAGE_ENVID, value) => message.envid = Some(plain(value)?.into()),
                (MESSAGE_SINCE, value) => row.since = number32(value)?,
                (MESSAGE_COMMIT_SEGMENT, value) => row.commit_segment = number32(value)?,
                (MESSAGE_COMMIT_OCTETS, value) => row.commit_octets = number32(value)?,
                (MESSAGE_BODY, value) => row.body = Extent::decode_all(value)?,
                _ => {}
            }
        }
        match seen {
            (true, true) => Ok(row),
            _ => Err(Malformed("message without id or reverse path")),
        }
    }
}

fn read_flags(message: &mut Message, flags: u64) {
    if flags & 1 != 0 {
        message.body = BodyKind::EightBitMime;
    }
    message.smtputf8 = flags & 2 != 0;
    message.ret = match flags >> 2 & 3 {
        1 => Some(Return::Full),
        2 => Some(Return::Headers),
        _ => None,
    };
}

impl Extent {
    const OCTETS: usize = 16;

    fn encode(&self) -> [u8; Self::OCTETS] {
        let mut out = [0; Self::OCTETS];
        let words = [self.segment, self.offset, self.octets, self.crc];
        for (place, word) in out.chunks_exact_mut(4).zip(words) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        out
    }

    fn decode_all(value: &[u8]) -> Result<Vec<Self>, Malformed> {
        let extents = value.chunks_exact(Self::OCTETS);
        if !extents.remainder().is_empty() {
            return Err(Malformed("half an extent"));
        }
        let word = |at: &[u8], n: usize| {
            u32::from_le_bytes([at[4 * n], at[4 * n + 1], at[4 * n + 2], at[4 * n + 3]])
        };
        Ok(extents
            .map(|at| Self {
                segment: word(at, 0),
                offset: word(at, 1),
                octets: word(at, 2),
                crc: word(at, 3),
            })
            .collect())
    }
}

impl LegRow {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = FieldWriter::default();
        self.write(&mut out);
        out.0
    }

    fn write(&self, out: &mut FieldWriter) {
        let leg = &self.leg;
        out.number(LEG_NUMBER, u64::from(self.number));
        write_path(out, LEG_REVERSE_PATH, &leg.reverse_path);
        out.text(LEG_TARGET, &leg.target.to_string());
        if leg.recipient != leg.target {
            out.text(LEG_RECIPIENT, &leg.recipient.to_string());
        }
        if let Some(original) = &leg.original {
            out.text(LEG_ORIGINAL_KIND, &original.kind);
            out.text(LEG_ORIGINAL_ADDRESS, &original.address);
        }
        if let Some(notify) = leg.notify {
            let bits = [notify.success, notify.failure, notify.delay];
            let bits = (0u64..).zip(bits).map(|(n, bit)| u64::from(bit) << n).sum();
            out.number(LEG_NOTIFY, bits);
        }
        if !leg.trace.is_empty() {
            out.text(LEG_TRACE, &leg.trace);
        }
        out.nested(LEG_STATE, |out| self.state.write(out));
    }

    pub(crate) fn decode(value: &[u8]) -> Result<Self, Malformed> {
        let (mut number_, mut reverse_path, mut target, mut recipient) = (None, None, None, None);
        let (mut kind, mut address, mut notify, mut trace, mut state) =
            (None, None, None, "", None);
        for field in FieldReader(value) {
            match field? {
                (LEG_NUMBER, value) => number_ = Some(number32(value)?),
                (LEG_REVERSE_PATH, value) => reverse_path = Some(decode_path(value)?),
                (LEG_TARGET, value) => target = Some(decode_mailbox(value)?),
                (LEG_RECIPIENT, value) => recipient = Some(decode_mailbox(value)?),
                (LEG_ORIGINAL_KIND, value) => kind = Some(plain(value)?),
                (LEG_ORIGINAL_ADDRESS, value) => address = Some(plain(value)?),
                (LEG_NOTIFY, value) => notify = Some(decode_notify(number(value)?)),
                (LEG_TRACE, value) => trace = text(value)?,
                (LEG_STATE, value) => state = Some(LegState::decode(value)?),
                _ => {}
            }
        }
        let target: Mailbox = target.ok_or(Malformed("leg without a target"))?;
        Ok(Self {
            number: number_.ok_or(Malformed("leg without a number"))?,
            leg: Leg {
                reverse_path: reverse_path.ok_or(Malformed("leg without a reverse path"))?,
                recipient: recipient.unwrap_or_else(|| target.clone()),
                target,
                original: kind.zip(address).map(|(kind, address)| OriginalRecipient {
                    kind: kind.into(),
                    address: address.into(),
                }),
                notify,
                trace: trace.into(),
            },
            state: state.ok_or(Malformed("leg without a state"))?,
        })
    }
}

fn decode_notify(bits: u64) -> Notify {
    Notify {
        success: bits & 1 != 0,
        failure: bits & 2 != 0,
        delay: bits & 4 != 0,
    }
}

impl LegState {
    fn write(&self, out: &mut FieldWriter) {
        out.number(STATE_DUE, self.due.unix_millis());
        let flags = [self.warned, self.held, self.bounced];
        let flags: u64 = (0u64..)
            .zip(flags)
            .map(|(n, bit)| u64::from(bit) << n)
            .sum();
        if self.attempts != 0 {
            out.number(STATE_ATTEMPTS, u64::from(self.attempts));
        }
        if flags != 0 {
            out.number(STATE_FLAGS, flags);
        }
        if !self.last.is_empty() {
            out.text(STATE_LAST, &self.last);
        }
    }

    fn decode(value: &[u8]) -> Result<Self, Malformed> {
        let (mut due, mut attempts, mut flags, mut last) = (None, 0, 0, "");
        for field in FieldReader(value) {
            match field? {
                (STATE_DUE, value) => due = Some(decode_time(value)?),
                (STATE_ATTEMPTS, value) => attempts = number32(value)?,
                (STATE_FLAGS, value) => flags = number(value)?,
                (STATE_LAST, value) => last = text(value)?,
                _ => {}
            }
        }
        Ok(Self {
            due: due.ok_or(Malformed("state without a due time"))?,
            attempts,
            warned: flags & 1 != 0,
            held: flags & 2 != 0,
            bounced: flags & 4 != 0,
            last: last.into(),
        })
    }
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

impl Token {
    pub(crate) fn encode(&self) -> Bytes {
        let mut out = FieldWriter::default();
        out.text(TOKEN_TOKEN, &self.token);
        out.text(TOKEN_VALUE, &self.value);
        out.number(TOKEN_EXPIRES, self.expires.unix_millis());
        out.0.into()
    }

    pub(crate) fn decode(value: &[u8]) -> Result<Self, Malformed> {
        let (mut token, mut meaning, mut expires) = (None, None, None);
        for field in FieldReader(value) {
            match field? {
                (TOKEN_TOKEN, value) => token = Some(text(value)?),
                (TOKEN_VALUE, value) => meaning = Some(text(value)?),
                (TOKEN_EXPIRES, value) => expires = Some(decode_time(value)?),
                _ => {}
            }
        }
        let malformed = Malformed("half a token");
        Ok(Self {
            token: token.ok_or(malformed)?.into(),
            value: meaning.ok_or(malformed)?.into(),
            expires: expires.ok_or(malformed)?,
        })
    }
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

fn write_path(out: &mut FieldWriter, tag: u8, path: &ReversePath) {
    match path {
        ReversePath::Null => out.text(tag, ""),
        ReversePath::Mailbox(mailbox) => out.text(tag, &mailbox.to_string()),
    }
}

fn decode_path(value: &[u8]) -> Result<ReversePath, Malformed> {
    if value.is_empty() {
        return Ok(ReversePath::Null);
    }
    decode_mailbox(value).map(ReversePath::Mailbox)
}

fn decode_mailbox(value: &[u8]) -> Result<Mailbox, Malformed> {
    text(value)?
        .parse()
        .map_err(|_| Malformed("not a mail address"))
}

/// A text without control characters.
fn plain(value: &[u8]) -> Result<&str, Malformed> {
    let text = text(value)?;
    if text.chars().any(char::is_control) {
        return Err(Malformed("control character"));
    }
    Ok(text)
}

fn decode_time(value: &[u8]) -> Result<Timestamp, Malformed> {
    number(value).map(Timestamp::from_unix_millis)
}

fn decode_id(value: &[u8]) -> Result<MessageId, Malformed> {
    let bits = value
        .try_into()
        .map_err(|_| Malformed("not a message id"))?;
    Ok(MessageId::from_bits(u128::from_be_bytes(bits)))
}

/// Octets of a chunk's payload before the body's.
pub(crate) const CHUNK_FRONT_OCTETS: usize = 16;

const COMMIT_MESSAGE: u8 = 1;
const COMMIT_LEG: u8 = 2;
const COMMIT_ALSO: u8 = 3;
const COMMIT_INLINE: u8 = 4;

const INLINE_OCTETS: u8 = 1;
const INLINE_CRC: u8 = 2;

const MESSAGE_ID: u8 = 1;
const MESSAGE_ARRIVED: u8 = 2;
const MESSAGE_REVERSE_PATH: u8 = 3;
const MESSAGE_SIZE: u8 = 4;
const MESSAGE_FLAGS: u8 = 5;
const MESSAGE_ENVID: u8 = 6;
const MESSAGE_SINCE: u8 = 7;
const MESSAGE_COMMIT_SEGMENT: u8 = 8;
const MESSAGE_COMMIT_OCTETS: u8 = 9;
const MESSAGE_BODY: u8 = 10;

const LEG_NUMBER: u8 = 1;
const LEG_REVERSE_PATH: u8 = 2;
const LEG_TARGET: u8 = 3;
const LEG_RECIPIENT: u8 = 4;
const LEG_ORIGINAL_KIND: u8 = 5;
const LEG_ORIGINAL_ADDRESS: u8 = 6;
const LEG_NOTIFY: u8 = 7;
const LEG_TRACE: u8 = 8;
const LEG_STATE: u8 = 9;

const STATE_DUE: u8 = 1;
const STATE_ATTEMPTS: u8 = 2;
const STATE_FLAGS: u8 = 3;
const STATE_LAST: u8 = 4;

const CHANGE_MESSAGE: u8 = 1;
const CHANGE_LEG: u8 = 2;
const CHANGE_SINCE: u8 = 3;
const CHANGE_STATE: u8 = 4;

const TOKEN_TOKEN: u8 = 1;
const TOKEN_VALUE: u8 = 2;
const TOKEN_EXPIRES: u8 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    fn mailbox(text: &str) -> Mailbox {
        text.parse().unwrap()
    }

    fn state() -> LegState {
        LegState {
            due: Timestamp::from_unix_millis(1_700_000_000_123),
            attempts: 3,
            warned: true,
            held: false,
            bounced: true,
            last: "450 4.2.1 busy".into(),
        }
    }

    fn commit() -> Commit {
        let leg = Leg {
            reverse_path: ReversePath::Mailbox(mailbox("SRS0=x=y=a.example=b@us.example")),
            target: mailbox("\"john doe\"@[IPv6:2001:db8::1]"),
            recipient: mailbox("alice@example.org"),
            original: Some(OriginalRecipient {
                kind: "rfc822".into(),
                address: "Alice@example.org".into(),
            }),
            notify: Some(Notify::NEVER),
            trace: "Delivered-To: alice@example.org\r\n".into(),
        };
        let row = |number| LegRow {
            number,
            leg: leg.clone(),
            state: state(),
        };
        Commit {
            row: MessageRow {
                message: Message {
                    id: MessageId::from_bits(u128::MAX / 3),
                    arrived: Timestamp::from_unix_millis(1_700_000_000_000),
                    reverse_path: ReversePath::Null,
                    size: 12345,
                    body: BodyKind::EightBitMime,
                    smtputf8: true,
                    ret: Some(Return::Headers),
                    envid: Some("QQ123".into()),
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
            inline: None,
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
        assert_eq!(MessageRow::decode(&row.encode()), Ok(row));
        let leg = commit().legs.remove(1);
        assert_eq!(LegRow::decode(&leg.encode()), Ok(leg));
        let mut change = commit().also.unwrap();
        assert_eq!(Change::decode(&change.encode()), Ok(change.clone()));
        change.state = Some(state());
        assert_eq!(Change::decode(&change.encode()), Ok(change));
        let token = Token {
            token: "abc".into(),
            value: "x@y.example".into(),
            expires: Timestamp::from_unix_millis(1),
        };
        assert_eq!(Token::decode(&token.encode()), Ok(token));
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
        let inputs = [commit.encode(None).to_vec(), commit.row.encode(), leg];
        for bytes in inputs {
            let read = |bytes: &[u8]| {
                let _ = (Commit::decode(bytes), MessageRow::decode(bytes));
                let _ = (LegRow::decode(bytes), Change::decode(bytes));
                let _ = (Token::decode(bytes), chunk_owner(bytes));
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
