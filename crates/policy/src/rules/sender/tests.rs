//! Each measure in each of its states: what is asked, and which rule speaks.

use std::sync::Arc;

use envelope::{EnhancedStatus, ForwardPath, Reply, ReversePath};

use crate::measures::{Dmarc, Measures, Name, Spf};
use crate::sender::{Blocklisted, Callout, Identity, SpfFound, SpfResult};
use crate::tests::decided;
use crate::{Answer, Case, Destination, Hosted, Question, Route, Stage, Standing, Step};

/// A stranger's mail from `ann@sender.test` to a hosted recipient with these measures.
fn case(measures: Measures) -> Case {
    let mut case = Case::default();
    case.settings.targets_max = 10;
    case.client.address = Some("::ffff:192.0.2.7".parse().unwrap());
    case.begin(ReversePath::Mailbox("ann@sender.test".parse().unwrap()));
    next(&mut case, measures);
    case
}

fn next(case: &mut Case, measures: Measures) {
    case.next_recipient(ForwardPath::Postmaster);
    case.learn(Answer::Route(Route {
        measures: Arc::new(measures),
        ..Route::to(Destination::Hosted(Hosted::Found))
    }));
}

fn names(names: &[&str]) -> Vec<Name> {
    names.iter().map(|name| Name::from(*name)).collect()
}

fn spf(result: SpfResult) -> Answer {
    Answer::Spf(SpfFound {
        result,
        identity: Identity::MailFrom,
        domain: "sender.test".to_owned(),
        reason: String::new(),
        explanation: Some("see \"help\"\r\n".to_owned()),
        hello: None,
    })
}

fn on(list: &str) -> Answer {
    Answer::Listed(vec![(list.into(), true)])
}

#[track_caller]
fn check(measures: Measures, answers: &[Answer], expected: &str) {
    let mut case = case(measures);
    answers.iter().for_each(|answer| case.learn(answer.clone()));
    assert_eq!(decided(Stage::Rcpt, &case), expected);
}

#[track_caller]
fn asks(measures: Measures, answers: &[Answer], expected: &[Question]) {
    let mut case = case(measures);
    answers.iter().for_each(|answer| case.learn(answer.clone()));
    assert_eq!(crate::step(Stage::Rcpt, &case), Step::Ask(expected.into()));
}

const FAIL: &str = "550 5.7.23 SPF: the record of sender.test does not allow 192.0.2.7 to send its mail. It is the sender's record that refuses, not the recipient's filter: if the mail is genuine, the owner of sender.test must add ip4:192.0.2.7 to the record. sender.test says: \"see ?help???\"";

#[test]
fn spf_in_each_state() {
    let with = |spf| Measures {
        spf,
        ..Measures::default()
    };
    asks(with(Spf::Mark), &[], &[Question::Spf]);
    asks(with(Spf::Reject), &[], &[Question::Spf]);
    check(with(Spf::Off), &[], "hosted: grant");
    check(with(Spf::Mark), &[spf(SpfResult::Fail)], "hosted: grant");
    let refused = format!("spf: object: {FAIL}");
    check(with(Spf::Reject), &[spf(SpfResult::Fail)], &refused);
    for result in [
        SpfResult::Pass,
        SpfResult::SoftFail,
        SpfResult::Neutral,
        SpfResult::None,
        SpfResult::TempError,
        SpfResult::PermError,
    ] {
        check(with(Spf::Reject), &[spf(result)], "hosted: grant");
    }
}

#[test]
fn lists_block_exempt_and_force() {
    let measures = Measures {
        spf: Spf::Reject,
        sender_block: names(&["bad"]),
        sender_exempt: names(&["friends", "banks"]),
        spf_force: names(&["banks"]),
        dnsbl: names(&["zen"]),
        verify_sender: true,
        ..Measures::default()
    };
    // Lists first, all at once; then the network; then the callout.
    let lists = Question::Listed(names(&["bad", "friends", "banks"]));
    asks(measures.clone(), &[], &[lists]);
    let off = |lists: &[&str]| {
        let lists = lists.iter().map(|list| (Name::from(*list), false));
        Answer::Listed(lists.collect())
    };
    let none = off(&["bad", "friends", "banks"]);
    let network = [Question::Spf, Question::Dnsbl(names(&["zen"]))];
    asks(measures.clone(), std::slice::from_ref(&none), &network);
    let fine = [
        none,
        spf(SpfResult::Pass),
        Answer::Dnsbl(vec![("zen".into(), Blocklisted::No)]),
    ];
    asks(measures.clone(), &fine, &[Question::Callout]);

    check(
        measures.clone(),
        &[on("bad"), off(&["friends", "banks"])],
        "sender-blocked: object: 550 5.7.1 refused: this sender, or the server that it came by, is on the list `bad` of the recipient's provider",
    );
    let exempt = [on("friends"), off(&["bad", "banks"])];
    check(measures.clone(), &exempt, "hosted: grant");
    // A bank is exempt too, and refused all the same.
    let bank = [on("banks"), off(&["bad", "friends"])];
    asks(measures.clone(), &bank, &[Question::Spf]);
    let bank = [bank[0].clone(), bank[1].clone(), spf(SpfResult::Fail)];
    check(measures, &bank, &format!("spf-force: object: {FAIL}"));
    let force_alone = Measures {
        spf_force: names(&["banks"]),
        ..Measures::default()
    };
    let bank = [on("banks"), spf(SpfResult::Fail)];
    check(force_alone, &bank, &format!("spf-force: object: {FAIL}"));
}

