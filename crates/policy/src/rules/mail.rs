//! Rules at MAIL: who may begin a transaction.
//!
//! Declared size and parameters are checked by `smtp`; what the sender's domain permits (SPF) will come here.

use envelope::Verdict;

use crate::facts::{Mail, Role, Standing};
use crate::replies;
use crate::rules::Rule;

pub(crate) const RULES: &[Rule<Mail>] = &[Rule {
    name: "submission-needs-standing",
    apply: submission_needs_standing,
}];

/// A submission port serves our own users (RFC 6409 §4.3): everyone else is sent away before naming recipients.
fn submission_needs_standing(facts: &Mail) -> Option<Verdict> {
    let unknown = facts.role == Role::Submission && facts.standing == Standing::Stranger;
    unknown.then(|| Verdict::Refuse(replies::authentication_required()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(role: Role, standing: Standing, expected: &str) {
        let decision = crate::mail(&Mail { role, standing });
        let got = match decision.verdict {
            Verdict::Accept => "accept".to_owned(),
            Verdict::Refuse(reply) => format!("{} {reply}", decision.rule),
            Verdict::Close(_) => unreachable!("no rule closes at MAIL"),
        };
        assert_eq!(got, expected, "{role:?} {standing:?}");
    }

    #[test]
    fn who_may_begin() {
        check(Role::Mx, Standing::Stranger, "accept");
        check(Role::Mx, Standing::Trusted, "accept");
        check(Role::Submission, Standing::Trusted, "accept");
        check(Role::Submission, Standing::Authenticated, "accept");
        check(
            Role::Submission,
            Standing::Stranger,
            "submission-needs-standing 530 5.7.0 authentication required",
        );
    }
}
