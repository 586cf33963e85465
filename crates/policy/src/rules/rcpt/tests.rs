//! The rules at RCPT over every combination of facts, and the rows that say which rule speaks.

use std::sync::Arc;

use envelope::{EnhancedStatus, ForwardPath, Mailbox, Reply, ReversePath, Verdict};

use crate::sender::{Blocklisted, Callout, Identity, SpfFound, SpfResult};
use crate::tests::decided;
use crate::{
    Answer, Case, Decision, Destination, Hosted, Measures, Question, Route, Spf, Srs, Stage,
    Standing, Step,
};

const STANDINGS: [Standing; 3] = [
    Standing::Stranger,
    Standing::Trusted,
    Standing::Authenticated,
];

/// The recipients before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Beside {
    Nobody,
    Srs,
    Other,
}
use Beside::Nobody;

/// What was found out about the sender, with every measure on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sender {
    Fine,
    Blocked,
    Forged,
    Blocklisted,
    Unknown,
}

impl Sender {
    const ALL: [Self; 5] = [
        Self::Fine,
        Self::Blocked,
        Self::Forged,
        Self::Blocklisted,
        Self::Unknown,
    ];

    fn measures() -> Measures {
        Measures {
            spf: Spf::Reject,
            sender_block: vec!["bad".into()],
            spf_force: vec!["banks".into()],
            dnsbl: vec!["zen".into()],
            verify_sender: true,
            ..Measures::default()
        }
    }

    fn answers(self) -> [Answer; 4] {
        let refused = Callout::Refused {
            server: None,
            reason: "no such user".to_owned(),
        };
        let lists = [("bad", Self::Blocked), ("banks", Self::Forged)];
        [
            Answer::Listed(lists.map(|(list, of)| (list.into(), self == of)).into()),
            Answer::Spf(SpfFound {
                result: match self {
                    Self::Forged => SpfResult::Fail,
                    _ => SpfResult::Pass,
                },
                identity: Identity::MailFrom,
                domain: "sender.test".to_owned(),
                reason: String::new(),
                explanation: None,
                hello: None,
            }),
            Answer::Dnsbl(vec![(
                "zen".into(),
                match self {
                    Self::Blocklisted => Blocklisted::Yes(moved()),
                    _ => Blocklisted::No,
                },
            )]),
            Answer::Callout(match self {
                Self::Unknown => refused,
                _ => Callout::Exists,
            }),
        ]
    }
}

fn ann() -> Mailbox {
    "ann@sender.test".parse().unwrap()
}

fn moved() -> Reply {
    Reply::new(550, EnhancedStatus::permanent(1, 6), "moved")
}

/// Every destination there is. The `match` below has no wildcard: a new variant does not compile until it is named
/// here, and then has to be listed as accepted or it must be refused.
fn destinations() -> Vec<Destination> {
    let srs = [
        Srs::Valid(ann()),
        Srs::Forged,
        Srs::Expired,
        Srs::Future,
        Srs::Damaged,
        Srs::Forgotten,
    ];
    let hosted = [Hosted::Found, Hosted::Refused(moved()), Hosted::Unknown];
    let mut all = vec![
        Destination::Relay,
        Destination::Foreign,
        Destination::Undecided,
    ];
    all.extend(srs.map(Destination::Srs));
    all.extend(hosted.map(Destination::Hosted));
    for destination in &all {
        match destination {
            Destination::Relay | Destination::Foreign | Destination::Undecided => {}
            Destination::Srs(srs) => match srs {
                Srs::Valid(_)
                | Srs::Forged
                | Srs::Expired
                | Srs::Future
                | Srs::Damaged
                | Srs::Forgotten => {}
            },
            Destination::Hosted(hosted) => match hosted {
                Hosted::Found | Hosted::Refused(_) | Hosted::Unknown => {}
            },
        }
    }
    all
}

