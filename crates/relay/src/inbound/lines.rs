//! The lines of the mail log that say what a message became.

use std::collections::HashMap;

use envelope::{Diagnosis, LegId, Mailbox, MessageId};
use forwarder::{Looping, PlannedLeg};
use journal::Event;
use policy::Tier;

/// A line for each recipient: those that share a leg say so by its number.
pub(super) fn forwarded(
    message: MessageId,
    legs: &[PlannedLeg],
    tier: Option<Tier>,
) -> impl Iterator<Item = Event> {
    let events = move |(planned, number): (&PlannedLeg, u32)| {
        let event = |recipient: &Mailbox| Event::Forwarded {
            id: LegId { message, number },
            recipient: recipient.clone(),
            target: planned.leg.target.clone(),
            sender: planned.leg.reverse_path.clone(),
            tier: tier.map(Tier::name),
        };
        planned.recipients().map(event).collect::<Vec<_>>()
    };
    legs.iter().zip(0u32..).flat_map(events)
}

/// A line for each recipient whose mail would have gone round.
pub(super) fn looped(id: MessageId, loops: Vec<Looping>) -> impl Iterator<Item = Event> {
    loops.into_iter().map(move |looping| Event::Looped {
        id,
        recipient: looping.recipient,
        target: looping.target,
        passed: looping.passed,
    })
}

/// A line for each leg that is on hold.
pub(super) fn held(
    message: MessageId,
    legs: &[PlannedLeg],
    held: &HashMap<u32, Diagnosis>,
) -> impl Iterator<Item = Event> {
    legs.iter()
        .zip(0u32..)
        .filter_map(move |(planned, number)| {
            Some(Event::Held {
                id: LegId { message, number },
                recipient: planned.leg.recipient.clone(),
                target: planned.leg.target.clone(),
                reason: held.get(&number)?.text.clone(),
            })
        })
}
