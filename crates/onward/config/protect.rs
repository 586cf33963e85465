//! The tables that say from whom mail is taken, and protect the relay from those who connect to it, and its users from what these
//! send, as typed.

use std::time::Duration;

use counters::{Of, Then};
use filter::{Address, Kind};
use relay::filters::OnFailure;
use serde::Deserialize;

use super::units::{Network, Size, Span, more_than_zero, parsed};

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Policy {
    pub(crate) trusted: Vec<Network>,
    pub(crate) relay_domains: Vec<String>,
    pub(crate) received_spf: bool,
    pub(crate) pressure: bool,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            trusted: Vec::new(),
            relay_domains: Vec::new(),
            received_spf: false,
            pressure: true,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Connect {
    /// Names of lists.
    pub(crate) block: Vec<String>,
    pub(crate) greet_wait: Span,
    /// Names of lists.
    pub(crate) tarpit: Vec<String>,
    #[serde(deserialize_with = "more_than_zero")]
    pub(crate) tarpit_delay: Span,
}

impl Default for Connect {
    fn default() -> Self {
        Self {
            block: Vec::new(),
            greet_wait: Span::default(),
            tarpit: Vec::new(),
            tarpit_delay: Span(Duration::from_secs(10)),
        }
    }
}

/// A content filter.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Filter {
    pub(crate) name: String,
    #[serde(deserialize_with = "parsed")]
    pub(crate) kind: Kind,
    #[serde(deserialize_with = "parsed")]
    pub(crate) address: Address,
    #[serde(default)]
    pub(crate) password: String,
    #[serde(default = "timeout", deserialize_with = "more_than_zero")]
    pub(crate) timeout: Span,
    #[serde(default = "max_size", deserialize_with = "more_than_zero")]
    pub(crate) max_size: Size,
    #[serde(default, deserialize_with = "parsed")]
    pub(crate) on_failure: OnFailure,
}

fn timeout() -> Span {
    Span(Duration::from_secs(30))
}

fn max_size() -> Size {
    Size(10 << 20)
}

/// How often what may happen.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Limit {
    pub(crate) name: String,
    #[serde(deserialize_with = "parsed")]
    pub(crate) key: counters::Kind,
    #[serde(deserialize_with = "parsed")]
    pub(crate) of: Of,
    #[serde(deserialize_with = "more_than_zero")]
    pub(crate) max: Size,
    #[serde(deserialize_with = "more_than_zero")]
    pub(crate) per: Span,
    #[serde(deserialize_with = "parsed")]
    pub(crate) then: Then,
    #[serde(default)]
    pub(crate) usual: u32,
    #[serde(default)]
    pub(crate) known: Known,
}

/// What holds for senders that a recipient had mail from before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Known {
    #[default]
    Count,
    Pass,
}

impl Limit {
    /// As it is meant.
    pub(crate) fn meant(&self) -> counters::Limit {
        counters::Limit {
            name: self.name.as_str().into(),
            key: self.key,
            of: self.of,
            max: self.max.0,
            per: self.per.0,
            then: self.then,
            usual: self.usual,
            passes_known: self.known == Known::Pass,
        }
    }
}