/// What a combination is made of.
#[derive(Debug, Clone)]
struct Facts {
    standing: Standing,
    null: bool,
    accept_nonnull: bool,
    too_many_targets: bool,
    routed: bool,
    beside: Beside,
    budget_left: bool,
    sender: Sender,
    destination: Destination,
}

impl Facts {
    fn new(destination: Destination, standing: Standing, null: bool) -> Self {
        Self {
            standing,
            null,
            accept_nonnull: false,
            too_many_targets: false,
            routed: false,
            beside: Nobody,
            budget_left: true,
            sender: Sender::Fine,
            destination,
        }
    }

    fn case(self) -> Case {
        let mut case = Case::default();
        case.client.standing = self.standing;
        case.settings.srs_accepts_nonnull = self.accept_nonnull;
        case.settings.targets_max = 3;
        case.begin(match self.null {
            true => ReversePath::Null,
            false => ReversePath::Mailbox(ann()),
        });
        case.transaction.others = usize::from(self.beside == Beside::Other);
        if self.beside == Beside::Srs {
            let before = (ForwardPath::Postmaster, ann());
            case.transaction.returns.push(before);
        }
        case.transaction.targets = 2;
        case.learn(Answer::Route(Route {
            targets: 1 + usize::from(self.too_many_targets),
            names_further_host: self.routed,
            measures: match self.destination {
                Destination::Srs(_) => Arc::default(),
                _ => Arc::new(Sender::measures()),
            },
            ..Route::to(self.destination)
        }));
        case.learn(Answer::SrsBudgetLeft(self.budget_left));
        let answers = self.sender.answers().into_iter();
        answers.for_each(|answer| case.learn(answer));
        case
    }
}

fn decide(facts: &Facts) -> Decision {
    match crate::step(Stage::Rcpt, &facts.clone().case()) {
        Step::Decide(decision) => decision,
        Step::Ask(questions) => panic!("{facts:?}: {questions:?}"),
    }
}

fn every_combination() -> Vec<Facts> {
    let mut all = Vec::new();
    for bits in 0..1 << 5 {
        let bit = |n: u32| bits >> n & 1 == 1;
        for standing in STANDINGS {
            for beside in [Nobody, Beside::Srs, Beside::Other] {
                for sender in Sender::ALL {
                    all.extend(destinations().into_iter().map(|destination| Facts {
                        standing,
                        null: bit(0),
                        accept_nonnull: bit(1),
                        too_many_targets: bit(2),
                        routed: bit(3),
                        beside,
                        budget_left: bit(4),
                        sender,
                        destination,
                    }));
                }
            }
        }
    }
    all
}

/// The promise, written down independently of the rules.
fn may_be_accepted(facts: &Facts) -> bool {
    let takes_srs = facts.null || facts.accept_nonnull;
    // Nobody is asked about the null sender.
    let unwanted = match facts.sender {
        Sender::Fine => false,
        Sender::Unknown => !facts.null,
        Sender::Blocked | Sender::Forged | Sender::Blocklisted => true,
    };
    match (&facts.destination, facts.standing) {
        _ if facts.too_many_targets => false,
        (_, Standing::Stranger) if facts.routed => false,
        (Destination::Srs(Srs::Valid(_)), _) => {
            facts.budget_left && (facts.beside != Beside::Other || takes_srs)
        }
        _ if facts.beside == Beside::Srs && !takes_srs => false,
        // Measures refuse, and never grant.
        (_, Standing::Stranger) if unwanted => false,
        (Destination::Relay | Destination::Hosted(Hosted::Found), _) => true,
        (Destination::Foreign, Standing::Trusted | Standing::Authenticated) => true,
        _ => false,
    }
}

