//! The rules at RCPT over every combination of facts, and the rows that say which rule speaks.

use envelope::{EnhancedStatus, Reply, Verdict};

use crate::facts::{Accepted, Destination, Hosted, Rcpt, Srs, Standing};

const STANDINGS: [Standing; 3] = [
    Standing::Stranger,
    Standing::Trusted,
    Standing::Authenticated,
];

const ACCEPTED: [Accepted; 3] = [NONE, SRS, OTHER];
const NONE: Accepted = Accepted {
    srs: false,
    other: false,
};
const SRS: Accepted = Accepted {
    srs: true,
    other: false,
};
const OTHER: Accepted = Accepted {
    srs: false,
    other: true,
};

fn moved() -> Reply {
    Reply::new(550, EnhancedStatus::permanent(1, 6), "moved")
}

/// Every destination there is. The `match` below has no wildcard: a new variant does not compile until it is named
/// here, and then has to be listed as accepted or it must be refused.
fn destinations() -> Vec<Destination> {
    let srs = [
        Srs::Valid,
        Srs::OverBudget,
        Srs::Forged,
        Srs::Expired,
        Srs::Future,
        Srs::Damaged,
        Srs::Forgotten,
    ];
    let hosted = [Hosted::Found, Hosted::Refused(moved()), Hosted::Unknown];
    let mut all = vec![
        Destination::Postmaster,
        Destination::Relay,
        Destination::Foreign,
        Destination::Undecided,
    ];
    all.extend(srs.map(Destination::Srs));
    all.extend(hosted.map(Destination::Hosted));
    for destination in &all {
        match destination {
            Destination::Postmaster
            | Destination::Relay
            | Destination::Foreign
            | Destination::Undecided => {}
            Destination::Srs(srs) => match srs {
                Srs::Valid
                | Srs::OverBudget
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

fn every_combination() -> Vec<Rcpt> {
    let mut all = Vec::new();
    for standing in STANDINGS {
        for reverse_path_null in [false, true] {
            for accept_nonnull in [false, true] {
                for (too_many_targets, routed) in
                    [(false, false), (false, true), (true, false), (true, true)]
                {
                    for accepted in ACCEPTED {
                        all.extend(destinations().into_iter().map(|destination| Rcpt {
                            standing,
                            reverse_path_null,
                            accepted,
                            destination,
                            too_many_targets,
                            routed,
                            accept_nonnull,
                        }));
                    }
                }
            }
        }
    }
    all
}

/// The promise, written down independently of the rules.
fn may_be_accepted(facts: &Rcpt) -> bool {
    let takes_srs = facts.reverse_path_null || facts.accept_nonnull;
    match (&facts.destination, facts.standing) {
        (Destination::Postmaster, _) => true,
        _ if facts.too_many_targets => false,
        (_, Standing::Stranger) if facts.routed => false,
        (Destination::Srs(Srs::Valid), _) => !facts.accepted.other || takes_srs,
        _ if facts.accepted.srs && !takes_srs => false,
        (Destination::Relay | Destination::Hosted(Hosted::Found), _) => true,
        (Destination::Foreign, Standing::Trusted | Standing::Authenticated) => true,
        _ => false,
    }
}

#[test]
fn never_an_open_relay() {
    let all = every_combination();
    assert_eq!(all.len(), 3 * 2 * 2 * 2 * 2 * 3 * 14);
    for facts in all {
        let decision = crate::rcpt(&facts);
        let accepted = decision.verdict == Verdict::Accept;
        assert_eq!(accepted, may_be_accepted(&facts), "{facts:?}: {decision:?}");
        assert_ne!(decision.rule, crate::NO_OBJECTION, "{facts:?}");
        if let Verdict::Refuse(reply) = decision.verdict {
            // Our own trouble is never permanent, nor is a limit of one message; everything else is.
            let no_such = matches!(facts.destination, Destination::Srs(_))
                || matches!(
                    facts.destination,
                    Destination::Hosted(Hosted::Refused(_) | Hosted::Unknown)
                );
            let limit = facts.too_many_targets && (!no_such || decision.rule == "too-many-targets");
            let limit = limit || matches!(decision.rule, "beside-srs" | "srs-budget");
            let transient = facts.destination == Destination::Undecided || limit;
            assert_eq!(reply.code / 100, if transient { 4 } else { 5 }, "{facts:?}");
            let status = reply.status.unwrap();
            assert_eq!(reply.code / 100, status.class.digit());
        }
    }
}

#[track_caller]
fn check(destination: Destination, standing: Standing, null: bool, expected: &str) {
    check_beside(NONE, destination, standing, null, expected);
}

#[track_caller]
fn check_beside(
    accepted: Accepted,
    destination: Destination,
    standing: Standing,
    null: bool,
    expected: &str,
) {
    let decision = crate::rcpt(&Rcpt {
        standing,
        reverse_path_null: null,
        accepted,
        destination,
        too_many_targets: false,
        routed: false,
        accept_nonnull: false,
    });
    let got = match decision.verdict {
        Verdict::Accept => format!("{}: accept", decision.rule),
        Verdict::Refuse(reply) => format!("{}: {reply}", decision.rule),
        Verdict::Close(reply) => format!("{}: close {reply}", decision.rule),
    };
    assert_eq!(got, expected);
}

#[test]
fn srs_rules_and_words() {
    use Standing::{Authenticated, Stranger, Trusted};
    let refused = |srs, standing, text: &str| {
        check(
            Destination::Srs(srs),
            standing,
            true,
            &format!("srs-invalid: {text}"),
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
    let valid = Destination::Srs(Srs::Valid);
    check(valid.clone(), Stranger, true, "srs-valid: accept");
    // A destination that verifies senders asks with a sender of its own; only DATA is refused.
    check(valid.clone(), Stranger, false, "srs-valid: accept");
    check_beside(OTHER, valid.clone(), Stranger, true, "srs-valid: accept");
    check_beside(
        SRS,
        Destination::Hosted(Hosted::Found),
        Stranger,
        false,
        "beside-srs: 452 4.5.3 an SRS address goes before, send to this recipient separately",
    );
    check_beside(
        OTHER,
        valid,
        Trusted,
        false,
        "srs-not-a-notification: 550 5.7.1 SRS address refused: it takes only notifications (MAIL FROM:<>)",
    );
}

#[test]
fn other_rules_and_words() {
    use Destination::{Foreign, Postmaster, Relay, Undecided};
    use Standing::{Authenticated, Stranger, Trusted};
    let hosted = Destination::Hosted;
    check(Postmaster, Stranger, false, "postmaster: accept");
    check(hosted(Hosted::Found), Stranger, false, "hosted: accept");
    check(
        hosted(Hosted::Refused(moved())),
        Trusted,
        false,
        "hosted-refused: 550 5.1.6 moved",
    );
    check(
        hosted(Hosted::Unknown),
        Trusted,
        false,
        "hosted-unknown: 550 5.1.1 no such address here",
    );
    check(Relay, Stranger, false, "relay-domain: accept");
    check(Foreign, Trusted, false, "known-client: accept");
    check(Foreign, Authenticated, true, "known-client: accept");
    check(
        Foreign,
        Stranger,
        true,
        "relaying-denied: 550 5.7.1 relaying denied",
    );
    check(
        Undecided,
        Trusted,
        false,
        "lookup-failed: 451 4.3.0 recipient cannot be looked up now, try again later",
    );
}

#[test]
fn sender_specified_routing() {
    let rule = |destination, standing| {
        crate::rcpt(&Rcpt {
            standing,
            reverse_path_null: false,
            accepted: NONE,
            destination,
            too_many_targets: false,
            routed: true,
            accept_nonnull: false,
        })
        .rule
    };
    let stranger = Standing::Stranger;
    let found = Destination::Hosted(Hosted::Found);
    assert_eq!(rule(Destination::Relay, stranger), "untrusted-routing");
    assert_eq!(rule(found, stranger), "untrusted-routing");
    let srs = Destination::Srs(Srs::Valid);
    assert_eq!(rule(srs, stranger), "untrusted-routing");
    assert_eq!(rule(Destination::Foreign, stranger), "relaying-denied");
    assert_eq!(rule(Destination::Postmaster, stranger), "postmaster");
    assert_eq!(rule(Destination::Relay, Standing::Trusted), "relay-domain");
    assert_eq!(
        rule(Destination::Foreign, Standing::Trusted),
        "known-client"
    );
}
