//! The operator's limits, and who is frozen by one. Where there is neither, nothing is asked.
//!
//! Limits are looked at when a client connects, and for what each command names. What a message counts is taken at DATA, after all else
//! that could refuse it there.

use envelope::Reply;

use crate::case::Case;
use crate::decision::{Effect, Opinion, Stage, Why};
use crate::limited::{Beyond, Limited};
use crate::question::Known;
use crate::replies;
use crate::rules::Rule;

/// Before the greeting.
pub(super) const CONNECT: [Rule; 2] = [
    ("frozen", |case| frozen(case, Stage::Connect)),
    ("limit", |case| limit(case, Stage::Connect)),
];
/// Before a password is checked. Temporary here is 454 (RFC 4954 §6).
pub(super) const AUTH: [Rule; 2] = [
    ("frozen", |case| frozen(case, Stage::Auth)),
    ("limit", |case| limit(case, Stage::Auth)),
];
/// Of who sends.
pub(super) const MAIL: [Rule; 2] = [
    ("frozen", |case| frozen(case, Stage::Mail)),
    ("limit", |case| limit(case, Stage::Mail)),
];
/// Of who is to get it, and where that leads.
pub(super) const RCPT: [Rule; 2] = [
    ("frozen", |case| frozen(case, Stage::Rcpt)),
    ("limit", |case| limit(case, Stage::Rcpt)),
];
/// Of the message.
pub(super) const DATA: Rule = ("limit", taken);

fn frozen(case: &Case, stage: Stage) -> Known<Opinion> {
    Ok(match case.limited(stage)?.map(|limited| &limited.by) {
        Some(Some((limit, Beyond::Frozen))) => no(stage, replies::frozen(limit)),
        _ => Opinion::Pass,
    })
}

/// What is to be held can only be held when it is all there.
fn limit(case: &Case, stage: Stage) -> Known<Opinion> {
    Ok(match case.limited(stage)?.map(|limited| &limited.by) {
        Some(Some((limit, Beyond::Defer))) => no(stage, replies::over_limit(limit)),
        Some(Some((limit, Beyond::Refuse))) => no(stage, replies::beyond_limit(limit)),
        _ => Opinion::Pass,
    })
}

fn taken(case: &Case) -> Known<Opinion> {
    Ok(match case.limits_taken()? {
        Some(Limited {
            by: Some((limit, beyond)),
            ..
        }) => match beyond {
            Beyond::Frozen => Opinion::Object(replies::frozen(limit)),
            Beyond::Refuse => Opinion::Object(replies::beyond_limit(limit)),
            Beyond::Defer => Opinion::Object(replies::over_limit(limit)),
            Beyond::Hold => Opinion::Note(Effect::Hold(Why::Limit)),
        },
        _ => Opinion::Pass,
    })
}

/// A session that has not begun ends (RFC 5321 §3.8: 421).
fn no(stage: Stage, reply: Reply) -> Opinion {
    match stage {
        Stage::Connect => Opinion::Close(replies::closing(&reply)),
        Stage::Auth if reply.code < 500 => Opinion::Object(replies::no_login(&reply)),
        _ => Opinion::Object(reply),
    }
}

#[cfg(test)]
mod tests {
    use envelope::{ForwardPath, ReversePath};

    use super::*;
    use crate::tests::decided;
    use crate::{Answer, Destination, Hosted, Question, Route, Step};

    fn case(stage: Stage) -> Case {
        let mut case = Case::default();
        case.settings.limits = true;
        case.settings.targets_max = 1;
        if !matches!(stage, Stage::Connect | Stage::Auth) {
            case.begin(ReversePath::Null);
        }
        if stage == Stage::Rcpt {
            case.next_recipient(ForwardPath::Postmaster);
            let hosted = Route::to(Destination::Hosted(Hosted::Found));
            case.learn(Answer::Route(hosted));
        }
        case
    }

