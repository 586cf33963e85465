//! The file as typed: one struct for each table (more of them in `senders` and `protect`). An unknown key is an error.
//!
//! A default stands in one place. Where a stage has one, it is taken from the stage's own settings; the others stand here.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use serde::Deserialize;

use super::delivery::Delivery;
use super::forwards::Forwards;
use super::operators::{Alerts, Control, Http};
use super::protect::{Connect, Filter, Limit, Policy};
use super::senders::{Bounce, Dkim, Dnsbl, Egress, List, Profile, Tier, Verify};
use super::shaping::Shaping;
use super::submission::Auth;
use super::tls::{Acme, Tls};
use super::units::{Network, Size, Span, more_than_zero, one_or_more, pauses};

/// The whole file.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    pub(crate) hostname: String,
    pub(crate) spool: PathBuf,
    #[serde(rename = "listener")]
    pub(crate) listeners: Vec<Listener>,
    /// One table or several; the first that fits a client counts.
    #[serde(deserialize_with = "one_or_more")]
    pub(crate) tls: Vec<Tls>,
    /// What one of those tables has.
    #[serde(skip)]
    pub(crate) acme: Option<Acme>,
    pub(crate) resolver: Resolver,
    pub(crate) srs: Srs,
    pub(crate) dkim: Vec<Dkim>,
    pub(crate) forwards: Forwards,
    pub(crate) auth: Auth,
    pub(crate) policy: Policy,
    pub(crate) connect: Connect,
    #[serde(rename = "profile")]
    pub(crate) profiles: Vec<Profile>,
    #[serde(rename = "list")]
    pub(crate) lists: Vec<List>,
    #[serde(rename = "dnsbl")]
    pub(crate) dnsbls: Vec<Dnsbl>,
    #[serde(rename = "filter")]
    pub(crate) filters: Vec<Filter>,
    pub(crate) alerts: Alerts,
    pub(crate) queue: Queue,
    pub(crate) history: History,
    pub(crate) delivery: Delivery,
    pub(crate) shaping: Shaping,
    pub(crate) bounce: Bounce,
    #[serde(rename = "egress")]
    pub(crate) egresses: Vec<Egress>,
    #[serde(rename = "tier")]
    pub(crate) tiers: Vec<Tier>,
    pub(crate) verify: Verify,
    pub(crate) limits: Limits,
    #[serde(rename = "limit")]
    pub(crate) rates: Vec<Limit>,
    pub(crate) log: Log,
    pub(crate) tls_report: TlsReport,
    pub(crate) doctor: Doctor,
    pub(crate) control: Control,
    pub(crate) http: Http,
    /// The file as it was typed, to tell what a reload changes.
    #[serde(skip)]
    pub(crate) typed: toml::Table,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Listener {
    pub(crate) bind: SocketAddr,
    #[serde(default)]
    pub(crate) role: Role,
    #[serde(default)]
    pub(crate) tls: TlsMode,
    #[serde(default)]
    pub(crate) proxy_protocol_from: Vec<Network>,
    #[serde(default)]
    pub(crate) xclient_from: Vec<Network>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Role {
    #[default]
    Mx,
    Submission,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum TlsMode {
    #[default]
    StartTls,
    Implicit,
    Off,
}

#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Resolver {
    /// Empty: the system's.
    pub(crate) servers: Vec<SocketAddr>,
    pub(crate) dnssec: bool,
    /// Empty: the root's keys.
    pub(crate) trust_anchor: PathBuf,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Srs {
    /// None: the host name.
    pub(crate) domain: Option<String>,
    pub(crate) secrets: PathBuf,
    #[serde(deserialize_with = "more_than_zero")]
    pub(crate) max_age: Span,
    pub(crate) clock_skew: Span,
    pub(crate) separator: char,
    pub(crate) tag_alphabet: TagAlphabet,
    pub(crate) return_paths: Vec<String>,
    pub(crate) accept_nonnull: bool,
    #[serde(deserialize_with = "more_than_zero")]
    pub(crate) bounces_per_day: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum TagAlphabet {
    #[default]
    Url,
    Base64,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Queue {
    #[serde(deserialize_with = "pauses")]
    pub(crate) retry: Vec<Span>,
    #[serde(deserialize_with = "more_than_zero")]
    pub(crate) warn_after: Span,
    #[serde(deserialize_with = "more_than_zero")]
    pub(crate) expire: Span,
    pub(crate) min_free: Size,
    /// Empty: in the folder `spool`; else the URL of the database that several nodes share.
    pub(crate) store: String,
    /// Empty: the hostname.
    pub(crate) node: String,
    pub(crate) store_check: StoreCheck,
}

/// What a start makes of a database that may lose what it has committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum StoreCheck {
    #[default]
    Refuse,
    Warn,
}

impl Queue {
    pub(crate) fn is_shared(&self) -> bool {
        !self.store.is_empty()
    }
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct History {
    /// Zero: there is none.
    pub(crate) keep: Span,
    #[serde(deserialize_with = "more_than_zero")]
    pub(crate) max_size: Size,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Limits {
    #[serde(deserialize_with = "more_than_zero")]
    pub(crate) message_size: Size,
    #[serde(deserialize_with = "more_than_zero")]
    pub(crate) recipients: usize,
    pub(crate) bare_newline: BareNewline,
    #[serde(deserialize_with = "more_than_zero")]
    pub(crate) connections: usize,
    #[serde(deserialize_with = "more_than_zero")]
    pub(crate) connections_per_address: usize,
    #[serde(deserialize_with = "more_than_zero")]
    pub(crate) received_headers: usize,
    #[serde(deserialize_with = "more_than_zero")]
    pub(crate) command_timeout: Span,
    #[serde(deserialize_with = "more_than_zero")]
    pub(crate) session_timeout: Span,
    pub(crate) drain: Span,
    pub(crate) bounce_size: Size,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum BareNewline {
    Reject,
    Normalize,
}

#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Log {
    pub(crate) format: journal::Format,
    /// Empty: standard output.
    pub(crate) file: PathBuf,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct TlsReport {
    pub(crate) send: bool,
    /// Empty: our postmaster.
    pub(crate) from: String,
    /// Empty: `from`.
    pub(crate) contact: String,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Doctor {
    /// Zero: the daemon does not look by itself.
    pub(crate) every: Span,
    /// Empty: those that mail leaves from.
    pub(crate) addresses: Vec<IpAddr>,
    /// Empty: nobody is connected to.
    pub(crate) connect: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            hostname: String::new(),
            spool: "/var/spool/onward".into(),
            listeners: vec![Listener::default()],
            tls: Vec::new(),
            acme: None,
            resolver: Resolver::default(),
            srs: Srs::default(),
            dkim: Vec::new(),
            forwards: Forwards::default(),
            auth: Auth::default(),
            policy: Policy::default(),
            connect: Connect::default(),
            profiles: Vec::new(),
            lists: Vec::new(),
            dnsbls: Vec::new(),
            filters: Vec::new(),
            alerts: Alerts::default(),
            queue: Queue::default(),
            history: History::default(),
            delivery: Delivery::default(),
            shaping: Shaping::default(),
            bounce: Bounce::default(),
            egresses: Vec::new(),
            tiers: Vec::new(),
            verify: Verify::default(),
            limits: Limits::default(),
            rates: Vec::new(),
            log: Log::default(),
            tls_report: TlsReport::default(),
            doctor: Doctor::default(),
            control: Control::default(),
            http: Http::default(),
            typed: toml::Table::default(),
        }
    }
}

impl Default for TlsReport {
    fn default() -> Self {
        Self {
            send: true,
            from: String::new(),
            contact: String::new(),
        }
    }
}

impl Default for Doctor {
    fn default() -> Self {
        Self {
            every: Span::days(1),
            addresses: Vec::new(),
            connect: "gmail.com".to_owned(),
        }
    }
}

impl Default for Listener {
    fn default() -> Self {
        Self {
            bind: SocketAddr::from((Ipv6Addr::UNSPECIFIED, 25)),
            role: Role::default(),
            tls: TlsMode::default(),
            proxy_protocol_from: Vec::new(),
            xclient_from: Vec::new(),
        }
    }
}

impl Default for Srs {
    fn default() -> Self {
        let stage = srs::Settings::new([""; 0]);
        Self {
            domain: None,
            secrets: "srs.secrets".into(),
            max_age: Span::days(stage.max_age_days.into()),
            clock_skew: Span::days(stage.skew_days.into()),
            separator: stage.separator.as_char(),
            tag_alphabet: TagAlphabet::default(),
            return_paths: Vec::new(),
            accept_nonnull: false,
            bounces_per_day: 100,
        }
    }
}

impl Default for Queue {
    fn default() -> Self {
        let engine = queue::Settings::new("");
        let retry = spool::Schedule::default().retry;
        Self {
            retry: retry.into_iter().map(Span).collect(),
            warn_after: Span(engine.lifetime.warn_after),
            expire: Span(engine.lifetime.expire),
            min_free: Size(engine.min_free_bytes),
            store: String::new(),
            node: String::new(),
            store_check: StoreCheck::default(),
        }
    }
}

impl Default for History {
    fn default() -> Self {
        Self {
            keep: Span::days(7),
            max_size: Size(4 << 30),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        let session = smtp::server::Settings::default();
        let shared = smtp_in::Limits::default();
        Self {
            message_size: Size(session.size_max),
            recipients: session.recipients_max,
            bare_newline: BareNewline::Reject,
            connections: shared.connections_max,
            connections_per_address: shared.connections_per_address_max,
            received_headers: 50,
            command_timeout: Span(session.timeouts.command),
            session_timeout: Span(session.timeouts.session),
            drain: Span(shared.drain),
            bounce_size: Size(64 << 10),
        }
    }
}
