//! What happened to which message, as far as the history reaches: questions and rows.

use std::net::IpAddr;

use envelope::{AddressPattern, LegId, MessageId, SenderPattern, Timestamp};
use serde::{Deserialize, Serialize};

use crate::names::named;
use crate::text;

/// What happened to these messages? All conditions must hold; without any, the latest messages are meant.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Trace {
    /// An address or a domain (of sender, recipient or target), a message id or its first characters, a leg's id, a Message-ID.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub what: Option<String>,
    /// It came in at this time or later.
    #[serde(with = "text::option", skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// It came in before this time.
    #[serde(with = "text::option", skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// The reverse path as it came in.
    #[serde(with = "text::option", skip_serializing_if = "Option::is_none")]
    pub from: Option<SenderPattern>,
    /// A recipient or a target.
    #[serde(with = "text::option", skip_serializing_if = "Option::is_none")]
    pub to: Option<AddressPattern>,
    /// The client's address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<IpAddr>,
    /// A leg of it stands so, or the message as a whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<MailStatus>,
    /// One of these, or of `what` where that is an id.
    #[serde(with = "text::list", skip_serializing_if = "Vec::is_empty")]
    pub ids: Vec<MessageId>,
    /// Messages at most, the latest; 1 to [`PAGE_ROWS_MAX`](crate::PAGE_ROWS_MAX).
    pub limit: u32,
}

/// Messages, the latest first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traced {
    /// The messages, and transactions that were refused.
    pub messages: Vec<TracedMessage>,
    /// Whether there may be more: `limit` was reached, or the time for a question.
    pub is_cut: bool,
    /// When the history begins; none when it is empty.
    #[serde(with = "text::option")]
    pub oldest: Option<Timestamp>,
    /// Other nodes that did not answer: what only they know is missing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub silent_nodes: Vec<String>,
}

/// What to say of nodes that did not answer.
pub fn not_told(silent_nodes: &[String]) -> Option<String> {
    let names = (!silent_nodes.is_empty()).then(|| silent_nodes.join(", "))?;
    Some(format!(
        "no answer from {names}: what is known there alone is missing"
    ))
}

/// One message, or something that was refused before it was one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TracedMessage {
    /// None: refused before there was an id.
    #[serde(
        default,
        with = "text::option",
        skip_serializing_if = "Option::is_none"
    )]
    pub id: Option<MessageId>,
    /// When it began, or was refused.
    #[serde(with = "text")]
    pub at: Timestamp,
    /// How it stands as a whole: the worst of its legs.
    pub status: MailStatus,
    /// The client, `192.0.2.1:4711`; none for a notice of ours, and when its beginning is missing here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// The client's verified name (PTR).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_name: Option<String>,
    /// What it said in EHLO.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hello: Option<String>,
    /// The address of ours that it came to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listener: Option<String>,
    /// How it came in, `TLSv1.3`; none: in clear.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<String>,
    /// Who logged in, or tried to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The reverse path as it came in, in angle brackets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sender: Option<String>,
    /// The recipient of a refused RCPT, or of a notice of ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipient: Option<String>,
    /// As its header has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_id: Option<String>,
    /// Octets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// From MAIL to the end of the data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before_queue_ms: Option<u64>,
    /// What was found out about the sender, each with the domain that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spf: Option<String>,
    /// See `spf`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dkim: Option<String>,
    /// See `spf`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arc: Option<String>,
    /// See `spf`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dmarc: Option<String>,
    /// What is proved of the sender, as in the mail log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
    /// Who said no to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<TracedRefusal>,
    /// In the order of their numbers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub legs: Vec<TracedLeg>,
    /// What else was recorded of it, in the order of time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<TracedNote>,
}

/// A refusal of ours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TracedRefusal {
    /// `connect`, `hello`, `auth`, `mail`, `rcpt`, `data` or `message`.
    pub stage: String,
    /// The rule, as the mail log names it.
    pub rule: String,
    /// What the client was told.
    pub reply: String,
}

