//! Where the forwards come from, as typed.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::sources::{Fetched, Http, Sql};
use super::units::Percent;

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Forwards {
    /// Empty: there is none.
    pub(crate) file: PathBuf,
    /// The own store, behind all sources.
    pub(crate) store: OwnStore,
    /// See [`Forwards::sources`].
    #[serde(rename = "source")]
    pub(crate) listed: Vec<Source>,
    #[serde(skip)]
    pub(crate) fetched: Fetched,
    /// Losing more than this of the addresses or of the domains keeps a table out.
    pub(crate) max_shrink: Percent,
    /// Where mail to postmaster goes when the file has no line for it; none refuses it, which RFC 5321 §4.5.1 forbids.
    pub(crate) postmaster: Option<String>,
}

/// Where more forwards come from.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub(crate) enum Source {
    File { path: PathBuf },
    Api {},
    Sql(Sql),
    Http(Http),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum OwnStore {
    #[serde(rename = "")]
    None,
    Api,
}

impl Forwards {
    /// The file, unless there is none.
    pub(crate) fn file(&self) -> Option<&Path> {
        Some(&*self.file).filter(|path| !path.as_os_str().is_empty())
    }

    /// What comes behind the file, in this order.
    pub(crate) fn sources(&self) -> impl Iterator<Item = &Source> {
        let is_last = self.store == OwnStore::Api && !self.listed.contains(&Source::Api {});
        self.listed.iter().chain(is_last.then_some(&Source::Api {}))
    }
}

impl Default for Forwards {
    fn default() -> Self {
        Self {
            file: "forwards".into(),
            store: OwnStore::None,
            listed: Vec::new(),
            fetched: Fetched::new(),
            max_shrink: Percent(20),
            postmaster: None,
        }
    }
}
