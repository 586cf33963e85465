//! Rules at AUTH: is the client who it says?
//!
//! The credentials are looked at last: checking a password is dear by design.

use crate::case::Case;
use crate::decision::Opinion;
use crate::question::{CredentialsFound, Known};
use crate::replies;
use crate::rules::{NO_OBJECTION, Rules, limits};

pub(super) const RULES: Rules = Rules {
    objections: &[
        limits::AUTH[0],
        limits::AUTH[1],
        ("credentials", credentials),
    ],
    grounds: NO_OBJECTION,
};

/// What cannot be checked is our trouble: a client that is told 535 asks its user for another password.
fn credentials(case: &Case) -> Known<Opinion> {
    Ok(match case.credentials()? {
        CredentialsFound::Right(_) => Opinion::Pass,
        CredentialsFound::Wrong => Opinion::Object(replies::credentials_wrong()),
        CredentialsFound::Unknown(_) => Opinion::Object(replies::credentials_unknown()),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::tests::decided;
    use crate::{Answer, Question, Senders, Stage, Standing, Step, User};

    #[track_caller]
    fn check(found: CredentialsFound, expected: &str, standing: Standing) {
        let mut case = Case::default();
        case.try_login("ann@example.org".into());
        let ask = Step::Ask(vec![Question::Credentials]);
        assert_eq!(crate::step(Stage::Auth, &case), ask);
        case.learn(Answer::Credentials(found));
        assert_eq!(decided(Stage::Auth, &case), expected);
        let mut refused = case.clone();
        assert_eq!(refused.end_login(false), None);
        case.end_login(true);
        assert_eq!(case.client.standing, standing);
        // What was found of one attempt does not hold for the next.
        case.try_login("bob@example.org".into());
        assert_eq!(crate::step(Stage::Auth, &case), ask);
    }

    #[test]
    fn credentials_in_each_state() {
        let user = Arc::new(User {
            name: "ann@example.org".into(),
            senders: Senders::Any,
            measures: Arc::default(),
        });
        check(
            CredentialsFound::Right(user),
            "no-objection: grant",
            Standing::Authenticated,
        );
        check(
            CredentialsFound::Wrong,
            "credentials: object: 535 5.7.8 user name or password is wrong",
            Standing::Stranger,
        );
        check(
            CredentialsFound::Unknown("the socket is gone".to_owned()),
            "credentials: object: 454 4.7.0 logins cannot be checked now, try again later",
            Standing::Stranger,
        );
    }
}