/// One target of a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TracedLeg {
    /// `MESSAGE.NUMBER`.
    #[serde(with = "text")]
    pub leg: LegId,
    /// How it stands.
    pub status: MailStatus,
    /// The recipient as the client named it.
    pub recipient: String,
    /// Others whose mail goes with it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub others: Vec<String>,
    /// Where it goes.
    pub target: String,
    /// The reverse path as the next hop sees it, in angle brackets; none when its beginning is missing here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sender: Option<String>,
    /// Every attempt, in order; the end of a leg that expired has the number of the last one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attempts: Vec<TracedAttempt>,
}

/// One attempt to deliver a leg, or its end without one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TracedAttempt {
    /// From 1.
    pub attempt: u32,
    /// When it ended.
    #[serde(with = "text")]
    pub at: Timestamp,
    /// `delivered`, `deferred` or `failed`.
    pub result: MailStatus,
    /// The name of the site.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub site: Option<String>,
    /// The host that was talked to, `name[address]:port`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The egress that it left from and its address; none: no egress was named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// `TLSv1.3`, `TLSv1.3 verified`; none: in clear.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<String>,
    /// The enhanced status.
    pub code: String,
    /// What the host said, on one line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply: Option<String>,
    /// What happened, in our words.
    pub text: String,
    /// Since the message came in.
    pub delay_ms: u64,
    /// The part of `delay_ms` in which a connection was sought.
    pub connect_ms: u64,
    /// The part of `delay_ms` from MAIL to the last reply.
    pub transmission_ms: u64,
    /// When it is tried again.
    #[serde(
        default,
        with = "text::option",
        skip_serializing_if = "Option::is_none"
    )]
    pub next: Option<Timestamp>,
}

/// Something else that happened to a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TracedNote {
    /// When.
    #[serde(with = "text")]
    pub at: Timestamp,
    /// The event's name in the mail log: `filtered`, `bounced`, `operator`.
    pub event: String,
    /// Its fields as in the mail log: `filter=rspamd opinion=accept`.
    pub text: String,
}

named! {
    /// How a message or a leg stands.
    #[derive(Default)]
    pub enum MailStatus {
        /// The next hop has it.
        Delivered = "delivered",
        /// Dropped, as a forward or a filter says.
        Discarded = "discarded",
        /// An operator took it out of the queue.
        Removed = "removed",
        /// Not tried yet.
        #[default]
        Queued = "queued",
        /// Waits for another attempt.
        Deferred = "deferred",
        /// Waits for an operator.
        Held = "held",
        /// It was given up.
        Failed = "failed",
        /// It was not accepted.
        Refused = "refused",
    }
}

/// Who changed what, the latest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Changes {
    /// Only before this time.
    #[serde(
        default,
        with = "text::option",
        skip_serializing_if = "Option::is_none"
    )]
    pub until: Option<Timestamp>,
    /// Rows at most; 1 to [`PAGE_ROWS_MAX`](crate::PAGE_ROWS_MAX).
    pub limit: u32,
}

/// Something that changed what the daemon does: a start, a reload, an order, a freeze.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// When.
    #[serde(with = "text")]
    pub at: Timestamp,
    /// The event's name in the mail log: `reloaded`, `site-paused`, `operator-asked`.
    pub event: String,
    /// Its fields as in the mail log: `site=google by=panel`; before them `node=mx2`, if it was on another than the one asked.
    pub text: String,
}

/// How the history does.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryHealth {
    /// Whether it is kept at all (`[history] keep`).
    pub is_on: bool,
    /// When it begins.
    #[serde(with = "text::option")]
    pub oldest: Option<Timestamp>,
    /// Octets of its file.
    pub octets: u64,
    /// Events that are missing in it since the start: they came too fast, or could not be written.
    pub events_missed: u64,
    /// How often it could not be written since the start.
    pub errors: u64,
    /// Why nothing is written to it now.
    pub trouble: Option<String>,
}
