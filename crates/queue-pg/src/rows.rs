//! Messages and legs as the tables have them: written as JSON, of which PostgreSQL makes rows; read column by column.
//!
//! Addresses are written as on the wire and parsed again when read, so that nothing comes out of a database that could not have
//! come in. A column that this program does not know stays as it is.

use std::error::Error as StdError;

use bytes::BytesMut;
use envelope::{
    BodyKind, Diagnosis, Leg, LegId, LegOptions, Mailbox, Merged, Message, MessageId, Notify,
    Origin, OriginalRecipient, Peer, Reply, Return, ReversePath,
};
use serde_json::{Value, json};
use spool::{Action, Deadlines, Entry, LAST_OCTETS_MAX, State};
use tokio_postgres::Row;
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type};

use crate::commit::{Begun, FIRST_TOKEN};
use crate::time::{millis, timestamp};

/// The columns of a message, its body apart.
pub(crate) const MESSAGE: &str = "id, arrived, reverse_path, origin, peer, user_name, trace, size, eight_bit, smtputf8, ret, envid";

/// The columns of a leg, those that are generated apart.
pub(crate) const LEG: &str = "message, number, destination, reverse_path, target, recipient, original, notify, trace, options, merged, \
    merged_more, warn_at, expire_at, due, attempts, warned, held, bounced, last, owner, token, lease_end";

/// A leg with what all legs of its message have in common, and its names apart from those of the leg.
pub(crate) const BOTH: &str = "l.*, m.id, m.arrived, m.reverse_path AS sender, m.origin, m.peer, m.user_name, m.trace AS message_trace, \
    m.size, m.eight_bit, m.smtputf8, m.ret, m.envid";

/// A row that this program cannot have written.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Malformed(String);

/// Where a leg stands, as its row has it.
pub(crate) struct LegRow {
    pub(crate) id: LegId,
    pub(crate) leg: Leg,
    pub(crate) deadlines: Deadlines,
    pub(crate) due: i64,
    pub(crate) attempts: u32,
    pub(crate) warned: bool,
    pub(crate) held: bool,
    pub(crate) bounced: bool,
    pub(crate) last: Option<Diagnosis>,
    /// Until when somebody works on it.
    pub(crate) leased: Option<i64>,
    /// By whom.
    pub(crate) owner: i64,
    pub(crate) token: i64,
}

/// A message id as a `uuid`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Id(pub(crate) MessageId);

impl ToSql for Id {
    fn to_sql(
        &self,
        _: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn StdError + Sync + Send>> {
        out.extend_from_slice(&self.0.bits().to_be_bytes());
        Ok(IsNull::No)
    }

    fn accepts(of: &Type) -> bool {
        *of == Type::UUID
    }

    tokio_postgres::types::to_sql_checked!();
}

impl<'a> FromSql<'a> for Id {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn StdError + Sync + Send>> {
        Ok(Self(MessageId::from_bits(u128::from_be_bytes(
            raw.try_into()?,
        ))))
    }

