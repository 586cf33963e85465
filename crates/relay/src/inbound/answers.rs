//! Answers to the questions that `policy` asks, from the stages that know them.

use envelope::{ForwardPath, LegOptions};
use forwarder::{Route, SrsRefusal};
use policy::{Answer, Case, Destination, Hosted, Question, Srs};
use spool::Spool;
use srs::ReverseError;

use super::Inbound;
use crate::routing::Routing;

/// Finds the answer. A route is also returned as it is: if the recipient is accepted, the mail takes it.
pub(super) async fn find<S: Spool>(
    inbound: &Inbound<S>,
    routing: &Routing,
    case: &Case,
    question: Question,
) -> (Answer, Option<Route>) {
    let answer = match (question, &case.recipient.path) {
        (Question::Route, Some(path)) => {
            let routed = routing
                .route(&*inbound.spool, path, inbound.clock.now())
                .await;
            return match routed {
                Ok(route) => (Answer::Route(of(routing, path, &route)), Some(route)),
                Err(error) => {
                    tracing::error!(%error, "cannot look up an SRS token");
                    (undecided(), None)
                }
            };
        }
        (Question::Route, None) => undecided(),
        (Question::SrsBudget(sender), _) => {
            Answer::SrsBudgetLeft(!inbound.budget.is_used_up(&sender))
        }
        (Question::TakeSrsBudget(senders), _) => {
            Answer::SrsBudgetTaken(senders.iter().all(|sender| inbound.budget.take(sender)))
        }
    };
    (answer, None)
}

/// What a route means for `policy`.
fn of(routing: &Routing, path: &ForwardPath, route: &Route) -> policy::Route {
    let relayed = |address| routing.relays(address);
    let destination = match route {
        Route::Forward(_) | Route::Discard => Destination::Hosted(Hosted::Found),
        Route::Return { sender, .. } => Destination::Srs(Srs::Valid(sender.clone())),
        Route::Refused(reply) => Destination::Hosted(Hosted::Refused(reply.clone())),
        Route::Unknown => Destination::Hosted(Hosted::Unknown),
        Route::SrsRefused(refusal) => Destination::Srs(refused(*refusal)),
        Route::NotHosted if path.mailbox().is_some_and(relayed) => Destination::Relay,
        Route::NotHosted => Destination::Foreign,
        // `Routing::route` has looked every token up.
        Route::Token(_) => Destination::Undecided,
    };
    let (targets, options) = match route {
        Route::Forward(expansion) | Route::Return { expansion, .. } => {
            (expansion.targets.len(), expansion.options.noun())
        }
        Route::NotHosted => (1, LegOptions::default()),
        _ => (0, LegOptions::default()),
    };
    policy::Route {
        destination,
        targets,
        names_further_host: routing.is_routed(path, route),
        options,
    }
}

fn refused(refusal: SrsRefusal) -> Srs {
    match refusal {
        SrsRefusal::Invalid(ReverseError::BadTag) => Srs::Forged,
        SrsRefusal::Invalid(ReverseError::Expired { .. }) => Srs::Expired,
        SrsRefusal::Invalid(ReverseError::Future) => Srs::Future,
        SrsRefusal::TokenForgotten => Srs::Forgotten,
        SrsRefusal::Invalid(_) | SrsRefusal::NotAnAddress => Srs::Damaged,
    }
}

/// The spool could not be asked.
fn undecided() -> Answer {
    Answer::Route(policy::Route::to(Destination::Undecided))
}
