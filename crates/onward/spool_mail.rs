//! From an exported envelope back to a queued message. The file may have been edited, or be none of ours: each value is read
//! as strictly as one from a client.

use std::collections::HashSet;
use std::fmt::Display;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

use control::{LegState, QueueAction};
use envelope::{
    BodyKind, Diagnosis, Leg, LegId, Mailbox, Merged, Message, MessageId, Notify, Origin,
    OriginalRecipient, Peer, Reply, Return, ReversePath, Timestamp,
};
use spool::{Action, Deadlines, Entry, State};

use crate::cli;
use crate::spool_export::{self, Envelope};

/// The legs of a message, as they stood.
pub(crate) fn legs(envelope: &Envelope) -> Result<Vec<Entry>, String> {
    let at = |key, text: &Option<String>| optional(key, text.as_deref());
    let deadlines = at("warned_at", &envelope.warned_at)?.zip(at("expires", &envelope.expires)?);
    let deadlines = deadlines.map(|(warn, expire)| Deadlines { warn, expire });
    let message = Arc::new(message(envelope)?);
    let legs = envelope.legs.iter();
    let legs = legs.map(|leg| entry(&message, deadlines, leg));
    let legs = legs.collect::<Result<Vec<_>, _>>()?;
    let numbers: HashSet<u32> = legs.iter().map(|entry| entry.id.number).collect();
    if legs.is_empty()
        || numbers.len() < legs.len()
        || legs.iter().any(|leg| leg.id.message != message.id)
    {
        return Err("`legs`: not one or more legs of this message, each once".to_owned());
    }
    Ok(legs)
}

fn message(envelope: &Envelope) -> Result<Message, String> {
    let id: MessageId = read("id", &envelope.id)?;
    let arrived: Timestamp = read("arrived", &envelope.arrived)?;
    let from = reverse_path(&envelope.reverse_path)?;
    let origin = Origin::ALL
        .into_iter()
        .find(|origin| origin.name() == envelope.origin);
    let origin =
        origin.ok_or_else(|| wrong("origin", &envelope.origin, "nothing that can be proved"))?;
    let client: Option<IpAddr> = optional("client", envelope.client.as_deref())?;
    let hello = plain("hello", envelope.hello.as_deref())?;
    Ok(Message {
        origin,
        peer: client.zip(hello).map(|(address, hello)| Peer {
            address,
            hello: hello.into(),
        }),
        user: plain("user", envelope.user.as_deref())?.map(Into::into),
        body: match envelope.eight_bit {
            true => BodyKind::EightBitMime,
            false => BodyKind::SevenBit,
        },
        smtputf8: envelope.smtputf8,
        ret: match envelope.ret.as_deref() {
            None => None,
            Some("FULL") => Some(Return::Full),
            Some("HDRS") => Some(Return::Headers),
            Some(other) => return Err(wrong("ret", other, "neither FULL nor HDRS")),
        },
        envid: plain("envid", envelope.envid.as_deref())?.map(Into::into),
        // Its trace stands at the top of the mail.
        ..Message::new(id, arrived, from, envelope.size)
    })
}

fn entry(
    message: &Arc<Message>,
    deadlines: Option<Deadlines>,
    exported: &spool_export::Leg,
) -> Result<Entry, String> {
    let id: LegId = read("leg", &exported.leg)?;
    let mailbox = |key, text: &str| read::<Mailbox>(key, text);
    let merged = exported.merged.iter().map(|text| mailbox("merged", text));
    let trace = &exported.trace;
    if !trace.is_empty() && !trace.ends_with("\r\n") {
        return Err(wrong("trace", trace, "not whole lines"));
    }
    let original = plain("original_recipient", exported.original_recipient.as_deref())?;
    let original = original.and_then(|text| text.split_once(';'));
    let leg = Leg {
        original: original.map(|(kind, address)| OriginalRecipient {
            kind: kind.into(),
            address: address.into(),
        }),
        notify: exported.notify.as_deref().map(notify),
        trace: trace.as_str().into(),
        options: read("options", &exported.options)?,
        merged: Merged {
            named: merged.collect::<Result<_, _>>()?,
            more: exported.merged_more,
        },
        ..Leg::new(
            reverse_path(&exported.reverse_path)?,
            mailbox("target", &exported.target)?,
            mailbox("recipient", &exported.recipient)?,
        )
    };
    Ok(Entry {
        id,
        message: Arc::clone(message),
        leg,
        state: match exported.state {
            LegState::Held => State::Held,
            LegState::Waiting | LegState::Active => State::Deferred,
        },
        due: read("next_try", &exported.next_try)?,
        deadlines,
        attempts: exported.attempts,
        warned: exported.warned,
        last: exported.diagnosis.as_ref().map(diagnosis).transpose()?,
        pending: match exported.pending {
            Some(QueueAction::Bounce) => Some(Action::Bounce),
            Some(QueueAction::Hold) => Some(Action::Hold),
            _ => None,
        },
    })
}

fn diagnosis(from: &control::Diagnosis) -> Result<Diagnosis, String> {
    Ok(Diagnosis {
        host: from.host.clone(),
        reply: from.reply.as_deref().and_then(reply),
        ..Diagnosis::local(read("status", &from.status)?, &*from.text)
    })
}

