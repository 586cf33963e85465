//! Rules at MAIL: who may begin a transaction.
//!
//! Declared size and parameters are checked by `smtp`; what the sender's domain permits (SPF) is asked at RCPT, where it is known
//! what the recipient wants.

use crate::case::{Case, Role, Standing};
use crate::decision::Opinion;
use crate::question::Known;
use crate::replies;
use crate::rules::{DRAINED, NO_OBJECTION, Rules, limits};

pub(super) const RULES: Rules = Rules {
    objections: &[
        DRAINED,
        ("submission-needs-standing", submission_needs_standing),
        ("sender-not-yours", sender_not_yours),
        limits::MAIL[0],
        limits::MAIL[1],
    ],
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

/// Whoever has one user's password is not to send in the name of the others.
fn sender_not_yours(case: &Case) -> Known<Opinion> {
    let (user, sender) = (&case.client.user, &case.transaction.reverse_path);
    let (Some(user), Some(sender)) = (user, sender) else {
        return Ok(Opinion::Pass);
    };
    let denied = !user.senders.allow(sender);
    Ok(Opinion::object_if(denied, || {
        replies::sender_not_yours(sender, &user.name)
    }))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use envelope::ReversePath;

    use super::*;
    use crate::tests::decided;
    use crate::{Client, Senders, Stage, User};

    #[track_caller]
    fn check(role: Role, standing: Standing, expected: &str) {
        let client = Client {
            role,
            standing,
            ..Client::default()
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
    fn a_drain_ends_sessions_where_mail_would_begin() {
        let mut case = Case::default();
        case.settings.drained = true;
        case.client.standing = Standing::Trusted;
        for stage in [Stage::Connect, Stage::Mail] {
            let decided = decided(stage, &case);
            assert!(
                decided.starts_with("drained: close: 421 4.3.2 "),
                "{decided}"
            );
        }
    }

    #[test]
    fn as_whom_a_user_may_send() {
        let mut case = Case::default();
        case.client.log_in(Arc::new(User {
            name: "ann@example.org".into(),
            senders: Senders::by_default("ann@example.org"),
            measures: Arc::default(),
        }));
        for (sender, expected) in [
            ("sales@example.org", "no-objection: grant"),
            ("", "no-objection: grant"),
            (
                "eve@bank.test",
                "sender-not-yours: object: 553 5.7.1 ann@example.org may not send as <eve@bank.test>: use an address of yours as the sender",
            ),
        ] {
            let sender = sender.parse().ok();
            case.begin(sender.map_or(ReversePath::Null, ReversePath::Mailbox));
            assert_eq!(decided(Stage::Mail, &case), expected);
        }
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
            "submission-needs-standing: object: 530 5.7.0 authentication required: log in first (AUTH, under TLS)",
        );
    }
}
