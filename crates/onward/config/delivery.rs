//! How mail leaves: `[delivery]` and its routes.

use std::net::IpAddr;
use std::path::PathBuf;

use envelope::{Domain, TlsUse};
use serde::Deserialize;

use super::units::{Size, Span, more_than_zero, one_or_more, parsed, some_parsed};

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Delivery {
    #[serde(deserialize_with = "more_than_zero")]
    pub(crate) port: u16,
    pub(crate) bind: Vec<IpAddr>,
    /// Empty: from `bind`.
    pub(crate) egress: String,
    pub(crate) allow_loopback: bool,
    pub(crate) allow_private: bool,
    #[serde(deserialize_with = "more_than_zero")]
    pub(crate) concurrency: usize,
    #[serde(deserialize_with = "more_than_zero")]
    pub(crate) connections_per_address: usize,
    #[serde(deserialize_with = "more_than_zero")]
    pub(crate) connections: usize,
    #[serde(deserialize_with = "more_than_zero")]
    pub(crate) connect_timeout: Span,
    #[serde(deserialize_with = "more_than_zero")]
    pub(crate) probe_first: Span,
    #[serde(deserialize_with = "more_than_zero")]
    pub(crate) probe_longest: Span,
    #[serde(deserialize_with = "more_than_zero")]
    pub(crate) answer_within: Span,
    pub(crate) answer_memory: Size,
    #[serde(deserialize_with = "parsed")]
    pub(crate) tls: TlsUse,
    pub(crate) mta_sts: bool,
    #[serde(deserialize_with = "more_than_zero")]
    pub(crate) mta_sts_port: u16,
    /// None: where DNSSEC is validated.
    pub(crate) dane: Option<bool>,
    /// Empty: the system's alone.
    pub(crate) ca: PathBuf,
    #[serde(rename = "route")]
    pub(crate) routes: Vec<Route>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Route {
    pub(crate) domain: String,
    #[serde(deserialize_with = "one_or_more")]
    pub(crate) host: Vec<String>,
    /// Left out: as `delivery.tls` says, or as a password needs it.
    #[serde(default, deserialize_with = "some_parsed")]
    pub(crate) tls: Option<TlsUse>,
    /// The file with the name and password for its hosts.
    pub(crate) auth: Option<PathBuf>,
    /// Empty: as `delivery.egress` says.
    #[serde(default)]
    pub(crate) egress: String,
}

impl Default for Delivery {
    fn default() -> Self {
        let stage = delivery::Settings::new(Domain::localhost());
        let answering = relay::outbound::Answering::default();
        Self {
            port: stage.port,
            bind: stage.bind,
            egress: String::new(),
            allow_loopback: stage.allow_loopback,
            allow_private: stage.allow_private,
            concurrency: stage.concurrency,
            connections_per_address: stage.connections_per_address,
            connections: stage.connections,
            connect_timeout: Span(stage.connect_timeout),
            probe_first: Span(stage.probe_first),
            probe_longest: Span(stage.probe_longest),
            answer_within: Span(answering.within),
            answer_memory: Size(answering.octets_max),
            tls: stage.tls,
            mta_sts: stage.mta_sts,
            mta_sts_port: stage.mta_sts_port,
            dane: None,
            ca: PathBuf::new(),
            routes: Vec::new(),
        }
    }
}