/// `450 4.2.1 busy`, as a peer said it.
fn reply(text: &str) -> Option<Reply> {
    let (code, rest) = text.split_once(' ').unwrap_or((text, ""));
    let (first, behind) = rest.split_once(' ').unwrap_or((rest, ""));
    let status = first.parse().ok();
    Some(Reply {
        code: code.parse().ok()?,
        status,
        text: if status.is_some() { behind } else { rest }.to_owned(),
    })
}

fn notify(text: &str) -> Notify {
    let names = |name| text.split(',').any(|word| word == name);
    Notify {
        success: names("SUCCESS"),
        failure: names("FAILURE"),
        delay: names("DELAY"),
    }
}

fn reverse_path(text: &str) -> Result<ReversePath, String> {
    cli::reverse_path(text).map_err(|error| wrong("reverse_path", text, error))
}

fn read<T: FromStr<Err: Display>>(key: &str, text: &str) -> Result<T, String> {
    text.parse().map_err(|error| wrong(key, text, error))
}

fn optional<T: FromStr<Err: Display>>(key: &str, text: Option<&str>) -> Result<Option<T>, String> {
    text.map(|text| read(key, text)).transpose()
}

/// It goes into commands to the next hop, or into a header.
fn plain<'a>(key: &str, text: Option<&'a str>) -> Result<Option<&'a str>, String> {
    match text {
        Some(text) if text.contains(char::is_control) => {
            Err(wrong(key, text, "control characters"))
        }
        text => Ok(text),
    }
}

fn wrong(key: &str, text: &str, error: impl Display) -> String {
    format!("`{key}`: `{text}`: {error}")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn exported() -> Value {
        json!({
            "id": "01K2ABCDEFGHJKMNPQRSTVWXYZ", "arrived": "2026-11-29T05:00:00.000Z",
            "reverse_path": "<a@b.test>", "origin": "proved", "client": "192.0.2.7", "hello": "client.test",
            "size": 7, "eight_bit": true, "smtputf8": false, "ret": "HDRS", "envid": "e1", "damage": [],
            "legs": [{
                "leg": "01K2ABCDEFGHJKMNPQRSTVWXYZ.3", "state": "held", "reverse_path": "<>", "recipient": "c@d.test",
                "merged": ["e@d.test"], "merged_more": 2, "target": "\"f g\"@h.test", "original_recipient": "rfc822;c@d.test",
                "notify": "FAILURE,DELAY", "trace": "Delivered-To: c@d.test\r\n", "next_try": "2026-11-29T06:00:00.000Z",
                "attempts": 4, "last": "", "pending": null,
                "diagnosis": {"status": "4.2.1", "text": "while sending", "reply": "450 4.2.1 busy now", "host": "mx.test"},
            }],
        })
    }

    fn read_back(file: &Value) -> Result<Vec<Entry>, String> {
        legs(&serde_json::from_value(file.clone()).map_err(|error| error.to_string())?)
    }

    #[test]
    fn a_leg_is_as_it_stood() {
        let returned = read_back(&exported()).unwrap();
        let Entry {
            id,
            leg,
            state,
            attempts,
            last,
            message,
            ..
        } = &returned[0];
        assert_eq!((id.number, *state, *attempts), (3, State::Held, 4));
        assert_eq!(
            (leg.target.to_string(), leg.merged.more),
            ("\"f g\"@h.test".to_owned(), 2)
        );
        assert_eq!(
            leg.notify.map(|notify| notify.to_string()).as_deref(),
            Some("FAILURE,DELAY")
        );
        let said = last.as_ref().map(ToString::to_string);
        assert_eq!(
            said.as_deref(),
            Some("mx.test: while sending: 450 4.2.1 busy now")
        );
        assert_eq!(
            (message.origin, message.ret),
            (Origin::Proved, Some(Return::Headers))
        );
        // An older Onward did not write these.
        assert!(!returned[0].warned && returned[0].deadlines.is_none());
    }

    #[track_caller]
    fn check(path: &str, value: Value, wanted: &str) {
        let mut file = exported();
        *file.pointer_mut(path).unwrap() = value;
        let error = read_back(&file).err().unwrap_or_default();
        assert!(error.contains(wanted), "{path}: {error}");
    }

    #[test]
    fn what_no_client_could_have_sent_is_refused() {
        check("/id", json!("../etc/passwd"), "`id`");
        check(
            "/envid",
            json!("x\r\nRCPT TO:<y@z.test>"),
            "control characters",
        );
        check("/hello", json!("a\nb"), "control characters");
        check("/reverse_path", json!("<a\r\n@b.test>"), "`reverse_path`");
        check("/origin", json!("forged-by-me"), "`origin`");
        check("/ret", json!("ALL"), "`ret`");
        check("/size", json!(-1), "invalid value");
        check("/legs", json!([]), "`legs`");
        check(
            "/legs/0/leg",
            json!("01K2ABCDEFGHJKMNPQRSTVWXYA.0"),
            "`legs`",
        );
        check("/legs/0/target", json!("nobody"), "`target`");
        check("/legs/0/trace", json!("Subject: no end"), "`trace`");
        check("/legs/0/attempts", json!("many"), "invalid type");
        let twice = json!([exported()["legs"][0], exported()["legs"][0]]);
        check("/legs", twice, "each once");
    }
}
