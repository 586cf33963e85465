//! What a new table changes against the old one, and whether its file may have been cut.

use envelope::Domain;

use super::line::{Form, Key};
use super::{DomainEntry, Table, line_text};

/// What comes and goes with a table. Patterns and catch-alls count as addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Difference {
    /// Addresses that only the new table has.
    pub added: usize,
    /// Addresses that only the old table has.
    pub removed: usize,
    /// Addresses whose lines differ.
    pub changed: usize,
    /// Domains that only the new table hosts.
    pub domains_added: usize,
    /// Domains that only the old table hosts.
    pub domains_removed: usize,
}

impl Table {
    /// What this table changes against an older one.
    pub fn difference(&self, old: &Self) -> Difference {
        let mut difference = Difference::default();
        for at in old.lines.numbers() {
            let key = old.key_at(at).filter(|key| key.form != Form::Domain);
            let Some(key) = key else { continue };
            match self.find_offset(&key) {
                None => difference.removed += 1,
                Some(now) if line_text(&self.text, now) != line_text(&old.text, at) => {
                    difference.changed += 1;
                }
                Some(_) => {}
            }
        }
        let gone = |name: &Domain| !self.hosts(name);
        difference.domains_removed = old.domain_names().filter(gone).count();
        let stayed = old.addresses() - difference.removed;
        difference.added = self.addresses() - stayed;
        let stayed = old.domains.len() - difference.domains_removed;
        difference.domains_added = self.domains.len() - stayed;
        difference
    }

    /// Lines about addresses, patterns and catch-alls.
    pub fn addresses(&self) -> usize {
        self.stats.lines - self.stats.domain_lines
    }

    /// Whether it has this very line.
    pub fn has_line(&self, line: &str) -> bool {
        let found = Key::of_line(line).and_then(|key| self.find_offset(&key));
        found.is_some_and(|at| line_text(&self.text, at) == line)
    }

    /// The hosted domains, in the order of the file.
    pub fn domain_names(&self) -> impl Iterator<Item = Domain> {
        let name = |entry| self.name_of(entry);
        self.domains.iter().filter_map(name)
    }

    pub(super) fn name_of(&self, entry: &DomainEntry) -> Option<Domain> {
        let at = entry.name_at as usize;
        let name = self.text.get(at..at + usize::from(entry.name_octets))?;
        name.parse().ok()
    }
}
