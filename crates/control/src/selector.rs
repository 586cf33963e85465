//! Which legs: ids, `all`, or conditions that must all hold.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use envelope::{Domain, LegId, Mailbox, MessageId};
use serde::{Deserialize, Serialize};

use crate::data::LegState;

/// A choice of legs. A leg is meant when it is one of `ids` (or there are none) *and* every condition given holds.
///
/// For a list, an empty selector means the whole queue. For an action it is refused, so that a forgotten
/// argument never empties the queue: there, everything has to be asked for with `all`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Selector {
    /// Messages (all their legs) or single legs; none = any.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ids: Vec<Id>,
    /// Every leg is meant. Allowed only without ids; further conditions narrow it down.
    #[serde(skip_serializing_if = "is_false")]
    pub all: bool,
    /// Recipient or target is this address, or within this domain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<Pattern>,
    /// The reverse path as it came in is this address, within this domain, or null.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<SenderPattern>,
    /// Stands so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<LegState>,
    /// Came in more than this many seconds ago.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub older_than_secs: Option<u64>,
}

/// A message with all its legs, or one leg.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Id {
    /// `01J…`.
    Message(MessageId),
    /// `01J….0`.
    Leg(LegId),
}

/// An address or a domain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Pattern {
    /// `alice@example.org`.
    Address(Mailbox),
    /// `example.org` or `@example.org`: without the domains below it.
    Domain(Domain),
}

/// A sender's address or domain, or `<>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum SenderPattern {
    /// The null reverse path.
    Null,
    /// Any other.
    Mailbox(Pattern),
}

/// A text that is no id, address or domain.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {expected}")]
pub struct NotAPattern {
    text: String,
    expected: &'static str,
}

/// As it travels: JSON.
impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::to_string(self).map_err(|_| fmt::Error)?)
    }
}

impl Selector {
    /// Whether nothing at all was said.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// `older_than_secs` as a span.
    pub fn older_than(&self) -> Option<Duration> {
        self.older_than_secs.map(Duration::from_secs)
    }
}

impl Id {
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

impl Pattern {
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

impl FromStr for Id {
    type Err = NotAPattern;

    fn from_str(text: &str) -> Result<Self, NotAPattern> {
        let error = || NotAPattern::new(text, "a message id (26 letters and digits) or ID.LEG");
        let Some((message, number)) = text.split_once('.') else {
            return text.parse().map(Self::Message).map_err(|_| error());
        };
        let message = message.parse().map_err(|_| error())?;
        let number = number.parse().map_err(|_| error())?;
        Ok(Self::Leg(LegId { message, number }))
    }
}

impl FromStr for Pattern {
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

impl NotAPattern {
    pub(crate) fn new(text: &str, expected: &'static str) -> Self {
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

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Message(id) => id.fmt(f),
            Self::Leg(leg) => leg.fmt(f),
        }
    }
}

impl fmt::Display for Pattern {
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

/// In JSON, each of these is its text.
macro_rules! text_in_json {
    ($($type:ty),*) => {$(
        impl From<$type> for String {
            fn from(value: $type) -> Self {
                value.to_string()
            }
        }

        impl TryFrom<String> for $type {
            type Error = NotAPattern;

            fn try_from(text: String) -> Result<Self, NotAPattern> {
                text.parse()
            }
        }
    )*};
}
text_in_json!(Id, Pattern, SenderPattern);

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde calls it with a reference"
)]
fn is_false(flag: &bool) -> bool {
    !flag
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
        assert!("a b".parse::<Pattern>().is_err());
        assert!("".parse::<SenderPattern>().is_err());
    }

    #[test]
    fn ids() {
        let message = MessageId::from_bits(77);
        let leg = LegId { message, number: 3 };
        let other = LegId { message, number: 4 };
        let whole: Id = message.to_string().parse().unwrap();
        let single: Id = leg.to_string().parse().unwrap();
        assert_eq!((whole, single), (Id::Message(message), Id::Leg(leg)));
        assert!(whole.names(leg) && whole.names(other));
        assert!(single.names(leg) && !single.names(other));
        for bad in [
            "",
            "1",
            ".0",
            &format!("{message}."),
            &format!("{message}.-1"),
        ] {
            assert!(bad.parse::<Id>().is_err(), "{bad}");
        }
    }

    #[test]
    fn an_error_shows_a_bounded_clean_text() {
        let error = format!("\x1b[31m{}", "x".repeat(500))
            .parse::<Id>()
            .unwrap_err();
        let text = error.to_string();
        assert!(text.len() < 200 && !text.contains('\x1b'), "{text}");
    }
}
