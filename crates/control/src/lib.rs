//! The operator's side: the control socket between command line and daemon.
//!
//! A Unix socket of mode 0600 that serves only its owner and root. The protocol is one JSON object a line: the
//! client sends `{"v":2,"do":"ping"}`, the daemon answers `{"answer":…}` or `{"error":{"message":…,"hint":…}}`; a
//! connection may carry several requests, one after the other. `socat - UNIX:/path` is enough to speak it.
//!
//! The daemon implements [`Operator`] and calls [`Socket::serve`]; the command line uses [`Client`]. The types
//! that travel are the ones that `--json` prints. Every line, connection and wait has a limit.
//!
//! It makes *no* decision: what an action does to the queue, or what a status is, the implementor knows. HTTP is another door
//! (`crates/http`), and does with a request what [`perform`] does.

pub mod ask;
mod client;
mod data;
mod doctor;
mod door;
mod explanation;
mod forwards;
mod history;
mod line;
mod names;
mod operator;
mod protocol;
mod queue;
mod schema;
mod selector;
mod server;
mod sites;
mod socket;
mod stats;
mod status;
mod text;
mod tls_report;
mod upload;

pub use ask::{Answers, Ask, Request};
pub use client::{Client, ClientError};
pub use data::{
    Count, Diagnosis, FreezePage, FreezeRow, LegRow, LegState, Lifted, MessageDetails, Page,
    Reloaded, SrsAnswer,
};
pub use doctor::{Finding, Health};
pub use door::{open, perform, take_connections};
pub use explanation::{Asked, Explanation, Hop, Mail, Refusal, Ruled, Stage, Step, Way};
pub use forwards::{
    Changed, DomainDetails, DomainPage, DomainRow, Forward, ForwardDetails, ForwardPage, LineChange,
};
pub use history::{
    Change, HistoryHealth, MailStatus, Traced, TracedAttempt, TracedLeg, TracedMessage, TracedNote,
    TracedRefusal, not_told,
};
pub use operator::{Body, Operator};
pub use protocol::{
    Fault, FaultKind, LINE_OCTETS_MAX, PAGE_ROWS_MAX, PROTOCOL, Part, QueueAction, Response,
};
pub use queue::{Summary, SummaryBy, SummaryRow};
pub use selector::Selector;
pub use sites::{DrainState, Order, Ordered, SiteDetails, SiteReply, SiteRow, Sites};
pub use socket::{BindError, Socket};
pub use stats::{FailingForward, FailingForwards, HourRow, StatsBy, StatsPage, StatsRow};
pub use status::{
    BlocklistCounts, CertificateEnd, Connections, Delays, Disk, FilterCounts, ForwardsState,
    Issuing, LastReload, QueueCounts, RESULTS_SHOWN, ReceivedCount, RefusedCount, ResultCount,
    SITES_SHOWN, SourceDown, Status,
};
pub use tls_report::{DateRange, FailureRow, PolicyShown, SessionCounts, TlsPolicyRow, TlsReport};
