//! What the doctor finds: rows, as they travel, as `--json` prints them, and as they are told in alerts.

use serde::{Deserialize, Serialize};

use crate::names::named;

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// How it is.
    pub status: Health,
    /// What was looked at: `mx`, `spf`, `ptr`, `certificate`, …
    pub check: String,
    /// Whose: a domain, an address, a file.
    pub of: String,
    /// What is wrong, and what it costs.
    pub text: String,
    /// What would make it right, ready to be pasted: a line of a zone file, or a command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub publish: Option<String>,
}

named! {
    /// How a thing is; the worst comes first.
    pub enum Health {
        /// Mail is lost or refused because of it.
        Bad = "bad",
        /// It works, and something may make it fail.
        Risky = "risky",
        /// Could not be found out.
        Unknown = "unknown",
        /// As it should be.
        Good = "good",
    }
}

impl Finding {
    /// A finding with nothing to publish.
    pub fn new(status: Health, check: &str, of: impl ToString, text: impl Into<String>) -> Self {
        Self {
            status,
            check: check.to_owned(),
            of: of.to_string(),
            text: text.into(),
            publish: None,
        }
    }

    /// With what would make it right, if that is known.
    #[must_use]
    pub fn publishing(mut self, line: impl Into<Option<String>>) -> Self {
        self.publish = line.into();
        self
    }

    /// Whether anything has to be done about it at once.
    pub fn is_bad(&self) -> bool {
        self.status == Health::Bad
    }
}
