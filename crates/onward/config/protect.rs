//! The tables that protect the relay from those who connect to it, as typed.

use std::time::Duration;

use serde::Deserialize;

use super::units::{Span, more_than_zero};

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