    #[track_caller]
    fn check(stage: Stage, beyond: Option<Beyond>, expected: &str) {
        let mut case = case(stage);
        let mut limited = Limited::default();
        if let Some(beyond) = beyond {
            limited.also(&"much".into(), beyond);
        }
        match stage {
            Stage::Data => {
                assert_eq!(
                    crate::step(stage, &case),
                    Step::Ask(vec![Question::TakeLimits])
                );
                case.learn(Answer::LimitsTaken(limited));
            }
            _ => {
                assert_eq!(
                    crate::step(stage, &case),
                    Step::Ask(vec![Question::Limits(stage)])
                );
                case.learn(Answer::Limits(limited));
            }
        }
        assert_eq!(decided(stage, &case), expected, "{stage:?} {beyond:?}");
    }

    #[test]
    fn each_state_at_each_stage() {
        use Beyond::{Defer, Frozen, Hold, Refuse};
        use Stage::{Auth, Connect, Data, Mail, Rcpt};
        for (stage, fine) in [
            (Connect, "no-objection: grant"),
            (Mail, "no-objection: grant"),
            (Rcpt, "hosted: grant"),
            (Data, "no-objection: grant"),
        ] {
            check(stage, None, fine);
            if stage != Data {
                check(stage, Some(Hold), fine);
            }
        }
        check(Data, Some(Hold), "no-objection: grant; hold: limit");
        let wait = "450 4.7.1 too much for the limit `much`, try again later";
        let never = "550 5.7.1 too much for the limit `much`";
        let frozen = "450 4.7.1 frozen by the limit `much`, until the operator lifts it";
        let at_auth = |text: &str| format!("object: 454 4.7.0 {}", &text[10..]);
        check(Auth, Some(Defer), &format!("limit: {}", at_auth(wait)));
        check(Auth, Some(Frozen), &format!("frozen: {}", at_auth(frozen)));
        check(Auth, Some(Refuse), &format!("limit: object: {never}"));
        for stage in [Mail, Rcpt, Data] {
            check(stage, Some(Defer), &format!("limit: object: {wait}"));
            check(stage, Some(Refuse), &format!("limit: object: {never}"));
        }
        for stage in [Mail, Rcpt] {
            check(stage, Some(Frozen), &format!("frozen: object: {frozen}"));
        }
        check(Data, Some(Frozen), &format!("limit: object: {frozen}"));
        let closing = |text: &str| format!("close: 421 4.7.0 {}", &text[10..]);
        check(Connect, Some(Defer), &format!("limit: {}", closing(wait)));
        check(
            Connect,
            Some(Frozen),
            &format!("frozen: {}", closing(frozen)),
        );
        check(Connect, Some(Refuse), &format!("limit: {}", closing(never)));
    }

    #[test]
    fn what_keeps_mail_out_goes_first() {
        let mut limited = Limited::default();
        for (name, beyond, expected) in [
            ("a", Beyond::Hold, "a"),
            ("b", Beyond::Defer, "b"),
            ("c", Beyond::Defer, "b"),
            ("d", Beyond::Frozen, "d"),
            ("e", Beyond::Refuse, "d"),
        ] {
            limited.also(&name.into(), beyond);
            let by = limited.by.as_ref().map(|(name, _)| &**name);
            assert_eq!(by, Some(expected));
        }
    }

    #[test]
    fn an_answer_is_kept_for_its_stage_alone() {
        let mut case = case(Stage::Mail);
        case.learn(Answer::Limits(Limited::default()));
        assert_eq!(decided(Stage::Mail, &case), "no-objection: grant");
        let ask = |stage| Step::Ask(vec![Question::Limits(stage)]);
        case.next_recipient(ForwardPath::Postmaster);
        case.learn(Answer::Route(Route::to(Destination::Relay)));
        assert_eq!(crate::step(Stage::Rcpt, &case), ask(Stage::Rcpt));
        case.begin(ReversePath::Null);
        assert_eq!(crate::step(Stage::Mail, &case), ask(Stage::Mail));
        // Nothing is asked where there are no limits.
        case.settings.limits = false;
        assert_eq!(decided(Stage::Mail, &case), "no-objection: grant");
        assert_eq!(decided(Stage::Data, &case), "no-objection: grant");
    }
}
