//! What operators choose mail by: ids, addresses and domains, as they type them.

use std::convert::Infallible;
use std::fmt;
use std::ops::RangeInclusive;
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

/// An id, or the beginning of one, as it was typed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct IdPart {
    text: Box<str>,
    /// The messages whose ids begin so.
    pub messages: RangeInclusive<MessageId>,
    /// One leg of each alone.
    pub leg: Option<u32>,
}

/// A text with a `*` for any characters, or none. Letters are compared without regard to case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glob(Box<str>);

/// An address or a domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AddressPattern {
    /// `alice@example.org`.
    Address(Mailbox),
    /// `example.org` or `@example.org`: without the domains below it.
    Domain(Domain),
}

/// One of those, or several addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AddressGlob {
    /// An address or a domain.
    Plain(AddressPattern),
    /// `news-*@example.org`, `*.example.org`.
    Glob(Glob),
}

/// A sender's address or domain, or `<>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SenderPattern<P = AddressPattern> {
    /// The null reverse path.
    Null,
    /// Any other.
    Mailbox(P),
}

/// The name of a host, or `*.mx.example` for all names below one.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
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

impl IdPart {
    /// What it names, if it is a whole id.
    pub fn whole(&self) -> Option<IdPattern> {
        (self.messages.start() == self.messages.end()).then(|| self.of(*self.messages.start()))
    }

    /// The message that it turned out to begin the id of, or its leg.
    pub fn of(&self, message: MessageId) -> IdPattern {
        let leg = self.leg.map(|number| LegId { message, number });
        leg.map_or(IdPattern::Message(message), IdPattern::Leg)
    }
}

impl Glob {
    /// Takes any text; what it says is matched as a whole.
    pub fn new(text: &str) -> Self {
        Self(text.to_ascii_lowercase().into())
    }

    /// Whether a text is meant. Takes as long as both are long.
    pub fn matches(&self, text: &str) -> bool {
        let text = text.to_ascii_lowercase();
        let Some((first, rest)) = self.0.split_once('*') else {
            return *text == *self.0;
        };
        let (between, last) = rest.rsplit_once('*').unwrap_or(("", rest));
        let left = text.strip_prefix(first);
        let left = left.and_then(|left| behind_pieces(left, between));
        left.is_some_and(|left| left.ends_with(last))
    }
}

/// What of a text is behind these pieces, which stand in it in this order, with a `*` between each two. Takes as long as both are
/// long.
pub(crate) fn behind_pieces<'t>(text: &'t str, pieces: &str) -> Option<&'t str> {
    let behind = |left: &'t str, piece| left.split_once(piece).map(|(_, behind)| behind);
    pieces.split('*').try_fold(text, behind)
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

impl AddressGlob {
    /// Whether `mailbox` is meant.
    pub fn matches(&self, mailbox: &Mailbox) -> bool {
        match self {
            Self::Plain(own) => own.matches(mailbox),
            Self::Glob(own) => own.matches(&mailbox.to_string()),
        }
    }
}

