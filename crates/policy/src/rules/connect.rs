//! Rules before the greeting. Clients that we know pass all of them.
//!
//! How many connections a client may hold is not decided here but in `smtp-in`, before any session exists.

use crate::case::{Case, Standing};
use crate::decision::Opinion;
use crate::question::Known;
use crate::replies;
use crate::rules::{DRAINED, NO_OBJECTION, Rules, limits};

pub(super) const RULES: Rules = Rules {
    objections: &[
        DRAINED,
        ("blocked", blocked),
        limits::CONNECT[0],
        limits::CONNECT[1],
        ("pregreet", pregreet),
    ],
    grounds: NO_OBJECTION,
};

/// Also where our own users come in: who has been blocked could still guess passwords there.
fn blocked(case: &Case) -> Known<Opinion> {
    if case.client.standing != Standing::Stranger {
        return Ok(Opinion::Pass);
    }
    let list = case.first_listed(&case.settings.blocks)?;
    Ok(list.map_or(Opinion::Pass, |list| {
        Opinion::Close(replies::client_blocked(list))
    }))
}

/// The session ends, so nothing of what the client said is taken for commands.
fn pregreet(case: &Case) -> Known<Opinion> {
    Ok(match case.client.talked_early {
        true => Opinion::Close(replies::talked_early()),
        false => Opinion::Pass,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::decided;
    use crate::{Answer, Client, Question, Role, Settings, Stage, Step};

    fn case(role: Role, standing: Standing, talked_early: bool) -> Case {
        Case {
            client: Client {
                role,
                standing,
                talked_early,
                ..Client::default()
            },
            settings: Settings {
                blocks: ["one".into(), "two".into()].into(),
                ..Settings::default()
            },
            ..Case::default()
        }
    }

    #[track_caller]
    fn check(role: Role, on: [bool; 2], talked_early: bool, expected: &str) {
        let mut case = case(role, Standing::Stranger, talked_early);
        let Step::Ask(questions) = crate::step(Stage::Connect, &case) else {
            panic!("it does not ask");
        };
        let lists = ["one".into(), "two".into()];
        assert_eq!(questions, [Question::Listed(lists.to_vec())]);
        case.learn(Answer::Listed(lists.into_iter().zip(on).collect()));
        let decided = decided(Stage::Connect, &case);
        assert!(decided.starts_with(expected), "{decided}");
    }

    #[test]
    fn strangers() {
        let granted = "no-objection: grant";
        check(Role::Mx, [false, false], false, granted);
        check(
            Role::Mx,
            [false, false],
            true,
            "pregreet: close: 554 5.5.1 ",
        );
        let first =
            "blocked: close: 554 5.7.1 no mail is taken from your network: it is on the list `one`";
        check(Role::Mx, [true, true], true, first);
        let second =
            "blocked: close: 554 5.7.1 no mail is taken from your network: it is on the list `two`";
        check(Role::Submission, [false, true], false, second);
    }

    #[test]
    fn nothing_is_asked_of_those_we_know_or_without_lists() {
        let trusted = case(Role::Mx, Standing::Trusted, false);
        assert_eq!(decided(Stage::Connect, &trusted), "no-objection: grant");
        let plain = Case::default();
        assert_eq!(decided(Stage::Connect, &plain), "no-objection: grant");
    }
}
