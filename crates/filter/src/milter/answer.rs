//! What a milter answers.

use envelope::{Class, EnhancedStatus, Reply};
use smtp::reply::Parser;

use crate::clean;
use crate::opinion::{Failed, Verdict};

/// One packet of a milter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    Continue,
    /// It needs to see no more of this kind.
    Skip,
    /// It is still at work.
    Progress,
    /// Its last word.
    Verdict(Verdict),
    /// To be kept for an operator, unless it is refused.
    Hold(String),
    /// A field for the message.
    Add {
        /// Above all others that it adds.
        first: bool,
        name: String,
        /// All behind the colon, but perhaps a blank.
        value: String,
    },
    /// A field that is to stand instead of the one in the message, or to be added if there is none.
    Change {
        name: String,
        value: String,
    },
    /// What we do not do, in words for the log.
    Refused(String),
}

impl Answer {
    /// Reads a packet: its letter and data.
    pub(super) fn read(packet: &[u8]) -> Result<Self, Failed> {
        let Some((letter, data)) = packet.split_first() else {
            return Err(Failed("sends an empty packet".to_owned()));
        };
        Ok(match (letter, data) {
            (b'c', []) => Self::Continue,
            (b's', []) => Self::Skip,
            (b'p', []) => Self::Progress,
            (b'a', []) => Self::Verdict(Verdict::Accept),
            (b'r', []) => Self::Verdict(Verdict::reject("")),
            // With SHUTDOWN and CONN_FAIL it wants the client's connection closed: more than it may decide of.
            (b't' | b'4' | b'f', []) => Self::Verdict(Verdict::defer("")),
            (b'd', []) => Self::Verdict(Verdict::Discard),
            (b'y', _) => Self::Verdict(reply(data)?),
            (b'q', _) => Self::Hold(clean::text(&texts(data)[0])),
            (b'h', _) => added(false, data)?,
            (b'i', [0, 0, 0, 0 | 1, rest @ ..]) => added(true, rest)?,
            (b'i', [_, _, _, _, rest @ ..]) => refused("field further down", rest),
            (b'm', [_, _, _, _, rest @ ..]) => match texts(rest).get(1) {
                None => refused("removal of field", rest),
                Some(value) if value.is_empty() => refused("removal of field", rest),
                Some(value) => Self::Change {
                    name: texts(rest)[0].clone(),
                    value: value.clone(),
                },
            },
            (b'b', _) => Self::Refused("change of body".to_owned()),
            (b'e', _) => refused("change of sender", data),
            (b'+' | b'2', _) => refused("further recipient", data),
            (b'-', _) => refused("removal of recipient", data),
            _ => {
                let shown = packet[..packet.len().min(SHOWN_MAX)].escape_ascii();
                return Err(Failed(format!("answers `{shown}`")));
            }
        })
    }
}

fn added(first: bool, data: &[u8]) -> Result<Answer, Failed> {
    let [name, value] = &texts(data)[..] else {
        return Err(Failed("adds what is no field".to_owned()));
    };
    let (name, value) = (name.clone(), value.clone());
    Ok(Answer::Add { first, name, value })
}

fn refused(what: &str, data: &[u8]) -> Answer {
    Answer::Refused(format!("{what} {}", texts(data)[0]))
}

/// A reply as SMTP has it, without the last line end; `%` stands twice, as for printf.
fn reply(data: &[u8]) -> Result<Verdict, Failed> {
    let mut wire = texts(data)[0].replace("%%", "%").into_bytes();
    wire.extend_from_slice(b"\r\n");
    let read = Parser::default().parse(&mut &wire[..]);
    let Some(Ok(Reply { code, status, text })) = read else {
        return Err(Failed("answers what is no reply".to_owned()));
    };
    let text = text.lines().map(clean::text).collect::<Vec<_>>().join("\n");
    let (code, class) = match code {
        500..=599 => (code, Class::Permanent),
        // Our session goes on.
        421 => (451, Class::Transient),
        400..=499 => (code, Class::Transient),
        _ => return Err(Failed(format!("refuses with code {code}"))),
    };
    let policy = EnhancedStatus {
        class,
        subject: 7,
        detail: 1,
    };
    let reply = Reply::new(code, status.unwrap_or(policy), text);
    Ok(match class {
        Class::Permanent => Verdict::Reject(reply),
        _ => Verdict::Defer(reply),
    })
}

