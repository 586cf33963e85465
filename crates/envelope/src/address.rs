//! Mailboxes (RFC 5321 §4.1.2): `local-part@domain` and `local-part@[literal]`, and their parsing.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use crate::domain::{Domain, DomainError};

/// A local part as meant: without the quotes it may have been written in. Its case is kept.
///
/// Writing it out (`Display`) quotes and escapes again where the text needs it, so that whatever it holds
/// can never end the address early. It never holds a control character.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LocalPart(Box<str>);

/// What stands behind the `@`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Host {
    /// A domain name.
    Domain(Domain),
    /// An address literal, `[192.0.2.1]` or `[IPv6:2001:db8::1]` (RFC 5321 §4.1.3).
    Literal(IpAddr),
}

/// A mail address: local part and host.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Mailbox {
    local: LocalPart,
    host: Host,
}

/// Why a text is not a mail address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// No `@`, or nothing before it.
    #[error("not of the form local-part@domain")]
    NotAnAddress,
    /// The whole address is over [`Mailbox::OCTETS_MAX`].
    #[error("address over {} octets", Mailbox::OCTETS_MAX)]
    TooLong,
    /// The local part has a character that needs quotes, or its quotes are not sound.
    #[error("local part is neither a dot-string nor a quoted-string")]
    BadLocalPart,
    /// The address literal is not one.
    #[error("not an address literal")]
    BadLiteral,
    /// The domain is not one.
    #[error(transparent)]
    Domain(#[from] DomainError),
}

impl LocalPart {
    /// What every server takes (RFC 5321 §4.5.3.1.1), counted as written out. A local part that we make up stays within it;
    /// one that others made may be longer, as those of bulk mail are.
    pub const SAFE_OCTETS_MAX: usize = 64;

    /// The text without quotes. `Display` gives the form for the wire.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Takes a text as meant (not quoted): any UTF-8 without control characters. How long it may be is a question of the
    /// whole address: see [`Mailbox::new`].
    pub fn from_unquoted(text: &str) -> Result<Self, AddressError> {
        if text.chars().any(char::is_control) {
            return Err(AddressError::BadLocalPart);
        }
        Ok(Self(text.into()))
    }

    /// Whether it can go to a peer without SMTPUTF8.
    pub fn is_ascii(&self) -> bool {
        self.0.is_ascii()
    }

    /// Octets of the form that goes to the wire, quotes included.
    pub fn written_octets(&self) -> usize {
        if is_dot_string(&self.0) {
            return self.0.len();
        }
        2 + self.0.len() + self.0.bytes().filter(|b| needs_escape(*b)).count()
    }

    /// Parses the written form, a dot-string or a quoted-string (RFC 5321 §4.1.2, RFC 6531 §3.3). Dots may stand anywhere:
    /// mobile carriers gave out `a..b@` and `c.@`, and their users send mail. We write such a one in quotes.
    fn from_written(text: &str) -> Result<Self, AddressError> {
        if let Some(inner) = text
            .strip_prefix('"')
            .and_then(|rest| rest.strip_suffix('"'))
        {
            return unquote(inner).and_then(|inner| Self::from_unquoted(&inner));
        }
        if text.chars().all(|c| c == '.' || is_atext(c)) {
            Ok(Self(text.into()))
        } else {
            Err(AddressError::BadLocalPart)
        }
    }
}

impl Host {
    /// The domain, unless it is a literal.
    pub fn domain(&self) -> Option<&Domain> {
        match self {
            Self::Domain(domain) => Some(domain),
            Self::Literal(_) => None,
        }
    }
}

impl Mailbox {
    /// RFC 5321 §4.5.3.1.3 wants 254 octets taken, and senders use more. Up to this one still fits on a line of a header
    /// or notice, 998 octets (RFC 5322 §2.1.1), with the name of a field before it.
    pub const OCTETS_MAX: usize = 900;

    /// Puts a mailbox together; fails when the whole is over [`Mailbox::OCTETS_MAX`].
    pub fn new(local: LocalPart, host: Host) -> Result<Self, AddressError> {
        let mailbox = Self { local, host };
        let host_octets = match &mailbox.host {
            Host::Domain(domain) => domain.as_str().len(),
            Host::Literal(_) => mailbox.host.to_string().len(),
        };
        if mailbox.local.written_octets() + 1 + host_octets > Self::OCTETS_MAX {
            return Err(AddressError::TooLong);
        }
        Ok(mailbox)
    }

    /// What stands before the `@`.
    pub fn local_part(&self) -> &LocalPart {
        &self.local
    }

    /// What stands behind the `@`.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// The domain, unless the host is a literal.
    pub fn domain(&self) -> Option<&Domain> {
        self.host.domain()
    }

    /// Whether it can go to a peer without SMTPUTF8: domains always can, local parts only in ASCII.
    pub fn is_ascii(&self) -> bool {
        self.local.is_ascii()
    }
}

impl FromStr for Mailbox {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let at = text
            .rfind('@')
            .filter(|at| *at > 0)
            .ok_or(AddressError::NotAnAddress)?;
        let local = LocalPart::from_written(&text[..at])?;
        Self::new(local, text[at + 1..].parse()?)
    }
}

impl FromStr for Host {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let Some(literal) = text.strip_prefix('[') else {
            return Ok(Self::Domain(text.parse()?));
        };
        let literal = literal.strip_suffix(']').ok_or(AddressError::BadLiteral)?;
        let tag = literal
            .get(..5)
            .filter(|tag| tag.eq_ignore_ascii_case("IPv6:"));
        let ip = match tag {
            Some(tag) => literal[tag.len()..].parse::<Ipv6Addr>().map(IpAddr::V6),
            None => literal.parse::<Ipv4Addr>().map(IpAddr::V4),
        };
        ip.map(Self::Literal).map_err(|_| AddressError::BadLiteral)
    }
}

