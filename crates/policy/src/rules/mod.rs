//! The rules, a list for each stage, and the walk along a list.
//!
//! A rule is a name and a small function from the case to an opinion. What it does not know yet, it asks for with `?`.
//! A new rule is a function and a line in its stage's list; its place in the list says what it overrules.

mod auth;
mod connect;
mod data;
mod hello;
mod limits;
mod mail;
mod message;
mod rcpt;
mod sender;

use envelope::Verdict;

use crate::case::Case;
use crate::decision::{Decision, Opinion, Stage, Trace};
use crate::question::{Known, Question};
use crate::replies;

/// A name for the log, and what the rule says of a case.
pub(crate) type Rule = (&'static str, fn(&Case) -> Known<Opinion>);

/// The rules of one stage.
pub(crate) struct Rules {
    /// The first objection decides.
    pub(crate) objections: &'static [Rule],
    /// Without an objection, the first ground that grants decides. If none grants, the answer is no: a forgotten rule closes
    /// the relay and never opens it.
    pub(crate) grounds: &'static [Rule],
}

/// The grounds of a stage that accepts whatever no rule objects to.
const NO_OBJECTION: &[Rule] = &[("no-objection", |_| Ok(Opinion::Grant))];

/// Where a session or a transaction begins, whoever the client is; what has begun goes on to its end.
const DRAINED: Rule = ("drained", |case| {
    Ok(match case.settings.drained {
        true => Opinion::Close(replies::drained()),
        false => Opinion::Pass,
    })
});

pub(crate) fn of(stage: Stage) -> &'static Rules {
    match stage {
        Stage::Connect => &connect::RULES,
        Stage::Hello => &hello::RULES,
        Stage::Auth => &auth::RULES,
        Stage::Mail => &mail::RULES,
        Stage::Rcpt => &rcpt::RULES,
        Stage::Data => &data::RULES,
        Stage::Message => &message::RULES,
    }
}

impl Rules {
    /// The decision, or the questions that must be answered first.
    pub(crate) fn decide(&self, case: &Case) -> Known<Decision> {
        let mut trace = Vec::new();
        let (rule, answer) = match ask(self.objections, case, &mut trace)? {
            Some(objection) => objection,
            None => ask(self.grounds, case, &mut trace)?.unwrap_or_else(|| {
                let denied = Opinion::Object(replies::relaying_denied());
                trace.push(("relaying-denied", denied));
                (
                    "relaying-denied",
                    Verdict::Refuse(replies::relaying_denied()),
                )
            }),
        };
        Ok(Decision::new(rule, answer, trace))
    }
}

/// Asks one rule after the other, up to the first that decides.
fn ask(rules: &[Rule], case: &Case, trace: &mut Trace) -> Known<Option<(&'static str, Verdict)>> {
    let mut missing = Vec::new();
    for (name, rule) in rules {
        let questions = match rule(case) {
            Ok(opinion) => {
                let verdict = opinion.verdict();
                trace.push((*name, opinion));
                match verdict {
                    // An earlier rule still waits for an answer, and may object then.
                    Some(_) if !missing.is_empty() => break,
                    Some(verdict) => return Ok(Some((*name, verdict))),
                    None => continue,
                }
            }
            Err(questions) => questions,
        };
        if questions.iter().any(Question::is_asked_alone) {
            if missing.is_empty() {
                missing = questions;
            }
            break;
        }
        for question in questions {
            if !missing.contains(&question) {
                missing.push(question);
            }
        }
    }
    if missing.is_empty() {
        Ok(None)
    } else {
        Err(missing)
    }
}
