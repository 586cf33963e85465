//! What becomes of a message whose body turns out to be damaged: it is held, with the reason, and not tried again.
//!
//! The operator sees it in the queue and may bounce or remove it, or release it once the disk is well. When he does nothing
//! it expires as any other, and its sender is told. Its envelope is written anew, so that it outlives the damaged record.

use envelope::{Diagnosis, EnhancedStatus, LegId, MessageId};
use spool::DAMAGED;

use crate::index::state::{Effect, State};
use crate::log::codec::{Change, Commit, LegState};
use crate::log::committer::LogHandle;
use crate::log::record::Payload;
use crate::log::salvage::write_recipients;

/// Holds every leg of a message that is in memory, but for those that are held for this, or end by the operator's wish.
pub(crate) fn set_aside(
    state: &mut State,
    log: &LogHandle<Effect>,
    id: MessageId,
    reason: &str,
) -> bool {
    let Some(commit) = state.set_aside(id, reason) else {
        return false;
    };
    let mut recipients = String::new();
    let legs = commit.legs.iter();
    let all: Vec<_> = legs.flat_map(|row| row.leg.recipients()).collect();
    // A string takes all that is written to it.
    let _ = write_recipients(&mut recipients, all.into_iter());
    let sender = &commit.row.message.reverse_path;
    tracing::error!(message = %id, %sender, recipients, reason, "queued message is damaged: held");
    let (payload, commit): (Payload, Commit) = commit.into_payload(None);
    // Nobody waits: should it fail, the damage is found again by the next who reads.
    drop(log.append(payload, Some(Effect::Moved(Box::new(commit)))));
    true
}

impl State {
    /// Holds the legs; gives the message as it is to be written anew, if anything changed.
    fn set_aside(&mut self, id: MessageId, reason: &str) -> Option<Commit> {
        let entry = self.messages.get(&id)?;
        let since = entry.since;
        let well = |state: &LegState| !state.damaged && !state.bounced;
        let legs = entry
            .legs()
            .iter()
            .filter(|leg| well(&leg.row.state))
            .map(|leg| (leg.row.number, leg.row.state.clone()));
        let legs: Vec<_> = legs.collect();
        if legs.is_empty() {
            return None;
        }
        for (number, state) in legs {
            let state = LegState {
                held: true,
                damaged: true,
                last: Some(Box::new(Diagnosis::local(
                    STORE_TROUBLE,
                    format!("{DAMAGED}{reason}"),
                ))),
                ..state
            };
            let leg = LegId {
                message: id,
                number,
            };
            self.apply_admin(&Change {
                leg,
                since,
                state: Some(state),
            });
        }
        let entry = self.messages.get(&id)?;
        Some(Commit {
            row: entry.row(),
            legs: entry.legs().iter().map(|leg| leg.row.clone()).collect(),
            also: None,
            tokens: Vec::new(),
            inline: None,
        })
    }
}

/// "Other mail system status" (RFC 3463 §3.4): it is our disk.
const STORE_TROUBLE: EnhancedStatus = EnhancedStatus::transient(3, 0);
