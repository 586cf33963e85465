//! Settings of the client side: our name, timeouts, what to do with 8-bit mail.
//!
//! Limits against a hostile server are constants in [`crate::limits`].

use std::time::Duration;

/// What all sessions of the client side have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Our name in EHLO and HELO (RFC 5321 §4.1.1.1).
    pub hello_name: String,
    /// Whether an 8-bit body goes as it is to a peer without 8BITMIME, instead of failing with 5.6.3.
    ///
    /// True by default, against the letter of RFC 6152 §3: the only other choices are to bounce (a mail that the
    /// peer would nearly always have stored well) or to re-encode (which breaks DKIM signatures, and a forwarder
    /// changes no byte). Exim and qmail have sent 8-bit mail like this for decades.
    pub eight_bit_anyway: bool,
    /// How long to wait for what.
    pub timeouts: Timeouts,
}

/// How long the client side waits for each reply (RFC 5321 §4.5.3.2, whose minima are the defaults).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// For the greeting (§4.5.3.2.1).
    pub greeting: Duration,
    /// For the reply to EHLO, HELO and STARTTLS.
    pub hello: Duration,
    /// For the reply to MAIL (§4.5.3.2.2), and to RSET.
    pub mail: Duration,
    /// For the reply to RCPT (§4.5.3.2.3).
    pub rcpt: Duration,
    /// For the 354 to DATA (§4.5.3.2.4).
    pub data: Duration,
    /// For each block of the body to be written (§4.5.3.2.5).
    pub body: Duration,
    /// For the reply to the final dot (§4.5.3.2.6).
    pub dot: Duration,
    /// For the reply to QUIT: short, since nothing depends on it.
    pub quit: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            hello_name: "localhost".to_owned(),
            eight_bit_anyway: true,
            timeouts: Timeouts::default(),
        }
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            greeting: Duration::from_mins(5),
            hello: Duration::from_mins(5),
            mail: Duration::from_mins(5),
            rcpt: Duration::from_mins(5),
            data: Duration::from_mins(2),
            body: Duration::from_mins(3),
            dot: Duration::from_mins(10),
            quit: Duration::from_secs(10),
        }
    }
}
