//! What operators choose mail by: ids, addresses and domains, as they type them.

use std::fmt;
use std::str::FromStr;

use crate::address::Mailbox;
use crate::domain::Domain;
use crate::id::{LegId, MessageId};

/// A message with all its legs, or one leg.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum IdPattern {
    /// `01J…`.
    Message(MessageId),
    /// `01J….0`.
    Leg(LegId),
}

/// An address or a domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AddressPattern {
    /// `alice@example.org`.
    Address(Mailbox),
    /// `example.org` or `@example.org`: without the domains below it.
    Domain(Domain),
}

/// A sender's address or domain, or `<>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SenderPattern {
    /// The null reverse path.
    Null,
    /// Any other.
    Mailbox(AddressPattern),
}

/// The name of a host, or `*.mx.example` for all names below one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostPattern {
    /// This name alone.
    Name(Domain),
    /// The names below it.
    Below(Domain),
}

/// A text that is no id, address or domain.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {expected}")]
pub struct NotAPattern {
    text: String,
    expected: &'static str,
}

impl IdPattern {
    /// The message, whichever it is.
    pub const fn message(self) -> MessageId {
        match self {
            Self::Message(id) => id,
            Self::Leg(leg) => leg.message,
        }
    }

    /// Whether `leg` is this leg, or a leg of this message.
    pub fn names(self, leg: LegId) -> bool {
        match self {
            Self::Message(id) => id == leg.message,
            Self::Leg(own) => own == leg,
        }
    }
}

impl AddressPattern {
    /// Whether `mailbox` is meant; letters are compared without regard to case, as operators expect.
    pub fn matches(&self, mailbox: &Mailbox) -> bool {
        match self {
            Self::Address(own) => {
                let (own_local, local) = (own.local_part().as_str(), mailbox.local_part().as_str());
                own.host() == mailbox.host() && own_local.eq_ignore_ascii_case(local)
            }
            Self::Domain(own) => mailbox.domain() == Some(own),
        }
    }
}

impl SenderPattern {
    /// Whether a reverse path is meant; `None` is the null one.
    pub fn matches(&self, mailbox: Option<&Mailbox>) -> bool {
        match (self, mailbox) {
            (Self::Null, None) => true,
            (Self::Mailbox(pattern), Some(mailbox)) => pattern.matches(mailbox),
            _ => false,
        }
    }
}

impl HostPattern {
    /// Whether the host of this name is meant.
    pub fn matches(&self, name: &Domain) -> bool {
        match self {
            Self::Name(own) => name == own,
            Self::Below(own) => name != own && name.is_within(own),
        }
    }
}

impl From<MessageId> for IdPattern {
    fn from(id: MessageId) -> Self {
        Self::Message(id)
    }
}

impl From<LegId> for IdPattern {
    fn from(id: LegId) -> Self {
        Self::Leg(id)
    }
}

impl FromStr for IdPattern {
    type Err = NotAPattern;

    fn from_str(text: &str) -> Result<Self, NotAPattern> {
        let error = || NotAPattern::new(text, "a message id (26 letters and digits) or ID.LEG");
        let id = match text.contains('.') {
            true => text.parse().map(Self::Leg),
            false => text.parse().map(Self::Message),
        };
        id.map_err(|_| error())
    }
}

impl FromStr for AddressPattern {
    type Err = NotAPattern;

    fn from_str(text: &str) -> Result<Self, NotAPattern> {
        let error = || NotAPattern::new(text, "an address or a domain");
        match text.strip_prefix('@').unwrap_or(text) {
            domain if !domain.contains('@') => {
                domain.parse().map(Self::Domain).map_err(|_| error())
            }
            _ => text.parse().map(Self::Address).map_err(|_| error()),
        }
    }
}

impl FromStr for SenderPattern {
    type Err = NotAPattern;

    fn from_str(text: &str) -> Result<Self, NotAPattern> {
        match text {
            "<>" => Ok(Self::Null),
            _ => text.parse().map(Self::Mailbox),
        }
    }
}

impl FromStr for HostPattern {
    type Err = NotAPattern;

