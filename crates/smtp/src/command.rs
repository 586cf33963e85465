//! Commands (RFC 5321 §4.1.1): one line, without its CRLF, to one value.
//!
//! Parsing allocates nothing but the addresses. It knows nothing of the session's state: whether a command may come
//! now, and with which extensions, is the server's business.

use envelope::{ForwardPath, ReversePath};

use crate::limits;
use crate::params::{MailParams, ParamError, RcptParams, parse_octets};
use crate::path::{self, PathError};

/// A well-formed command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command<'a> {
    /// HELO with the client's name.
    Helo(&'a str),
    /// EHLO with the client's name.
    Ehlo(&'a str),
    /// MAIL.
    Mail(Mail<'a>),
    /// RCPT.
    Rcpt(Rcpt<'a>),
    /// DATA.
    Data,
    /// BDAT (RFC 3030 §2).
    Bdat(Chunk),
    /// RSET.
    Rset,
    /// NOOP, with any argument.
    Noop,
    /// QUIT.
    Quit,
    /// VRFY, with any argument.
    Vrfy,
    /// HELP, with any argument.
    Help,
    /// STARTTLS (RFC 3207).
    StartTls,
    /// AUTH (RFC 4954).
    Auth(Auth<'a>),
    /// XCLIENT, with its attributes.
    Xclient(&'a str),
}

/// The arguments of MAIL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mail<'a> {
    /// The path.
    pub reverse_path: ReversePath,
    /// What stands behind it.
    pub params: MailParams<'a>,
    /// Whether the path has characters outside ASCII, which only SMTPUTF8 allows (RFC 6531 §3.4).
    pub non_ascii: bool,
    /// Whether the path came without its angle brackets, which only some clients may leave out.
    pub unbracketed: bool,
}

/// The arguments of RCPT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rcpt<'a> {
    /// The path.
    pub forward_path: ForwardPath,
    /// What stands behind it.
    pub params: RcptParams<'a>,
    /// Whether the path has characters outside ASCII.
    pub non_ascii: bool,
    /// As in [`Mail`].
    pub unbracketed: bool,
}

/// The arguments of BDAT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunk {
    /// Octets that follow the line.
    pub octets: u64,
    /// Whether the message ends with them.
    pub last: bool,
}

/// The arguments of AUTH, as given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Auth<'a> {
    /// The name of the mechanism.
    pub mechanism: &'a str,
    /// The initial response, in base64.
    pub initial: Option<&'a str>,
}

/// Why a line is no command that we take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// No such verb: 500.
    #[error("command not recognised")]
    Unknown,
    /// A verb of the standards that we do not offer: 502.
    #[error("command not implemented")]
    NotImplemented,
    /// The arguments are not of the form given: 501.
    #[error("syntax: {0}")]
    Syntax(&'static str),
    /// A BDAT without a readable size: nobody knows where the next command begins, so the session must end.
    #[error("syntax: BDAT size [LAST]")]
    BadChunk,
    /// MAIL FROM has no usable path: 501 5.1.7.
    #[error("bad sender address: {0}")]
    Sender(PathError),
    /// RCPT TO has no usable path: 501 5.1.3.
    #[error("bad recipient address: {0}")]
    Recipient(PathError),
    /// A parameter is not taken: 501, 504 or 555.
    #[error("{0}")]
    Param(#[from] ParamError),
}

/// Reads a command. Any bytes are allowed; a line that is not UTF-8 has no known verb.
pub fn parse(line: &[u8]) -> Result<Command<'_>, CommandError> {
    let Ok(line) = std::str::from_utf8(line) else {
        return Err(CommandError::Unknown);
    };
    // Blanks at the end are common and harmless (RFC 5321 §4.1.1 asks to tolerate them).
    let line = line.trim_end_matches([' ', '\t']);
    let (verb, argument) = line.split_once(' ').unwrap_or((line, ""));
    let argument = argument.trim_start_matches(' ');
    let alone = |command, syntax| match argument {
        "" => Ok(command),
        _ => Err(CommandError::Syntax(syntax)),
    };
    match upper_case(verb, &mut [0; WORD_OCTETS_MAX]) {
        b"MAIL" => parse_mail(argument).map(Command::Mail),
        b"RCPT" => parse_rcpt(argument).map(Command::Rcpt),
        b"BDAT" => parse_bdat(argument).map(Command::Bdat),
        b"EHLO" => parse_hello(argument, "EHLO hostname").map(Command::Ehlo),
        b"HELO" => parse_hello(argument, "HELO hostname").map(Command::Helo),
        b"DATA" => alone(Command::Data, "DATA"),
        b"RSET" => alone(Command::Rset, "RSET"),
        b"QUIT" => alone(Command::Quit, "QUIT"),
        b"STARTTLS" => alone(Command::StartTls, "STARTTLS"),
        b"AUTH" => parse_auth(argument).map(Command::Auth),
        b"XCLIENT" => Ok(Command::Xclient(argument)),
        b"NOOP" => Ok(Command::Noop),
        b"HELP" => Ok(Command::Help),
        b"VRFY" => Ok(Command::Vrfy),
        b"EXPN" | b"ETRN" | b"TURN" | b"SEND" | b"SOML" | b"SAML" => {
            Err(CommandError::NotImplemented)
        }
        _ => Err(CommandError::Unknown),
    }
}

/// A word in upper case, written to `room`; nothing if it is too long to be one of ours.
pub(crate) fn upper_case<'a>(word: &str, room: &'a mut [u8]) -> &'a [u8] {
    let Some(upper) = room.get_mut(..word.len()) else {
        return b"";
    };
    upper.copy_from_slice(word.as_bytes());
    upper.make_ascii_uppercase();
    upper
}

