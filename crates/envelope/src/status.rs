//! Enhanced status codes (RFC 3463): `class.subject.detail`.

use std::fmt;
use std::str::FromStr;

/// The first digit: what became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// `2`: it worked.
    Success,
    /// `4`: not now; trying again may help.
    Transient,
    /// `5`: it will not work; trying again does not help.
    Permanent,
}

/// An enhanced status code. Subject and detail have one to three digits (RFC 3463 §2), so `5.7.509` is kept whole.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct EnhancedStatus {
    /// Success, transient or permanent.
    pub class: Class,
    /// What it is about: address, mailbox, system, network, protocol, content, policy.
    pub subject: u16,
    /// What exactly.
    pub detail: u16,
}

/// A text that is no enhanced status code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an enhanced status code (class.subject.detail, RFC 3463)")]
pub struct NotAStatus;

impl EnhancedStatus {
    /// `2.subject.detail`.
    pub const fn success(subject: u16, detail: u16) -> Self {
        Self {
            class: Class::Success,
            subject,
            detail,
        }
    }

    /// `4.subject.detail`.
    pub const fn transient(subject: u16, detail: u16) -> Self {
        Self {
            class: Class::Transient,
            subject,
            detail,
        }
    }

    /// `5.subject.detail`.
    pub const fn permanent(subject: u16, detail: u16) -> Self {
        Self {
            class: Class::Permanent,
            subject,
            detail,
        }
    }
}

impl Class {
    /// `2`, `4` or `5`.
    pub const fn digit(self) -> u16 {
        match self {
            Self::Success => 2,
            Self::Transient => 4,
            Self::Permanent => 5,
        }
    }
}

impl FromStr for EnhancedStatus {
    type Err = NotAStatus;

    fn from_str(text: &str) -> Result<Self, NotAStatus> {
        let mut parts = text.split('.');
        let class = match parts.next() {
            Some("2") => Class::Success,
            Some("4") => Class::Transient,
            Some("5") => Class::Permanent,
            _ => return Err(NotAStatus),
        };
        let mut number = || {
            let digits = parts
                .next()
                .filter(|p| matches!(p.len(), 1..=3) && p.bytes().all(|b| b.is_ascii_digit()));
            digits.and_then(|p| p.parse().ok()).ok_or(NotAStatus)
        };
        let (subject, detail) = (number()?, number()?);
        if parts.next().is_some() {
            return Err(NotAStatus);
        }
        Ok(Self {
            class,
            subject,
            detail,
        })
    }
}

impl fmt::Display for EnhancedStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.class.digit(), self.subject, self.detail)
    }
}

impl fmt::Debug for EnhancedStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(input: &str, valid: bool) {
        let got = input.parse::<EnhancedStatus>();
        assert_eq!(got.is_ok(), valid, "{input:?}");
        if let Ok(status) = got {
            assert_eq!(status.to_string(), input);
        }
    }

    #[test]
    fn parse() {
        check("2.1.5", true);
        check("5.7.509", true);
        for bad in [
            "", "5", "5.7", "3.1.1", "5.7.1.1", "5.1234.1", "5.-1.1", "5. 1.1", "5.+1.1",
        ] {
            check(bad, false);
        }
    }
}
