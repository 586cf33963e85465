//! Mail that was in a queue before, and comes back from an export.

use std::collections::HashSet;

use envelope::Message;
use spool::{Action, Arrival, Deadlines, Entry, Error, LAST_OCTETS_MAX, State};

use crate::engine::{LogSpool, answered};
use crate::index::state::Guards;
use crate::log::codec::{Commit, LegState};
use crate::new_commit::new_commit;
use crate::write::{LogWriter, WriterParts};

impl LogSpool {
    /// Commits a message with its legs as they stood: their numbers, states and attempts, and whether its sender was told
    /// (`warned`, by number). One that is queued is left as it is; says whether it was new. Durable when it returns.
    pub async fn bring_back(
        &self,
        writer: LogWriter,
        legs: Vec<Entry>,
        warned: &HashSet<u32>,
        deadlines: Option<Deadlines>,
    ) -> Result<bool, Error> {
        let Some(Entry { message, due, .. }) = legs.first() else {
            return Ok(false);
        };
        if self.is_queued(message.id).await? {
            return Ok(false);
        }
        let own = legs.iter().map(|entry| entry.leg.clone()).collect();
        let arrival = Arrival {
            deadlines,
            ..Arrival::new(Message::clone(message), own, *due)
        };
        let stood = |commit: &mut Commit| {
            for (row, entry) in commit.legs.iter_mut().zip(legs) {
                row.number = entry.id.number;
                row.state = state(entry, warned);
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

fn state(entry: Entry, warned: &HashSet<u32>) -> LegState {
    LegState {
        due: entry.due,
        attempts: entry.attempts,
        warned: warned.contains(&entry.id.number),
        held: entry.state == State::Held || entry.pending == Some(Action::Hold),
        bounced: entry.pending == Some(Action::Bounce),
        damaged: false,
        last: entry
            .last
            .map(|last| Box::new(last.clipped(LAST_OCTETS_MAX))),
    }
}
