//! The tables about who may send, as typed: what domains choose of it, and what that takes.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use envelope::{Domain, HostPattern};
use relay::dnsbl::Kind;
use serde::Deserialize;

use super::units::{Span, each_parsed, more_than_zero, parsed};

/// Measures by their names; `policy::Profiles` reads them, as it reads those on lines of the forwards file.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct Profile {
    pub(crate) name: String,
    #[serde(flatten)]
    pub(crate) measures: BTreeMap<String, Measure>,
}

/// The value of a measure: one word, or the names of several.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(
    untagged,
    expecting = "a measure is text, as \"reject\", or a list of names, as [\"zen\"]"
)]
pub(crate) enum Measure {
    One(String),
    Several(Vec<String>),
}

/// A key that signs.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Dkim {
    pub(crate) name: String,
    pub(crate) domain: String,
    pub(crate) selector: String,
    pub(crate) key: PathBuf,
}

#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Bounce {
    #[serde(with = "BounceTo")]
    pub(crate) to: relay::BounceTo,
    /// The name of a key; empty: notices are not signed.
    pub(crate) sign: String,
}

#[derive(Deserialize)]
#[serde(remote = "relay::BounceTo", rename_all = "lowercase")]
enum BounceTo {
    Proved,
    Unproved,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Egress {
    pub(crate) name: String,
    pub(crate) addresses: Vec<IpAddr>,
    #[serde(deserialize_with = "parsed")]
    pub(crate) hello: Domain,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Verify {
    /// Empty: as mail is delivered.
    pub(crate) egress: String,
    #[serde(deserialize_with = "more_than_zero")]
    pub(crate) timeout: Span,
    #[serde(deserialize_with = "more_than_zero")]
    pub(crate) kept: Span,
    #[serde(deserialize_with = "each_parsed")]
    pub(crate) exempt_mx: Vec<HostPattern>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct List {
    pub(crate) name: String,
    pub(crate) file: PathBuf,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Dnsbl {
    pub(crate) name: String,
    pub(crate) zone: String,
    #[serde(with = "ListKind")]
    pub(crate) kind: Kind,
    pub(crate) answers: Vec<String>,
    pub(crate) reply: String,
    /// Empty: as `reply`.
    pub(crate) first_reply: String,
}

#[derive(Deserialize)]
#[serde(remote = "Kind", rename_all = "lowercase")]
enum ListKind {
    Address,
    Domain,
}

impl Default for Dnsbl {
    fn default() -> Self {
        Self {
            name: String::new(),
            zone: String::new(),
            kind: Kind::Address,
            answers: vec!["127.0.0.2-127.0.0.254".to_owned()],
            reply: "554 5.7.1 %{address} is on the blocklist %{list}: %{text}".to_owned(),
            first_reply: String::new(),
        }
    }
}

impl Default for Verify {
    fn default() -> Self {
        let stage = delivery::CalloutSettings::default();
        Self {
            egress: String::new(),
            timeout: Span(stage.timeout),
            kept: Span(stage.kept),
            exempt_mx: stage.exempt_mx,
        }
    }
}
