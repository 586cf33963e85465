//! Events of the server side: questions that the driver answers, and facts that it is told.
//!
//! While a question is open the session reads no further command (RFC 2920 §3.2 asks for replies in order).

use envelope::{Envelope, Recipient, Reply};

use super::{Credentials, replies};
use crate::xclient::Xclient;

/// What a server session tells its driver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Question: may this client talk to us? `Accept` writes the 220 greeting; `Refuse` greets with its reply
    /// (554) and then knows only QUIT (RFC 5321 §3.1); `Close` writes its reply and ends.
    Connect,
    /// Question: EHLO or HELO.
    Hello(Hello),
    /// Question: AUTH. Are these right? They come once, and only under TLS (see
    /// [`Session::allow_auth`](super::Session::allow_auth)).
    Auth(Credentials),
    /// Question: XCLIENT. May the client that it names talk to us? As for [`Event::Connect`]. It comes only from who was
    /// allowed ([`Session::allow_xclient`](super::Session::allow_xclient)).
    Xclient(Xclient),
    /// Question: MAIL. The envelope has no recipients yet.
    Mail(Envelope),
    /// Question: RCPT. What was accepted so far is in [`Session::envelope`](super::Session::envelope).
    Rcpt(Recipient),
    /// Question: DATA, or the first BDAT: begin a body? `Accept` means that a draft is open and either
    /// [`Event::BodyEnd`] or [`Event::BodyAbandoned`] will follow.
    Data,
    /// Fact: decoded bytes of the body, unchanged but for the dots taken out again. Never empty.
    Body(Vec<u8>),
    /// Fact: [`Event::BodyEnd`] is next, and the body had so many bare CR or LF, which became CRLF as the settings say.
    BodyNormalized {
        /// At least one.
        newlines: u64,
    },
    /// Question: the body is complete and sound; commit it and give the reply with
    /// [`Session::answer_body`](super::Session::answer_body).
    BodyEnd,
    /// Fact: there will be no [`Event::BodyEnd`] for the open draft; drop it. The session writes the reply.
    BodyAbandoned,
    /// Fact: flush the output (it ends with the 220), do the handshake, then call
    /// [`Session::handle_tls_started`](super::Session::handle_tls_started). Give the session no bytes meanwhile.
    StartTls,
    /// Fact: the transaction was dropped by RSET, EHLO, HELO or QUIT, or its first chunk was refused.
    Reset,
    /// Fact: the session has refused something of its own accord; the reply is in the output, or will be.
    Refused(Refusal),
    /// Fact: flush the output and close the connection. The last event.
    Closed,
}

/// What the session refused by itself: form, order, and the limits of its settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// `hello`, `auth`, `mail`, `rcpt` or `data` for these commands, `command` for others, `message` for a body, `session` when no
    /// single command is to blame.
    pub stage: &'static str,
    /// What was broken, in kebab-case.
    pub rule: &'static str,
    /// The path as typed for MAIL and RCPT, else the verb alone, since there are passwords behind some; cut to a sane
    /// length. Empty when no command is to blame.
    pub typed: Box<str>,
    /// The reply.
    pub reply: Reply,
}

impl Event {
    /// To be told when the session says `reply`, if that is a refusal worth telling.
    pub(super) fn refused(stage: &'static str, reply: &Reply) -> Option<Self> {
        Some(Self::Refused(Refusal {
            stage,
            rule: replies::rule(reply)?,
            typed: Box::default(),
            reply: reply.clone(),
        }))
    }

    /// Tells which command a refusal is about. What is none of ours is not shown if it may be a secret.
    pub(super) fn blame(&mut self, line: &[u8], secrets_may_follow: bool) {
        if let Self::Refused(refusal) = self {
            (refusal.stage, refusal.typed) = typed(line);
            if secrets_may_follow && refusal.stage == "command" {
                refusal.typed = Box::default();
            }
        }
    }
}

/// The stage of a command, and what of it may be shown.
fn typed(line: &[u8]) -> (&'static str, Box<str>) {
    let end = line.iter().position(|b| *b == b' ').unwrap_or(line.len());
    let (verb, argument) = line.split_at(end);
    let stage = match verb.to_ascii_uppercase().as_slice() {
        b"MAIL" => "mail",
        b"RCPT" => "rcpt",
        b"EHLO" | b"HELO" => "hello",
        b"DATA" | b"BDAT" => "data",
        b"AUTH" => "auth",
        _ => "command",
    };
    let shown = match (stage, argument.iter().position(|b| *b == b':')) {
        ("mail" | "rcpt", Some(colon)) => argument[colon + 1..].trim_ascii(),
        _ => verb,
    };
    let cut = &shown[..shown.len().min(TYPED_OCTETS_MAX)];
    (stage, String::from_utf8_lossy(cut).into())
}

/// Longer than any honest address; it only has to be found again.
const TYPED_OCTETS_MAX: usize = 320;

/// How the client introduced itself.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Hello {
    /// The name as given: a domain, an address literal, or another printable ASCII text without blanks;
    /// 1 to 255 octets.
    pub name: Box<str>,
    /// EHLO, not HELO.
    pub extended: bool,
}
