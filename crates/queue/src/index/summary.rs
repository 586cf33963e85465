//! The whole queue counted, from the orders alone: no message is read, however many there are.

use envelope::{Destination, Timestamp};
use spool::{Ages, By, Summary, Tally};

use crate::index::keeper::Keeper;
use crate::index::labels::Labels;
use crate::index::state::{State, leg_of};
use crate::index::window::Due;

impl Keeper {
    /// See [`Spool::summary`](crate::Spool::summary). The lock is held for some legs at a time.
    pub(crate) fn summary(&self, by: By, n: usize, now: Timestamp) -> Summary {
        let mut tally = Tally::new(now);
        let all: Vec<Destination> = self.state.lock().window.destinations().cloned().collect();
        let mut left = all.iter().map(|to| (to, None));
        let mut part = left.next();
        while part.is_some() {
            let state = self.state.lock();
            let mut room = LEGS_AT_ONCE;
            while let Some((to, after)) = part {
                let host_name = to.host.to_string();
                let (mut last, mut run) = (None, (&*host_name, Ages::default()));
                for (due, labels) in state.window.labelled(to, after).take(room) {
                    let name = label(&state, by, labels).unwrap_or(&host_name);
                    if name != run.0 {
                        tally.merge(run.0, &run.1);
                        run = (name, Ages::default());
                    }
                    run.1.add(due.leg().message.timestamp(), now);
                    (room, last) = (room - 1, Some(due));
                }
                tally.merge(run.0, &run.1);
                if room == 0 {
                    part = Some((to, last));
                    break;
                }
                // A destination costs something, too.
                room -= 1;
                part = left.next();
            }
        }
        count_leased(&self.state.lock(), by, &mut tally);
        tally.finish(n)
    }
}

fn label(state: &State, by: By, Labels { sender, error }: Labels) -> Option<&str> {
    match by {
        By::Host => None,
        By::Sender => Some(state.window.senders.name(sender)),
        By::Error => Some(state.window.errors.name(error)),
    }
}

/// As many as are worked on.
fn count_leased(state: &State, by: By, tally: &mut Tally) {
    for id in state.window.leases.iter().map(Due::leg) {
        if let Some((entry, leg)) = leg_of(&state.messages, id) {
            let sender = &entry.message.reverse_path;
            let name = by.name(&leg.row.leg, sender, leg.row.state.last.as_deref());
            tally.add(&name, id.message.timestamp());
        }
    }
}

/// Some milliseconds.
const LEGS_AT_ONCE: usize = 10_000;
