//! What is written of a message and of a leg: parts of a commit record, and rows of the index.
//!
//! Tagged fields (`fields`), with the tags below; `spool/README.md` lists them with their meaning. Addresses are written
//! as on the wire and parsed again when read, so that nothing comes out of a spool that could not have come in.

use envelope::{
    BodyKind, Destination, Leg, LegOptions, Mailbox, Merged, Message, MessageId, Notify, Origin,
    OriginalRecipient, Peer, Return, ReversePath, Timestamp,
};
use spool::Deadlines;

use crate::log::fields::{FieldReader, FieldWriter, Malformed, host_of, number, number32, text};
use crate::log::state::LegState;

/// Where a piece of a body lies, and its checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Extent {
    pub(crate) segment: u32,
    pub(crate) offset: u32,
    pub(crate) octets: u32,
    pub(crate) crc: u32,
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
    /// None: it is an older Onward's.
    pub(crate) deadlines: Option<Deadlines>,
}

/// When a message arrived, and its deadlines.
pub(crate) type Dates = (Timestamp, Option<Deadlines>);

impl MessageRow {
    pub(crate) fn write(&self, out: &mut FieldWriter, as_row: bool) {
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
        out.text_if_any(MESSAGE_ENVID, message.envid.as_deref());
        out.text_if_any(MESSAGE_USER, message.user.as_deref());
        if message.origin != Origin::default() {
            out.number(MESSAGE_ORIGIN, message.origin as u64);
        }
        if let Some(peer) = &message.peer {
            out.text(MESSAGE_PEER, &format!("{} {}", peer.address, peer.hello));
        }
        if !message.trace.is_empty() {
            out.text(MESSAGE_TRACE, &message.trace);
        }
        if let Some(Deadlines { warn, expire }) = self.deadlines {
            out.number(MESSAGE_WARN, warn.unix_millis());
            out.number(MESSAGE_EXPIRE, expire.unix_millis());
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

    /// When it arrived, its deadlines, and its sender's domain as [`spool::sender_name`] has it, without the rest.
    pub(crate) fn glance(value: &[u8]) -> Result<(Dates, &str), Malformed> {
        let (mut arrived, mut sender) = (Timestamp::from_unix_millis(0), "<>");
        let (mut warn, mut expire) = (None, None);
        for field in FieldReader(value) {
            match field? {
                (MESSAGE_ARRIVED, value) => arrived = decode_time(value)?,
                (MESSAGE_WARN, value) => warn = Some(decode_time(value)?),
                (MESSAGE_EXPIRE, value) => expire = Some(decode_time(value)?),
                (MESSAGE_REVERSE_PATH, b"") => {}
                (MESSAGE_REVERSE_PATH, path) => sender = host_of(path)?,
                _ => {}
            }
        }
        let both = warn.zip(expire);
        let deadlines = both.map(|(warn, expire)| Deadlines { warn, expire });
        Ok(((arrived, deadlines), sender))
    }

    pub(crate) fn decode(value: &[u8]) -> Result<Self, Malformed> {
        let mut row = Self {
            message: Message::new(
                MessageId::from_bits(0),
                Timestamp::from_unix_millis(0),
                ReversePath::Null,
                0,
            ),
            since: 0,
            commit_segment: 0,
            commit_octets: 0,
            body: Vec::new(),
            deadlines: Self::glance(value)?.0.1,
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
                (MESSAGE_ORIGIN, value) => message.origin = origin(number(value)?),
                (MESSAGE_PEER, value) => message.peer = decode_peer(text(value)?),
                (MESSAGE_USER, value) => message.user = Some(plain(value)?.into()),
                (MESSAGE_TRACE, value) => message.trace = text(value)?.into(),
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

/// What a later program proved is nothing that this one could build on.
fn origin(number: u64) -> Origin {
    let mut known = Origin::ALL.into_iter();
    let found = known.find(|origin| *origin as u64 == number);
    found.unwrap_or_default()
}

fn decode_peer(text: &str) -> Option<Peer> {
    let (address, hello) = text.split_once(' ')?;
    Some(Peer {
        address: address.parse().ok()?,
        hello: hello.into(),
    })
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

    pub(crate) fn write(&self, out: &mut FieldWriter) {
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
        if leg.options != LegOptions::default() {
            out.text(LEG_OPTIONS, leg.options.as_str());
        }
        for recipient in &leg.merged.named {
            out.text(LEG_MERGED, &recipient.to_string());
        }
        if leg.merged.more > 0 {
            out.number(LEG_MERGED_MORE, u64::from(leg.merged.more));
        }
        out.nested(LEG_STATE, |out| self.state.write(out));
    }

    /// Number, destination and state, without the rest.
    pub(crate) fn glance(value: &[u8]) -> Result<(u32, Destination, LegState), Malformed> {
        let (mut number, mut host, mut state, mut way) = (None, None, None, LegOptions::default());
        for field in FieldReader(value) {
            match field? {
                (LEG_NUMBER, value) => number = Some(number32(value)?),
                (LEG_TARGET, value) => {
                    host = host_of(value)?.parse().ok();
                }
                (LEG_OPTIONS, value) => way = decode_options(value)?.way(),
                (LEG_STATE, value) => state = Some(LegState::decode(value)?),
                _ => {}
            }
        }
        let ((Some(number), Some(host)), Some(state)) = ((number, host), state) else {
            return Err(Malformed("leg without number, target or state"));
        };
        Ok((number, Destination { host, way }, state))
    }

    pub(crate) fn decode(value: &[u8]) -> Result<Self, Malformed> {
        let (mut number_, mut reverse_path, mut target, mut recipient) = (None, None, None, None);
        let (mut kind, mut address, mut notify, mut trace, mut state) =
            (None, None, None, "", None);
        let (mut merged, mut more) = (Vec::new(), 0);
        let mut options = LegOptions::default();
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
                (LEG_OPTIONS, value) => options = decode_options(value)?,
                (LEG_MERGED, value) => merged.push(decode_mailbox(value)?),
                (LEG_MERGED_MORE, value) => more = number32(value)?,
                (LEG_STATE, value) => state = Some(LegState::decode(value)?),
                _ => {}
            }
        }
        let target: Mailbox = target.ok_or(Malformed("leg without a target"))?;
        let recipient = recipient.unwrap_or_else(|| target.clone());
        let reverse_path = reverse_path.ok_or(Malformed("leg without a reverse path"))?;
        Ok(Self {
            number: number_.ok_or(Malformed("leg without a number"))?,
            leg: Leg {
                original: kind.zip(address).map(|(kind, address)| OriginalRecipient {
                    kind: kind.into(),
                    address: address.into(),
                }),
                notify,
                trace: trace.into(),
                options,
                merged: Merged {
                    named: merged.into(),
                    more,
                },
                ..Leg::new(reverse_path, target, recipient)
            },
            state: state.ok_or(Malformed("leg without a state"))?,
        })
    }
}

fn decode_options(value: &[u8]) -> Result<LegOptions, Malformed> {
    text(value)?
        .parse()
        .map_err(|_| Malformed("not options of a leg"))
}

fn decode_notify(bits: u64) -> Notify {
    Notify {
        success: bits & 1 != 0,
        failure: bits & 2 != 0,
        delay: bits & 4 != 0,
    }
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

pub(super) fn decode_time(value: &[u8]) -> Result<Timestamp, Malformed> {
    number(value).map(Timestamp::from_unix_millis)
}

pub(super) fn decode_id(value: &[u8]) -> Result<MessageId, Malformed> {
    let bits = value
        .try_into()
        .map_err(|_| Malformed("not a message id"))?;
    Ok(MessageId::from_bits(u128::from_be_bytes(bits)))
}

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
const MESSAGE_ORIGIN: u8 = 11;
const MESSAGE_TRACE: u8 = 12;
const MESSAGE_WARN: u8 = 13;
const MESSAGE_EXPIRE: u8 = 14;
const MESSAGE_PEER: u8 = 15;
const MESSAGE_USER: u8 = 16;

const LEG_NUMBER: u8 = 1;
const LEG_REVERSE_PATH: u8 = 2;
const LEG_TARGET: u8 = 3;
const LEG_RECIPIENT: u8 = 4;
const LEG_ORIGINAL_KIND: u8 = 5;
const LEG_ORIGINAL_ADDRESS: u8 = 6;
const LEG_NOTIFY: u8 = 7;
const LEG_TRACE: u8 = 8;
const LEG_STATE: u8 = 9;
const LEG_MERGED: u8 = 10;
const LEG_MERGED_MORE: u8 = 11;
const LEG_OPTIONS: u8 = 12;
