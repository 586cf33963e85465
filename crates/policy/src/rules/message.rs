//! Rules at the end of the body, when the whole message is known.

use crate::case::Case;
use crate::decision::Effect;
use crate::decision::Opinion::{self, Note, Object, Pass};
use crate::question::Known;
use crate::replies;
use crate::rules::{NO_OBJECTION, Rules};

pub(super) const RULES: Rules = Rules {
    objections: &[("loop", going_round)],
    grounds: NO_OBJECTION,
};

/// Refuses mail with too many hops, and mail of which every leg was already delivered to an address on its way. If only
/// some legs loop, they are left out: refusing all would lose the others' mail, and a bounce could go to a forged sender.
fn going_round(case: &Case) -> Known<Opinion> {
    let (message, hops_max) = (&case.message, case.settings.hops_max);
    Ok(match message.loops.as_slice() {
        _ if message.hops > hops_max => Object(replies::too_many_hops(hops_max)),
        [] => Pass,
        [passed, ..] if message.loops.len() == message.legs => {
            Object(replies::delivered_before(passed))
        }
        _ => Note(Effect::LeaveLoopsOut),
    })
}

#[cfg(test)]
mod tests {
    use crate::tests::decided;
    use crate::{Case, Message, Settings, Stage};

    #[track_caller]
    fn check(hops: u32, legs: usize, loops: &[&str], expected: &str) {
        let loops = loops.iter().map(|passed| passed.parse().unwrap()).collect();
        let case = Case {
            settings: Settings {
                hops_max: 50,
                ..Settings::default()
            },
            message: Message { hops, legs, loops },
            ..Case::default()
        };
        assert_eq!(decided(Stage::Message, &case), expected);
    }

    #[test]
    fn loops() {
        let fine = "no-objection: grant";
        check(50, 1, &[], fine);
        // Every recipient is discarded.
        check(50, 0, &[], fine);
        check(
            51,
            1,
            &[],
            "loop: object: 554 5.4.6 over 50 hops: this message is going round in circles",
        );
        check(
            0,
            2,
            &["a@x.test", "b@x.test"],
            "loop: object: 554 5.4.6 mail loop: this message has passed a@x.test before",
        );
        check(0, 2, &["a@x.test"], "no-objection: grant; leave loops out");
    }
}
