//! The Received header that goes on top of each message (RFC 5321 §4.4).
//!
//! Whatever a client says of itself is cut down to harmless characters here, so that it can neither end the header
//! nor pretend to be another part of it.

use std::fmt::Write as _;
use std::net::IpAddr;

use envelope::{Domain, Host, Mailbox, MessageId, Timestamp};

/// What is known about how a message came in.
#[derive(Debug, Clone)]
pub struct Facts<'a> {
    /// The argument of EHLO or HELO, as given.
    pub hello: &'a str,
    /// The client's address.
    pub client: IpAddr,
    /// The client's verified name (PTR and back), if known.
    pub client_name: Option<&'a Domain>,
    /// Our name.
    pub hostname: &'a Domain,
    /// EHLO was used, not HELO.
    pub extended: bool,
    /// TLS, if it was used.
    pub tls: Option<Tls<'a>>,
    /// The client has authenticated (RFC 4954).
    pub authenticated: bool,
    /// SMTPUTF8 was asked for in MAIL (RFC 6531).
    pub smtputf8: bool,
    /// The message's id.
    pub id: MessageId,
    /// The recipient, if there is only one; with several it would show one to the others.
    pub recipient: Option<&'a Mailbox>,
    /// When the end of data was read.
    pub arrived: Timestamp,
}

/// Version and cipher of a TLS session.
#[derive(Debug, Clone, Copy)]
pub struct Tls<'a> {
    /// `TLSv1.3`.
    pub version: &'a str,
    /// `TLS13_AES_256_GCM_SHA384`.
    pub cipher: &'a str,
}

/// The whole header, folded, each line ended by CRLF.
pub fn received(facts: &Facts<'_>) -> String {
    let mut fold = Fold {
        out: String::with_capacity(320),
        line_octets: 0,
    };
    fold.word("Received:");
    fold.word(&format!("from {}", clean(facts.hello)));
    fold.word(&tcp_info(facts));
    fold.word(&format!("by {}", facts.hostname));
    fold.word(&format!("with {}", protocol(facts)));
    if let Some(tls) = facts.tls {
        fold.word(&format!("({} {})", clean(tls.version), clean(tls.cipher)));
    }
    // A header with an address in UTF-8 may only go where SMTPUTF8 goes.
    let recipient = facts
        .recipient
        .filter(|recipient| facts.smtputf8 || recipient.is_ascii());
    match recipient {
        None => fold.word(&format!("id {};", facts.id)),
        Some(recipient) => {
            fold.word(&format!("id {}", facts.id));
            fold.word(&format!("for <{recipient}>;"));
        }
    }
    fold.word(&facts.arrived.rfc5322());
    fold.out.push_str("\r\n");
    fold.out
}

/// The protocol's registered name (RFC 3848, RFC 6531 §4.3). HELO knows no extensions, and so no variants.
fn protocol(facts: &Facts<'_>) -> String {
    if !facts.extended {
        return "SMTP".into();
    }
    let mut name = String::from(if facts.smtputf8 { "UTF8SMTP" } else { "ESMTP" });
    if facts.tls.is_some() {
        name.push('S');
    }
    if facts.authenticated {
        name.push('A');
    }
    name
}

/// `([192.0.2.1])` or `(client.example [192.0.2.1])`.
fn tcp_info(facts: &Facts<'_>) -> String {
    // A v4 client on a v6 socket is a v4 client.
    let client = Host::Literal(facts.client.to_canonical());
    match facts.client_name {
        Some(name) => format!("({name} {client})"),
        None => format!("({client})"),
    }
}

/// What a client says, as at most [`CLEAN_OCTETS_MAX`] characters of names and literals; others become `?`.
fn clean(text: &str) -> String {
    if text.is_empty() {
        return "unknown".into();
    }
    let harmless = |c: char| match c {
        c if c.is_ascii_alphanumeric() => c,
        '.' | '-' | '_' | ':' | '[' | ']' => c,
        _ => '?',
    };
    text.chars().take(CLEAN_OCTETS_MAX).map(harmless).collect()
}

/// Writes words, and goes to a new line where one would be too long.
struct Fold {
    out: String,
    line_octets: usize,
}

impl Fold {
    fn word(&mut self, word: &str) {
        if self.line_octets == 0 {
            self.out.push_str(word);
            self.line_octets = word.len();
        } else if self.line_octets + 1 + word.len() <= LINE_OCTETS_MAX {
            // Writing to a String does not fail.
            let _ = write!(self.out, " {word}");
            self.line_octets += 1 + word.len();
        } else {
            let _ = write!(self.out, "\r\n\t{word}");
            self.line_octets = 1 + word.len();
        }
    }
}

/// RFC 5322 §2.1.1; a single word may be longer, an address in `for` say.
const LINE_OCTETS_MAX: usize = 78;
/// RFC 5321 §4.5.3.1.2: a domain.
const CLEAN_OCTETS_MAX: usize = 255;