impl SenderPattern<AddressGlob> {
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

impl From<MessageId> for IdPart {
    fn from(id: MessageId) -> Self {
        Self {
            text: id.to_string().into(),
            messages: id..=id,
            leg: None,
        }
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

impl FromStr for IdPart {
    type Err = NotAPattern;

    fn from_str(text: &str) -> Result<Self, NotAPattern> {
        let error = || {
            NotAPattern::new(
                text,
                "a message id, ID.LEG, or six characters of one or more",
            )
        };
        let (id, leg) = match text.split_once('.') {
            Some((id, leg)) => (id, Some(leg.parse().map_err(|_| error())?)),
            None => (text, None),
        };
        let is_long = (ID_PART_MIN..=MessageId::DIGITS).contains(&id.len());
        let filled = |with: &str| {
            let rest = MessageId::DIGITS.saturating_sub(id.len());
            format!("{id}{}", with.repeat(rest)).parse()
        };
        match (is_long, filled("0"), filled("Z")) {
            (true, Ok(first), Ok(last)) => Ok(Self {
                text: text.to_ascii_uppercase().into(),
                messages: first..=last,
                leg,
            }),
            _ => Err(error()),
        }
    }
}

impl FromStr for Glob {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self::new(text))
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

impl FromStr for AddressGlob {
    type Err = NotAPattern;

    fn from_str(text: &str) -> Result<Self, NotAPattern> {
        if !text.contains('*') {
            return text.parse().map(Self::Plain);
        }
        let glob = text.strip_prefix('@').unwrap_or(text);
        Ok(Self::Glob(match glob.contains('@') {
            true => Glob::new(glob),
            false => Glob::new(&format!("*@{glob}")),
        }))
    }
}

impl<P: FromStr<Err = NotAPattern>> FromStr for SenderPattern<P> {
    type Err = NotAPattern;

    fn from_str(text: &str) -> Result<Self, NotAPattern> {
        match text {
            "<>" => Ok(Self::Null),
            _ => text.parse().map(Self::Mailbox),
        }
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => name.fmt(f),
            Self::Below(parent) => write!(f, "*.{parent}"),
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

impl fmt::Display for AddressGlob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain(pattern) => pattern.fmt(f),
            Self::Glob(glob) => glob.fmt(f),
        }
    }
}

impl fmt::Display for IdPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<P: fmt::Display> fmt::Display for SenderPattern<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("<>"),
            Self::Mailbox(pattern) => pattern.fmt(f),
        }
    }
}

/// Fewer characters of an id name too many messages: six stand for some 17 minutes.
const ID_PART_MIN: usize = 6;
/// Of a wrong text, an error message shows no more.
const SHOWN_CHARS: usize = 80;

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pattern: &str, mailbox: Option<&str>, expected: bool) {
        let mailbox: Option<Mailbox> = mailbox.map(|text| text.parse().unwrap());
        let pattern: SenderPattern<AddressGlob> = pattern.parse().unwrap();
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
        check("news-*@y.example", Some("News-3@Y.example"), true);
        check("news-*@y.example", Some("new-3@y.example"), false);
        check("*@x.example", Some("a@x.example"), true);
        check("*.example", Some("a@b.c.example"), true);
        check("@*.example", Some("a@example"), false);
        check("*", Some("a@example"), true);
        check("a*b*@c.example", Some("ab@c.example"), true);
        check("a*ba@c.example", Some("aba@c.example"), true);
        check("ab*ba@c.example", Some("aba@c.example"), false);
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
    fn parts_of_ids() {
        let id: MessageId = "01KB6Y8T3GZZZZZZZZZZ000001".parse().unwrap();
        let part = |text: &str| text.parse::<IdPart>().ok();
        let begins = |text: &str| part(text).unwrap().messages.contains(&id);
        assert!(begins("01KB6Y") && begins("01kb6y8t3gz") && begins(&id.to_string()));
        assert!(!begins("01KB6Z") && part(&id.to_string()).unwrap().whole() == Some(id.into()));
        let leg = part("01KB6Y8T.3").unwrap();
        assert_eq!(
            (leg.to_string().as_str(), leg.whole()),
            ("01KB6Y8T.3", None)
        );
        let named = IdPattern::Leg(LegId {
            message: id,
            number: 3,
        });
        assert_eq!(leg.of(id), named);
        let long = "0".repeat(27);
        for bad in [
            "",
            "01KB6",
            "01KB6U",
            "01KB6Y.",
            "01KB6Y.x",
            "\u{e9}\u{e9}\u{e9}",
            &long,
        ] {
            assert!(part(bad).is_none(), "{bad}");
        }
    }

    /// Each piece is looked for once.
    #[test]
    fn a_glob_of_many_stars_is_no_trap() {
        let glob = Glob::new(&"a*".repeat(20_000));
        assert!(!glob.matches(&"b".repeat(100_000)));
        assert!(!Glob::new(&format!("{}b", "a*".repeat(20_000))).matches(&"a".repeat(50_000)));
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
