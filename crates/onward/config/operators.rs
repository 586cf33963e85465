//! The tables that say how operators ask, and how they are told, as typed.

use std::path::PathBuf;

use http_door::{Bind, NotABind};
use serde::Deserialize;

use super::units::more_than_zero;

#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Control {
    /// Empty: `control.sock` in the spool.
    pub(crate) socket: PathBuf,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Alerts {
    /// An address, or empty.
    pub(crate) mail: String,
    /// A URL, or empty.
    pub(crate) webhook: String,
    /// Empty: it is not signed.
    pub(crate) webhook_secret: PathBuf,
    /// Legs; 0: any number is well.
    pub(crate) queue: u64,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Http {
    /// Empty: nowhere.
    pub(crate) bind: String,
    pub(crate) token: PathBuf,
    #[serde(deserialize_with = "more_than_zero")]
    pub(crate) connections: usize,
}

impl Http {
    /// Where, if anywhere.
    pub(crate) fn bind(&self) -> Option<Result<Bind, NotABind>> {
        (!self.bind.is_empty()).then(|| self.bind.parse())
    }
}

impl Default for Http {
    fn default() -> Self {
        Self {
            bind: String::new(),
            token: "api.token".into(),
            connections: 256,
        }
    }
}
