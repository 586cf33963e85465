//! Phases of the client side: for each thing that we can wait for, how long, and how to call it.

use std::time::Duration;

use super::Timeouts;

/// What we wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Greeting,
    Ehlo,
    Helo,
    StartTls,
    Tls,
    /// A step of AUTH.
    Auth,
    Idle,
    Mail,
    /// The number of the RCPT command, from 0.
    Rcpt(usize),
    Data,
    /// Our own body.
    Body,
    /// The final dot.
    Dot,
    Rset,
    Quit,
}

impl Phase {
    /// `None`: no reply is due.
    pub(super) fn timeout(self, timeouts: &Timeouts) -> Option<Duration> {
        match self {
            Self::Greeting => Some(timeouts.greeting),
            Self::Ehlo | Self::Helo | Self::StartTls | Self::Auth => Some(timeouts.hello),
            Self::Tls | Self::Idle => None,
            Self::Mail | Self::Rset => Some(timeouts.mail),
            Self::Rcpt(_) => Some(timeouts.rcpt),
            Self::Data => Some(timeouts.data),
            Self::Body => Some(timeouts.body),
            Self::Dot => Some(timeouts.dot),
            Self::Quit => Some(timeouts.quit),
        }
    }

    /// Whether this reply may be about the connection and not about the message: "too many messages on this one".
    pub(super) fn is_turned_away_by(self, code: u16) -> bool {
        match self {
            Self::Mail => matches!(code, 400..=499),
            Self::Rcpt(_) | Self::Data => code == 421,
            _ => false,
        }
    }

    /// For logs and bounces.
    pub(super) fn phrase(self) -> &'static str {
        match self {
            Self::Greeting => "while waiting for the greeting",
            Self::Ehlo => "while sending EHLO",
            Self::Helo => "while sending HELO",
            Self::StartTls => "while sending STARTTLS",
            Self::Tls => "while starting TLS",
            Self::Auth => "while logging in",
            Self::Idle => "while idle",
            Self::Mail => "while sending MAIL FROM",
            Self::Rcpt(_) => "while sending RCPT TO",
            Self::Data => "while sending DATA",
            Self::Body => "while sending the message",
            // What became of the message is unknown then; whoever reads the log may see it twice.
            Self::Dot => "while waiting for the reply to the end of the message",
            Self::Rset => "while sending RSET",
            Self::Quit => "while sending QUIT",
        }
    }
}
