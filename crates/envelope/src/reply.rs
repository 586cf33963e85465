//! An SMTP reply (RFC 5321 §4.2), ours to a peer or a peer's to us.

use std::fmt;

use crate::status::{Class, EnhancedStatus};

/// A reply: three-digit code, enhanced status, text.
///
/// `text` holds one line or several, separated by `\n`, without codes. It may come from a peer and then holds
/// whatever that sent, less control characters; whoever writes it to the wire splits it into lines again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// 200 to 599.
    pub code: u16,
    /// The enhanced status, when there is one (RFC 2034).
    pub status: Option<EnhancedStatus>,
    /// What it says.
    pub text: String,
}

/// The answer to "may this happen?".
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Yes.
    Accept,
    /// No; the session goes on.
    Refuse(Reply),
    /// No, and the session ends with this reply.
    Close(Reply),
}

/// Why a text is not a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotARefusal {
    /// It does not begin with three digits.
    #[error("no reply code at its beginning")]
    NoCode,
    /// The code is not 4xx or 5xx.
    #[error("reply code {0} does not refuse")]
    Code(u16),
    /// The status is of another class than the code.
    #[error("status {0} contradicts the code {1}")]
    Status(EnhancedStatus, u16),
}

/// Defines replies that always say the same, each a function without arguments: `name = 550 permanent(1, 1) "text";`.
#[macro_export]
macro_rules! replies {
    ($($(#[$about:meta])* $name:ident = $code:literal $class:ident($subject:literal, $detail:literal) $text:literal;)+) => {$(
        $(#[$about])*
        pub(crate) fn $name() -> $crate::Reply {
            $crate::Reply::new($code, $crate::EnhancedStatus::$class($subject, $detail), $text)
        }
    )+};
}

impl Reply {
    /// Reads a refusal as operators write it, `550 5.1.6 moved`. Without a status it gets this subject and detail, in the
    /// class of its code; the text may be empty.
    pub fn parse_refusal(
        written: &str,
        (subject, detail): (u16, u16),
    ) -> Result<Self, NotARefusal> {
        let (first, rest) = written.split_once(' ').unwrap_or((written, ""));
        if first.len() != 3 || !first.bytes().all(|b| b.is_ascii_digit()) {
            return Err(NotARefusal::NoCode);
        }
        let code = first.parse().unwrap_or_default();
        let class = match code {
            400..=499 => Class::Transient,
            500..=599 => Class::Permanent,
            _ => return Err(NotARefusal::Code(code)),
        };
        let rest = rest.trim_start();
        let (second, behind) = rest.split_once(' ').unwrap_or((rest, ""));
        let (status, text) = match second.parse::<EnhancedStatus>() {
            Ok(status) if status.class == class => (status, behind.trim_start()),
            Ok(status) => return Err(NotARefusal::Status(status, code)),
            Err(_) => (
                EnhancedStatus {
                    class,
                    subject,
                    detail,
                },
                rest,
            ),
        };
        Ok(Self::new(code, status, text))
    }

    /// A reply with an enhanced status.
    pub fn new(code: u16, status: EnhancedStatus, text: impl Into<String>) -> Self {
        Self {
            code,
            status: Some(status),
            text: text.into(),
        }
    }

    /// What the code says: 2xx and 3xx success, 4xx transient, 5xx permanent.
    /// Anything else breaks the protocol, and is transient, since a second try may meet a saner peer.
    pub fn class(&self) -> Class {
        match self.code {
            200..=399 => Class::Success,
            500..=599 => Class::Permanent,
            _ => Class::Transient,
        }
    }

    /// Whether the code is 2xx.
    pub fn is_success(&self) -> bool {
        matches!(self.code, 200..=299)
    }
}

/// On one line, for logs: `550 5.1.1 no such user`.
impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.code)?;
        if let Some(status) = self.status {
            write!(f, " {status}")?;
        }
        self.text.lines().try_for_each(|line| write!(f, " {line}"))
    }
}
