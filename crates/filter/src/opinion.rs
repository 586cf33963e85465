//! What a filter says of a message.

use std::time::Duration;

use envelope::{EnhancedStatus, Reply};

use crate::clean;

/// What a filter says. All words in it are clean and bounded, whatever the filter sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opinion {
    /// What it wants done.
    pub verdict: Verdict,
    /// Whole header fields for the top of the message.
    pub fields: String,
    /// Its score and the score from which it refuses, `4.2/15`.
    pub score: String,
    /// What it found: symbols with their scores, or the name of a virus.
    pub symbols: String,
    /// What else there is to log: why it was not asked, what it wanted and does not get.
    pub remarks: Vec<String>,
}

/// What a filter wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Take it.
    Accept,
    /// Refuse it for good.
    Reject(Reply),
    /// Refuse it for now.
    Defer(Reply),
    /// Take it, and keep it until an operator decides; why.
    Hold(String),
    /// Take it, and throw it away.
    Discard,
}

/// A filter gave no opinion, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Failed(pub String);

impl Opinion {
    /// Only a verdict.
    pub(crate) fn of(verdict: Verdict) -> Self {
        Self {
            verdict,
            fields: String::new(),
            score: String::new(),
            symbols: String::new(),
            remarks: Vec::new(),
        }
    }

    /// The filter did not look at it.
    pub(crate) fn none(why: String) -> Self {
        Self {
            remarks: vec![why],
            ..Self::of(Verdict::Accept)
        }
    }

    /// Adds a field to those for the top of the message, above them or below. `value` is all behind the colon.
    pub(crate) fn add(&mut self, above: bool, name: &str, value: &str) {
        match clean::field(name, value) {
            Some(field) if self.fields.len() + field.len() <= FIELDS_MAX => {
                let at = if above { 0 } else { self.fields.len() };
                self.fields.insert_str(at, &field);
            }
            _ => self.remark(&format!("not added: {name}")),
        }
    }

    /// It wanted something that is not done; of very many, the first are kept.
    pub(crate) fn remark(&mut self, what: &str) {
        if self.remarks.len() < REMARKS_MAX {
            self.remarks.push(clean::text(what));
        }
    }
}

impl Failed {
    /// It has not answered within its time limit.
    pub(crate) fn late(limit: Duration) -> Self {
        Self(format!("no answer within {limit:?}"))
    }
}

impl Verdict {
    /// A refusal for good, in the filter's words or ours.
    pub(crate) fn reject(words: &str) -> Self {
        let status = EnhancedStatus::permanent(7, 1);
        Self::Reject(Reply::new(550, status, said(words)))
    }

    /// A refusal for now, in the filter's words or ours.
    pub(crate) fn defer(words: &str) -> Self {
        let status = EnhancedStatus::transient(7, 1);
        let words = if words.is_empty() { LATER } else { words };
        Self::Defer(Reply::new(451, status, said(words)))
    }

    /// Its name in the log.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Accept => "accept",
            Self::Reject(_) => "reject",
            Self::Defer(_) => "defer",
            Self::Hold(_) => "hold",
            Self::Discard => "discard",
        }
    }
}

impl From<std::io::Error> for Failed {
    fn from(error: std::io::Error) -> Self {
        Self(error.to_string())
    }
}

fn said(words: &str) -> String {
    match clean::text(words) {
        words if words.is_empty() => REFUSED.to_owned(),
        words => words,
    }
}

const REFUSED: &str = "message refused by its recipient's content filter";
const LATER: &str = "the recipient's content filter asks to try again later";
/// Octets that it may add to a message: the queue keeps them in the message's row, which has some 48 KiB.
pub(crate) const FIELDS_MAX: usize = 8 << 10;
const REMARKS_MAX: usize = 10;
