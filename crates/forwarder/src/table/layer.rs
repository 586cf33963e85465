//! Lines that were looked up for one recipient, on top of a table: what is asked of both answers as one table would.
//!
//! Nothing is looked up here. The layer keeps the addresses that neither has a line for; whoever drives it looks those up,
//! makes the next layer with what was found, and asks again, until nothing is missed any more.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use envelope::Mailbox;

use super::line::Line;
use super::options::Check;
use super::{Table, TableErrors};

/// What a layer lies on.
#[derive(Debug)]
pub(super) struct Beneath {
    table: Arc<Table>,
    /// Looked up already, so missed no more.
    known: BTreeSet<Mailbox>,
    /// And whether it is a target of a line that was found.
    missed: Mutex<BTreeMap<Mailbox, bool>>,
}

impl Table {
    /// `lines` on top of `table`, which comes first; all about `known` that could be found is in them.
    pub fn layer(
        table: &Arc<Self>,
        name: &str,
        lines: &str,
        known: BTreeSet<Mailbox>,
        check: Check<'_>,
    ) -> Result<Self, TableErrors> {
        let mut layer = Self::parse_with(name, lines.into(), check)?;
        layer.beneath = Some(Box::new(Beneath {
            table: Arc::clone(table),
            known,
            missed: Mutex::default(),
        }));
        Ok(layer)
    }

    /// Addresses that were asked for since the layer was made, and have no line or are not hosted, as far as is known; and whether each
    /// is only a target of a line that was found.
    pub fn missed(&self) -> BTreeMap<Mailbox, bool> {
        let missed = self.beneath.as_ref().map(|beneath| {
            let missed = beneath.missed.lock();
            std::mem::take(&mut *missed.unwrap_or_else(PoisonError::into_inner))
        });
        missed.unwrap_or_default()
    }

    /// What one line is about, as it would be typed; or what is wrong with it.
    pub fn key_of(line: &str, check: Check<'_>) -> Result<String, String> {
        match Line::parse(line, check) {
            Ok(Some(line)) => Ok(line.key.written()),
            Ok(None) => Err("nothing in it".to_owned()),
            Err(mistake) => Err(mistake.text),
        }
    }

    pub(super) fn base(&self) -> Option<&Self> {
        self.beneath.as_ref().map(|beneath| &*beneath.table)
    }

    pub(super) fn find_beneath(&self, find: impl Fn(&Self) -> Option<Line>) -> Option<Line> {
        let line = find(self.base()?)?;
        Some(Line {
            is_beneath: true,
            ..line
        })
    }

    pub(super) fn miss(&self, address: &Mailbox) {
        self.miss_as(address, false);
    }

    pub(super) fn miss_target(&self, address: &Mailbox) {
        self.miss_as(address, true);
    }

    fn miss_as(&self, address: &Mailbox, is_target: bool) {
        let Some(beneath) = &self.beneath else { return };
        if address.domain().is_some() && !beneath.known.contains(address) {
            let missed = beneath.missed.lock();
            let mut missed = missed.unwrap_or_else(PoisonError::into_inner);
            *missed.entry(address.clone()).or_insert(is_target) &= is_target;
        }
    }
}