#[test]
fn never_an_open_relay() {
    let all = every_combination();
    assert_eq!(all.len(), 32 * 3 * 3 * 5 * 12);
    for facts in all {
        let decision = decide(&facts);
        let accepted = decision.answer == Verdict::Accept;
        assert_eq!(accepted, may_be_accepted(&facts), "{facts:?}: {decision:?}");
        if let Verdict::Refuse(reply) = decision.answer {
            // Our own trouble is never permanent, nor is a limit of one message; everything else is.
            let transient = matches!(
                decision.rule,
                "lookup-failed" | "beside-srs" | "srs-budget" | "too-many-targets"
            );
            assert_eq!(reply.code / 100, if transient { 4 } else { 5 }, "{facts:?}");
            let status = reply.status.unwrap();
            assert_eq!(reply.code / 100, status.class.digit());
        }
    }
}

/// What is forgotten closes the relay: without objections and grounds, everything is refused.
#[test]
fn without_a_ground_mail_is_refused() {
    let nothing = crate::rules::Rules {
        objections: &[],
        grounds: &[],
    };
    for facts in every_combination() {
        let decision = nothing.decide(&facts.case()).unwrap();
        assert_eq!(decision.rule, "relaying-denied");
        assert!(matches!(decision.answer, Verdict::Refuse(_)));
    }
}

/// Every rule waits for the route, the budget for what it says.
#[test]
fn what_is_asked_when() {
    let mut case = Case::default();
    let ask = |question| Step::Ask(vec![question]);
    assert_eq!(crate::step(Stage::Rcpt, &case), ask(Question::Route));
    let mut route = Route::to(Destination::Srs(Srs::Valid(ann())));
    case.learn(Answer::Route(route.clone()));
    let budget = ask(Question::SrsBudget(ann()));
    assert_eq!(crate::step(Stage::Rcpt, &case), budget);
    route.destination = Destination::Srs(Srs::Forged);
    case.learn(Answer::Route(route));
    assert!(matches!(crate::step(Stage::Rcpt, &case), Step::Decide(_)));
}

#[track_caller]
fn check(destination: Destination, standing: Standing, null: bool, expected: &str) {
    check_beside(Nobody, destination, standing, null, expected);
}

#[track_caller]
fn check_beside(
    beside: Beside,
    destination: Destination,
    standing: Standing,
    null: bool,
    expected: &str,
) {
    let facts = Facts {
        beside,
        ..Facts::new(destination, standing, null)
    };
    assert_eq!(decided(Stage::Rcpt, &facts.case()), expected);
}

#[test]
fn srs_rules_and_words() {
    use Standing::{Authenticated, Stranger, Trusted};
    let refused = |srs, standing, text: &str| {
        check(
            Destination::Srs(srs),
            standing,
            true,
            &format!("srs-invalid: object: {text}"),
        );
    };
    refused(
        Srs::Forged,
        Authenticated,
        "550 5.7.1 SRS address refused: signature does not match",
    );
    refused(
        Srs::Expired,
        Stranger,
        "550 5.1.1 SRS address refused: it has expired",
    );
    refused(
        Srs::Future,
        Stranger,
        "550 5.7.1 SRS address refused: its date is in the future",
    );
    refused(
        Srs::Damaged,
        Stranger,
        "550 5.1.1 SRS address refused: it is damaged",
    );
    refused(
        Srs::Forgotten,
        Stranger,
        "550 5.1.1 SRS address refused: it is no longer known",
    );
    let valid = Destination::Srs(Srs::Valid(ann()));
    check(valid.clone(), Stranger, true, "srs-valid: grant");
    // A destination that verifies senders asks with a sender of its own; only DATA is refused.
    check(valid.clone(), Stranger, false, "srs-valid: grant");
    check_beside(
        Beside::Other,
        valid.clone(),
        Stranger,
        true,
        "srs-valid: grant",
    );
    check_beside(
        Beside::Srs,
        Destination::Hosted(Hosted::Found),
        Stranger,
        false,
        "beside-srs: object: 452 4.5.3 an SRS address goes before, send to this recipient separately",
    );
    check_beside(
        Beside::Other,
        valid,
        Trusted,
        false,
        "srs-not-a-notification: object: 550 5.7.1 SRS address refused: it takes only notifications (MAIL FROM:<>)",
    );
}

