//! The way of a notice: the one that any mail to its recipient would go from here.
//!
//! A sender in a hosted domain, or behind an SRS address of ours, would never get it otherwise: mail for that domain comes to us.

use envelope::{ForwardPath, Leg, Notify, Recipient, ReversePath, Timestamp};
use forwarder::Route;
use spool::Spool;

use super::Outbound;
use super::notices::Unmade;
use crate::{Routing, Unroutable};

impl<S: Spool> Outbound<S> {
    /// Its route. While the spool cannot tell, somebody patient is told to come again.
    pub(super) async fn route_to(
        &self,
        routing: &Routing,
        forward_path: &ForwardPath,
        is_patient: bool,
        now: Timestamp,
    ) -> Result<Route, Unmade> {
        let route = routing.route(&*self.spool, forward_path, true, now).await;
        let route = route.map_err(|error| match error {
            _ if !is_patient => "its sender cannot be looked up".into(),
            Unroutable::Spool(error) => Unmade::Later(error),
            Unroutable::Directory(_) => Unmade::InDoubt,
        })?;
        let nowhere = match route {
            _ if routing.is_routed(forward_path, &route) => {
                Some("its sender's address names a further host")
            }
            Route::Forward(_) | Route::Return { .. } | Route::NotHosted => None,
            Route::Discard(_) => Some("its sender is an address of ours whose mail is discarded"),
            Route::Refused(_) => Some("its sender is an address of ours that takes no mail"),
            Route::Unknown => Some("its sender is an address of ours that does not exist"),
            Route::SrsRefused(_) | Route::Token(_) => {
                Some("its sender is no valid SRS address of ours")
            }
        };
        nowhere.map_or(Ok(route), |reason| Err(reason.into()))
    }
}

/// Its legs.
pub(super) fn legs(
    routing: &Routing,
    forward_path: ForwardPath,
    route: Route,
    now: Timestamp,
) -> Result<Vec<Leg>, Unmade> {
    let recipient = Recipient {
        forward_path,
        notify: Some(Notify::NEVER),
        original: None,
    };
    let recipients = [(&recipient, route)];
    let null = ReversePath::Null;
    let mut token = |_: &_, _| unreachable!("a null path is not rewritten");
    let forwarder = &routing.forwarder;
    let plan = forwarder.plan(&routing.table, &null, None, recipients, now, &mut token);
    match plan.legs.is_empty() {
        false => Ok(plan.into_legs()),
        true => Err("its sender is an address of ours that leads nowhere".into()),
    }
}