fn parse_mail(argument: &str) -> Result<Mail<'_>, CommandError> {
    let text =
        strip_keyword(argument, "FROM:").ok_or(CommandError::Syntax("MAIL FROM:<address>"))?;
    let (reverse_path, rest) = path::parse_reverse(text).map_err(CommandError::Sender)?;
    let params = MailParams::parse(rest)?;
    Ok(Mail {
        reverse_path,
        params,
        non_ascii: !text[..text.len() - rest.len()].is_ascii(),
        unbracketed: !text.starts_with('<'),
    })
}

fn parse_rcpt(argument: &str) -> Result<Rcpt<'_>, CommandError> {
    let text = strip_keyword(argument, "TO:").ok_or(CommandError::Syntax("RCPT TO:<address>"))?;
    let (forward_path, rest) = path::parse_forward(text).map_err(CommandError::Recipient)?;
    let params = RcptParams::parse(rest)?;
    Ok(Rcpt {
        forward_path,
        params,
        non_ascii: !text[..text.len() - rest.len()].is_ascii(),
        unbracketed: !text.starts_with('<'),
    })
}

/// RFC 5321 §3.3 allows no blank behind the colon, but many clients send one and it can mean nothing else.
fn strip_keyword<'a>(argument: &'a str, keyword: &str) -> Option<&'a str> {
    let head = argument.get(..keyword.len())?;
    head.eq_ignore_ascii_case(keyword)
        .then(|| argument[keyword.len()..].trim_start_matches(' '))
}

/// Clients give all kinds of names; only what could not be logged or put into a header is refused.
fn parse_hello<'a>(name: &'a str, syntax: &'static str) -> Result<&'a str, CommandError> {
    let printable = name.bytes().all(|b| b.is_ascii_graphic());
    if name.is_empty() || name.len() > limits::HELLO_OCTETS_MAX || !printable {
        return Err(CommandError::Syntax(syntax));
    }
    Ok(name)
}

fn parse_auth(argument: &str) -> Result<Auth<'_>, CommandError> {
    let (mechanism, initial) = argument.split_once(' ').unwrap_or((argument, ""));
    let initial = initial.trim_start_matches(' ');
    if mechanism.is_empty() || initial.contains(' ') {
        return Err(CommandError::Syntax("AUTH mechanism [initial-response]"));
    }
    let initial = Some(initial).filter(|text| !text.is_empty());
    Ok(Auth { mechanism, initial })
}

