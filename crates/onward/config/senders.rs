//! The tables about who may send, as typed: what domains choose of it, and what that takes.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::num::NonZero;
use std::path::PathBuf;

use envelope::{Domain, HostPattern};
use relay::dnsbl::Kind;
use serde::Deserialize;

use super::schema::Config;
use super::units::{Span, each_parsed, more_than_zero, parsed, some_parsed};

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
    #[serde(deserialize_with = "parsed")]
    pub(crate) to: relay::BounceTo,
    /// The name of a key; empty: notices are not signed.
    pub(crate) sign: String,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Egress {
    pub(crate) name: String,
    /// The short form of `sources`.
    #[serde(default)]
    addresses: Vec<IpAddr>,
    #[serde(deserialize_with = "parsed")]
    hello: Domain,
    /// Of each source that does not say; none: as many as there are.
    #[serde(default)]
    connections: Option<NonZero<usize>>,
    #[serde(default, rename = "source")]
    sources: Vec<Source>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Source {
    address: IpAddr,
    #[serde(default, deserialize_with = "some_parsed")]
    hello: Option<Domain>,
    #[serde(default)]
    weight: Option<NonZero<u32>>,
    #[serde(default)]
    connections: Option<NonZero<usize>>,
}

/// How mail goes that is taken for something.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Tier {
    #[serde(deserialize_with = "parsed")]
    pub(crate) name: policy::Tier,
    /// Empty: as other mail.
    #[serde(default)]
    pub(crate) egress: String,
    #[serde(default, deserialize_with = "some_parsed")]
    pub(crate) srs_domain: Option<Domain>,
}

impl Config {
    /// Whether mail leaves from there, and not only callouts. What lines of the forwards name is not looked at.
    pub(crate) fn sends_mail(&self, Egress { name, .. }: &Egress) -> bool {
        let by_profile = |profile: &Profile| {
            let measure = profile.measures.get("egress");
            measure.is_some_and(|named| *named == Measure::One(name.clone()))
        };
        self.verify.egress != *name
            || self.delivery.egress == *name
            || self.tiers.iter().any(|tier| tier.egress == *name)
            || self.profiles.iter().any(by_profile)
    }

    /// All addresses that mail leaves from, as far as they are named.
    pub(crate) fn sends_from(&self) -> Vec<IpAddr> {
        let pools = self.egresses.iter().filter(|pool| self.sends_mail(pool));
        let sources = pools.flat_map(|pool| pool.meant().sources);
        let sources = sources.map(|source| source.address);
        self.delivery.bind.iter().copied().chain(sources).collect()
    }
}

impl Egress {
    /// As delivery knows it.
    pub(crate) fn meant(&self) -> delivery::Egress {
        let short = self.addresses.iter().map(|address| Source {
            address: *address,
            hello: None,
            weight: None,
            connections: None,
        });
        let sources = short.chain(self.sources.iter().cloned());
        let sources = sources.map(|typed| delivery::Source {
            address: typed.address,
            hello: typed.hello.unwrap_or_else(|| self.hello.clone()),
            weight: typed.weight.map_or(1, NonZero::get),
            connections: typed
                .connections
                .or(self.connections)
                .map_or(usize::MAX, NonZero::get),
        });
        delivery::Egress {
            name: self.name.as_str().into(),
            sources: sources.collect(),
        }
    }
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
    #[serde(deserialize_with = "parsed")]
    pub(crate) kind: Kind,
    pub(crate) answers: Vec<String>,
    pub(crate) reply: String,
    /// Empty: as `reply`.
    pub(crate) first_reply: String,
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
