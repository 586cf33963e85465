//! States of the server side, named by what they wait for. Each owns what belongs to it: leaving a state drops its
//! transaction whole.

use std::time::Instant;

use envelope::{Envelope, Recipient, Reply};

use super::auth::Awaited;
use super::{Hello, Settings};
use crate::command::Chunk;
use crate::dot::{Decoder, LineEnds, Passer};

/// What the session waits for from the client.
#[derive(Debug)]
pub(super) enum State {
    /// Nothing yet: the client is not greeted.
    Greeting,
    /// QUIT: the client was greeted with a refusal (RFC 5321 §3.1).
    ExpectQuit,
    /// EHLO or HELO.
    ExpectHello,
    /// MAIL.
    ExpectMail(Hello),
    /// RCPT or the body.
    ExpectRcpt(Hello, Transaction),
    /// Bytes of the body.
    Body(Hello, Transaction, Body),
    /// The next BDAT.
    ExpectChunk(Hello, Transaction, Body),
    /// The next line of an AUTH exchange.
    ExpectCredentials(Hello, Awaited),
    /// Silence: STARTTLS was read, and is answered when nothing lies behind it.
    StartTls,
    /// The handshake.
    ExpectTls,
    /// Nothing more.
    Closed,
}

/// The open question, with what will take effect when it is accepted. The state is still that from before.
#[derive(Debug)]
pub(super) enum Question {
    Connect,
    Hello(Hello),
    Credentials,
    Xclient {
        /// It has logged in a user.
        login: bool,
    },
    Mail(Envelope),
    Rcpt(Recipient),
    Data,
    Chunk(Chunk),
    BodyEnd,
}

/// From an accepted MAIL to the end of its body.
#[derive(Debug)]
pub(super) struct Transaction {
    pub(super) envelope: Envelope,
    /// A RCPT was refused: then no recipients means 554, not 503.
    pub(super) refused: bool,
}

/// A body that is coming in.
#[derive(Debug)]
pub(super) struct Body {
    pub(super) source: Source,
    /// Octets so far, as decoded.
    pub(super) octets: u64,
    /// Already decided: the rest is read, dropped, and then answered with this.
    pub(super) refusal: Option<Reply>,
    pub(super) since: Instant,
}

/// How the body comes.
#[derive(Debug)]
pub(super) enum Source {
    Data(Decoder),
    Chunks {
        passer: Passer,
        /// The current chunk.
        chunk: Chunk,
        /// What is still to come of it.
        left: u64,
    },
}

/// Octets of a BDAT that came out of sequence: read over, then answered.
#[derive(Debug)]
pub(super) struct Skip {
    pub(super) left: u64,
    pub(super) reply: Reply,
}

impl State {
    pub(super) fn hello(&self) -> Option<&Hello> {
        match self {
            Self::ExpectMail(hello)
            | Self::ExpectCredentials(hello, _)
            | Self::ExpectRcpt(hello, _)
            | Self::Body(hello, ..)
            | Self::ExpectChunk(hello, ..) => Some(hello),
            _ => None,
        }
    }

    pub(super) fn transaction(&self) -> Option<&Transaction> {
        match self {
            Self::ExpectRcpt(_, transaction)
            | Self::Body(_, transaction, _)
            | Self::ExpectChunk(_, transaction, _) => Some(transaction),
            _ => None,
        }
    }

    pub(super) fn body(&self) -> Option<&Body> {
        match self {
            Self::Body(.., body) | Self::ExpectChunk(.., body) => Some(body),
            _ => None,
        }
    }

    /// The same client, without its transaction.
    pub(super) fn without_transaction(self) -> Self {
        match self {
            Self::ExpectRcpt(hello, _) | Self::Body(hello, ..) | Self::ExpectChunk(hello, ..) => {
                Self::ExpectMail(hello)
            }
            other => other,
        }
    }
}

impl Transaction {
    pub(super) fn new(envelope: Envelope) -> Self {
        Self {
            envelope,
            refused: false,
        }
    }
}

impl Body {
    pub(super) fn data(now: Instant, settings: &Settings) -> Self {
        let source = Source::Data(Decoder::new(settings.normalize_newlines));
        Self::new(now, source, None)
    }

    /// `refusal`: the chunks are only read over.
    pub(super) fn chunks(
        now: Instant,
        chunk: Chunk,
        refusal: Option<Reply>,
        settings: &Settings,
    ) -> Self {
        let source = Source::Chunks {
            passer: Passer::new(settings.normalize_newlines),
            chunk,
            left: chunk.octets,
        };
        Self::new(now, source, refusal)
    }

    fn new(since: Instant, source: Source, refusal: Option<Reply>) -> Self {
        Self {
            source,
            octets: 0,
            refusal,
            since,
        }
    }

    /// Its line ends so far.
    pub(super) fn line_ends(&self) -> &LineEnds {
        match &self.source {
            Source::Data(decoder) => decoder.line_ends(),
            Source::Chunks { passer, .. } => passer.line_ends(),
        }
    }

    /// Whether the driver has a draft open for it.
    pub(super) fn has_draft(&self) -> bool {
        self.refusal.is_none()
    }
}
