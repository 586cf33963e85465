//! Rules at RCPT: for whom we take mail, and from whom.
//!
//! All of them need the recipient's route, so it is asked for once, first. Rules on the sender are in `sender.rs`. What no ground grants is refused as
//! `relaying-denied`: a rule or destination that is forgotten here closes the relay and never opens it.

use crate::case::{Case, Standing};
use crate::decision::Opinion;
use crate::question::{Destination, Hosted, Known, Srs};
use crate::replies;
use crate::rules::{Rules, limits, sender};

pub(super) const RULES: Rules = Rules {
    objections: &[
        ("lookup-failed", lookup_failed),
        ("srs-invalid", srs_invalid),
        ("srs-budget", srs_budget),
        ("srs-not-a-notification", srs_not_a_notification),
        ("hosted-refused", hosted_refused),
        ("hosted-unknown", hosted_unknown),
        ("beside-srs", beside_srs),
        ("too-many-targets", too_many_targets),
        ("unlike-answer", unlike_answer),
        ("untrusted-routing", untrusted_routing),
        limits::RCPT[0],
        limits::RCPT[1],
        sender::UNLIKE_MEASURES,
        sender::SENDER_BLOCKED,
        sender::SPF_FORCE,
        sender::SPF,
        sender::DNSBL,
        sender::VERIFY_SENDER,
        ("pressure", pressure),
    ],
    grounds: &[
        ("srs-valid", srs_valid),
        ("hosted", hosted),
        ("relay-domain", relay_domain),
        ("known-client", known_client),
    ],
};

/// A failed look-up is our trouble, so the reply is temporary. It comes before the client's standing: an address that
/// cannot be looked up might be ours, and must not leave as foreign mail.
fn lookup_failed(case: &Case) -> Known<Opinion> {
    let undecided = case.route()?.destination == Destination::Undecided;
    Ok(Opinion::object_if(undecided, replies::lookup_failed))
}

/// Above every rule on hosted addresses, so that no catch-all ever sees a forged bounce address.
fn srs_invalid(case: &Case) -> Known<Opinion> {
    let Destination::Srs(srs) = &case.route()?.destination else {
        return Ok(Opinion::Pass);
    };
    Ok(match srs {
        Srs::Valid(_) => Opinion::Pass,
        Srs::Forged => Opinion::Object(replies::srs_forged()),
        Srs::Expired => Opinion::Object(replies::srs_expired()),
        Srs::Future => Opinion::Object(replies::srs_future()),
        Srs::Damaged => Opinion::Object(replies::srs_damaged()),
        Srs::Forgotten => Opinion::Object(replies::srs_forgotten()),
    })
}

/// The message is counted at DATA. This earlier check lets the other recipients of the transaction go on.
fn srs_budget(case: &Case) -> Known<Opinion> {
    let over = match &case.route()?.destination {
        Destination::Srs(Srs::Valid(sender)) => !case.srs_budget_left(sender)?,
        _ => false,
    };
    Ok(Opinion::object_if(over, replies::srs_over_budget))
}

/// A return address is for bounces (see `rules/data.rs`). Alone it is accepted here all the same, whoever the sender is:
/// a destination that verifies senders asks so whether the address exists, and says QUIT. Nobody asks that beside other
/// recipients, and these must not be refused with it at DATA.
fn srs_not_a_notification(case: &Case) -> Known<Opinion> {
    let beside_others = is_return(case)? && case.transaction.others > 0;
    let refused = beside_others && !case.may_go_to_srs();
    Ok(Opinion::object_if(
        refused,
        replies::srs_takes_notifications_only,
    ))
}

/// The other way round: the SRS address came first. DATA would refuse the whole transaction, so the others are to come
/// in one of their own.
fn beside_srs(case: &Case) -> Known<Opinion> {
    let beside_srs = !is_return(case)? && case.has_returns();
    let refused = beside_srs && !case.may_go_to_srs();
    Ok(Opinion::object_if(refused, replies::send_separately))
}

