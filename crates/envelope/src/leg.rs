//! A message at rest and its legs: what the queue stores, delivery carries and bounces are made of.

use std::net::IpAddr;
use std::sync::Arc;

use crate::address::Mailbox;
use crate::destination::Destination;
use crate::id::{LegId, MessageId};
use crate::mail::{BodyKind, Notify, OriginalRecipient, Return};
use crate::options::LegOptions;
use crate::path::ReversePath;
use crate::timestamp::Timestamp;

/// What all legs of a message have in common. Its body lies in the spool under the same id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Its name everywhere: reply, log, queue, Received header.
    pub id: MessageId,
    /// When the end of its data was read.
    pub arrived: Timestamp,
    /// The reverse path as it came in: where a DSN of ours goes, whatever the legs say to the next hop.
    pub reverse_path: ReversePath,
    /// What is proved of its sender.
    pub origin: Origin,
    /// Who handed it over: while nobody has looked whether that proves the sender ([`Origin::Stranger`]), and of a user's mail, whose
    /// failures are held against its client too.
    pub peer: Option<Peer>,
    /// The user who sent it (RFC 4954), if one logged in.
    pub user: Option<Arc<str>>,
    /// Header lines that were known only at the end of the body, each ended by CRLF; may be empty. They are sent before the body,
    /// which already begins with our Received header.
    pub trace: Box<str>,
    /// Octets of `trace` and body together.
    pub size: u64,
    /// `BODY=` as it came in.
    pub body: BodyKind,
    /// Whether it needs SMTPUTF8 at the next hop.
    pub smtputf8: bool,
    /// `RET=` as it came in.
    pub ret: Option<Return>,
    /// `ENVID=` as it came in.
    pub envid: Option<Box<str>>,
}

/// What is proved of the sender of a message. Spools keep the number: a number that an older program does not know is read
/// as [`Origin::Stranger`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Origin {
    /// Nothing: it came from anywhere.
    #[default]
    Stranger = 0,
    /// A client that the configuration trusts.
    TrustedClient = 1,
    /// A client that has proved who it is (RFC 4954).
    Authenticated = 2,
    /// It is a notice of our own.
    Ours = 3,
    /// SPF or DKIM pass for the domain of its reverse path.
    Proved = 4,
    /// SPF or DMARC fail: the reverse path is probably somebody else's.
    Forged = 5,
}

/// The client that a message came from: what SPF asks about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Its address.
    pub address: IpAddr,
    /// Its name in EHLO or HELO.
    pub hello: Box<str>,
}

impl Origin {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Stranger,
        Self::TrustedClient,
        Self::Authenticated,
        Self::Ours,
        Self::Proved,
        Self::Forged,
    ];

    /// As logs and `--json` name it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stranger => "unproved",
            Self::TrustedClient => "trusted-client",
            Self::Authenticated => "authenticated",
            Self::Ours => "ours",
            Self::Proved => "proved",
            Self::Forged => "forged",
        }
    }
}

/// One target of a message under one reverse path. The queue schedules legs, and each ends exactly once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leg {
    /// What to say in MAIL FROM to the next hop: rewritten by SRS, as it was, or null.
    pub reverse_path: ReversePath,
    /// What to say in RCPT TO to the next hop.
    pub target: Mailbox,
    /// The recipient as our client named it: what a DSN shows (the target behind a forward is private).
    pub recipient: Mailbox,
    /// `ORCPT=` as it came in.
    pub original: Option<OriginalRecipient>,
    /// `NOTIFY=` as it came in.
    pub notify: Option<Notify>,
    /// Header lines for this leg alone, each ended by CRLF, sent before the body (`Delivered-To`); may be empty.
    /// They are per leg because a recipient must not learn of the others.
    pub trace: Box<str>,
    /// What delivery and later stages have to know of the forward that it came by.
    pub options: LegOptions,
    /// The other recipients that became this target: it gets one copy, and the sender is told of all of them.
    pub merged: Merged,
}

/// Recipients that share a leg with the one it names first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Merged {
    /// As our client named them, as many as fit into [`Merged::OCTETS_MAX`].
    pub named: Box<[Mailbox]>,
    /// How many there are besides.
    pub more: u32,
}

impl Message {
    /// A message of 7-bit text without DSN wishes, by a stranger.
    pub fn new(id: MessageId, arrived: Timestamp, reverse_path: ReversePath, size: u64) -> Self {
        Self {
            id,
            arrived,
            reverse_path,
            origin: Origin::default(),
            peer: None,
            user: None,
            trace: Box::default(),
            size,
            body: BodyKind::default(),
            smtputf8: false,
            ret: None,
            envid: None,
        }
    }
}

impl Leg {
    /// A leg without DSN wishes, trace lines, options and other recipients.
    pub fn new(reverse_path: ReversePath, target: Mailbox, recipient: Mailbox) -> Self {
        Self {
            reverse_path,
            target,
            recipient,
            original: None,
            notify: None,
            trace: Box::default(),
            options: LegOptions::default(),
            merged: Merged::default(),
        }
    }

    /// Where it goes, and how.
    pub fn destination(&self) -> Destination {
        Destination {
            host: self.target.host().clone(),
            way: self.options.way(),
        }
    }

    /// All recipients that it names.
    pub fn recipients(&self) -> impl Iterator<Item = &Mailbox> {
        std::iter::once(&self.recipient).chain(&self.merged.named)
    }
}

impl Merged {
    /// Octets of the named ones together, as written: some hundred addresses.
    pub const OCTETS_MAX: usize = 16 << 10;

    /// Names as many of them as there is room for.
    pub fn new(mut recipients: Vec<Mailbox>) -> Self {
        let mut octets = 0;
        let fits = |recipient: &&Mailbox| {
            octets += recipient.to_string().len();
            octets <= Self::OCTETS_MAX
        };
        let named = recipients.iter().take_while(fits).count();
        let more = recipients.len() - named;
        recipients.truncate(named);
        Self {
            named: recipients.into(),
            more: u32::try_from(more).unwrap_or(u32::MAX),
        }
    }
}

/// The right to work on one leg for a while.
///
/// Nobody else gets the leg before `expires`. A holder whose `token` is older than the leg's is refused (fenced), so that two
/// owners never both end it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The leg.
    pub leg: LegId,
    /// Who holds it: unique per process run.
    pub owner: u64,
    /// The fencing token: grows with each claim of this leg.
    pub token: u64,
    /// When it ends by itself.
    pub expires: Timestamp,
}

/// A leased leg with all that is needed to deliver it or to give up on it.
#[derive(Debug, Clone)]
pub struct Claim {
    /// The lease to end, move or give back.
    pub lease: Lease,
    /// The message, shared between its legs.
    pub message: Arc<Message>,
    /// The leg.
    pub leg: Leg,
    /// Attempts made before this one.
    pub attempts: u32,
    /// Whether the sender was already told of the delay.
    pub warned: bool,
    /// When the message is given up.
    pub deadline: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(recipients: usize, octets: usize, named: usize) {
        let local = |n| format!("{n:0>width$}@x.test", width = octets - 7);
        let all = (0..recipients).map(|n| local(n).parse().unwrap());
        let merged = Merged::new(all.collect());
        let counts = (merged.named.len(), merged.more as usize);
        assert_eq!(counts, (named, recipients - named));
    }

    #[test]
    fn as_many_are_named_as_there_is_room_for() {
        check(0, 16, 0);
        check(1000, 16, 1000);
        check(1025, 16, 1024);
        check(1000, 64, 256);
        check(100, Mailbox::OCTETS_MAX, 18);
    }
}