    fn accepts(of: &Type) -> bool {
        *of == Type::UUID
    }
}

/// A message as a row of `messages`, without its body.
pub(crate) fn message_json(message: &Message) -> Value {
    let peer = message.peer.as_ref();
    json!({
        "id": uuid(message.id),
        "arrived": millis(message.arrived),
        "reverse_path": path(&message.reverse_path),
        "origin": message.origin as i16,
        "peer": peer.map(|peer| clean(&format!("{} {}", peer.address, peer.hello))),
        "user_name": message.user.as_deref().map(clean),
        "trace": clean(&message.trace),
        "size": message.size,
        "eight_bit": message.body == BodyKind::EightBitMime,
        "smtputf8": message.smtputf8,
        "ret": message.ret.map(|ret| match ret {
            Return::Full => "full",
            Return::Headers => "hdrs",
        }),
        "envid": message.envid.as_deref().map(clean),
    })
}

/// A leg as a row of `legs`; `begun`: leased.
pub(crate) fn leg_json(entry: &Entry, deadlines: Deadlines, begun: Option<Begun>) -> Value {
    let Entry { id, leg, .. } = entry;
    let original = leg.original.as_ref();
    let notify = |notify: Notify| {
        let bits = [notify.success, notify.failure, notify.delay];
        let bits = (0..).zip(bits).map(|(n, bit)| i16::from(bit) << n);
        bits.sum::<i16>()
    };
    json!({
        "message": uuid(id.message),
        "number": id.number,
        "destination": leg.destination().to_string(),
        "reverse_path": path(&leg.reverse_path),
        "target": leg.target.to_string(),
        "recipient": leg.recipient.to_string(),
        "original": original.map(|it| clean(&format!("{};{}", it.kind, it.address))),
        "notify": leg.notify.map(notify),
        "trace": clean(&leg.trace),
        "options": leg.options.as_str(),
        "merged": leg.merged.named.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "merged_more": leg.merged.more,
        "warn_at": millis(deadlines.warn),
        "expire_at": millis(deadlines.expire),
        "due": millis(entry.due),
        "attempts": entry.attempts,
        "warned": entry.warned,
        "held": entry.is_held(),
        "bounced": entry.pending == Some(Action::Bounce),
        "last": entry.last.as_ref().map(last_json),
        "owner": begun.map(|begun| begun.run),
        "token": begun.map_or(0, |_| FIRST_TOKEN),
        "lease_end": begun.map(|begun| begun.until),
    })
}

/// What the last attempt came to.
pub(crate) fn last_json(last: &Diagnosis) -> Value {
    let last = last.clone().clipped(LAST_OCTETS_MAX);
    let reply = last.reply.as_ref();
    json!({
        "status": last.status.to_string(),
        "text": clean(&last.text),
        "code": reply.map(|reply| reply.code),
        "reply_status": reply.and_then(|reply| reply.status).map(|status| status.to_string()),
        "reply": reply.map(|reply| clean(&reply.text)),
        "host": last.host.as_deref().map(clean),
        "dsn_relayed": last.dsn_relayed,
    })
}

/// The message of a row with the columns of [`BOTH`].
pub(crate) fn read_message(row: &Row) -> Result<Message, Malformed> {
    let Id(id) = row.try_get("id")?;
    let arrived = timestamp(row.try_get("arrived")?);
    let sender = read_path(row.try_get("sender")?)?;
    let size: i64 = row.try_get("size")?;
    let origin: i16 = row.try_get("origin")?;
    let peer: Option<&str> = row.try_get("peer")?;
    let user: Option<&str> = row.try_get("user_name")?;
    let ret: Option<&str> = row.try_get("ret")?;
    let envid: Option<&str> = row.try_get("envid")?;
    let mut known = Origin::ALL.into_iter();
    Ok(Message {
        // What a later program proved is nothing that this one could build on.
        origin: known
            .find(|known| *known as i16 == origin)
            .unwrap_or_default(),
        peer: peer.and_then(|peer| {
            let (address, hello) = peer.split_once(' ')?;
            Some(Peer {
                address: address.parse().ok()?,
                hello: hello.into(),
            })
        }),
        user: user.map(Into::into),
        trace: row.try_get::<_, &str>("message_trace")?.into(),
        body: match row.try_get("eight_bit")? {
            true => BodyKind::EightBitMime,
            false => BodyKind::SevenBit,
        },
        smtputf8: row.try_get("smtputf8")?,
        ret: ret.and_then(|ret| match ret {
            "full" => Some(Return::Full),
            "hdrs" => Some(Return::Headers),
            _ => None,
        }),
        envid: envid.map(Into::into),
        ..Message::new(id, arrived, sender, u64::try_from(size).unwrap_or(0))
    })
}

/// The leg of a row with the columns of [`LEG`].
pub(crate) fn read_leg(row: &Row) -> Result<LegRow, Malformed> {
    let Id(message) = row.try_get("message")?;
    let number: i32 = row.try_get("number")?;
    let original: Option<&str> = row.try_get("original")?;
    let notify: Option<i16> = row.try_get("notify")?;
    let merged: Vec<&str> = row.try_get("merged")?;
    let more: i64 = row.try_get("merged_more")?;
    let options: &str = row.try_get("options")?;
    let attempts: i32 = row.try_get("attempts")?;
    let owner: Option<i64> = row.try_get("owner")?;
    let lease_end: Option<i64> = row.try_get("lease_end")?;
    let last: Option<Value> = row.try_get("last")?;
    let leg = Leg {
        original: original.and_then(|original| {
            let (kind, address) = original.split_once(';')?;
            Some(OriginalRecipient {
                kind: kind.into(),
                address: address.into(),
            })
        }),
        notify: notify.map(|bits| Notify {
            success: bits & 1 != 0,
            failure: bits & 2 != 0,
            delay: bits & 4 != 0,
        }),
        trace: row.try_get::<_, &str>("trace")?.into(),
        options: options
            .parse::<LegOptions>()
            .map_err(|error| malformed("options", error))?,
        merged: Merged {
            named: merged.into_iter().map(mailbox).collect::<Result<_, _>>()?,
            more: u32::try_from(more).unwrap_or(u32::MAX),
        },
        ..Leg::new(
            read_path(row.try_get("reverse_path")?)?,
            mailbox(row.try_get("target")?)?,
            mailbox(row.try_get("recipient")?)?,
        )
    };
    Ok(LegRow {
        id: LegId {
            message,
            number: u32::try_from(number).map_err(|error| malformed("number", error))?,
        },
        leg,
        deadlines: Deadlines {
            warn: timestamp(row.try_get("warn_at")?),
            expire: timestamp(row.try_get("expire_at")?),
        },
        due: row.try_get("due")?,
        attempts: u32::try_from(attempts).unwrap_or(0),
        warned: row.try_get("warned")?,
        held: row.try_get("held")?,
        bounced: row.try_get("bounced")?,
        last: last.as_ref().and_then(read_last),
        leased: owner.and(lease_end),
        owner: owner.unwrap_or(0),
        token: row.try_get("token")?,
    })
}

impl LegRow {
    pub(crate) fn state(&self, now: i64) -> State {
        match () {
            () if self.leased.is_some_and(|until| until > now) => State::Active,
            () if self.held => State::Held,
            () if self.bounced || self.due > now => State::Deferred,
            () => State::Ready,
        }
    }

