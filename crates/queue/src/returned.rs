//! Mail that was in a queue before, and comes back: from an export, or from another engine.

use envelope::Message;
use spool::{Action, Arrival, Entry, Error, LAST_OCTETS_MAX};

use crate::engine::{LogSpool, answered};
use crate::index::state::Guards;
use crate::log::codec::{Commit, LegState};
use crate::new_commit::new_commit;
use crate::write::{LogWriter, WriterParts};

impl LogSpool {
    /// See [`Spool::bring_back`](spool::Spool::bring_back).
    pub(crate) async fn take_back(
        &self,
        writer: LogWriter,
        legs: Vec<Entry>,
    ) -> Result<bool, Error> {
        let Some(first) = legs.first() else {
            return Ok(false);
        };
        let (message, due, deadlines) = (&first.message, first.due, first.deadlines);
        if self.is_queued(message.id).await? {
            return Ok(false);
        }
        let own = legs.iter().map(|entry| entry.leg.clone()).collect();
        let arrival = Arrival {
            deadlines,
            ..Arrival::new(Message::clone(message), own, due)
        };
        let stood = |commit: &mut Commit| {
            for (row, entry) in commit.legs.iter_mut().zip(legs) {
                row.number = entry.id.number;
                row.state = state(entry);
            }
        };
        let parts = writer.finish().await?;
        self.append(arrival, parts, Guards::default(), stood)
            .await?;
        Ok(true)
    }

    /// Writes the record of a message that comes in, after `change` has seen it.
    pub(crate) async fn append(
        &self,
        arrival: Arrival,
        mut parts: WriterParts,
        guards: Guards,
        change: impl FnOnce(&mut Commit),
    ) -> Result<(), Error> {
        let mut commit = new_commit(arrival, &self.shared.settings, &mut parts)?;
        change(&mut commit);
        let (payload, commit) = commit.into_payload(parts.inline.clone());
        self.check_payload(&payload)?;
        let effect = parts.into_effect(commit, guards);
        answered(self.shared.log.append(payload, Some(effect)).await)?;
        Ok(())
    }
}

fn state(entry: Entry) -> LegState {
    LegState {
        due: entry.due,
        attempts: entry.attempts,
        warned: entry.warned,
        held: entry.is_held(),
        bounced: entry.pending == Some(Action::Bounce),
        damaged: false,
        last: entry
            .last
            .map(|last| Box::new(last.clipped(LAST_OCTETS_MAX))),
    }
}
