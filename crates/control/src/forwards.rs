//! Domains and their forwards: questions and rows.
//!
//! Those of the own store are changed here; those of files and databases are shown. What says `if_match` does nothing unless the
//! domain is as it was when its `etag` was told.

use std::collections::BTreeMap;

use envelope::{Domain, Timestamp};
use serde::{Deserialize, Serialize};

use crate::selector::is_false;
use crate::text;

/// One page of hosted domains, by their names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DomainList {
    /// [`DomainPage::next`] of the page before.
    #[serde(default)]
    pub cursor: Option<String>,
    /// Rows at most; 1 to [`PAGE_ROWS_MAX`](crate::PAGE_ROWS_MAX).
    pub limit: u32,
}

/// One domain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DomainShow {
    /// Which.
    #[serde(with = "text")]
    pub domain: Domain,
}

/// Make a domain of the own store, or give it these options in the place of all that it has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DomainPut {
    /// Which.
    #[serde(with = "text")]
    pub domain: Domain,
    /// As on a line of the forwards file.
    #[serde(default)]
    pub options: BTreeMap<String, String>,
    /// For whoever reads it.
    #[serde(default)]
    pub note: String,
    /// See the module.
    #[serde(default)]
    pub if_match: Option<String>,
    /// Only say what would be done.
    #[serde(default)]
    pub dry_run: bool,
}

/// Remove a domain from the own store, with all its forwards.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DomainDelete {
    /// Which.
    #[serde(with = "text")]
    pub domain: Domain,
    /// See the module.
    #[serde(default)]
    pub if_match: Option<String>,
    /// Only say what would be done.
    #[serde(default)]
    pub dry_run: bool,
}

/// Whether mail for a domain comes to us, and what its rewritten senders need.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DomainDns {
    /// Which; it need not be hosted yet.
    #[serde(with = "text")]
    pub domain: Domain,
}

/// One page of the forwards of a domain, in the order of their addresses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ForwardList {
    /// Which.
    #[serde(with = "text")]
    pub domain: Domain,
    /// [`ForwardPage::next`] of the page before.
    #[serde(default)]
    pub cursor: Option<String>,
    /// Rows at most; 1 to [`PAGE_ROWS_MAX`](crate::PAGE_ROWS_MAX).
    pub limit: u32,
}

/// One forward.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ForwardShow {
    /// Of which domain.
    #[serde(with = "text")]
    pub domain: Domain,
    /// Its local part, or a pattern; `@` is the catch-all.
    pub local: String,
}

/// Make a forward, or put this one in the place of another of the same address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ForwardPut {
    /// Of which domain of the own store.
    #[serde(with = "text")]
    pub domain: Domain,
    /// It.
    pub forward: Forward,
    /// See the module.
    #[serde(default)]
    pub if_match: Option<String>,
    /// Only say what would be done.
    #[serde(default)]
    pub dry_run: bool,
}

/// Remove a forward.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ForwardDelete {
    /// Of which domain of the own store.
    #[serde(with = "text")]
    pub domain: Domain,
    /// As in [`ForwardShow::local`].
    pub local: String,
    /// See the module.
    #[serde(default)]
    pub if_match: Option<String>,
    /// Only say what would be done.
    #[serde(default)]
    pub dry_run: bool,
}

/// Give a domain of the own store these forwards in the place of all that it has. It is made if it is not there, and keeps its
/// options if it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ForwardsPut {
    /// Which.
    #[serde(with = "text")]
    pub domain: Domain,
    /// All of them.
    pub forwards: Vec<Forward>,
    /// See the module.
    #[serde(default)]
    pub if_match: Option<String>,
    /// Only say what would be done.
    #[serde(default)]
    pub dry_run: bool,
}

/// The forwards of a domain, as a file of lines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ForwardsExport {
    /// Which.
    #[serde(with = "text")]
    pub domain: Domain,
}

/// Where mail to an address goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Forward {
    /// As in [`ForwardShow::local`].
    pub local: String,
    /// Addresses, or one action: `:discard:`, `:reject: 550 5.1.6 moved`.
    pub targets: Vec<String>,
    /// As on a line of the forwards file.
    #[serde(default)]
    pub options: BTreeMap<String, String>,
    /// If not, its mail is refused, as if the address were not there; no catch-all gets it.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// From then on, the same.
    #[serde(default, with = "text::option")]
    pub expires_at: Option<Timestamp>,
    /// For whoever reads it.
    #[serde(default)]
    pub note: String,
    /// Where it stands, as `file:line`; nothing in a question.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub place: String,
}

/// A hosted domain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DomainRow {
    /// Its name.
    #[serde(with = "text")]
    pub domain: Domain,
    /// Whether it is of the own store, and can be changed here.
    pub is_own: bool,
}

/// Some hosted domains.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DomainPage {
    /// By their names.
    pub domains: Vec<DomainRow>,
    /// Where the next page begins; none when this is the last.
    pub next: Option<String>,
}

/// A hosted domain in full.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DomainDetails {
    /// Its name.
    #[serde(with = "text")]
    pub domain: Domain,
    /// As in [`DomainRow::is_own`].
    pub is_own: bool,
    /// What its own line says.
    pub options: BTreeMap<String, String>,
    /// For whoever reads it.
    pub note: String,
    /// How many lines it has besides.
    pub forwards: u64,
    /// What it is now; none unless it is of the own store.
    pub etag: Option<String>,
}

/// Some forwards of a domain.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForwardPage {
    /// In the order of their addresses.
    pub forwards: Vec<Forward>,
    /// Where the next page begins; none when this is the last.
    pub next: Option<String>,
    /// As in [`DomainDetails::etag`].
    pub etag: Option<String>,
}

/// One forward, and its domain's state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForwardDetails {
    /// It.
    pub forward: Forward,
    /// As in [`DomainDetails::etag`].
    pub etag: Option<String>,
}

/// What a change of the own store came to. Mail is treated so when this is told.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changed {
    /// Line by line; nothing when all was so before.
    pub changes: Vec<LineChange>,
    /// What the domain is now; none when it is gone.
    pub etag: Option<String>,
    /// Nothing was done.
    #[serde(default, skip_serializing_if = "is_false")]
    pub dry_run: bool,
}

/// A line that comes, goes or changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LineChange {
    /// As it was.
    pub before: Option<String>,
    /// As it is.
    pub after: Option<String>,
}

const fn yes() -> bool {
    true
}
