//! The queue counted: question and rows.

use envelope::Timestamp;
use serde::{Deserialize, Serialize};

use crate::names::named;
use crate::selector::Selector;
use crate::text;

/// How many legs have what in common, and how old are they?
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QueueSummary {
    /// What.
    pub by: SummaryBy,
    /// Of which legs; empty = all.
    #[serde(default)]
    pub filter: Selector,
    /// Rows at most; 1 to [`PAGE_ROWS_MAX`](crate::PAGE_ROWS_MAX).
    pub limit: u32,
}

named! {
    /// What legs have in common.
    pub enum SummaryBy {
        /// The site that takes their mail, as far as delivery knows it; else the domain.
        Site = "site",
        /// The domain of the target.
        Domain = "domain",
        /// The domain of the reverse path as it came in.
        Sender = "sender",
        /// What the last attempt came to. `*` stands for what differs from leg to leg; empty: not tried yet.
        Error = "error",
    }
}

/// Legs counted, in the way of Postfix's qshape.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// The ends of all but the last column of ages.
    pub age_minutes: Vec<u64>,
    /// The most legs first.
    pub rows: Vec<SummaryRow>,
    /// What is not among the rows.
    pub others: Option<SummaryRow>,
    /// All.
    pub total: SummaryRow,
}

/// What some legs have in common, and their ages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SummaryRow {
    /// A name; `(37 others)`, `total`.
    pub name: String,
    /// All of them.
    pub legs: u64,
    /// When the oldest came in.
    #[serde(with = "text::option")]
    pub oldest: Option<Timestamp>,
    /// Those of each age.
    pub ages: Vec<u64>,
}
