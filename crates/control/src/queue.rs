//! The queue counted: question and rows.

use std::str::FromStr;

use envelope::{NotAPattern, Timestamp};
use serde::{Deserialize, Serialize};

use crate::selector::Selector;
use crate::text;

/// How many legs have what in common, and how old are they?
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueSummary {
    /// What.
    pub by: SummaryBy,
    /// Of which legs; empty = all.
    #[serde(default)]
    pub filter: Selector,
    /// Rows at most; 1 to [`PAGE_ROWS_MAX`](crate::PAGE_ROWS_MAX).
    pub limit: u32,
}

/// What legs have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SummaryBy {
    /// The site that takes their mail, as far as delivery knows it; else the domain.
    Site,
    /// The domain of the target.
    Domain,
    /// The domain of the reverse path as it came in.
    Sender,
    /// What the last attempt came to. `*` stands for what differs from leg to leg; empty: not tried yet.
    Error,
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

impl SummaryBy {
    const ALL: [Self; 4] = [Self::Site, Self::Domain, Self::Sender, Self::Error];

    /// As it is typed and shown.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Site => "site",
            Self::Domain => "domain",
            Self::Sender => "sender",
            Self::Error => "error",
        }
    }
}

impl FromStr for SummaryBy {
    type Err = NotAPattern;

    fn from_str(text: &str) -> Result<Self, NotAPattern> {
        let found = Self::ALL.into_iter().find(|by| by.name() == text);
        found.ok_or_else(|| NotAPattern::new(text, "one of: site, domain, sender, error"))
    }
}
