//! What became of one recipient in one delivery attempt.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::reply::Reply;
use crate::status::{Class, EnhancedStatus};
use crate::tls::PeerTls;

/// The end of a delivery attempt for one leg.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The next hop took responsibility for it.
    Delivered(Diagnosis),
    /// Not now: try again later.
    Deferred(Diagnosis),
    /// Never: tell the sender.
    Failed(Diagnosis),
}

/// Why an outcome is what it is: enough for the log line and for the DSN.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnosis {
    /// The enhanced status; the peer's own when it gave one.
    pub status: EnhancedStatus,
    /// What happened in words, without the peer's reply: `while sending RCPT TO`, `connection refused`.
    pub text: String,
    /// The peer's reply, when one was read.
    pub reply: Option<Reply>,
    /// The host that was talked to, `name[address]:port`; its name alone when it could not be looked up. Not in `text`: a
    /// sender may not be told where a forward goes.
    pub host: Option<String>,
    /// Whether the next hop has taken over the DSN request (RFC 3461 §5.2.2).
    pub dsn_relayed: bool,
}

/// How a delivery attempt went, beside its outcome: one for all legs of a transaction. Only logs have a use for it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Trip {
    /// The name of the site; none if none could be looked up, or if there was no attempt.
    pub site: Option<Arc<str>>,
    /// The egress that it left from, and which of its addresses; none if no egress was named for it, or there was no connection.
    pub egress: Option<(Arc<str>, IpAddr)>,
    /// How the connection was encrypted; none if it was in clear.
    pub tls: Option<PeerTls>,
    /// For how long a connection was sought; zero over one that was there.
    pub connect: Duration,
    /// From MAIL to the last reply.
    pub transmission: Duration,
}

impl Outcome {
    /// The reason, whichever outcome it is.
    pub fn diagnosis(&self) -> &Diagnosis {
        match self {
            Self::Delivered(diagnosis) | Self::Deferred(diagnosis) | Self::Failed(diagnosis) => {
                diagnosis
            }
        }
    }

    /// The same, to be changed.
    pub fn diagnosis_mut(&mut self) -> &mut Diagnosis {
        match self {
            Self::Delivered(diagnosis) | Self::Deferred(diagnosis) | Self::Failed(diagnosis) => {
                diagnosis
            }
        }
    }
}

impl Diagnosis {
    /// A diagnosis of our own, with no peer involved.
    pub fn local(status: EnhancedStatus, text: impl Into<String>) -> Self {
        Self {
            status,
            text: text.into(),
            reply: None,
            host: None,
            dsn_relayed: false,
        }
    }

    /// Our words and the peer's reply on one line, without the host.
    pub fn words(&self) -> String {
        match &self.reply {
            Some(reply) if self.text.is_empty() => reply.to_string(),
            Some(reply) => format!("{}: {reply}", self.text),
            None => self.text.clone(),
        }
    }

    /// What may be told of it about other mail: words that were said about one message may name a private address of another's.
    #[must_use]
    pub fn of_others(&self) -> Self {
        let code = self.reply.as_ref().map(|reply| format!("{} ", reply.code));
        let (code, status) = (code.unwrap_or_default(), self.status);
        Self {
            status: EnhancedStatus {
                class: Class::Transient,
                ..status
            },
            text: format!("waits, since the server said {code}{status} before"),
            reply: None,
            ..self.clone()
        }
    }

    /// With each of its texts cut to this many octets: a peer may say a lot.
    #[must_use]
    pub fn clipped(mut self, octets: usize) -> Self {
        let reply = self.reply.as_mut().map(|reply| &mut reply.text);
        let texts = [Some(&mut self.text), self.host.as_mut(), reply];
        for text in texts.into_iter().flatten() {
            text.truncate(text.floor_char_boundary(octets));
        }
        self
    }
}

/// One line for operators: the host, our words, its reply.
impl fmt::Display for Diagnosis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(host) = &self.host {
            write!(f, "{host}: ")?;
        }
        f.write_str(&self.words())
    }
}