/// Texts that end with NUL, the last one perhaps not. At least one.
fn texts(data: &[u8]) -> Vec<String> {
    let data = data.strip_suffix(b"\0").unwrap_or(data);
    let texts = data.split(|octet| *octet == 0);
    texts
        .map(|text| String::from_utf8_lossy(text).into_owned())
        .collect()
}

const SHOWN_MAX: usize = 40;

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(packet: &[u8], expected: &str) {
        let said = match Answer::read(packet) {
            Ok(Answer::Verdict(Verdict::Reject(reply) | Verdict::Defer(reply))) => {
                reply.to_string()
            }
            Ok(answer) => format!("{answer:?}"),
            Err(failed) => format!("failed: {failed}"),
        };
        assert_eq!(said, expected);
    }

    #[test]
    fn answers() {
        check(b"c", "Continue");
        check(b"s", "Skip");
        check(b"p", "Progress");
        check(b"a", "Verdict(Accept)");
        check(b"d", "Verdict(Discard)");
        check(
            b"r",
            "550 5.7.1 message refused by its recipient's content filter",
        );
        for later in [b"t", b"4", b"f"] {
            check(
                later,
                "451 4.7.1 the recipient's content filter asks to try again later",
            );
        }
        check(b"qodd\x07 mail\0", "Hold(\"odd mail\")");
        check(
            b"hX-A\0 b\n\tc\0",
            r#"Add { first: false, name: "X-A", value: " b\n\tc" }"#,
        );
        check(
            b"i\0\0\0\x01X-A\0b\0",
            r#"Add { first: true, name: "X-A", value: "b" }"#,
        );
        check(
            b"i\0\0\0\x02X-A\0b\0",
            r#"Refused("field further down X-A")"#,
        );
        check(
            b"m\0\0\0\x01Subject\0x\0",
            r#"Change { name: "Subject", value: "x" }"#,
        );
        check(
            b"m\0\0\0\x01Subject\0\0",
            r#"Refused("removal of field Subject")"#,
        );
        check(b"bnew body", r#"Refused("change of body")"#);
        check(
            b"e<a@b.test>\0",
            r#"Refused("change of sender <a@b.test>")"#,
        );
        check(
            b"+<a@b.test>\0",
            r#"Refused("further recipient <a@b.test>")"#,
        );
        check(
            b"2<a@b.test>\0NOTIFY=NEVER\0",
            r#"Refused("further recipient <a@b.test>")"#,
        );
        check(
            b"-<a@b.test>\0",
            r#"Refused("removal of recipient <a@b.test>")"#,
        );
    }

    #[test]
    fn replies() {
        check(b"y550 5.7.9 100%% no\0", "550 5.7.9 100% no");
        check(b"y554 no\0", "554 5.7.1 no");
        check(b"y451-4.7.5 one\r\n451 4.7.5 two\0", "451 4.7.5 one two");
        check(b"y421 4.3.2 go away\0", "451 4.3.2 go away");
        check(b"y550 4.1.1 lies\0", "550 5.7.1 4.1.1 lies");
        check(
            "y550 5.7.1 \u{202e}n\x1b[31mo\0".as_bytes(),
            "550 5.7.1 ?n [31mo",
        );
        check(b"y250 2.0.0 yes\0", "failed: refuses with code 250");
        for bad in [&b"y\0"[..], b"y", b"yno\0", b"y550-5.7.1 one\0", b"y5500\0"] {
            check(bad, "failed: answers what is no reply");
        }
    }

    #[test]
    fn rubbish() {
        check(b"", "failed: sends an empty packet");
        check(b"z\x01\xff", r"failed: answers `z\x01\xff`");
        check(b"cc", "failed: answers `cc`");
        check(b"hX-A\0", "failed: adds what is no field");
        check(b"h", "failed: adds what is no field");
        check(b"i\0\0", r"failed: answers `i\x00\x00`");
        check(b"m\0\0\0\x01", r#"Refused("removal of field ")"#);
    }
}
