//! Rules before the body.
//!
//! A null reverse path with several recipients is *not* refused: list software and out-of-office replies send
//! such mail, and what it could be abused for (backscatter) needs a sender to answer to.

use crate::case::Case;
use crate::decision::Opinion;
use crate::question::Known;
use crate::replies;
use crate::rules::{NO_OBJECTION, Rules, limits};

pub(super) const RULES: Rules = Rules {
    objections: &[
        ("srs-not-a-notification", srs_not_a_notification),
        // Last, so that refused mail is not counted against a budget.
        ("srs-budget", srs_budget),
        limits::DATA,
    ],
    grounds: NO_OBJECTION,
};

/// A return address is for bounces. Other mail to it is mostly spam to addresses harvested from logs, and would
/// leave us for a foreign domain; the operator can allow it for senders whose autoresponders do not use `<>`.
fn srs_not_a_notification(case: &Case) -> Known<Opinion> {
    let refused = case.has_returns() && !case.may_go_to_srs();
    Ok(Opinion::object_if(
        refused,
        replies::srs_takes_notifications_only,
    ))
}

/// One valid SRS address is no licence to send through us for three weeks.
fn srs_budget(case: &Case) -> Known<Opinion> {
    let over = case.has_returns() && !case.srs_budget_taken()?;
    Ok(Opinion::object_if(over, replies::srs_over_budget))
}

#[cfg(test)]
mod tests {
    use envelope::{ForwardPath, ReversePath};

    use crate::tests::decided;
    use crate::{Answer, Case, Destination, Question, Route, Srs, Stage, Step};

    /// With one recipient, an SRS address or another.
    fn case(srs: bool, null: bool, srs_accepts_nonnull: bool) -> Case {
        let sender: envelope::Mailbox = "ann@sender.test".parse().unwrap();
        let mut case = Case::default();
        case.settings.srs_accepts_nonnull = srs_accepts_nonnull;
        case.begin(match null {
            true => ReversePath::Null,
            false => ReversePath::Mailbox(sender.clone()),
        });
        accept(
            &mut case,
            match srs {
                true => Destination::Srs(Srs::Valid(sender)),
                false => Destination::Relay,
            },
        );
        case
    }

    fn accept(case: &mut Case, destination: Destination) {
        case.next_recipient(ForwardPath::Postmaster);
        case.learn(Answer::Route(Route::to(destination)));
        case.accept_recipient();
    }

    #[track_caller]
    fn check(srs: bool, null: bool, srs_accepts_nonnull: bool, expected: &str) {
        let mut case = case(srs, null, srs_accepts_nonnull);
        case.learn(Answer::SrsBudgetTaken(true));
        assert_eq!(decided(Stage::Data, &case), expected);
    }

    #[test]
    fn srs_addresses_take_notifications() {
        check(false, false, false, "no-objection: grant");
        check(true, true, false, "no-objection: grant");
        check(true, false, true, "no-objection: grant");
        check(
            true,
            false,
            false,
            "srs-not-a-notification: object: 550 5.7.1 SRS address refused: it takes only notifications (MAIL FROM:<>)",
        );
    }

    #[test]
    fn the_budget_is_taken_only_of_what_nobody_objects_to() {
        let mut case = case(true, true, false);
        let (_, sender) = case.transaction.returns[0].clone();
        let take = |senders| Step::Ask(vec![Question::TakeSrsBudget(senders)]);
        assert_eq!(crate::step(Stage::Data, &case), take(vec![sender.clone()]));
        // The spool may fail then. The next DATA may have more recipients.
        case.learn(Answer::SrsBudgetTaken(true));
        accept(&mut case, Destination::Srs(Srs::Valid(sender.clone())));
        let both = vec![sender.clone(), sender];
        assert_eq!(crate::step(Stage::Data, &case), take(both));
        case.learn(Answer::SrsBudgetTaken(false));
        assert_eq!(
            decided(Stage::Data, &case),
            "srs-budget: object: 450 4.7.1 too many messages to the sender behind this SRS address, try again later",
        );
        let refused = super::tests::case(true, false, false);
        assert!(matches!(
            crate::step(Stage::Data, &refused),
            Step::Decide(_)
        ));
        let other = super::tests::case(false, true, false);
        assert!(matches!(crate::step(Stage::Data, &other), Step::Decide(_)));
    }
}
