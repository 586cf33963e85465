//! Where the legs of a message leave from, and the SRS domain of their senders: by what their recipients chose, then by tier.

use std::sync::Arc;

use envelope::ReversePath;
use forwarder::Plan;
use policy::{Measures, Tier};

use crate::routing::{Routing, TierWay};

/// The legs leave from where their recipients' measures say.
pub(super) fn leave_by(plan: &mut Plan, measures: &[Arc<Measures>]) {
    for planned in &mut plan.legs {
        if let Some(egress) = &measures[planned.of[0]].egress {
            planned.leg.options = planned.leg.options.or("egress", egress);
        }
    }
}

/// What is not chosen for single legs is as their tier's; `kept` is the sender that the client gave.
pub(super) fn send_as(plan: &mut Plan, tier: Tier, routing: &Routing, kept: &ReversePath) {
    let Some(TierWay { egress, srs_domain }) = routing.tiers.get(&tier) else {
        return;
    };
    for leg in plan.legs.iter_mut().map(|planned| &mut planned.leg) {
        if let Some(egress) = egress {
            leg.options = leg.options.or("egress", egress);
        }
    }
    if let Some(domain) = srs_domain {
        plan.move_senders(kept, &routing.forwarder.settings().srs_domain, domain);
    }
}