    fn from_str(text: &str) -> Result<Self, NotAPattern> {
        let pattern = match text.strip_prefix("*.") {
            Some(above) => above.parse().map(Self::Below),
            None => text.parse().map(Self::Name),
        };
        pattern.map_err(|_| NotAPattern::new(text, "a host name, or `*.` before one"))
    }
}

impl NotAPattern {
    /// Shows the beginning of `text`, and says what was expected: "an address".
    pub fn new(text: &str, expected: &'static str) -> Self {
        Self {
            text: text
                .chars()
                .take(SHOWN_CHARS)
                .filter(|c| !c.is_control())
                .collect(),
            expected,
        }
    }
}

impl fmt::Display for IdPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Message(id) => id.fmt(f),
            Self::Leg(leg) => leg.fmt(f),
        }
    }
}

impl fmt::Display for AddressPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(mailbox) => mailbox.fmt(f),
            Self::Domain(domain) => domain.fmt(f),
        }
    }
}

impl fmt::Display for SenderPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("<>"),
            Self::Mailbox(pattern) => pattern.fmt(f),
        }
    }
}

/// Of a wrong text, an error message shows no more.
const SHOWN_CHARS: usize = 80;

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pattern: &str, mailbox: Option<&str>, expected: bool) {
        let mailbox: Option<Mailbox> = mailbox.map(|text| text.parse().unwrap());
        let pattern: SenderPattern = pattern.parse().unwrap();
        assert_eq!(pattern.matches(mailbox.as_ref()), expected);
        // What is shown is what can be typed.
        assert_eq!(pattern.to_string().parse(), Ok(pattern));
    }

    #[test]
    fn patterns() {
        check("example.org", Some("a@EXAMPLE.org"), true);
        check("@example.org", Some("a@example.org"), true);
        check("example.org", Some("a@sub.example.org"), false);
        check("Alice@example.org", Some("alice@Example.org"), true);
        check("alice@example.org", Some("bob@example.org"), false);
        check("alice@example.org", Some("alice@example.net"), false);
        check("alice@example.org", None, false);
        check("<>", None, true);
        check("<>", Some("alice@example.org"), false);
        assert!("a b".parse::<AddressPattern>().is_err());
        assert!("".parse::<SenderPattern>().is_err());
    }

    #[test]
    fn hosts() {
        let check = |pattern: &str, host: &str, expected| {
            let (pattern, host) = (pattern.parse::<HostPattern>(), host.parse().unwrap());
            assert_eq!(pattern.unwrap().matches(&host), expected, "{host}");
        };
        check("mx.example", "MX.example", true);
        check("mx.example", "a.mx.example", false);
        check("*.mx.example", "a.mx.example", true);
        check("*.MX.example", "a.b.mx.example", true);
        check("*.mx.example", "mx.example", false);
        check("*.mx.example", "amx.example", false);
        for bad in ["", "*", "*.", "a.*.example", "mx example"] {
            assert!(bad.parse::<HostPattern>().is_err(), "{bad}");
        }
    }

    #[test]
    fn ids() {
        let message = MessageId::from_bits(77);
        let leg = LegId { message, number: 3 };
        let other = LegId { message, number: 4 };
        let whole: IdPattern = message.to_string().parse().unwrap();
        let single: IdPattern = leg.to_string().parse().unwrap();
        assert_eq!(
            (whole, single),
            (IdPattern::Message(message), IdPattern::Leg(leg))
        );
        assert!(whole.names(leg) && whole.names(other));
        assert!(single.names(leg) && !single.names(other));
        for bad in [
            "",
            "1",
            ".0",
            &format!("{message}."),
            &format!("{message}.-1"),
        ] {
            assert!(bad.parse::<IdPattern>().is_err(), "{bad}");
        }
    }

    #[test]
    fn an_error_shows_a_bounded_clean_text() {
        let error = format!("\x1b[31m{}", "x".repeat(500))
            .parse::<IdPattern>()
            .unwrap_err();
        let text = error.to_string();
        assert!(text.len() < 200 && !text.contains('\x1b'), "{text}");
    }
}