/// The operator's own words for this address.
fn hosted_refused(case: &Case) -> Known<Opinion> {
    Ok(match &case.route()?.destination {
        Destination::Hosted(Hosted::Refused(reply)) => Opinion::Object(reply.clone()),
        _ => Opinion::Pass,
    })
}

/// Also for trusted clients: an address in a domain of ours that does not exist can only bounce later.
fn hosted_unknown(case: &Case) -> Known<Opinion> {
    let unknown = case.route()?.destination == Destination::Hosted(Hosted::Unknown);
    Ok(Opinion::object_if(unknown, replies::no_such_address))
}

/// RFC 5321 §4.5.3.1.10: the client sends to the rest in a transaction of its own.
fn too_many_targets(case: &Case) -> Known<Opinion> {
    let targets = case.transaction.targets + case.route()?.targets;
    let too_many = targets > case.settings.targets_max;
    Ok(Opinion::object_if(too_many, replies::too_many_targets))
}

/// One answer holds for all recipients at the end of the body: where it is a destination's verdict, they must have that one in
/// common.
fn unlike_answer(case: &Case) -> Known<Opinion> {
    let route = case.route()?;
    let is_denied =
        route.destination == Destination::Foreign && case.client.standing == Standing::Stranger;
    let is_first = case.transaction.accepted() == 0;
    let unlike = route.online != case.transaction.online && !is_first && !is_denied;
    Ok(Opinion::object_if(unlike, replies::unlike_answer))
}

/// The next hop may trust us and follow `x%host@` further: then we would be its open door (Postfix calls it
/// allow_untrusted_routing).
fn untrusted_routing(case: &Case) -> Known<Opinion> {
    let route = case.route()?;
    let passed_on = matches!(
        route.destination,
        Destination::Relay | Destination::Hosted(Hosted::Found) | Destination::Srs(Srs::Valid(_))
    );
    let stranger = case.client.standing == Standing::Stranger;
    let refused = route.names_further_host && passed_on && stranger;
    Ok(Opinion::object_if(refused, replies::untrusted_routing))
}

/// Mail for a target whose site or mailbox takes less than comes is better off in its sender's queue. The last objection: what would
/// be refused anyway is not put off, and does not count as mail that the target could have had.
fn pressure(case: &Case) -> Known<Opinion> {
    let waits_well =
        case.client.standing == Standing::Stranger && case.transaction.sender().is_some();
    let goes_on = matches!(
        case.route()?.destination,
        Destination::Relay | Destination::Hosted(Hosted::Found)
    );
    let put_off = case.settings.pressure && waits_well && goes_on && case.pressure()?;
    Ok(Opinion::object_if(put_off, replies::under_pressure))
}

fn srs_valid(case: &Case) -> Known<Opinion> {
    Ok(Opinion::grant_if(is_return(case)?))
}

fn hosted(case: &Case) -> Known<Opinion> {
    let found = case.route()?.destination == Destination::Hosted(Hosted::Found);
    Ok(Opinion::grant_if(found))
}

fn relay_domain(case: &Case) -> Known<Opinion> {
    let relayed = case.route()?.destination == Destination::Relay;
    Ok(Opinion::grant_if(relayed))
}

/// The only way out for foreign mail.
fn known_client(case: &Case) -> Known<Opinion> {
    let foreign = case.route()?.destination == Destination::Foreign;
    let known = matches!(
        case.client.standing,
        Standing::Trusted | Standing::Authenticated
    );
    Ok(Opinion::grant_if(foreign && known))
}

/// Whether the recipient is a valid SRS address of ours.
fn is_return(case: &Case) -> Known<bool> {
    let destination = &case.route()?.destination;
    Ok(matches!(destination, Destination::Srs(Srs::Valid(_))))
}

#[cfg(test)]
mod tests;
