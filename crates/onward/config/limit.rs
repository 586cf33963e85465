//! The tables `[[limit]]`, as typed.

use counters::{Kind, Of, Then};
use serde::Deserialize;

use super::units::{Size, Span, more_than_zero, parsed};

/// How often what may happen.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Limit {
    pub(crate) name: String,
    #[serde(deserialize_with = "parsed")]
    pub(crate) key: Kind,
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