fn parse_bdat(argument: &str) -> Result<Chunk, CommandError> {
    let (digits, end) = argument.split_once(' ').unwrap_or((argument, ""));
    let octets = parse_octets(digits).ok_or(CommandError::BadChunk)?;
    let end = end.trim_start_matches(' ');
    if end.is_empty() || end.eq_ignore_ascii_case("LAST") {
        let last = !end.is_empty();
        return Ok(Chunk { octets, last });
    }
    Err(CommandError::BadChunk)
}

/// The longest word that we know is `BINARYMIME`.
pub(crate) const WORD_OCTETS_MAX: usize = 10;

#[cfg(test)]
mod tests {
    use envelope::{AddressError, BodyKind};

    use super::*;

    #[track_caller]
    fn check(line: &str, expected: Result<Command<'_>, CommandError>) {
        assert_eq!(parse(line.as_bytes()), expected, "{line:?}");
    }

    fn chunk(octets: u64, last: bool) -> Result<Command<'static>, CommandError> {
        Ok(Command::Bdat(Chunk { octets, last }))
    }

    #[test]
    fn verbs() {
        check("DATA", Ok(Command::Data));
        check("data ", Ok(Command::Data));
        check("rSeT", Ok(Command::Rset));
        check("QUIT", Ok(Command::Quit));
        check("STARTTLS", Ok(Command::StartTls));
        check("NOOP anything <you> like", Ok(Command::Noop));
        check("VRFY", Ok(Command::Vrfy));
        check("HELP me", Ok(Command::Help));
        check("DATA now", Err(CommandError::Syntax("DATA")));
        check("RSET x", Err(CommandError::Syntax("RSET")));
        check("EXPN list", Err(CommandError::NotImplemented));
        for unknown in [
            "",
            " ",
            "MAILX",
            "GET / HTTP/1.1",
            "DATA\t",
            " NOOP",
            "ſTARTTLS",
        ] {
            let expected = if unknown == "DATA\t" {
                Ok(Command::Data)
            } else {
                Err(CommandError::Unknown)
            };
            check(unknown, expected);
        }
        assert_eq!(parse(b"NOOP \xff"), Err(CommandError::Unknown));
    }

    #[test]
    fn hello() {
        check("EHLO mx.example", Ok(Command::Ehlo("mx.example")));
        check("helo [192.0.2.1]", Ok(Command::Helo("[192.0.2.1]")));
        check("EHLO under_score", Ok(Command::Ehlo("under_score")));
        let syntax = Err(CommandError::Syntax("EHLO hostname"));
        for bad in [
            "EHLO",
            "EHLO ",
            "EHLO a b",
            "EHLO a\tb",
            "EHLO ü",
            "EHLO a\u{7f}",
        ] {
            check(bad, syntax.clone());
        }
        check(&format!("EHLO {}", "a".repeat(256)), syntax);
    }

    #[test]
    fn auth() {
        let auth = |mechanism, initial| Ok(Command::Auth(Auth { mechanism, initial }));
        check("AUTH PLAIN", auth("PLAIN", None));
        check("auth login  dXNlcg==", auth("login", Some("dXNlcg==")));
        check("AUTH PLAIN =", auth("PLAIN", Some("=")));
        check("AUTH GSSAPI ", auth("GSSAPI", None));
        let syntax = Err(CommandError::Syntax("AUTH mechanism [initial-response]"));
        for bad in ["AUTH", "AUTH ", "AUTH PLAIN a b"] {
            check(bad, syntax.clone());
        }
    }

    #[test]
    fn bdat() {
        check("BDAT 0", chunk(0, false));
        check("bdat 10 last", chunk(10, true));
        check("BDAT 18446744073709551616 LAST", chunk(u64::MAX, true));
        for bad in [
            "BDAT",
            "BDAT LAST",
            "BDAT -1",
            "BDAT 1 2",
            "BDAT 1 LAST x",
            "BDAT 1x",
            "BDAT 999999999999999999999 LAST",
        ] {
            check(bad, Err(CommandError::BadChunk));
        }
    }

    #[test]
    fn mail() {
        let Ok(Command::Mail(mail)) = parse(b"mail From:<a@B.c> BODY=8BITMIME SIZE=5") else {
            panic!("not MAIL");
        };
        assert_eq!(mail.reverse_path.to_string(), "<a@b.c>");
        assert_eq!(
            (mail.params.body, mail.params.size),
            (Some(BodyKind::EightBitMime), Some(5))
        );
        assert!(!mail.non_ascii);
        assert!(
            parse("MAIL FROM: <ü@b.c> SMTPUTF8".as_bytes())
                .is_ok_and(|c| matches!(c, Command::Mail(m) if m.non_ascii))
        );
        check("MAIL", Err(CommandError::Syntax("MAIL FROM:<address>")));
        check(
            "MAIL TO:<a@b.c>",
            Err(CommandError::Syntax("MAIL FROM:<address>")),
        );
        check(
            "MAIL FROM <a@b.c>",
            Err(CommandError::Syntax("MAIL FROM:<address>")),
        );
        for (line, unbracketed) in [
            ("MAIL FROM:a@b.c SIZE=1", true),
            ("MAIL FROM:<a@b.c>", false),
        ] {
            let Ok(Command::Mail(mail)) = parse(line.as_bytes()) else {
                panic!("not MAIL");
            };
            assert_eq!(mail.reverse_path.to_string(), "<a@b.c>");
            assert_eq!(mail.unbracketed, unbracketed, "{line}");
        }
        check("MAIL FROM:", Err(CommandError::Sender(PathError::NotAPath)));
        let no_address = PathError::Address(AddressError::NotAnAddress);
        check("MAIL FROM:<a>", Err(CommandError::Sender(no_address)));
        check(
            "MAIL FROM:<a@b.c> X=1",
            Err(CommandError::Param(ParamError::Unknown)),
        );
    }

    #[test]
    fn rcpt() {
        let Ok(Command::Rcpt(rcpt)) = parse(b"RCPT TO:<@x.y:a@b.c> NOTIFY=NEVER") else {
            panic!("not RCPT");
        };
        assert_eq!(rcpt.forward_path.to_string(), "<a@b.c>");
        assert!(rcpt.params.notify.is_some() && !rcpt.non_ascii);
        check(
            "RCPT FROM:<a@b.c>",
            Err(CommandError::Syntax("RCPT TO:<address>")),
        );
        let no_address = PathError::Address(AddressError::NotAnAddress);
        check("RCPT TO:<>", Err(CommandError::Recipient(no_address)));
        check(
            "RCPT TO:<a@b.c> SIZE=1",
            Err(CommandError::Param(ParamError::Unknown)),
        );
    }

    /// Whatever comes: no panic, and an address that was taken holds no control character.
    #[test]
    fn any_bytes() {
        let seeds: [&[u8]; 4] = [
            b"MAIL FROM:<@a.b:\"c\\\"d\"@e.f> ENVID=+41 SIZE=1",
            b"RCPT TO:<a@[IPv6:::1]> ORCPT=utf-8;\xc3\xbc",
            b"BDAT 5 LAST",
            b"EHLO x",
        ];
        for seed in seeds {
            for at in 0..seed.len() {
                for byte in 0..=255 {
                    let mut line = seed.to_vec();
                    line[at] = byte;
                    match parse(&line) {
                        Ok(Command::Mail(mail)) => {
                            assert!(!mail.reverse_path.to_string().contains(char::is_control))
                        }
                        Ok(Command::Rcpt(rcpt)) => {
                            assert!(!rcpt.forward_path.to_string().contains(char::is_control))
                        }
                        _ => {}
                    }
                    _ = parse(&line[..at]);
                }
            }
        }
    }
}
