//! What the daemon tells: plain rows, as they travel and as `--json` prints them.
//!
//! Times are RFC 3339 in UTC with milliseconds, addresses their written form, ids their text.

use envelope::{LegId, MessageId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::history::TracedMessage;
use crate::names::named;
use crate::protocol::QueueAction;
use crate::text;

/// One leg in the queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LegRow {
    /// `MESSAGE.NUMBER`.
    #[serde(with = "text")]
    pub leg: LegId,
    /// Where it stands.
    pub state: LegState,
    /// The reverse path as it came in, in angle brackets; `<>` when null.
    pub reverse_path: String,
    /// The recipient as the client named it.
    pub recipient: String,
    /// Where it goes: the target behind the forward.
    pub target: String,
    /// The reverse path as the next hop sees it (rewritten by SRS, mostly), in angle brackets.
    pub sender: String,
    /// What is proved of the sender: `unproved`, `proved`, `forged`, `trusted-client`, `authenticated`, `ours`.
    pub origin: String,
    /// Octets of the message.
    pub size: u64,
    /// When the message came in.
    #[serde(with = "text")]
    pub arrived: Timestamp,
    /// When it is given up; none: it is on hold.
    #[serde(with = "text::option", default)]
    pub expires: Option<Timestamp>,
    /// When it is tried next; none while held or at work.
    #[serde(with = "text::option")]
    pub next_try: Option<Timestamp>,
    /// Attempts so far.
    pub attempts: u32,
    /// The options of its forward, as the forwards file writes them.
    pub options: String,
    /// How the last attempt ended, in words; empty before the first.
    pub last: String,
    /// The same, taken apart.
    pub diagnosis: Option<Diagnosis>,
    /// What it waits for, in words, while it waits: `site mx.example down since 15:26Z: connection refused, probe in 3m`.
    #[serde(default)]
    pub waits: Option<String>,
    /// What an operator asked for that has not come about yet: `hold` while an attempt runs, or `bounce`.
    pub pending: Option<QueueAction>,
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diagnosis {
    /// The enhanced status, `4.2.2`; the peer's own when it gave one.
    pub status: String,
    /// What happened, in our words.
    pub text: String,
    /// The peer's reply with its code, on one line.
    pub reply: Option<String>,
    /// The host that was talked to, `name[address]:port`.
    pub host: Option<String>,
}

impl From<&envelope::Diagnosis> for Diagnosis {
    fn from(from: &envelope::Diagnosis) -> Self {
        Self {
            status: from.status.to_string(),
            text: from.text.clone(),
            reply: from.reply.as_ref().map(ToString::to_string),
            host: from.host.clone(),
        }
    }
}

named! {
    /// Where a leg stands.
    pub enum LegState {
        /// Waits for its time or its turn.
        Waiting = "waiting",
        /// Is being delivered now.
        Active = "active",
        /// Held, by an operator or a measure: not tried until released, and does not expire.
        Held = "held",
    }
}

/// Some legs of the queue, in the order of their ids.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    /// The legs.
    pub legs: Vec<LegRow>,
    /// Where the next page begins; none when this is the last.
    pub next: Option<String>,
}

/// One message with its legs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageDetails {
    /// Its id.
    #[serde(with = "text")]
    pub id: MessageId,
    /// When it came in.
    #[serde(with = "text")]
    pub arrived: Timestamp,
    /// The reverse path as it came in, in angle brackets.
    pub reverse_path: String,
    /// What is proved of the sender, as in [`LegRow::origin`].
    pub origin: String,
    /// Octets.
    pub size: u64,
    /// Whether it needs 8BITMIME at the next hop.
    pub eight_bit: bool,
    /// Whether it needs SMTPUTF8 at the next hop.
    pub smtputf8: bool,
    /// The sender's own name for it (ENVID, RFC 3461 §4.4).
    pub envid: Option<String>,
    /// Its legs that have not ended.
    pub legs: Vec<LegRow>,
    /// All its legs and their attempts, as far as the history knows.
    #[serde(default)]
    pub history: Option<TracedMessage>,
}

/// What an action came to. Legs in neither `done` nor `pending` were left as they were.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    /// Legs that were selected.
    pub matched: u64,
    /// There may be more than were counted.
    #[serde(default)]
    pub more: bool,
    /// Legs for which it has come about.
    pub done: u64,
    /// Legs whose attempt runs: that is not stopped, and may still end them in its own way.
    pub pending: u64,
    /// The first of the done and the pending, as they stood before: a receipt.
    #[serde(default)]
    pub legs: Vec<LegRow>,
    /// Sites that operators have paused: what was to be tried now waits there all the same.
    #[serde(default)]
    pub paused: Vec<String>,
}

/// Something that is frozen: no mail is taken from it, or for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FreezeRow {
    /// Its kind and its name: `user:ann`; of a client its network, `client:2001:db8::/64`.
    pub key: String,
    /// The limit that it broke.
    pub limit: String,
    /// Since when.
    #[serde(with = "text")]
    pub since: Timestamp,
    /// What was refused because of it, since then or since the daemon's start.
    pub hits: u64,
    /// Whether the operator was told of it by mail (`[alerts] mail`).
    pub told: bool,
}

/// Some of the freezes, in the order of their keys.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FreezePage {
    /// The freezes.
    pub freezes: Vec<FreezeRow>,
    /// Where the next page begins; none when this is the last.
    pub next: Option<String>,
}

/// What a lift came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lifted {
    /// Freezes that have ended.
    pub lifted: u64,
    /// Legs of frozen users that go out again.
    pub released: u64,
}

/// The result of `srs encode` or `srs decode`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SrsAnswer {
    /// What was asked for.
    pub address: String,
    /// What became of it.
    pub result: String,
}

/// What a reload did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reloaded {
    /// One line for each thing that was read again: `forwards: 1,212 lines, +12 −3 ~2`.
    pub lines: Vec<String>,
    /// Keys of the configuration that differ from the last time it was read.
    pub changed: Vec<String>,
    /// Those of them that hold from now on.
    pub applied: Vec<String>,
    /// Keys that differ from what the daemon was started with, and hold after a restart only.
    pub needs_restart: Vec<String>,
}
