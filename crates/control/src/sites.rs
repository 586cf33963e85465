//! Sites as operators see them, what is ordered of them, and a drain.

use std::net::IpAddr;

use envelope::Timestamp;
use serde::{Deserialize, Serialize};

use crate::text;

/// What delivery knows of all sites.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sites {
    /// Those in trouble first, then the busiest.
    pub sites: Vec<SiteRow>,
    /// How many more there are.
    pub more: u64,
    /// What operators ordered.
    pub orders: Vec<Order>,
    /// Nodes that did not answer: what they know is missing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub silent_nodes: Vec<String>,
}

/// A site at a glance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SiteRow {
    /// Its name: that of its best MX, or of the host or address of a route.
    pub site: String,
    /// `up`, `crowded` (it wants no more connections), `deferring` (it answers "not now" to all), `throttled` (it says that we send
    /// too much), `down`, `paused`.
    pub state: String,
    /// Why, since when and for how long, in words; empty while it is up.
    pub why: String,
    /// Connections open or being made.
    pub connections: u64,
    /// As many as it may have at present.
    pub connections_max: u64,
    /// Messages a minute, as an operator ordered.
    pub per_minute: Option<u32>,
    /// Legs queued for it, of the thousand hosts with the most.
    pub queued: u64,
    /// Legs in the last minute that it took,
    pub delivered: u64,
    /// put off,
    pub deferred: u64,
    /// and refused for good.
    pub failed: u64,
}

/// A site at length.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SiteDetails {
    /// At a glance.
    #[serde(flatten)]
    pub row: SiteRow,
    /// Its hosts, the best first.
    pub hosts: Vec<String>,
    /// How TLS is used with it.
    #[serde(default)]
    pub tls: String,
    /// The [[egress]] that its mail leaves from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub egress: Option<String>,
    /// Addresses of ours that its provider blocks, and until when each rests.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resting: Vec<(IpAddr, String)>,
    /// Some of the domains whose mail it takes.
    pub domains: Vec<String>,
    /// How many those are.
    pub domains_count: u64,
    /// What it answered, by code and how often, since the start: `451 4.7.1`.
    pub codes: Vec<(String, u64)>,
    /// Its last answers that were not 2xx, the newest first.
    pub replies: Vec<SiteReply>,
    /// What is sent to it at most, as `shaping` says; may be empty.
    pub shape: String,
    /// What operators ordered of it.
    pub orders: Vec<Order>,
}

/// An answer of a site.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SiteReply {
    /// When.
    #[serde(with = "text")]
    pub at: Timestamp,
    /// The host and its reply, or what happened.
    pub text: String,
}

/// What an operator ordered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// `pause` or `limit`.
    pub order: String,
    /// Of the sites that this means, as typed.
    pub site: String,
    /// Since when.
    #[serde(with = "text")]
    pub since: Timestamp,
    /// To when a pause lasts; none: until it is resumed.
    #[serde(with = "text::option")]
    pub until: Option<Timestamp>,
    /// Connections at once.
    pub connections: Option<u32>,
    /// Messages a minute.
    pub per_minute: Option<u32>,
    /// Who ordered it: `uid 0`, or `token panel`.
    pub by: String,
    /// Why.
    pub reason: String,
    /// The names of the sites that it holds for at present; it holds for those that are found later, too.
    pub sites: Vec<String>,
}

/// What came of an order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ordered {
    /// What holds now; none after its end.
    pub now: Option<Order>,
    /// What held before.
    pub before: Option<Order>,
}

/// How far a drain is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrainState {
    /// No mail is taken.
    pub on: bool,
    /// Transactions of clients that were open when it began.
    pub transactions: u64,
    /// Legs that this node works on.
    pub active: u64,
    /// Whether more are due that can be tried; false where other nodes may do so.
    pub due: bool,
    /// Legs that wait: for a later attempt, a site that is down, or the end of a pause.
    pub waiting: u64,
    /// Legs on hold.
    pub held: u64,
}

impl DrainState {
    /// Whether there is nothing left to be done now.
    pub fn is_done(&self) -> bool {
        self.on && self.transactions == 0 && self.active == 0 && !self.due
    }
}
