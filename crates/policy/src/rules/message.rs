//! Rules at the end of the body, when the whole message is known.

use envelope::{Class, DmarcPolicy};

use crate::case::{Case, Standing};
use crate::decision::Opinion::{self, Note, Object, Pass};
use crate::decision::{Effect, Tier, Why};
use crate::filtered::Judgement;
use crate::measures::{Dmarc, Measures};
use crate::question::Known;
use crate::replies;
use crate::rules::{NO_OBJECTION, Rules};
use crate::sender::{DmarcFound, SpfResult};

pub(super) const RULES: Rules = Rules {
    objections: &[
        ("loop", going_round),
        ("dmarc", dmarc),
        ("filter", filter),
        ("tier", tier),
    ],
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

/// What the owner of the From domain asks for, where a recipient's domain follows it. What is only marked is asked here too, so
/// that it is known when the trace is written.
fn dmarc(case: &Case) -> Known<Opinion> {
    let any = |wants: fn(&Measures) -> bool| {
        let mut all = case.transaction.measures.iter();
        all.any(|measures| wants(measures))
    };
    // Who is behind mail of users is known; but what is sealed must have been looked at.
    if case.client.user.is_some() {
        return match any(Measures::wants_authentic) {
            true => case.dmarc().map(|_| Pass),
            false => Ok(Pass),
        };
    }
    if !any(Measures::wants_spf) {
        return Ok(Pass);
    }
    let spf = case.spf()?;
    if !any(Measures::wants_authentic) {
        return Ok(Pass);
    }
    let (policy, refusal) = match case.dmarc()? {
        DmarcFound::Fail { policy, owner } => {
            let spf_failed = spf.result == SpfResult::Fail;
            (*policy, replies::dmarc_fail(owner, spf_failed))
        }
        // Whoever wants to hide his From makes it so.
        DmarcFound::Unreadable => (DmarcPolicy::Reject, replies::header_too_large()),
        _ => return Ok(Pass),
    };
    Ok(match policy {
        DmarcPolicy::Reject if any(|measures| measures.dmarc == Dmarc::Reject) => Object(refusal),
        DmarcPolicy::Reject | DmarcPolicy::Quarantine
            if any(|measures| measures.dmarc == Dmarc::Hold) =>
        {
            Note(Effect::Hold(Why::Dmarc))
        }
        _ => Pass,
    })
}

/// What somebody else thinks of the message. Of several filters the most definite counts, and what loses nothing before what
/// loses the mail.
fn filter(case: &Case) -> Known<Opinion> {
    let weight = |judgement: &Judgement| match judgement {
        Judgement::Refuse(reply) if reply.class() == Class::Permanent => 5,
        Judgement::Refuse(_) => 4,
        Judgement::Unknown => 3,
        Judgement::Hold(_) => 2,
        Judgement::Discard => 1,
        Judgement::Pass | Judgement::NotAsked => 0,
    };
    let said = case.filtered()?.iter().map(|(_, said)| &said.judgement);
    // `rev`: of equals the first that is named.
    Ok(match said.rev().max_by_key(|judgement| weight(judgement)) {
        Some(Judgement::Refuse(reply)) => Object(reply.clone()),
        Some(Judgement::Unknown) => Object(replies::filter_unavailable()),
        Some(Judgement::Hold(_)) => Note(Effect::Hold(Why::Filter)),
        Some(Judgement::Discard) => Note(Effect::Discard),
        Some(Judgement::Pass | Judgement::NotAsked) | None => Pass,
    })
}

/// What the mail is taken for, by what was found out of it anyway: nothing is asked for this. Behind all that may refuse it.
fn tier(case: &Case) -> Known<Opinion> {
    Ok(match case.settings.tiers {
        true => Note(Effect::Tier(tier_of(case))),
        false => Pass,
    })
}

fn tier_of(case: &Case) -> Tier {
    use {DmarcFound as Dmarc, SpfResult as Spf};
    let spf = case.transaction.found.spf.as_ref().map(|spf| spf.result);
    let mut filters = case.message.filtered.iter().flatten();
    let is_known = case.client.standing != Standing::Stranger;
    match (&case.transaction.found.dmarc, spf) {
        _ if filters.any(|(_, said)| said.is_suspicious()) => Tier::Suspect,
        _ if is_known => Tier::Authenticated,
        (Some(Dmarc::Pass), _) => Tier::Clean,
        (Some(Dmarc::Fail { .. } | Dmarc::Unreadable), _) | (_, Some(Spf::Fail)) => Tier::Suspect,
        // Its owner has no policy that this could break.
        (Some(Dmarc::None), Some(Spf::Pass)) => Tier::Clean,
        _ => Tier::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use envelope::Reply;

    use super::*;
    use crate::tests::decided;
    use crate::{
        Answer, Filtered, Identity, Message, Name, Question, Settings, Spf, SpfFound, Stage, Step,
    };

    #[track_caller]
    fn check(hops: u32, legs: usize, loops: &[&str], expected: &str) {
        let loops = loops.iter().map(|passed| passed.parse().unwrap()).collect();
        let case = Case {
            settings: Settings {
                hops_max: 50,
                ..Settings::default()
            },
            message: Message {
                hops,
                legs,
                loops,
                filtered: None,
            },
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

    fn found(result: SpfResult) -> SpfFound {
        SpfFound {
            result,
            identity: Identity::MailFrom,
            domain: String::new(),
            reason: String::new(),
            explanation: None,
            hello: None,
        }
    }

    /// Mail from a stranger to recipients with these measures, after SPF and DMARC were found so.
    #[track_caller]
    fn check_dmarc(measures: &[Dmarc], spf: SpfResult, dmarc: DmarcFound, expected: &str) {
        let mut case = Case::default();
        let with = |dmarc: &Dmarc| {
            Arc::new(Measures {
                dmarc: *dmarc,
                ..Measures::default()
            })
        };
        case.transaction.measures = measures.iter().map(with).collect();
        assert_eq!(
            crate::step(Stage::Message, &case),
            Step::Ask(vec![Question::Spf])
        );
        case.learn(Answer::Spf(found(spf)));
        assert_eq!(
            crate::step(Stage::Message, &case),
            Step::Ask(vec![Question::Authentic])
        );
        case.learn(Answer::Authentic(dmarc));
        assert_eq!(decided(Stage::Message, &case), expected);
    }

    #[test]
    fn dmarc_in_each_state() {
        use Dmarc::{Hold, Mark, Off, Reject};
        let fail = |policy| DmarcFound::Fail {
            policy,
            owner: "bank.test".to_owned(),
        };
        let (fine, held) = ("no-objection: grant", "no-objection: grant; hold");
        let words = "DMARC: bank.test asks that mail from its domain is refused unless SPF or DKIM proves it (p=reject), and here neither does. It is the policy of bank.test that refuses, not the recipient's filter: if the mail is genuine, its owner must have the sending server sign it, or list it in SPF.";
        let (none, failed) = (SpfResult::None, SpfResult::Fail);
        let reject = || fail(DmarcPolicy::Reject);
        check_dmarc(&[Mark], failed, reject(), fine);
        let refused = format!("dmarc: object: 550 5.7.1 {words}");
        check_dmarc(&[Reject], none, reject(), &refused);
        let refused = format!("dmarc: object: 550 5.7.26 {words}");
        check_dmarc(&[Reject], failed, reject(), &refused);
        check_dmarc(&[Reject], failed, fail(DmarcPolicy::Quarantine), fine);
        check_dmarc(&[Off, Hold], failed, reject(), held);
        check_dmarc(&[Hold], failed, fail(DmarcPolicy::Quarantine), held);
        check_dmarc(&[Hold], failed, fail(DmarcPolicy::None), fine);
        let refused =
            "dmarc: object: 552 5.3.4 the header is too large to see in it whose mail this is";
        check_dmarc(&[Reject], none, DmarcFound::Unreadable, refused);
        check_dmarc(&[Hold], none, DmarcFound::Unreadable, held);
        check_dmarc(&[Mark], none, DmarcFound::Unreadable, fine);
        for found in [
            DmarcFound::None,
            DmarcFound::Pass,
            DmarcFound::TempError,
            DmarcFound::PermError("no From field"),
        ] {
            check_dmarc(&[Reject], failed, found.clone(), fine);
            check_dmarc(&[Hold], failed, found, fine);
        }
    }

    /// Filters that say this, in their order.
    #[track_caller]
    fn check_filter(said: &[Judgement], expected: &str) {
        let mut case = Case::default();
        let names = ["a", "b", "c", "d"].map(Name::from);
        let names = || names[..said.len()].iter().cloned();
        let with = Measures {
            filter: names().collect(),
            ..Measures::default()
        };
        case.transaction.measures = vec![Arc::new(with)];
        let ask = Step::Ask(vec![Question::Filter(names().collect())]);
        assert_eq!(crate::step(Stage::Message, &case), ask);
        let said = said.iter().map(|judgement| Filtered {
            judgement: judgement.clone(),
            fields: String::new(),
        });
        case.learn(Answer::Filter(names().zip(said).collect()));
        assert_eq!(decided(Stage::Message, &case), expected);
    }

    #[test]
    fn filters() {
        use Judgement::{Discard, NotAsked, Pass, Refuse, Unknown};
        let reply = |text| Reply::parse_refusal(text, (7, 1)).unwrap();
        let (reject, defer) = (Refuse(reply("550 a virus")), Refuse(reply("451 later")));
        let hold = || Judgement::Hold("odd".to_owned());
        let rejected = "filter: object: 550 5.7.1 a virus";
        check_filter(&[Pass, NotAsked], "no-objection: grant");
        check_filter(
            &[defer.clone(), reject.clone(), Refuse(reply("550 no"))],
            rejected,
        );
        check_filter(&[Unknown, reject], rejected);
        check_filter(&[Unknown, defer], "filter: object: 451 4.7.1 later");
        let unknown = "filter: object: 451 4.7.1 the recipient's content filter cannot be asked now, try again later";
        check_filter(&[hold(), Unknown], unknown);
        check_filter(&[Discard, hold()], "no-objection: grant; hold: filter");
        check_filter(&[Pass, Discard], "no-objection: grant; discard");
    }

    #[test]
    fn tiers() {
        use DmarcFound as D;
        use SpfResult as S;
        let fail = D::Fail {
            policy: DmarcPolicy::None,
            owner: "x.test".to_owned(),
        };
        let (stranger, trusted, user) = (
            Standing::Stranger,
            Standing::Trusted,
            Standing::Authenticated,
        );
        for (standing, spf, dmarc, fields, expected) in [
            (stranger, Some(S::Fail), Some(D::Pass), "", "clean"),
            (
                stranger,
                Some(S::Pass),
                Some(D::Pass),
                "X-Spam: no\r\n",
                "clean",
            ),
            (stranger, Some(S::Pass), Some(D::None), "", "clean"),
            (
                stranger,
                Some(S::Pass),
                Some(D::Pass),
                "X-A: b\r\nX-Spam: Yes\r\n",
                "suspect",
            ),
            (stranger, Some(S::Pass), Some(fail.clone()), "", "suspect"),
            (stranger, Some(S::Fail), Some(D::None), "", "suspect"),
            (stranger, Some(S::Fail), None, "", "suspect"),
            (stranger, Some(S::Pass), Some(D::Unreadable), "", "suspect"),
            (stranger, Some(S::SoftFail), Some(D::None), "", "unknown"),
            (stranger, Some(S::Pass), Some(D::TempError), "", "unknown"),
            (stranger, Some(S::Pass), None, "", "unknown"),
            (stranger, None, None, "", "unknown"),
            (user, None, None, "", "authenticated"),
            (trusted, Some(S::Fail), Some(fail), "", "authenticated"),
            (user, None, None, "X-Spam-Flag: YES\r\n", "suspect"),
        ] {
            let mut case = Case::default();
            case.settings.hops_max = 50;
            case.client.standing = standing;
            case.transaction.found.spf = spf.map(found);
            case.transaction.found.dmarc = dmarc;
            case.message.filtered = Some(vec![(
                "a".into(),
                Filtered {
                    judgement: Judgement::Pass,
                    fields: fields.to_owned(),
                },
            )]);
            let row = format!("{:?}", case.transaction.found);
            assert_eq!(decided(Stage::Message, &case), "no-objection: grant");
            case.settings.tiers = true;
            let expected = format!("no-objection: grant; tier: {expected}");
            assert_eq!(decided(Stage::Message, &case), expected, "{row}");
        }
    }

    #[test]
    fn a_filter_is_not_asked_about_what_is_refused_anyway() {
        let mut case = Case::default();
        case.transaction.measures = vec![Arc::new(Measures {
            dmarc: Dmarc::Reject,
            filter: vec!["a".into()],
            ..Measures::default()
        })];
        assert_eq!(
            crate::step(Stage::Message, &case),
            Step::Ask(vec![Question::Spf])
        );
        case.message.hops = 1;
        assert!(matches!(
            crate::step(Stage::Message, &case),
            Step::Decide(_)
        ));
    }

    #[test]
    fn spf_that_is_only_marked_is_found_out() {
        let mut case = Case::default();
        case.transaction.measures = vec![Arc::new(Measures {
            spf: Spf::Mark,
            ..Measures::default()
        })];
        let ask = Step::Ask(vec![Question::Spf]);
        assert_eq!(crate::step(Stage::Message, &case), ask);
    }
}
