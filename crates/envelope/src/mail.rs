//! What a client hands over before the body: the envelope and its recipients, with their DSN wishes (RFC 3461).

use std::fmt;

use crate::path::{ForwardPath, ReversePath};

/// One transaction's MAIL and RCPT commands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// MAIL FROM.
    pub reverse_path: ReversePath,
    /// RCPT TO, in order, as accepted.
    pub recipients: Vec<Recipient>,
    /// `BODY=` (RFC 6152, RFC 3030).
    pub body: BodyKind,
    /// `SMTPUTF8` was given (RFC 6531).
    pub smtputf8: bool,
    /// `REQUIRETLS` was given (RFC 8689).
    pub require_tls: bool,
    /// `SIZE=` as declared, in octets (RFC 1870).
    pub declared_size: Option<u64>,
    /// `RET=` (RFC 3461 §4.3).
    pub ret: Option<Return>,
    /// `ENVID=`, decoded from xtext (RFC 3461 §4.4); printable ASCII.
    pub envid: Option<Box<str>>,
    /// The names of parameters that were given and left out: only a log has a use for them. Each once.
    pub dropped: Vec<&'static str>,
}

/// One RCPT command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipient {
    /// RCPT TO.
    pub forward_path: ForwardPath,
    /// `NOTIFY=` (RFC 3461 §4.1); none given is not the same as NEVER.
    pub notify: Option<Notify>,
    /// `ORCPT=` (RFC 3461 §4.2).
    pub original: Option<OriginalRecipient>,
}

/// `BODY=`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum BodyKind {
    /// `7BIT`, or not said.
    #[default]
    SevenBit,
    /// `8BITMIME` (RFC 6152).
    EightBitMime,
}

/// `RET=`: how much of the message a failure notice returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Return {
    /// The whole message.
    Full,
    /// Its headers only.
    Headers,
}

/// `NOTIFY=`: all false is `NEVER`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Notify {
    /// `SUCCESS`.
    pub success: bool,
    /// `FAILURE`.
    pub failure: bool,
    /// `DELAY`.
    pub delay: bool,
}

/// `ORCPT=type;address`, decoded from xtext. Both parts are kept as given; printable, no control characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OriginalRecipient {
    /// The address type, mostly `rfc822` or `utf-8`.
    pub kind: Box<str>,
    /// The address.
    pub address: Box<str>,
}

impl Envelope {
    /// An envelope without recipients or options.
    pub fn new(reverse_path: ReversePath) -> Self {
        Self {
            reverse_path,
            recipients: Vec::new(),
            body: BodyKind::default(),
            smtputf8: false,
            require_tls: false,
            declared_size: None,
            ret: None,
            envid: None,
            dropped: Vec::new(),
        }
    }
}

impl Recipient {
    /// A recipient without DSN options.
    pub fn new(forward_path: ForwardPath) -> Self {
        Self {
            forward_path,
            notify: None,
            original: None,
        }
    }
}

impl Notify {
    /// `NOTIFY=NEVER`.
    pub const NEVER: Self = Self {
        success: false,
        failure: false,
        delay: false,
    };
}

/// As in the command: `NEVER`, or a comma-separated list.
impl fmt::Display for Notify {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let wishes = [
            (self.success, "SUCCESS"),
            (self.failure, "FAILURE"),
            (self.delay, "DELAY"),
        ];
        let mut named = wishes
            .iter()
            .filter(|(wanted, _)| *wanted)
            .map(|(_, name)| *name);
        f.write_str(named.next().unwrap_or("NEVER"))?;
        named.try_for_each(|name| write!(f, ",{name}"))
    }
}
