//! Settings of the server side: name, limits, timeouts.
//!
//! All of it is plain data; whoever reads the configuration fills it in. Limits that no site has a reason to
//! change are constants in [`crate::limits`].

use std::time::Duration;

/// What one listener's sessions have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Our name in the greeting and the EHLO reply (RFC 5321 §4.2, §4.1.1.1).
    pub hostname: String,
    /// The largest message in octets, as decoded: told by SIZE, refused with 552 5.3.4 (RFC 1870).
    pub size_max: u64,
    /// How many octets over `size_max` are read (and dropped) to reach the true end of a too large message,
    /// before the connection is closed instead.
    pub overrun_max: u64,
    /// Recipients of one transaction: told by LIMITS, refused with 452 4.5.3 (RFC 5321 §4.5.3.1.8 wants 100 at least).
    pub recipients_max: usize,
    /// Transactions of one connection: told by LIMITS as MAILMAX, then 421 4.7.0 (RFC 9422 §4).
    pub transactions_max: u32,
    /// A bare CR or LF in a body becomes CRLF. If not, the message is refused, and the session ends: see `body`.
    pub normalize_newlines: bool,
    /// Whether STARTTLS is offered: a certificate is loaded and TLS has not begun (RFC 3207).
    pub tls_available: bool,
    /// The connection begins with TLS (RFC 8314).
    pub tls_implicit: bool,
    /// Replies of 5xx to one connection, then 421 4.7.0.
    pub errors_max: u32,
    /// Commands that lead nowhere (NOOP, RSET, VRFY, HELP, a second EHLO, an empty BDAT) between two messages, then 421 4.7.0.
    pub idle_commands_max: u32,
    /// How long to wait for what.
    pub timeouts: Timeouts,
}

/// How long the server side waits (RFC 5321 §4.5.3.2.7: 5 minutes at least between commands).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// For a whole command line, from the last reply on; single bytes do not prolong it.
    pub command: Duration,
    /// For the next bytes of a body.
    pub body_bytes: Duration,
    /// For a whole body.
    pub body: Duration,
    /// For the whole connection.
    pub session: Duration,
}

impl Settings {
    /// Octets of a body that are read at most, whatever becomes of it.
    pub(super) fn octets_read_max(&self) -> u64 {
        self.size_max.saturating_add(self.overrun_max)
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            hostname: "localhost".to_owned(),
            size_max: 50 * 1024 * 1024,
            overrun_max: 50 * 1024 * 1024,
            recipients_max: 1000,
            transactions_max: 1000,
            normalize_newlines: false,
            tls_available: false,
            tls_implicit: false,
            errors_max: 20,
            idle_commands_max: 50,
            timeouts: Timeouts::default(),
        }
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            command: Duration::from_mins(5),
            body_bytes: Duration::from_mins(3),
            body: Duration::from_hours(1),
            session: Duration::from_hours(1),
        }
    }
}