impl fmt::Display for LocalPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if is_dot_string(&self.0) {
            return f.write_str(&self.0);
        }
        f.write_str("\"")?;
        for c in self.0.chars() {
            if c.is_ascii() && needs_escape(c as u8) {
                f.write_str("\\")?;
            }
            write!(f, "{c}")?;
        }
        f.write_str("\"")
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Domain(domain) => domain.fmt(f),
            Self::Literal(IpAddr::V4(ip)) => write!(f, "[{ip}]"),
            Self::Literal(IpAddr::V6(ip)) => write!(f, "[IPv6:{ip}]"),
        }
    }
}

impl fmt::Display for Mailbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.local, self.host)
    }
}

macro_rules! debug_as_display {
    ($($t:ty),*) => {$(
        impl fmt::Debug for $t {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    )*};
}
debug_as_display!(LocalPart, Host, Mailbox);

/// `Dot-string` of RFC 5321 §4.1.2, with the non-ASCII characters that RFC 6531 §3.3 adds to `atext`.
fn is_dot_string(text: &str) -> bool {
    text.split('.')
        .all(|atom| !atom.is_empty() && atom.chars().all(is_atext))
}

fn is_atext(c: char) -> bool {
    c.is_ascii_alphanumeric()
        || "!#$%&'*+-/=?^_`{|}~".contains(c)
        || (!c.is_ascii() && !c.is_control())
}

fn needs_escape(b: u8) -> bool {
    b == b'"' || b == b'\\'
}

/// The content of a quoted-string: `\x` is `x`; a bare quote inside is an error.
fn unquote(inner: &str) -> Result<String, AddressError> {
    let mut out = String::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => out.push(chars.next().ok_or(AddressError::BadLocalPart)?),
            '"' => return Err(AddressError::BadLocalPart),
            _ => out.push(c),
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(input: &str, expected: Result<&str, AddressError>) {
        let got = input.parse::<Mailbox>().map(|m| m.to_string());
        assert_eq!(got.as_deref(), expected.as_ref().copied(), "{input:?}");
    }

    #[test]
    fn mailboxes() {
        check("Alice@Example.ORG", Ok("Alice@example.org"));
        check("\"alice\"@example.org", Ok("alice@example.org"));
        check("\"a@b\"@example.org", Ok("\"a@b\"@example.org"));
        check(r#""a\"b\\c"@example.org"#, Ok(r#""a\"b\\c"@example.org"#));
        check("\"\"@example.org", Ok("\"\"@example.org"));
        check("\"a> NOTIFY=NEVER\"@c.d", Ok("\"a> NOTIFY=NEVER\"@c.d"));
        check("a@[192.0.2.1]", Ok("a@[192.0.2.1]"));
        check("a@[IPv6:2001:DB8::1]", Ok("a@[IPv6:2001:db8::1]"));
        check("a@[IPv6:1.2.3.4]", Err(AddressError::BadLiteral));
        check("a@[300.1.1.1]", Err(AddressError::BadLiteral));
        check("jürgen@bücher.example", Ok("jürgen@xn--bcher-kva.example"));
        check("SRS0=a=b=c=d@x.example", Ok("SRS0=a=b=c=d@x.example"));
        check("a", Err(AddressError::NotAnAddress));
        check("@x.example", Err(AddressError::NotAnAddress));
        check("a b@x.example", Err(AddressError::BadLocalPart));
        check("\"a\"b\"@x.example", Err(AddressError::BadLocalPart));
        check("\"a\\\"@x.example", Err(AddressError::BadLocalPart));
        check("\"a\r\nb\"@x.example", Err(AddressError::BadLocalPart));
        check("a\u{85}@x.example", Err(AddressError::BadLocalPart));
        check("a@", Err(AddressError::Domain(DomainError::Empty)));
    }

    /// Dots anywhere are meant as they stand, and need quotes where the grammar has none.
    #[test]
    fn dots() {
        for (typed, written) in [
            ("try..this..0511", "\"try..this..0511\""),
            ("name.", "\"name.\""),
            (".x", "\".x\""),
            (".", "\".\""),
            ("a.b", "a.b"),
        ] {
            let expected = format!("{written}@mobile.example");
            check(&format!("{typed}@mobile.example"), Ok(&expected));
            check(&expected, Ok(&expected));
        }
        check("a..b c@x.example", Err(AddressError::BadLocalPart));
        check("a@x.example.", Ok("a@x.example"));
    }

    #[test]
    fn limits() {
        let long = format!("{}@x.example", "l".repeat(Mailbox::OCTETS_MAX - 10));
        check(&long, Ok(&long));
        check(&format!("l{long}"), Err(AddressError::TooLong));
        // The quotes and the backslashes count.
        let quoted = format!("\"{}\"@x.example", "\\\\".repeat(444));
        check(&quoted, Ok(&quoted));
        check(
            &format!("\"\\\\{}", &quoted[1..]),
            Err(AddressError::TooLong),
        );
        check(
            &format!("..{}", &long[..long.len() - 1]),
            Err(AddressError::TooLong),
        );
    }

    #[test]
    fn written_form_parses_back_to_itself() {
        for text in ["a", "John Doe", "a\"b", "\\", "", "a@b", "ü", ".", "a..b"] {
            let local = LocalPart::from_unquoted(text).unwrap();
            assert_eq!(local.to_string().len(), local.written_octets());
            assert_eq!(LocalPart::from_written(&local.to_string()), Ok(local));
        }
    }
}
