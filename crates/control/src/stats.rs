//! Sums over the history: questions and rows.

use envelope::Timestamp;
use serde::{Deserialize, Serialize};

use crate::names::named;
use crate::text;

/// What came, and what became of it, summed up by one of its properties.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stats {
    /// By what.
    pub by: StatsBy,
    /// From the beginning of the hour of this time on.
    #[serde(with = "text")]
    pub since: Timestamp,
    /// Only what was answered so: `4.7` means all of 4.7.x, `5` all of 5.x.x.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply: Option<String>,
    /// Rows at most, the largest; 1 to [`PAGE_ROWS_MAX`](crate::PAGE_ROWS_MAX).
    pub limit: u32,
}

/// What became of mail, hour by hour.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StatsHours {
    /// From the beginning of the hour of this time on; hours are told apart for a day.
    #[serde(with = "text")]
    pub since: Timestamp,
}

/// What happened in an hour.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HourRow {
    /// Its beginning.
    #[serde(with = "text")]
    pub at: Timestamp,
    /// Transactions and connections that were refused.
    pub refused: u64,
    /// Legs.
    pub delivered: u64,
    /// Attempts.
    pub deferred: u64,
    /// Legs.
    pub failed: u64,
}

/// Which forwards lead to mailboxes that are dead or full?
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ForwardsFailing {
    /// From the beginning of the hour of this time on.
    #[serde(with = "text")]
    pub since: Timestamp,
    /// These forwards and their targets, whether they fail or not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub of: Vec<(String, String)>,
    /// Rows at most, those that fail most; 1 to [`PAGE_ROWS_MAX`](crate::PAGE_ROWS_MAX).
    pub limit: u32,
}

named! {
    /// A property that mail is summed up by.
    pub enum StatsBy {
        /// The client's address; a network of IPv6 (/64).
        Client = "client",
        /// The domain of the reverse path.
        SenderDomain = "sender-domain",
        /// The domain that mail is sent on to.
        RecipientDomain = "recipient-domain",
        /// The site that mail is sent on to.
        Site = "site",
        /// Recipient and target.
        Forward = "forward",
        /// The domain of the recipient.
        Hosted = "hosted",
        /// The rule of ours that refused.
        Rule = "rule",
        /// What sites answered to what they did not take; numbers in it are left out.
        Reply = "reply",
    }
}

/// A sum.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatsRow {
    /// Whose.
    pub key: String,
    /// By forward: its target. By reply: the site.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Messages that came in; by site, forward and domain of recipients: legs.
    pub received: u64,
    /// Octets of those messages, as far as the key is the client's or the sender's.
    pub octets: u64,
    /// Transactions and connections that were refused.
    pub refused: u64,
    /// Legs.
    pub delivered: u64,
    /// Attempts.
    pub deferred: u64,
    /// Legs.
    pub failed: u64,
    /// Whether the history, which began before, has nothing of it before `since`; of nodes, those that have something of it since.
    pub is_new: bool,
}

/// Sums, the largest first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatsPage {
    /// The sums.
    pub rows: Vec<StatsRow>,
    /// How many keys there are in all; of several nodes, at least.
    pub keys: u64,
    /// How many of them are not among the rows.
    pub left_out: u64,
    /// Whether the time for a question ran out, so that more may be missing.
    pub is_cut: bool,
    /// When the sums begin; none when there are none.
    #[serde(with = "text::option")]
    pub oldest: Option<Timestamp>,
    /// Other nodes that did not answer: what only they know is missing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub silent_nodes: Vec<String>,
}

/// A forward whose target takes next to nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailingForward {
    /// The forward's address.
    pub recipient: String,
    /// Its target.
    pub target: String,
    /// Legs that the target took.
    pub delivered: u64,
    /// Legs that failed, with a status that speaks of the mailbox or its domain.
    pub failed: u64,
    /// Attempts that were deferred, with such a status.
    pub deferred: u64,
    /// The last such status: `5.1.1` no such mailbox, `4.2.2` full.
    pub code: String,
    /// The last such reply, when it is still in the history.
    pub reply: Option<String>,
    /// The hour of the last failure.
    #[serde(with = "text")]
    pub last_failure: Timestamp,
    /// The hour of the last delivery, as far as the history reaches.
    #[serde(with = "text::option")]
    pub last_success: Option<Timestamp>,
}

/// Forwards, those that fail most first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailingForwards {
    /// The forwards.
    pub forwards: Vec<FailingForward>,
    /// How many more there are, as far as there was time.
    pub left_out: u64,
    /// Whether there may be more: `limit` was reached, or the time for a question.
    pub is_cut: bool,
    /// When the sums begin; none when there are none.
    #[serde(with = "text::option")]
    pub oldest: Option<Timestamp>,
    /// Other nodes that did not answer: what only they know is missing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub silent_nodes: Vec<String>,
}