#[test]
fn other_rules_and_words() {
    use Destination::{Foreign, Relay, Undecided};
    use Standing::{Authenticated, Stranger, Trusted};
    let hosted = Destination::Hosted;
    check(hosted(Hosted::Found), Stranger, false, "hosted: grant");
    check(
        hosted(Hosted::Refused(moved())),
        Trusted,
        false,
        "hosted-refused: object: 550 5.1.6 moved",
    );
    check(
        hosted(Hosted::Unknown),
        Trusted,
        false,
        "hosted-unknown: object: 550 5.1.1 no such address here",
    );
    check(Relay, Stranger, false, "relay-domain: grant");
    check(Foreign, Trusted, false, "known-client: grant");
    check(Foreign, Authenticated, true, "known-client: grant");
    check(
        Foreign,
        Stranger,
        true,
        "relaying-denied: object: 550 5.7.1 relaying denied",
    );
    check(
        Undecided,
        Trusted,
        false,
        "lookup-failed: object: 451 4.3.0 recipient cannot be looked up now, try again later",
    );
}

#[test]
fn sender_specified_routing() {
    let rule = |destination, standing| {
        let facts = Facts {
            routed: true,
            ..Facts::new(destination, standing, false)
        };
        decide(&facts).rule
    };
    let stranger = Standing::Stranger;
    let found = Destination::Hosted(Hosted::Found);
    assert_eq!(rule(Destination::Relay, stranger), "untrusted-routing");
    assert_eq!(rule(found, stranger), "untrusted-routing");
    let srs = Destination::Srs(Srs::Valid(ann()));
    assert_eq!(rule(srs, stranger), "untrusted-routing");
    assert_eq!(rule(Destination::Foreign, stranger), "relaying-denied");
    assert_eq!(rule(Destination::Relay, Standing::Trusted), "relay-domain");
    assert_eq!(
        rule(Destination::Foreign, Standing::Trusted),
        "known-client"
    );
}

#[test]
fn a_target_under_pressure() {
    let case = |standing, null, destination, put_off| {
        let mut case = Facts::new(destination, standing, null).case();
        case.settings.pressure = true;
        let asked = crate::step(Stage::Rcpt, &case) == Step::Ask(vec![Question::Pressure]);
        case.learn(Answer::Pressure { share: 40, put_off });
        (asked, decided(Stage::Rcpt, &case))
    };
    let found = || Destination::Hosted(Hosted::Found);
    let put_off = "pressure: object: 451 4.2.1 this recipient takes less mail at the moment than comes, try again later";
    let stranger = Standing::Stranger;
    for destination in [found(), Destination::Relay] {
        let expected = (true, put_off.to_owned());
        assert_eq!(case(stranger, false, destination, true), expected);
    }
    let granted = case(stranger, false, found(), false);
    assert_eq!(granted, (true, "hosted: grant".to_owned()));
    // Who is not asked about cannot be put off: bounces, the mail of users and of trusted clients, and what is refused anyway.
    for (standing, null, destination, rule) in [
        (stranger, true, found(), "hosted"),
        (Standing::Trusted, false, found(), "hosted"),
        (Standing::Authenticated, false, found(), "hosted"),
        (
            stranger,
            false,
            Destination::Srs(Srs::Valid(ann())),
            "srs-valid",
        ),
        (
            stranger,
            false,
            Destination::Hosted(Hosted::Unknown),
            "hosted-unknown",
        ),
        (stranger, false, Destination::Foreign, "relaying-denied"),
    ] {
        let (asked, decided) = case(standing, null, destination, true);
        assert!(!asked && decided.starts_with(rule), "{decided}");
    }
}