#[test]
fn blocklists() {
    let measures = Measures {
        dnsbl: names(&["zen", "dbl"]),
        ..Measures::default()
    };
    let reply = Reply::new(554, EnhancedStatus::permanent(7, 1), "listed");
    let said = |zen: Blocklisted, dbl: Blocklisted| {
        [Answer::Dnsbl(vec![
            ("zen".into(), zen),
            ("dbl".into(), dbl),
        ])]
    };
    use Blocklisted::{No, Unknown, Yes};
    check(measures.clone(), &said(No, Unknown), "hosted: grant");
    check(
        measures,
        &said(Unknown, Yes(reply)),
        "dnsbl: object: 554 5.7.1 listed",
    );
}

#[test]
fn callout() {
    let measures = Measures {
        verify_sender: true,
        ..Measures::default()
    };
    let refused = |server: Option<&str>, reason: &str| {
        Answer::Callout(Callout::Refused {
            server: server.map(str::to_owned),
            reason: reason.to_owned(),
        })
    };
    check(
        measures.clone(),
        &[refused(None, "no such domain: sender.test")],
        "verify-sender: object: 550 5.1.8 sender refused: no mail can be sent to <ann@sender.test>: no such domain: sender.test",
    );
    check(
        measures.clone(),
        &[refused(Some("mx.sender.test"), "550 5.1.1 no such user")],
        "verify-sender: object: 550 5.7.1 sender refused: asked about <ann@sender.test>, its mail server mx.sender.test says: \"550 5.1.1 no such user\"",
    );
    for said in [
        Callout::Exists,
        Callout::Unknown("time-out".to_owned()),
        Callout::Exempt,
    ] {
        check(measures.clone(), &[Answer::Callout(said)], "hosted: grant");
    }
    let mut case = case(measures);
    case.transaction.reverse_path = Some(ReversePath::Null);
    assert_eq!(decided(Stage::Rcpt, &case), "hosted: grant");
}

/// With everything on, a client that we know is asked nothing.
#[test]
fn known_clients_are_not_looked_at() {
    let measures = Measures {
        spf: Spf::Reject,
        dmarc: Dmarc::Reject,
        sender_block: names(&["bad"]),
        spf_force: names(&["banks"]),
        dnsbl: names(&["zen"]),
        verify_sender: true,
        ..Measures::default()
    };
    for standing in [Standing::Trusted, Standing::Authenticated] {
        let mut case = case(Measures::default());
        case.client.standing = standing;
        next(&mut case, measures.clone());
        assert_eq!(decided(Stage::Rcpt, &case), "hosted: grant");
        case.accept_recipient();
        assert_eq!(decided(Stage::Message, &case), "no-objection: grant");
    }
}

#[test]
fn recipients_whose_answers_would_differ_come_separately() {
    let with = |dmarc| Measures {
        dmarc,
        ..Measures::default()
    };
    let fine = "hosted: grant";
    let apart = "unlike-measures: object: 452 4.5.3 this recipient's rules differ from those of the recipients before, send to it separately";
    for (first, second, expected) in [
        (Dmarc::Reject, Dmarc::Reject, fine),
        (Dmarc::Off, Dmarc::Hold, fine),
        (Dmarc::Reject, Dmarc::Mark, apart),
        (Dmarc::Hold, Dmarc::Reject, apart),
    ] {
        let mut case = case(with(first));
        case.accept_recipient();
        next(&mut case, with(second));
        assert_eq!(decided(Stage::Rcpt, &case), expected);
    }
}

/// Whoever looks for an open relay costs no look-up, and gets the answer that it is none.
#[test]
fn foreign_mail_is_denied_and_nothing_is_asked() {
    let mut case = case(Measures {
        dmarc: Dmarc::Reject,
        ..Measures::default()
    });
    case.accept_recipient();
    case.next_recipient(ForwardPath::Postmaster);
    case.learn(Answer::Route(Route {
        measures: Arc::new(Measures {
            spf: Spf::Reject,
            sender_block: names(&["bad"]),
            dnsbl: names(&["zen"]),
            verify_sender: true,
            ..Measures::default()
        }),
        ..Route::to(Destination::Foreign)
    }));
    assert_eq!(
        decided(Stage::Rcpt, &case),
        "relaying-denied: object: 550 5.7.1 relaying denied"
    );
}
