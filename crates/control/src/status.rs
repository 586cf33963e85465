//! The daemon at a glance.

use std::collections::BTreeMap;

use envelope::Timestamp;
use serde::{Deserialize, Serialize};

use crate::history::HistoryHealth;
use crate::sites::SiteRow;
use crate::text;

/// The daemon at a glance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The program's version.
    pub version: String,
    /// Our name.
    pub hostname: String,
    /// Process id.
    pub pid: u32,
    /// Its time of this answer.
    #[serde(with = "text")]
    pub now: Timestamp,
    /// When it started.
    #[serde(with = "text")]
    pub started: Timestamp,
    /// The addresses that it listens on, `[::]:25`.
    pub listeners: Vec<String>,
    /// What is in the queue.
    pub queue: QueueCounts,
    /// No mail is taken: `onward drain`.
    #[serde(default)]
    pub drained: bool,
    /// How many keys are frozen.
    pub frozen: u64,
    /// How many events of each kind there were since the start, by their names in the mail log.
    pub events: BTreeMap<String, u64>,
    /// Those of the last minute.
    pub minute: BTreeMap<String, u64>,
    /// Messages by the way they came.
    #[serde(default)]
    pub received: Vec<ReceivedCount>,
    /// Refusals by rule, most first.
    pub refused: Vec<RefusedCount>,
    /// Results of sites, most first: at most [`RESULTS_SHOWN`].
    pub results: Vec<ResultCount>,
    /// From the 250 to a delivery, of the last thousand.
    pub delays: Delays,
    /// From the end of a message to its 250, of the last thousand: what the disk takes.
    pub commits: Delays,
    /// What is open of how much.
    pub connections: Connections,
    /// Sites that are down, paused or put off all mail: at most [`SITES_SHOWN`], those that most mail waits for.
    pub sites: Vec<SiteRow>,
    /// How many those are in all.
    pub sites_in_trouble: u64,
    /// When the certificates that clients are shown expire.
    pub certificates: Vec<CertificateEnd>,
    /// What comes of `[tls] acme`.
    #[serde(default)]
    pub issuing: Option<Issuing>,
    /// Where the spool is.
    pub disk: Disk,
    /// The forwards of now.
    pub forwards: ForwardsState,
    /// How many SRS secrets there are: the first makes addresses, all take them back.
    pub srs_secrets: u64,
    /// The last reload since the start.
    pub reload: Option<LastReload>,
    /// Lines that the mail log has lost since the start.
    pub log_lines_lost: u64,
    /// Events that came too fast to be counted by kind.
    pub events_missed: u64,
    /// Each DNS blocklist that was asked since the start.
    pub blocklists: BTreeMap<String, BlocklistCounts>,
    /// And each content filter.
    pub filters: BTreeMap<String, FilterCounts>,
    /// What `onward trace` stands on.
    #[serde(default)]
    pub history: HistoryHealth,
}

/// What came of asking a content filter, about a message each time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilterCounts {
    /// How often it was asked.
    pub asked: u64,
    /// How often it had a message refused, for good or for now.
    pub refused: u64,
    /// How often it gave no answer.
    pub failed: u64,
    /// How often in a row, up to now; 0: it works.
    pub failing: u64,
}

/// What came of asking a DNS blocklist, about a transaction each time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlocklistCounts {
    /// How often it was asked.
    pub asked: u64,
    /// How often it listed somebody.
    pub listed: u64,
    /// How often it did not answer, or with an error.
    pub failed: u64,
}

/// Sizes of the queue.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueCounts {
    /// Legs that wait.
    pub waiting: u64,
    /// Legs at work.
    pub active: u64,
    /// Legs held.
    pub held: u64,
    /// When the oldest message came in.
    #[serde(with = "text::option", default)]
    pub oldest: Option<Timestamp>,
}

/// Messages that came the same way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceivedCount {
    /// The address of ours.
    pub listener: String,
    /// `TLSv1.3`; empty without TLS.
    pub tls: String,
    /// Since the start.
    pub total: u64,
}

/// Refusals by one rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedCount {
    /// As the mail log names them.
    pub stage: String,
    /// See `stage`.
    pub rule: String,
    /// Since the start.
    pub total: u64,
    /// In the last minute.
    pub minute: u64,
}

/// Attempts at one site that ended alike.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResultCount {
    /// Its name; `others` stands for those beyond the first thousand.
    pub site: String,
    /// `delivered`, `deferred` or `failed`.
    pub result: String,
    /// What a result other than `delivered` was about: `greylisted`, `blocked`, `mailbox-full` and others.
    #[serde(default)]
    pub class: String,
    /// Legs since the start.
    pub total: u64,
    /// In the last minute.
    pub minute: u64,
}

/// How long the latest of something took; none: there was nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delays {
    /// Half of them took no longer.
    pub p50_ms: Option<u64>,
    /// One in a hundred took longer.
    pub p99_ms: Option<u64>,
}

/// Connections, against their limits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connections {
    /// Clients.
    pub incoming: u64,
    /// So many may be.
    pub incoming_max: u64,
    /// To next hops.
    pub outgoing: u64,
    /// So many may be.
    pub outgoing_max: u64,
}

/// The end of a certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateEnd {
    /// Its subject.
    pub name: String,
    /// When.
    #[serde(with = "text")]
    pub expires: Timestamp,
}

/// The certificate that an ACME server issues.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Issuing {
    /// For these names.
    pub domains: Vec<String>,
    /// When the server is asked for the next one.
    #[serde(with = "text")]
    pub next: Timestamp,
    /// Why it has not issued one when it was last asked.
    pub error: Option<String>,
    /// Until when what it has issued is valid.
    #[serde(with = "text::option")]
    pub expires: Option<Timestamp>,
}

/// The disk of the spool.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disk {
    /// Octets free; none: not known.
    pub free: Option<u64>,
    /// Below so many, new mail is put off (`queue.min_free`).
    pub free_min: u64,
}

/// The forwards.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForwardsState {
    /// Lines that say something.
    pub lines: u64,
    /// Hosted domains.
    pub domains: u64,
    /// The same on hosts with the same lines, in whatever order.
    pub digest: String,
    /// Databases and services that cannot be asked.
    #[serde(default)]
    pub sources_down: Vec<SourceDown>,
}

/// A source of forwards that cannot be asked, or says what cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceDown {
    /// Which.
    pub name: String,
    /// Since when.
    #[serde(with = "text")]
    pub since: Timestamp,
    /// Why.
    pub error: String,
}

/// A reload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastReload {
    /// When.
    #[serde(with = "text")]
    pub at: Timestamp,
    /// Why everything stayed as it was; none: it went well.
    pub error: Option<String>,
}

/// The most rows of [`Status::sites`].
pub const SITES_SHOWN: usize = 20;

/// The most rows of [`Status::results`].
pub const RESULTS_SHOWN: usize = 200;
