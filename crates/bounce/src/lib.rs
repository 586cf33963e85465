//! Delivery status notifications (RFC 3464): from outcomes to the bytes of a message.
//!
//! [`compose`] takes what is known about a message and some of its legs, and gives a `multipart/report` to the
//! message's reverse path, or `None` when nobody may be told. The notice shows each recipient as our client
//! named it; the target behind a forward never appears, not even where the remote host's reply names it.
//!
//! Pure: time, id and entropy are arguments, bytes come out. It does *not* decide that a leg has failed or is
//! late, does not read the message from the spool, and does not queue the notice: the binary does all three.
//! Nor does it judge whether the sender is forged; who calls has to know that (no backscatter).

mod alert;
mod compose;
mod excerpt;
mod field;
mod redact;
mod status;
mod text;
mod tls_report;

use envelope::{
    BodyKind, Diagnosis, Domain, Leg, Mailbox, Message, MessageId, SenderTls, Timestamp,
};

pub use alert::{Alert, Change, Frozen, changes, freezes};
pub use compose::{compose, wants};
pub use excerpt::{Excerpt, HEADER_OCTETS_MAX};
pub use redact::Redactor;
pub use tls_report::{TlsReport, tls_report};

/// What a notice tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Delivery has been given up: the next hop refused for good, or time ran out.
    Failed,
    /// Not delivered so far; trying goes on.
    Delayed,
    /// Passed to a host that sends no notices itself, so that none will follow (RFC 3461 §5.2.2 c).
    Relayed,
}

/// All that goes into one notice: one message, and reports on one or more of its legs, all of one kind.
#[derive(Debug, Clone, Copy)]
pub struct Notice<'a> {
    /// The id of the notice itself, not of the message it is about.
    pub id: MessageId,
    /// What it tells.
    pub kind: Kind,
    /// Our own name: `Reporting-MTA`, and the host of `From` and `Message-ID`.
    pub reporting_mta: &'a Domain,
    /// Whom the sender may ask for help.
    pub postmaster: &'a Mailbox,
    /// The message that it is about.
    pub message: &'a Message,
    /// One per leg; those whose sender did not ask for a notice of this kind are left out ([`wants`]).
    /// Every text is searched for every target, so keep them to some hundred.
    pub reports: &'a [Report<'a>],
    /// The time to write into `Date`.
    pub now: Timestamp,
    /// Random bits for the MIME boundary, so that no sender can foresee it.
    pub entropy: u64,
}

/// What became of one leg.
#[derive(Debug, Clone, Copy)]
pub struct Report<'a> {
    /// The leg. Its `target` is used only to remove it from the texts.
    pub leg: &'a Leg,
    /// Why: the reply of the remote host, or our own words.
    pub diagnosis: &'a Diagnosis,
    /// When delivery was last tried, if it ever was.
    pub last_attempt: Option<Timestamp>,
    /// Until when trying goes on; shown by [`Kind::Delayed`] only.
    pub will_retry_until: Option<Timestamp>,
}

/// A finished notice, to be sent from `<>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Composed {
    /// Its only recipient: the message's reverse path.
    pub recipient: Mailbox,
    /// Header and body; every line ends with CRLF and has at most 998 octets before it.
    pub bytes: Vec<u8>,
    /// Whether it needs 8BITMIME.
    pub body: BodyKind,
    /// Whether it needs SMTPUTF8: only ever when the message itself came with it.
    pub smtputf8: bool,
    /// What is asked of TLS on its way.
    pub tls: SenderTls,
}

impl Composed {
    /// `utf8`: SMTPUTF8 may be asked for.
    fn new(recipient: &Mailbox, bytes: Vec<u8>, utf8: bool, tls: SenderTls) -> Self {
        let is_ascii = bytes.is_ascii();
        Self {
            recipient: recipient.clone(),
            bytes,
            body: match is_ascii {
                true => BodyKind::SevenBit,
                false => BodyKind::EightBitMime,
            },
            smtputf8: !is_ascii && utf8,
            tls,
        }
    }
}
