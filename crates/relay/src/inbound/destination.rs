//! What a route means for `policy`.

use envelope::ForwardPath;
use forwarder::{Route, SrsRefusal};
use policy::facts::{Destination, Hosted, Srs};
use srs::ReverseError;

use super::Budget;
use crate::routing::Routing;

/// The route of a recipient, or why it could not be found out.
pub(super) type Routed = Result<Route, spool::Error>;

/// What a forward path is to us.
pub(super) fn of(
    routing: &Routing,
    path: &ForwardPath,
    routed: &Routed,
    budget: &Budget,
) -> Destination {
    let is_relayed = || {
        path.mailbox()
            .is_some_and(|address| routing.relays(address))
    };
    let route = match routed {
        Ok(route) => route,
        Err(error) => {
            tracing::error!(%error, "cannot look up an SRS token");
            return Destination::Undecided;
        }
    };
    match route {
        Route::Forward(_) | Route::Discard => Destination::Hosted(Hosted::Found),
        Route::Return { sender, .. } if budget.is_used_up(sender) => {
            Destination::Srs(Srs::OverBudget)
        }
        Route::Return { .. } => Destination::Srs(Srs::Valid),
        Route::Refused(reply) => Destination::Hosted(Hosted::Refused(reply.clone())),
        Route::Unknown => Destination::Hosted(Hosted::Unknown),
        Route::SrsRefused(refusal) => Destination::Srs(refused(*refusal)),
        Route::NotHosted if is_relayed() => Destination::Relay,
        Route::NotHosted => Destination::Foreign,
        // `Routing::route` has looked every token up.
        Route::Token(_) => Destination::Undecided,
    }
}

/// How many targets it stands for.
pub(super) fn targets(routed: &Routed) -> usize {
    match routed {
        Ok(Route::Forward(expansion) | Route::Return { expansion, .. }) => expansion.targets.len(),
        Ok(Route::NotHosted) => 1,
        _ => 0,
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
