//! The Received header that goes on top of each message (RFC 5321 §4.4), and what else a submitted one lacks.
//!
//! Whatever a client says of itself is cut down to harmless characters here, so that it can neither end the header
//! nor pretend to be another part of it.

use std::fmt::Write as _;
use std::net::IpAddr;

use envelope::{Domain, Host, LocalPart, Mailbox, MessageId, Timestamp, Tls};

use crate::fold::fold;
use crate::scan::HeaderScan;

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
    /// Nothing is said of the client: where a user sits and what the machine is called is nobody's business.
    pub hides_client: bool,
    /// SMTPUTF8 was asked for in MAIL (RFC 6531).
    pub smtputf8: bool,
    /// The message's id.
    pub id: MessageId,
    /// The recipient, if there is only one; with several it would show one to the others.
    pub recipient: Option<&'a Mailbox>,
    /// When the end of data was read.
    pub arrived: Timestamp,
}

/// The whole header, folded, each line ended by CRLF.
pub fn received(facts: &Facts<'_>) -> String {
    let mut fold = Fold {
        out: String::with_capacity(320),
        line_octets: 0,
    };
    fold.word("Received:");
    if !facts.hides_client {
        fold.word(&format!("from {}", clean(facts.hello)));
        fold.word(&tcp_info(facts));
    }
    fold.word(&format!("by {}", facts.hostname));
    fold.word(&format!("with {}", protocol(facts)));
    if let Some(tls) = facts.tls {
        fold.word(&format!("({} {})", clean(tls.version), clean(tls.cipher)));
    }
    // A header with an address in UTF-8 may only go where SMTPUTF8 goes.
    let recipient = facts.recipient.filter(|recipient| recipient.is_ascii());
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

/// The fields that a message must have and its author's program left out (RFC 6409 §8.2, §8.3); each ended by CRLF.
pub fn missing(scan: &HeaderScan, id: MessageId, arrived: Timestamp, hostname: &Domain) -> String {
    let mut fields = String::new();
    if !scan.has_date() {
        let _ = write!(fields, "Date: {}\r\n", arrived.rfc5322());
    }
    if !scan.has_message_id() {
        let _ = write!(fields, "Message-ID: <{id}@{hostname}>\r\n");
    }
    fields
}

/// The address as a Delivered-To names it: in ASCII, so that our trace is no reason why a message needs SMTPUTF8.
/// `ü@` is `"\\u{fc}"@`. `None` if that is too long an address.
pub(crate) fn ascii_form(address: &Mailbox) -> Option<Mailbox> {
    if address.is_ascii() {
        return Some(address.clone());
    }
    let mut local = String::new();
    for c in fold(address.local_part().as_str()).chars() {
        match c {
            c if c.is_ascii() => local.push(c),
            c => local.extend(c.escape_unicode()),
        }
    }
    let local = LocalPart::from_unquoted(&local).ok()?;
    Mailbox::new(local, address.host().clone()).ok()
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

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use super::*;

    static HOSTNAME: LazyLock<Domain> = LazyLock::new(|| "mx1.example.net".parse().unwrap());

    fn with<'a>(change: impl FnOnce(&mut Facts<'a>)) -> String {
        let mut facts = Facts {
            hello: "client.example",
            client: "192.0.2.1".parse().unwrap(),
            client_name: None,
            hostname: &HOSTNAME,
            extended: true,
            tls: None,
            authenticated: false,
            hides_client: false,
            smtputf8: false,
            id: MessageId::new(Timestamp::from_unix_millis(1_795_264_496_789), 7),
            recipient: None,
            arrived: Timestamp::from_unix_millis(1_795_264_496_789),
        };
        change(&mut facts);
        received(&facts)
    }

    const TLS: Tls<'_> = Tls {
        version: "TLSv1.3",
        cipher: "TLS13_AES_256_GCM_SHA384",
    };

    #[test]
    fn plain() {
        assert_eq!(
            with(|_| ()),
            "Received: from client.example ([192.0.2.1]) by mx1.example.net with ESMTP\r\n\
             \tid 01M7Z1MH4N0000000000000007; Sat, 21 Nov 2026 12:34:56 +0000\r\n"
        );
    }

    #[test]
    fn of_a_user() {
        let hidden = with(|facts| {
            (facts.tls, facts.authenticated, facts.hides_client) = (Some(TLS), true, true);
            facts.client_name = Some(&HOSTNAME);
        });
        assert_eq!(
            hidden,
            "Received: by mx1.example.net with ESMTPSA (TLSv1.3 TLS13_AES_256_GCM_SHA384)\r\n\
             \tid 01M7Z1MH4N0000000000000007; Sat, 21 Nov 2026 12:34:56 +0000\r\n"
        );
    }

    #[track_caller]
    fn check_missing(header: &str, expected: &str) {
        let mut scan = HeaderScan::default();
        scan.feed(header.as_bytes());
        scan.finish();
        let now = Timestamp::from_unix_millis(1_795_264_496_789);
        let fields = missing(&scan, MessageId::new(now, 7), now, &HOSTNAME);
        assert_eq!(fields, expected, "{header:?}");
    }

    #[test]
    fn what_a_program_left_out() {
        let date = "Date: Sat, 21 Nov 2026 12:34:56 +0000\r\n";
        let id = "Message-ID: <01M7Z1MH4N0000000000000007@mx1.example.net>\r\n";
        check_missing("dATE : x\r\nMessage-Id:\r\n <y>\r\n\r\n", "");
        check_missing("Message-ID: <y>\r\n\r\nDate: in the body\r\n", date);
        check_missing("Date: x\r\nResent-Message-ID: <y>\r\n\r\n", id);
        check_missing("", &format!("{date}{id}"));
    }

    #[test]
    fn everything() {
        let name: Domain = "ptr.client.example".parse().unwrap();
        let recipient: Mailbox = "alice@example.org".parse().unwrap();
        let got = with(|facts| {
            facts.client = "2001:db8::1".parse().unwrap();
            facts.client_name = Some(&name);
            facts.tls = Some(TLS);
            facts.recipient = Some(&recipient);
        });
        assert_eq!(
            got,
            "Received: from client.example (ptr.client.example [IPv6:2001:db8::1])\r\n\
             \tby mx1.example.net with ESMTPS (TLSv1.3 TLS13_AES_256_GCM_SHA384)\r\n\
             \tid 01M7Z1MH4N0000000000000007 for <alice@example.org>;\r\n\
             \tSat, 21 Nov 2026 12:34:56 +0000\r\n"
        );
        assert!(got.lines().all(|line| line.len() <= 78));
    }

    #[test]
    fn protocols() {
        for (extended, tls, authenticated, smtputf8, expected) in [
            (false, false, false, false, " with SMTP\r\n"),
            (true, false, false, false, " with ESMTP\r\n"),
            (true, true, false, false, " with ESMTPS "),
            (true, false, true, false, " with ESMTPA\r\n"),
            (true, true, true, false, " with ESMTPSA "),
            (true, false, false, true, " with UTF8SMTP\r\n"),
            (true, true, false, true, " with UTF8SMTPS "),
            (true, true, true, true, " with UTF8SMTPSA "),
        ] {
            let got = with(|facts| {
                facts.extended = extended;
                facts.tls = tls.then_some(TLS);
                facts.authenticated = authenticated;
                facts.smtputf8 = smtputf8;
            });
            let got = got.replace("\r\n\t(", " (");
            assert!(got.contains(expected), "{expected:?} in {got:?}");
        }
    }

    #[test]
    fn a_client_cannot_write_headers() {
        for (hello, expected) in [
            ("a\r\nX-Evil: yes", "from a??X-Evil:?yes ("),
            (
                "a) by trusted.example (b",
                "from a??by?trusted.example??b (",
            ),
            ("[192.0.2.9]", "from [192.0.2.9] ("),
            ("jürgen", "from j?rgen ("),
            ("", "from unknown ("),
        ] {
            let got = with(|facts| facts.hello = hello);
            assert!(got.contains(expected), "{got:?}");
        }
        let long = "x".repeat(100_000);
        let got = with(|facts| facts.hello = &long);
        assert!(got.len() < 500 && got.lines().all(|line| line.len() < 998));
        let cipher = Tls {
            version: "1\r\n",
            cipher: ")",
        };
        assert!(with(|facts| facts.tls = Some(cipher)).contains("(1?? ?)"));
    }

    #[test]
    fn our_trace_needs_no_smtputf8() {
        let recipient: Mailbox = "jürgen@example.org".parse().unwrap();
        let got = with(|facts| {
            facts.recipient = Some(&recipient);
            facts.smtputf8 = true;
        });
        assert!(got.is_ascii() && !got.contains(" for "));
        for text in ["Jürgen@example.org", "ju\u{308}rgen@example.org"] {
            let form = ascii_form(&text.parse().unwrap()).unwrap();
            assert_eq!(form.to_string(), "\"j\\\\u{fc}rgen\"@example.org");
            assert_eq!(ascii_form(&form), Some(form));
        }
    }

    #[test]
    fn a_v4_client_on_a_v6_socket() {
        let got = with(|facts| facts.client = "::ffff:192.0.2.1".parse().unwrap());
        assert!(got.contains("([192.0.2.1])"), "{got}");
    }
}
