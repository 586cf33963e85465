//! The rules, one ordered list a stage, and the walk along a list.
//!
//! A rule is a name and a small function from facts to an opinion; `None` is no opinion, and asks the next rule.
//! A new rule is a function and a line in its stage's list: where it stands says what it overrules.

pub(crate) mod connect;
pub(crate) mod data;
pub(crate) mod hello;
pub(crate) mod mail;
pub(crate) mod rcpt;

use envelope::Verdict;

use crate::{Decision, NO_OBJECTION};

/// A named rule over the facts `F`.
pub(crate) struct Rule<F: ?Sized> {
    pub(crate) name: &'static str,
    pub(crate) apply: fn(&F) -> Option<Verdict>,
}

/// The first opinion along the list; yes when there is none.
pub(crate) fn decide<F>(rules: &[Rule<F>], facts: &F) -> Decision {
    let opinion = |rule: &Rule<F>| {
        (rule.apply)(facts).map(|verdict| Decision {
            verdict,
            rule: rule.name,
        })
    };
    rules.iter().find_map(opinion).unwrap_or(Decision {
        verdict: Verdict::Accept,
        rule: NO_OBJECTION,
    })
}
