//! Rules at MAIL: who may begin a transaction.
//!
//! Declared size and parameters are checked by `smtp`; what the sender's domain permits (SPF) will come here.

use crate::case::{Case, Role, Standing};
use crate::decision::Opinion;
use crate::question::Known;
use crate::replies;
use crate::rules::{NO_OBJECTION, Rules};

pub(super) const RULES: Rules = Rules {
    objections: &[("submission-needs-standing", submission_needs_standing)],
    grounds: NO_OBJECTION,
};

/// A submission port serves our own users (RFC 6409 §4.3): everyone else is sent away before naming recipients.
fn submission_needs_standing(case: &Case) -> Known<Opinion> {
    let unknown =
        case.client.role == Role::Submission && case.client.standing == Standing::Stranger;
    Ok(Opinion::object_if(
        unknown,
        replies::authentication_required,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::decided;
    use crate::{Client, Stage};

    #[track_caller]
    fn check(role: Role, standing: Standing, expected: &str) {
        let client = Client {
            address: None,
            role,
            standing,
        };
        let case = Case {
            client,
            ..Case::default()
        };
        assert_eq!(
            decided(Stage::Mail, &case),
            expected,
            "{role:?} {standing:?}"
        );
    }

    #[test]
    fn who_may_begin() {
        check(Role::Mx, Standing::Stranger, "no-objection: grant");
        check(Role::Mx, Standing::Trusted, "no-objection: grant");
        check(Role::Submission, Standing::Trusted, "no-objection: grant");
        check(
            Role::Submission,
            Standing::Authenticated,
            "no-objection: grant",
        );
        check(
            Role::Submission,
            Standing::Stranger,
            "submission-needs-standing: object: 530 5.7.0 authentication required",
        );
    }
}
