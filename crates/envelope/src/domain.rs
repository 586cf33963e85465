//! A domain name as mail uses it: always the lower-case ASCII form (A-labels).

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// A fully qualified domain name without the final dot (one is taken off where a text is read), in lower case, with U-labels turned into A-labels
/// (RFC 5321 §4.1.2, RFC 5890). At most [`Domain::OCTETS_MAX`] octets; each label 1 to 63 of letters, digits,
/// `-` and `_` (the underscore is no host name, but is seen in mail).
///
/// Cloning is cheap: the text is shared.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Domain(Arc<str>);

/// Why a text is not a domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DomainError {
    /// Nothing at all, or an empty label.
    #[error("empty domain or label")]
    Empty,
    /// Over 255 octets, or a label over 63 (RFC 5321 §4.5.3.1.2, RFC 1035 §2.3.4).
    #[error("domain over 255 octets or label over 63")]
    TooLong,
    /// An octet that no domain may hold, or a label that begins or ends with a hyphen.
    #[error("character not allowed in a domain")]
    BadCharacter,
    /// U-labels that IDNA does not allow (RFC 5891).
    #[error("not a valid internationalised domain")]
    BadIdna,
}

impl Domain {
    /// RFC 5321 §4.5.3.1.2.
    pub const OCTETS_MAX: usize = 255;
    const LABEL_OCTETS_MAX: usize = 63;

    /// This machine, whatever its name is (RFC 6761 §6.3).
    pub fn localhost() -> Self {
        Self("localhost".into())
    }

    /// The name in lower-case ASCII.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is `other` or a name below it.
    pub fn is_within(&self, other: &Self) -> bool {
        let (name, parent) = (self.as_str(), other.as_str());
        name == parent
            || name
                .strip_suffix(parent)
                .is_some_and(|rest| rest.ends_with('.'))
    }

    /// Whether it can be a name of the Internet: two labels at least, and the last no number, as in an IPv4 address.
    pub fn is_full(&self) -> bool {
        let last = self.as_str().rsplit_once('.').map(|(_, last)| last);
        last.is_some_and(|last| !last.bytes().all(|b| b.is_ascii_digit()))
    }

    fn from_ascii(text: &str) -> Result<Self, DomainError> {
        if text.is_empty() {
            return Err(DomainError::Empty);
        }
        if text.len() > Self::OCTETS_MAX {
            return Err(DomainError::TooLong);
        }
        text.split('.').try_for_each(check_label)?;
        // Mostly it is in lower case already, and then one allocation does.
        let lower = !text.bytes().any(|b| b.is_ascii_uppercase());
        Ok(Self(if lower {
            text.into()
        } else {
            text.to_ascii_lowercase().into()
        }))
    }
}

impl FromStr for Domain {
    type Err = DomainError;

    fn from_str(text: &str) -> Result<Self, DomainError> {
        let text = text.strip_suffix('.').unwrap_or(text);
        if text.is_ascii() {
            return Self::from_ascii(text);
        }
        // Bounded before IDNA sees it: its work grows with the input.
        if text.len() > 4 * Self::OCTETS_MAX {
            return Err(DomainError::TooLong);
        }
        let ascii = idna::domain_to_ascii_cow(text.as_bytes(), idna::AsciiDenyList::EMPTY)
            .map_err(|_| DomainError::BadIdna)?;
        Self::from_ascii(&ascii)
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn check_label(label: &str) -> Result<(), DomainError> {
    if label.is_empty() {
        return Err(DomainError::Empty);
    }
    if label.len() > Domain::LABEL_OCTETS_MAX {
        return Err(DomainError::TooLong);
    }
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    if !label.bytes().all(allowed) || label.starts_with('-') || label.ends_with('-') {
        return Err(DomainError::BadCharacter);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(input: &str, expected: Result<&str, DomainError>) {
        let got = input.parse::<Domain>();
        assert_eq!(
            got.as_ref().map(Domain::as_str),
            expected.as_ref().copied(),
            "{input:?}"
        );
    }

    #[test]
    fn parse() {
        check("Example.ORG", Ok("example.org"));
        check("a_b.example", Ok("a_b.example"));
        check("bücher.example", Ok("xn--bcher-kva.example"));
        check("", Err(DomainError::Empty));
        check("a..b", Err(DomainError::Empty));
        check("example.org.", Ok("example.org"));
        check("bücher.example.", Ok("xn--bcher-kva.example"));
        check(".", Err(DomainError::Empty));
        check("example.org..", Err(DomainError::Empty));
        check("-a.example", Err(DomainError::BadCharacter));
        check("a b.example", Err(DomainError::BadCharacter));
        check("a\r\n.example", Err(DomainError::BadCharacter));
        check(&"a".repeat(64), Err(DomainError::TooLong));
        check(&"a.".repeat(130), Err(DomainError::TooLong));
        check(&"ü".repeat(2000), Err(DomainError::TooLong));
    }

    #[test]
    fn full() {
        for (name, expected) in [
            ("a.example", true),
            ("1.2.3.4a", true),
            ("example", false),
            ("192.0.2.1", false),
        ] {
            assert_eq!(
                name.parse::<Domain>().unwrap().is_full(),
                expected,
                "{name}"
            );
        }
    }

    #[test]
    fn within() {
        let d = |s: &str| s.parse::<Domain>().unwrap();
        assert!(d("a.example.org").is_within(&d("example.org")));
        assert!(d("example.org").is_within(&d("example.org")));
        assert!(!d("badexample.org").is_within(&d("example.org")));
    }
}
