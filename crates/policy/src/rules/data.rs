//! Rules before the body.
//!
//! A null reverse path with several recipients is *not* refused: list software and out-of-office replies send
//! such mail, and what it could be abused for (backscatter) needs a sender to answer to.

use envelope::Verdict;

use crate::facts::Data;
use crate::replies;
use crate::rules::Rule;

pub(crate) const RULES: &[Rule<Data>] = &[
    Rule {
        name: "srs-not-a-notification",
        apply: srs_not_a_notification,
    },
    Rule {
        name: "srs-budget",
        apply: srs_budget,
    },
];

/// A return address is for bounces. Other mail to it is mostly spam to addresses harvested from logs, and would
/// leave us for a foreign domain; the operator can allow it for senders whose autoresponders do not use `<>`.
fn srs_not_a_notification(facts: &Data) -> Option<Verdict> {
    let wanted = facts.reverse_path_null || facts.accept_nonnull;
    let refused = facts.accepted.srs && !wanted;
    refused.then(|| Verdict::Refuse(replies::srs_takes_notifications_only()))
}

/// One valid SRS address is no licence to send through us for three weeks.
fn srs_budget(facts: &Data) -> Option<Verdict> {
    facts
        .over_budget
        .then(|| Verdict::Refuse(replies::srs_over_budget()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::Accepted;

    #[track_caller]
    fn check(srs: bool, reverse_path_null: bool, accept_nonnull: bool, accepted: bool) {
        let other = !srs;
        let decision = crate::data(&Data {
            reverse_path_null,
            accepted: Accepted { srs, other },
            accept_nonnull,
            over_budget: false,
        });
        assert_eq!(decision.verdict == Verdict::Accept, accepted);
        if !accepted {
            assert_eq!(decision.rule, "srs-not-a-notification");
        }
    }

    #[test]
    fn more_than_a_day_s_budget_is_put_off() {
        let decision = crate::data(&Data {
            reverse_path_null: true,
            accepted: Accepted::default(),
            accept_nonnull: false,
            over_budget: true,
        });
        assert_eq!(decision.rule, "srs-budget");
        assert_eq!(
            decision.verdict,
            Verdict::Refuse(replies::srs_over_budget())
        );
    }

    #[test]
    fn srs_addresses_take_notifications() {
        check(false, false, false, true);
        check(true, true, false, true);
        check(true, false, true, true);
        check(true, false, false, false);
    }
}
