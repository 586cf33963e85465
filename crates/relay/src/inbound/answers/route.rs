//! Where mail for the recipient goes, and which measures hold for it.

use std::sync::Arc;
use std::time::Duration;

use directory::News;
use envelope::ForwardPath;
use forwarder::table::Target;
use forwarder::{Route, SrsRefusal};
use futures_util::future::join_all;
use journal::Event;
use policy::{Answer, Destination, Hosted, Measures, Srs, Standing};
use spool::Spool;
use srs::ReverseError;
use tokio::time::timeout;

use super::Inquiry;
use crate::routing::{Routing, Unroutable};

impl<S: Spool> Inquiry<'_, S> {
    pub(super) async fn route(&self) -> (Answer, Option<Route>) {
        let Some(path) = &self.case.recipient.path else {
            return (undecided(), None);
        };
        let (inbound, routing) = (self.inbound, self.sources.routing);
        let is_known = self.case.client.standing != Standing::Stranger;
        let routed = routing.route(&*inbound.spool, path, is_known, inbound.clock.now());
        let routed = routed.await;
        for News { name, error } in routing.lookups.news() {
            inbound.journal.record(Event::Source { name, error });
        }
        match routed {
            Ok(route) if self.may_lead_back(routing, &route).await => (undecided(), None),
            Ok(route) => {
                let mut answer = of(routing, path, &route);
                // Mail programs do not send to some recipients separately, and their users do not like to wait.
                if self.case.client.user.is_none() {
                    answer.online = online(&route);
                }
                (Answer::Route(answer), Some(route))
            }
            Err(Unroutable::Spool(error)) => {
                tracing::error!(%error, "cannot look up what a token stands for");
                (undecided(), None)
            }
            // That it is down is an event of its own.
            Err(error @ Unroutable::Directory(_)) => {
                tracing::debug!(%error, "cannot look up a recipient");
                (undecided(), None)
            }
        }
    }

    /// Whether DNS says of a target that we take its mail, while a source is down that may know it: what would be accepted for it now
    /// could only come back to us, and fail.
    async fn may_lead_back(&self, routing: &Routing, route: &Route) -> bool {
        let (Route::Forward(expansion) | Route::Return { expansion, .. }) = route else {
            return false;
        };
        if routing.lookups.down().next().is_none() {
            return false;
        }
        let targets = expansion.targets.iter().map(destination);
        let asked = targets.map(async |to| self.inbound.foresight.leads_back(&to).await);
        // DNS that is slow is no reason to put mail off.
        let found = timeout(LEADS_BACK_WITHIN, join_all(asked)).await;
        found.is_ok_and(|found| found.contains(&true))
    }
}

/// What a route means for `policy`.
fn of(routing: &Routing, path: &ForwardPath, route: &Route) -> policy::Route {
    let relayed = |address| routing.relays(address);
    let destination = match route {
        Route::Forward(_) | Route::Discard(_) => Destination::Hosted(Hosted::Found),
        Route::Return { sender, .. } => Destination::Srs(Srs::Valid(sender.clone())),
        Route::Refused(reply) => Destination::Hosted(Hosted::Refused(reply.clone())),
        Route::Unknown => Destination::Hosted(Hosted::Unknown),
        Route::SrsRefused(refusal) => Destination::Srs(refused(*refusal)),
        Route::NotHosted if path.mailbox().is_some_and(relayed) => Destination::Relay,
        Route::NotHosted => Destination::Foreign,
        // `Routing::route` has looked every token up.
        Route::Token(_) => Destination::Undecided,
    };
    let targets = match route {
        Route::Forward(expansion) | Route::Return { expansion, .. } => expansion.targets.len(),
        Route::NotHosted => 1,
        _ => 0,
    };
    policy::Route {
        destination,
        targets,
        names_further_host: routing.is_routed(path, route),
        measures: measures(routing, route),
        online: None,
    }
}

/// Where all targets are, if its verdict is wanted for each.
fn online(route: &Route) -> Option<envelope::Destination> {
    let (Route::Forward(expansion) | Route::Return { expansion, .. }) = route else {
        return None;
    };
    let online = |target: &Target| {
        let is_online = target.options.online == Some(true);
        is_online.then(|| destination(target))
    };
    let mut targets = expansion.targets.iter().map(online);
    let first = targets.next()??;
    targets
        .all(|other| other.as_ref() == Some(&first))
        .then_some(first)
}

fn destination(target: &Target) -> envelope::Destination {
    envelope::Destination {
        host: target.mailbox.host().clone(),
        way: target.options.noun().way(),
    }
}

/// What the recipient's line and its domain's choose.
fn measures(routing: &Routing, route: &Route) -> Arc<Measures> {
    let profiles = &routing.profiles;
    match route {
        Route::Forward(expansion) => profiles.measures(&expansion.options.measures),
        Route::Discard(options) => profiles.measures(&options.measures),
        Route::NotHosted => profiles.measures::<Box<str>>(&[]),
        _ => Arc::default(),
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

/// The spool, or a source of forwards, could not be asked.
fn undecided() -> Answer {
    Answer::Route(policy::Route::to(Destination::Undecided))
}

const LEADS_BACK_WITHIN: Duration = Duration::from_secs(5);
