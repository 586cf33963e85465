//! Policy driven without a relay: whole traces, and what is asked together.

use envelope::{ForwardPath, Mailbox, ReversePath};

use crate::decision::{Opinion, Stage, Step};
use crate::rules::{Rule, Rules};
use crate::{Answer, Case, Decision, Destination, Hosted, Question, Route, Srs};

/// The rule that decided, what it said, and the effects.
pub(crate) fn decided(stage: Stage, case: &Case) -> String {
    let Step::Decide(decision) = crate::step(stage, case) else {
        panic!("it asks: {case:?}");
    };
    let (rule, opinion) = decision.trace.last().unwrap();
    assert_eq!(*rule, decision.rule);
    let effects = decision.effects.iter().map(|effect| format!("; {effect}"));
    format!("{rule}: {opinion}{}", effects.collect::<String>())
}

/// Drives the policy to its decision, as `onward explain` will.
fn drive(stage: Stage, case: &mut Case, answer: impl Fn(&Question) -> Answer) -> Decision {
    loop {
        match crate::step(stage, case) {
            Step::Decide(decision) => return decision,
            Step::Ask(questions) => questions.iter().for_each(|q| case.learn(answer(q))),
        }
    }
}

fn ann() -> Mailbox {
    "ann@sender.test".parse().unwrap()
}

/// The trace at RCPT for mail from `<>` to an address that is this.
#[track_caller]
fn explains(destination: Destination, budget_left: bool, expected: &str) {
    let mut case = Case::default();
    case.settings.targets_max = 10;
    case.begin(ReversePath::Null);
    case.next_recipient(ForwardPath::Mailbox("x@fwd.test".parse().unwrap()));
    let decision = drive(Stage::Rcpt, &mut case, |question| match question {
        Question::Route => Answer::Route(Route::to(destination.clone())),
        Question::SrsBudget(_) => Answer::SrsBudgetLeft(budget_left),
        other => panic!("{other:?}"),
    });
    assert_eq!(decision.to_string(), expected);
}

#[test]
fn every_rule_that_was_asked_is_in_the_trace() {
    explains(
        Destination::Srs(Srs::Valid(ann())),
        true,
        &format!("{OBJECTIONS}srs-valid: grant\n"),
    );
    explains(
        Destination::Srs(Srs::Valid(ann())),
        false,
        "\
lookup-failed: pass
srs-invalid: pass
srs-budget: object: 450 4.7.1 too many messages to the sender behind this SRS address, try again later
",
    );
    explains(
        Destination::Srs(Srs::Expired),
        true,
        "\
lookup-failed: pass
srs-invalid: object: 550 5.1.1 SRS address refused: it has expired
",
    );
    explains(
        Destination::Hosted(Hosted::Unknown),
        true,
        "\
lookup-failed: pass
srs-invalid: pass
srs-budget: pass
srs-not-a-notification: pass
hosted-refused: pass
hosted-unknown: object: 550 5.1.1 no such address here
",
    );
    explains(
        Destination::Foreign,
        true,
        &format!(
            "{OBJECTIONS}\
srs-valid: pass
hosted: pass
relay-domain: pass
known-client: pass
relaying-denied: object: 550 5.7.1 relaying denied
"
        ),
    );
}

const OBJECTIONS: &str = "\
lookup-failed: pass
srs-invalid: pass
srs-budget: pass
srs-not-a-notification: pass
hosted-refused: pass
hosted-unknown: pass
beside-srs: pass
too-many-targets: pass
unlike-answer: pass
untrusted-routing: pass
frozen: pass
limit: pass
unlike-measures: pass
sender-blocked: pass
spf-force: pass
spf: pass
dnsbl: pass
verify-sender: pass
pressure: pass
";

const ROUTE: Rule = ("route", |case| case.route().map(|_| Opinion::Pass));
const BUDGET: Rule = ("budget", |case| {
    case.srs_budget_left(&ann()).map(|_| Opinion::Pass)
});
const TAKE: Rule = ("take", |case| {
    case.srs_budget_taken().map(|_| Opinion::Pass)
});
const GRANT: Rule = ("grant", |_| Ok(Opinion::Grant));

#[track_caller]
fn asks(objections: &'static [Rule], expected: &[Question]) {
    let grounds = &[BUDGET, GRANT];
    let rules = Rules {
        objections,
        grounds,
    };
    let asked = rules.decide(&Case::default()).unwrap_err();
    assert_eq!(asked, expected);
}

#[test]
fn independent_questions_are_asked_together() {
    let budget = Question::SrsBudget(ann());
    let both = [Question::Route, budget.clone()];
    asks(&[ROUTE, BUDGET], &both);
    asks(&[ROUTE, ROUTE, BUDGET, ROUTE], &both);
    // What is behind an objection, or only a ground, is not asked about before.
    asks(&[ROUTE, GRANT, BUDGET], &[Question::Route]);
    asks(&[ROUTE], &[Question::Route]);
    asks(&[], &[budget]);
    // Nothing is taken while an answer may still bring an objection.
    asks(&[ROUTE, TAKE, BUDGET], &[Question::Route]);
    asks(&[TAKE, ROUTE], &[Question::TakeSrsBudget(Vec::new())]);
}