    /// As a listing shows it.
    pub(crate) fn entry(&self, message: std::sync::Arc<Message>, now: i64) -> Entry {
        let state = self.state(now);
        Entry {
            id: self.id,
            message,
            state,
            due: timestamp(self.due),
            deadlines: Some(self.deadlines),
            attempts: self.attempts,
            warned: self.warned,
            pending: match () {
                () if self.held && state == State::Active => Some(Action::Hold),
                () => self.bounced.then_some(Action::Bounce),
            },
            leg: self.leg.clone(),
            last: self.last.clone(),
        }
    }
}

pub(crate) fn read_last(last: &Value) -> Option<Diagnosis> {
    let text = |name: &str| last.get(name).and_then(Value::as_str);
    let code = last.get("code").and_then(Value::as_u64);
    Some(Diagnosis {
        status: text("status")?.parse().ok()?,
        text: text("text")?.to_owned(),
        reply: code.zip(text("reply")).and_then(|(code, words)| {
            Some(Reply {
                code: u16::try_from(code).ok()?,
                status: text("reply_status").and_then(|status| status.parse().ok()),
                text: words.to_owned(),
            })
        }),
        host: text("host").map(ToOwned::to_owned),
        dsn_relayed: last.get("dsn_relayed").and_then(Value::as_bool) == Some(true),
    })
}

/// PostgreSQL takes no NUL in a text.
pub(crate) fn clean(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

pub(crate) fn uuid(id: MessageId) -> String {
    format!("{:032x}", id.bits())
}

fn path(path: &ReversePath) -> Option<String> {
    path.mailbox().map(ToString::to_string)
}

fn read_path(text: Option<&str>) -> Result<ReversePath, Malformed> {
    text.map_or(Ok(ReversePath::Null), |text| {
        mailbox(text).map(ReversePath::Mailbox)
    })
}

fn mailbox(text: &str) -> Result<Mailbox, Malformed> {
    text.parse()
        .map_err(|error| malformed("mail address", error))
}

fn malformed(what: &str, error: impl std::fmt::Display) -> Malformed {
    Malformed(format!("{what}: {error}"))
}

impl From<tokio_postgres::Error> for Malformed {
    fn from(error: tokio_postgres::Error) -> Self {
        Self(error.to_string())
    }
}
