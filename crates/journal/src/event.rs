//! The events: each variant is one kind, and one line in the mail log. `fields.rs` says how its fields are shown.

#![expect(
    missing_docs,
    reason = "most fields are named as in the lines that operators read"
)]

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use envelope::{
    Actor, Diagnosis, Domain, LegId, Mailbox, MessageId, Origin, Reply, ReversePath, Timestamp, Tls,
};

use crate::attempt::{Attempt, Unfinished};

/// Something that happened.
#[derive(Debug, Clone)]
pub enum Event {
    /// The daemon takes connections.
    Ready {
        listeners: Vec<SocketAddr>,
        queued: u64,
    },
    /// The daemon takes no more connections, and finishes the transactions that are open.
    Stopping { reason: &'static str },
    /// Configuration, forwards and certificate were read again.
    Reloaded {
        forwards: u64,
        /// Addresses, compared with the forwards before.
        added: u64,
        removed: u64,
        changed: u64,
        /// Keys of the configuration that differ and hold from now on.
        applied: Vec<String>,
        /// Keys that differ from what the daemon was started with, and wait for a restart.
        restart: Vec<String>,
    },
    /// A reload failed; everything stays as it was.
    ReloadFailed { error: String },
    /// The daemon starts with the last good forwards, because the file is bad.
    ForwardsKeptOut { error: String, forwards: u64 },
    /// The ACME server has issued a certificate, or has not. Then what it issued before is shown on.
    Certificate {
        domains: Vec<String>,
        error: Option<String>,
        /// When it is asked again.
        next: Timestamp,
        expires: Option<Timestamp>,
    },
    /// A connection ended early: we closed it, or it broke.
    ConnectionClosed {
        client: SocketAddr,
        reason: String,
        open: Option<Unfinished>,
    },
    /// So many more connections of a network were turned away in one second, without a line of their own.
    TurnedAway {
        rule: &'static str,
        network: String,
        connections: u64,
    },
    /// A command or a message was refused.
    Refused {
        id: Option<MessageId>,
        client: SocketAddr,
        /// Its verified name (PTR), if it is known by now.
        client_name: Option<Domain>,
        /// The address of ours that it came to.
        listener: SocketAddr,
        hello: Option<String>,
        stage: &'static str,
        rule: &'static str,
        /// As the client sent it, if it is not a valid path.
        sender: Option<String>,
        recipient: Option<String>,
        /// Who logged in, or the user name that AUTH gave.
        user: Option<String>,
        /// The verb, if the refusal is not about one of them.
        command: Option<String>,
        reply: Reply,
    },
    /// The MX of a sender's domain was asked whether the sender exists.
    Callout {
        sender: Mailbox,
        /// `exists`, `refused`, `unknown`.
        outcome: &'static str,
        diagnosis: Diagnosis,
    },
    /// A user logged in.
    Login {
        client: SocketAddr,
        hello: Option<String>,
        user: Arc<str>,
        mechanism: &'static str,
    },
    /// A message came in whole. It is answered 250 as soon as it is on stable storage; if that fails, a `refused` with
    /// its id follows.
    Received {
        id: MessageId,
        client: SocketAddr,
        /// Its verified name (PTR), as in the Received field.
        client_name: Option<Domain>,
        /// The address of ours that it came to.
        listener: SocketAddr,
        hello: String,
        tls: Option<Tls<'static>>,
        /// Who logged in.
        user: Option<Arc<str>>,
        sender: ReversePath,
        recipients: usize,
        /// As its header has it.
        message_id: Option<Arc<str>>,
        size: u64,
        /// From MAIL to the end of the data, where the delays of its legs begin.
        before_queue: Duration,
        /// How many bare CR and LF became CRLF.
        normalized: u64,
        /// How many Authentication-Results fields that claimed to be ours were taken out.
        stripped: u64,
        /// Parameters of MAIL and RCPT that were ignored, with commas between.
        dropped: String,
        /// Whether the client is to get its destination's verdict.
        online: bool,
    },
    /// A client that is to get its destination's verdict was answered, or left, or came back: `event` says it.
    Answered {
        id: MessageId,
        event: &'static str,
        /// Why the destination was not asked at once.
        reason: &'static str,
        /// Since the end of the message.
        took: Duration,
    },
    /// One recipient became one target, under this sender.
    Forwarded {
        id: LegId,
        recipient: Mailbox,
        target: Mailbox,
        sender: ReversePath,
        /// What the message is taken for, where mail goes by that.
        tier: Option<&'static str>,
    },
    /// What was found out about the sender of a message: each result with the domain that it is about.
    Authenticated {
        id: MessageId,
        spf: String,
        /// Nothing of these where only SPF was looked at.
        dkim: Option<String>,
        arc: Option<String>,
        dmarc: Option<String>,
        origin: Origin,
    },
    /// What a content filter says of a message, or why it says nothing.
    Filtered {
        id: MessageId,
        filter: String,
        /// `accept`, `reject`, `defer`, `hold`, `discard`, `failed`.
        opinion: &'static str,
        score: Option<String>,
        symbols: Option<String>,
        /// What it wanted and did not get; why it was not asked.
        remarks: Option<String>,
        error: Option<String>,
        took: Duration,
    },
    /// A leg waits for an operator, and why.
    Held {
        id: LegId,
        recipient: Mailbox,
        target: Mailbox,
        reason: String,
    },
    /// One recipient's mail was dropped, as its `:discard:` or a filter says.
    Discarded { id: MessageId, recipient: Mailbox },
    /// One target of a recipient was left out: the mail would have looped.
    Looped {
        id: MessageId,
        recipient: Mailbox,
        target: Mailbox,
        /// The address that the message has been delivered to before.
        passed: Mailbox,
    },
    /// One target in a hosted domain was left out: it leads nowhere.
    DeadEnd {
        id: MessageId,
        target: Mailbox,
        /// The reply to a message with this target alone.
        reason: Reply,
    },
    /// The next hop has it.
    Delivered { leg: Attempt, diagnosis: Diagnosis },
    /// It stays in the queue for another attempt.
    Deferred {
        leg: Attempt,
        diagnosis: Diagnosis,
        next: Timestamp,
    },
    /// It will not be tried again.
    Failed { leg: Attempt, diagnosis: Diagnosis },
    /// A notice to the sender is queued.
    Bounced {
        id: MessageId,
        kind: &'static str,
        bounce: MessageId,
        to: ReversePath,
    },
    /// No notice is sent, and why.
    NotBounced { id: MessageId, reason: &'static str },
    /// An operator asked for a change. Recorded before anything is done; what came of it follows.
    OperatorAsked {
        /// Who asked.
        by: Actor,
        action: &'static str,
        /// Of which legs or which address.
        of: String,
        /// Why, in the operator's words; may be empty.
        reason: String,
    },
    /// An operator did something to a leg.
    Operator {
        id: LegId,
        action: &'static str,
        /// `done`; or `pending`, because an attempt is running.
        outcome: &'static str,
        /// Who asked.
        by: Actor,
        recipient: Mailbox,
        target: Mailbox,
        /// Why, in the operator's words; may be empty.
        reason: Arc<str>,
    },
    /// No host of this site can be reached; or it says that we send too much, or blocks an address of ours.
    SiteDown {
        site: String,
        /// Only this address of ours sends nothing there.
        source: Option<IpAddr>,
        throttled: bool,
        error: String,
        probe_in: Duration,
    },
    /// A host of it can be reached again.
    SiteUp { site: String, down_for: Duration },
    /// It takes mail again, after deferring all of it for some time: these legs are tried now instead of later.
    SiteTakesMail { site: String, legs: u64 },
    /// What is ordered of the sites that a word means has changed.
    SiteOrdered {
        /// `site-paused`, `site-resumed`, `site-limited`, `site-unlimited`.
        event: &'static str,
        site: String,
        until: Option<Timestamp>,
        connections: Option<u32>,
        per_minute: Option<u32>,
        reason: String,
        /// Those that it holds for now, as far as they are known, with commas between. It may be empty, as the reason may.
        sites: String,
        /// Who asked; none: its time was over.
        by: Option<Actor>,
    },
    /// An operator had the daemon take no more mail, or take it again.
    Drained { on: bool, by: Actor, reason: String },
    /// A DNS blocklist does not answer, several times in a row. It refuses nobody; further failures are only counted.
    DnsblDown { name: String, error: String },
    /// It answers again.
    DnsblUp { name: String, failed: u64 },
    /// A content filter does not answer; each message that it is not asked about says so.
    FilterDown { name: String, error: String },
    /// It answers again.
    FilterUp { name: String, failed: u64 },
    /// A source of forwards cannot be asked, or says what cannot be used, and why: its last good ones stay. Or it can be again.
    Source { name: String, error: Option<String> },
    /// Somebody broke a limit, and is frozen. What is refused for that has the rule `frozen`.
    Frozen { key: String, limit: String },
    /// A mail about so many freezes, or about what the doctor has found, is queued for the operator.
    Alerted {
        id: MessageId,
        to: Mailbox,
        /// `freezes`, `findings`.
        of: &'static str,
        number: u64,
    },
    /// The doctor finds something to be bad that was not, or well again.
    Doctor {
        /// `bad`, `risky`, `good`.
        status: &'static str,
        /// The check, and what was looked at: `spf fwd.example.net`.
        of: String,
        text: String,
    },
    /// An operator has ended a freeze.
    FreezeLifted {
        key: String,
        limit: String,
        since: Timestamp,
        /// What was refused because of it.
        hits: u64,
        by: Actor,
    },
    /// More legs wait in the queue than `[alerts]` finds well, or no longer.
    QueueLength { is_long: bool, legs: u64 },
    /// A forward's mail fails, as it did not an hour ago.
    ForwardFails {
        recipient: String,
        target: String,
        /// Legs of the last week.
        failed: u64,
        /// The last status that speaks of the mailbox: `5.1.1`.
        code: String,
    },
    /// Dovecot did not check a login that it was asked about. Further ones are only counted.
    DovecotDown { error: String },
    /// It answers again.
    DovecotUp { failed: u64 },
    /// Lines that are missing here, because what reads this log was too slow.
    Dropped { lines: u64 },
}

impl Event {
    /// The event's name in the log.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Ready { .. } => "ready",
            Self::Stopping { .. } => "stopping",
            Self::Reloaded { .. } => "reloaded",
            Self::ReloadFailed { .. } => "reload-failed",
            Self::ForwardsKeptOut { .. } => "forwards-kept-out",
            Self::Certificate { error: None, .. } => "certificate-issued",
            Self::Certificate { .. } => "certificate-failed",
            Self::ConnectionClosed { .. } => "connection-closed",
            Self::TurnedAway { .. } => "turned-away",
            Self::Refused { .. } => "refused",
            Self::Callout { outcome, .. } => match *outcome {
                "exists" => "callout-exists",
                "refused" => "callout-refused",
                _ => "callout-unknown",
            },
            Self::Login { .. } => "login",
            Self::Received { .. } => "received",
            Self::Answered { event, .. } => event,
            Self::Forwarded { .. } => "forwarded",
            Self::Authenticated { .. } => "authenticated",
            Self::Filtered { .. } => "filtered",
            Self::Held { .. } => "held",
            Self::Discarded { .. } => "discarded",
            Self::Looped { .. } => "looped",
            Self::DeadEnd { .. } => "dead-end",
            Self::Delivered { .. } => "delivered",
            Self::Deferred { .. } => "deferred",
            Self::Failed { .. } => "failed",
            Self::Bounced { .. } => "bounced",
            Self::NotBounced { .. } => "not-bounced",
            Self::OperatorAsked { .. } => "operator-asked",
            Self::Operator { .. } => "operator",
            Self::SiteDown {
                source: Some(_), ..
            } => "source-rests",
            Self::SiteDown {
                throttled: true, ..
            } => "site-throttled",
            Self::SiteDown { .. } => "site-down",
            Self::SiteUp { .. } => "site-up",
            Self::SiteTakesMail { .. } => "site-takes-mail",
            Self::SiteOrdered { event, .. } => event,
            Self::Drained { on: true, .. } => "drained",
            Self::Drained { .. } => "undrained",
            Self::QueueLength { is_long: true, .. } => "queue-long",
            Self::QueueLength { .. } => "queue-short",
            Self::ForwardFails { .. } => "forward-fails",
            Self::DnsblDown { .. } => "dnsbl-down",
            Self::DnsblUp { .. } => "dnsbl-up",
            Self::FilterDown { .. } => "filter-down",
            Self::FilterUp { .. } => "filter-up",
            Self::Source { error: Some(_), .. } => "source-down",
            Self::Source { .. } => "source-up",
            Self::Frozen { .. } => "frozen",
            Self::Alerted { .. } => "alerted",
            Self::Doctor { .. } => "doctor",
            Self::FreezeLifted { .. } => "freeze-lifted",
            Self::DovecotDown { .. } => "dovecot-down",
            Self::DovecotUp { .. } => "dovecot-up",
            Self::Dropped { .. } => "dropped",
        }
    }

    /// Its fields, as its line in the log has them.
    pub fn fields_text(&self) -> String {
        crate::line::fields(self)
    }
}
