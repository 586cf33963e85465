//! What the operator's limits say of a client, a sender or a recipient.

use crate::case::Transaction;
use crate::measures::Name;

/// The answer of all limits that are asked at a stage.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Limited {
    /// The first that is reached, and what it wants; what keeps mail out goes before what holds it.
    pub by: Option<(Name, Beyond)>,
    /// For an explanation: what each of them still lets through.
    pub left: Vec<(Name, u64)>,
}

/// What happens beyond a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Beyond {
    /// It is shut out until the operator lifts it.
    Frozen,
    /// It is refused.
    Refuse,
    /// It may come again later.
    Defer,
    /// It is accepted, and waits for the operator.
    Hold,
}

impl Limited {
    /// Takes in what a further limit wants.
    pub fn also(&mut self, name: &Name, beyond: Beyond) {
        if self.by.as_ref().is_none_or(|(_, before)| beyond < *before) {
            self.by = Some((Name::clone(name), beyond));
        }
    }
}

impl Transaction {
    /// The limit that holds this message.
    pub fn held_by(&self) -> Option<&Name> {
        match &self.limits_taken.as_ref()?.by {
            Some((limit, Beyond::Hold)) => Some(limit),
            _ => None,
        }
    }
}
