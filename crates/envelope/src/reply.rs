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

impl Reply {
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
