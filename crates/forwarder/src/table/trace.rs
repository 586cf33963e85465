//! The walk from a recipient to its targets, step by step, with the lines that decide: for an explanation.

use envelope::{Domain, Mailbox, Timestamp};

use super::expand::{Fault, Walk};
use super::line::Line;
use super::{NO_LINE, Table, line_text};

/// An address that the walk comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// How many addresses are gone through before it.
    pub depth: usize,
    /// The address.
    pub address: Mailbox,
    /// The line that decides on it, as `file:line: text`, if it is hosted and has one.
    pub line: Option<String>,
    /// The line of its domain, which says what that one does not.
    pub domain_line: Option<String>,
    /// Why it leads nowhere.
    pub fault: Option<Fault>,
}

impl Table {
    /// What [`Table::resolve`] goes through: none if the address is not hosted. Of a long way only the beginning.
    pub fn trace(&self, recipient: &Mailbox, now: Timestamp) -> Vec<Step> {
        let Some(domain) = recipient.domain().filter(|domain| self.hosts(domain)) else {
            self.miss(recipient);
            return Vec::new();
        };
        let mut walk = Walk::new(self, now);
        walk.steps = Some(Vec::new());
        match self.find(recipient.local_part(), domain) {
            Some(line) if line.options.is_over(now) => {
                walk.note(recipient, Some(&line), Some(&Fault::Unknown));
            }
            Some(line) => walk.begin(recipient, domain, &line),
            None => {
                self.miss(recipient);
                walk.note(recipient, None, Some(&Fault::Unknown));
            }
        }
        walk.steps.unwrap_or_default()
    }

    fn domain_place(&self, domain: &Domain) -> Option<String> {
        let entry = self.domain_entry(domain)?;
        (entry.line != NO_LINE).then(|| self.place(entry.line))
    }

    /// A long line is cut.
    fn place(&self, at: u32) -> String {
        let text: String = line_text(&self.text, at).chars().take(TEXT_MAX).collect();
        format!("{}: {text}", self.place_of(at as usize))
    }
}

impl Walk<'_> {
    /// Keeps the step, if somebody wants to know.
    pub(super) fn note(&mut self, address: &Mailbox, line: Option<&Line>, fault: Option<&Fault>) {
        let Some(steps) = self.steps.as_mut().filter(|steps| steps.len() < STEPS_MAX) else {
            return;
        };
        let table = self.table;
        let domain_line = address.domain().and_then(|domain| {
            let base = table.base().and_then(|base| base.domain_place(domain));
            base.or_else(|| table.domain_place(domain))
        });
        steps.push(Step {
            depth: self.path.len(),
            address: address.clone(),
            line: line.map(|line| match table.base() {
                Some(base) if line.is_beneath => base.place(line.at),
                _ => table.place(line.at),
            }),
            domain_line,
            fault: fault.cloned(),
        });
    }
}

/// Each costs a look through the text, for the number of its line.
const STEPS_MAX: usize = 100;
const TEXT_MAX: usize = 200;
