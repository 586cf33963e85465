//! Rules at RCPT: for whom we take mail, and from whom.
//!
//! The list ends with a rule that always has an opinion, and that is a refusal: what nothing above it accepts
//! is not accepted. So a rule or fact forgotten here closes the relay a little more, and never opens it.

use envelope::Verdict;

use crate::facts::{Destination, Hosted, Rcpt, Srs, Standing};
use crate::replies;
use crate::rules::Rule;

pub(crate) const RULES: &[Rule<Rcpt>] = &[
    Rule {
        name: "postmaster",
        apply: postmaster,
    },
    Rule {
        name: "lookup-failed",
        apply: lookup_failed,
    },
    Rule {
        name: "srs-invalid",
        apply: srs_invalid,
    },
    Rule {
        name: "srs-budget",
        apply: srs_budget,
    },
    Rule {
        name: "srs-not-a-notification",
        apply: srs_not_a_notification,
    },
    Rule {
        name: "hosted-refused",
        apply: hosted_refused,
    },
    Rule {
        name: "hosted-unknown",
        apply: hosted_unknown,
    },
    Rule {
        name: "beside-srs",
        apply: beside_srs,
    },
    Rule {
        name: "too-many-targets",
        apply: too_many_targets,
    },
    Rule {
        name: "untrusted-routing",
        apply: untrusted_routing,
    },
    Rule {
        name: "srs-valid",
        apply: srs_valid,
    },
    Rule {
        name: "hosted",
        apply: hosted,
    },
    Rule {
        name: "relay-domain",
        apply: relay_domain,
    },
    Rule {
        name: "known-client",
        apply: known_client,
    },
    Rule {
        name: "relaying-denied",
        apply: relaying_denied,
    },
];

/// RFC 5321 §4.5.1: postmaster is there whatever tables and options say, for anyone.
fn postmaster(facts: &Rcpt) -> Option<Verdict> {
    (facts.destination == Destination::Postmaster).then_some(Verdict::Accept)
}

/// Trouble of ours is no verdict on the recipient. It also comes before the client's standing: what cannot be
/// looked up might be ours, and must not leave as foreign mail.
fn lookup_failed(facts: &Rcpt) -> Option<Verdict> {
    (facts.destination == Destination::Undecided).then(|| Verdict::Refuse(replies::lookup_failed()))
}

/// Above every rule on hosted addresses, so that no catch-all ever sees a forged bounce address.
fn srs_invalid(facts: &Rcpt) -> Option<Verdict> {
    let Destination::Srs(srs) = facts.destination else {
        return None;
    };
    let reply = match srs {
        Srs::Valid | Srs::OverBudget => return None,
        Srs::Forged => replies::srs_forged(),
        Srs::Expired => replies::srs_expired(),
        Srs::Future => replies::srs_future(),
        Srs::Damaged => replies::srs_damaged(),
        Srs::Forgotten => replies::srs_forgotten(),
    };
    Some(Verdict::Refuse(reply))
}

/// Counted at DATA, where two transactions cannot take the same; asked here, so that other recipients go on.
fn srs_budget(facts: &Rcpt) -> Option<Verdict> {
    let over = facts.destination == Destination::Srs(Srs::OverBudget);
    over.then(|| Verdict::Refuse(replies::srs_over_budget()))
}

/// A return address is for bounces (see `rules/data.rs`). Alone it is accepted here all the same, whoever the sender is:
/// a destination that verifies senders asks so whether the address exists, and says QUIT. Nobody asks that beside other
/// recipients, and these must not be refused with it at DATA.
fn srs_not_a_notification(facts: &Rcpt) -> Option<Verdict> {
    let valid = facts.destination == Destination::Srs(Srs::Valid);
    let refused = valid && facts.accepted.other && !takes_srs(facts);
    refused.then(|| Verdict::Refuse(replies::srs_takes_notifications_only()))
}

/// The other way round: the SRS address came first. DATA would refuse the whole transaction, so the others are to come
/// in one of their own.
fn beside_srs(facts: &Rcpt) -> Option<Verdict> {
    let other = facts.destination != Destination::Srs(Srs::Valid);
    let refused = other && facts.accepted.srs && !takes_srs(facts);
    refused.then(|| Verdict::Refuse(replies::send_separately()))
}

/// Whether this mail may go to SRS addresses.
fn takes_srs(facts: &Rcpt) -> bool {
    facts.reverse_path_null || facts.accept_nonnull
}

/// The operator's own words for this address.
fn hosted_refused(facts: &Rcpt) -> Option<Verdict> {
    match &facts.destination {
        Destination::Hosted(Hosted::Refused(reply)) => Some(Verdict::Refuse(reply.clone())),
        _ => None,
    }
}

/// Also for trusted clients: an address in a domain of ours that does not exist can only bounce later.
fn hosted_unknown(facts: &Rcpt) -> Option<Verdict> {
    (facts.destination == Destination::Hosted(Hosted::Unknown))
        .then(|| Verdict::Refuse(replies::no_such_address()))
}

/// RFC 5321 §4.5.3.1.10: the client sends to the rest in a transaction of its own.
fn too_many_targets(facts: &Rcpt) -> Option<Verdict> {
    facts
        .too_many_targets
        .then(|| Verdict::Refuse(replies::too_many_targets()))
}

/// The next hop may trust us and follow `x%host@` further: then we would be its open door (Postfix calls it
/// allow_untrusted_routing).
fn untrusted_routing(facts: &Rcpt) -> Option<Verdict> {
    let passed_on = matches!(
        facts.destination,
        Destination::Relay | Destination::Hosted(Hosted::Found) | Destination::Srs(Srs::Valid)
    );
    (facts.routed && passed_on && facts.standing == Standing::Stranger)
        .then(|| Verdict::Refuse(replies::untrusted_routing()))
}

fn srs_valid(facts: &Rcpt) -> Option<Verdict> {
    (facts.destination == Destination::Srs(Srs::Valid)).then_some(Verdict::Accept)
}

fn hosted(facts: &Rcpt) -> Option<Verdict> {
    (facts.destination == Destination::Hosted(Hosted::Found)).then_some(Verdict::Accept)
}

fn relay_domain(facts: &Rcpt) -> Option<Verdict> {
    (facts.destination == Destination::Relay).then_some(Verdict::Accept)
}

/// The only way out for foreign mail.
fn known_client(facts: &Rcpt) -> Option<Verdict> {
    let known = matches!(facts.standing, Standing::Trusted | Standing::Authenticated);
    (known && facts.destination == Destination::Foreign).then_some(Verdict::Accept)
}

/// Everything else (DESIGN promise 4).
fn relaying_denied(_facts: &Rcpt) -> Option<Verdict> {
    Some(Verdict::Refuse(replies::relaying_denied()))
}

#[cfg(test)]
mod tests;
