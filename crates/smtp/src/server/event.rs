//! Events of the server side: questions that the driver answers, and facts that it is told.
//!
//! While a question is open the session reads no further command (RFC 2920 §3.2 asks for replies in order).

use envelope::{Envelope, Recipient};

/// What a server session tells its driver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Question: may this client talk to us? `Accept` writes the 220 greeting; `Refuse` greets with its reply
    /// (554) and then knows only QUIT (RFC 5321 §3.1); `Close` writes its reply and ends.
    Connect,
    /// Question: EHLO or HELO.
    Hello(Hello),
    /// Question: MAIL. The envelope has no recipients yet.
    Mail(Envelope),
    /// Question: RCPT. What was accepted so far is in [`Session::envelope`](super::Session::envelope).
    Rcpt(Recipient),
    /// Question: DATA, or the first BDAT: begin a body? `Accept` means that a draft is open and either
    /// [`Event::BodyEnd`] or [`Event::BodyAbandoned`] will follow.
    Data,
    /// Fact: decoded bytes of the body, unchanged but for the dots taken out again. Never empty.
    Body(Vec<u8>),
    /// Question: the body is complete and sound; commit it and give the reply with
    /// [`Session::answer_body`](super::Session::answer_body).
    BodyEnd,
    /// Fact: there will be no [`Event::BodyEnd`] for the open draft; drop it. The session writes the reply.
    BodyAbandoned,
    /// Fact: flush the output (it ends with the 220), do the handshake, then call
    /// [`Session::handle_tls_started`](super::Session::handle_tls_started). Give the session no bytes meanwhile.
    StartTls,
    /// Fact: the transaction was dropped by RSET, EHLO, HELO or QUIT.
    Reset,
    /// Fact: flush the output and close the connection. The last event.
    Closed,
}

/// How the client introduced itself.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Hello {
    /// The name as given: a domain, an address literal, or another printable ASCII text without blanks;
    /// 1 to 255 octets.
    pub name: Box<str>,
    /// EHLO, not HELO.
    pub extended: bool,
}
