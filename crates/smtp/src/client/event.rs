//! Events of the client side, and the transaction that it is given.

use envelope::{
    BodyKind, Diagnosis, Mailbox, Notify, OriginalRecipient, Outcome, Reply, Return, ReversePath,
};

/// What a client session tells its driver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Greeting and EHLO are done (also after TLS), the login is taken, or the previous transaction is over and cleaned
    /// up: the next call is `start_tls`, `authenticate`, `send` or `quit`.
    Ready,
    /// The peer said 220 to STARTTLS: do the handshake, then call `handle_tls_started`. Bytes that are still to
    /// come belong to TLS.
    TlsGo,
    /// The peer does not want TLS now; the session is usable in clear.
    TlsRefused(Reply),
    /// What the peer wants to know next of who logs in, in base64: `authenticate` with the answer.
    AuthChallenge(String),
    /// At least one recipient stands and the peer waits for the body: `send_body` until `finish_body`, or
    /// `abort_body`.
    BodyWanted,
    /// The transaction is over: one outcome per recipient, in order. `Ready` or `Closed` follows.
    /// May come while the body is still being sent: stop then; further body calls are ignored.
    Done(Vec<Outcome>),
    /// The connection is of no more use, and why. The last event; flush the output (a QUIT may be in it) and close.
    Closed(Diagnosis),
}

/// One message to one peer: the envelope as the peer is to see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transaction {
    /// MAIL FROM.
    pub reverse_path: ReversePath,
    /// RCPT TO, in order; at least one.
    pub recipients: Vec<TransactionRecipient>,
    /// `BODY=`: said when the peer has 8BITMIME.
    pub body: BodyKind,
    /// Whether the message needs SMTPUTF8 (its headers, or as it came in); addresses that need it are seen besides.
    pub smtputf8: bool,
    /// `REQUIRETLS` (RFC 8689): a peer without it gets nothing. That the connection is encrypted, and to whom, is the driver's.
    pub require_tls: bool,
    /// Octets of the body: told by SIZE, checked against the peer's limit before MAIL.
    pub size: u64,
    /// `RET=`: said when the peer has DSN.
    pub ret: Option<Return>,
    /// `ENVID=`, decoded: said when the peer has DSN.
    pub envid: Option<Box<str>>,
    /// Ends behind RCPT: asks whether the recipients would be taken, and sends no message. A recipient that would is
    /// `Delivered`, with the reply to its RCPT.
    pub rcpt_only: bool,
}

/// One RCPT command to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransactionRecipient {
    /// RCPT TO.
    pub target: Mailbox,
    /// `NOTIFY=`: said when the peer has DSN.
    pub notify: Option<Notify>,
    /// `ORCPT=`: said when the peer has DSN.
    pub original: Option<OriginalRecipient>,
}
