//! The goals of the bench: what was wanted, what was found, and whether that is enough.
//!
//! A goal that was measured is always shown, reached or not. Which figures it compares is its scenario's business.

use serde::{Deserialize, Serialize};

/// One line of the table of goals.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Goal {
    /// What is compared: `relay rate against Postfix`.
    pub(crate) text: String,
    /// `≥ 10 ×`.
    pub(crate) wanted: String,
    /// `12.3 ×`, and the figures that it was made of.
    pub(crate) found: String,
    pub(crate) is_reached: bool,
}

/// Which way is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bound {
    AtLeast,
    AtMost,
}

impl Goal {
    /// Compares a value with its bound. `show` writes both; `detail` says where the value comes from.
    pub(crate) fn new(
        text: impl Into<String>,
        bound: Bound,
        wanted: f64,
        found: f64,
        show: impl Fn(f64) -> String,
        detail: &str,
    ) -> Self {
        let (sign, is_reached) = match bound {
            Bound::AtLeast => ("≥", found >= wanted),
            Bound::AtMost => ("≤", found <= wanted),
        };
        let detail = match detail {
            "" => String::new(),
            detail => format!(" ({detail})"),
        };
        Self {
            text: text.into(),
            wanted: format!("{sign} {}", show(wanted)),
            found: format!("{}{detail}", show(found)),
            is_reached,
        }
    }

    /// `reached` or `not reached`.
    pub(crate) fn verdict(&self) -> &'static str {
        if self.is_reached {
            "reached"
        } else {
            "not reached"
        }
    }
}
