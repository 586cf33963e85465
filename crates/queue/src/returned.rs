//! Mail that was in a queue before, and comes back: from an export, or from another engine.

use std::io;
use std::sync::Arc;

use envelope::Message;
use spool::{Action, Arrival, Entry, Error, LAST_OCTETS_MAX, Token};

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

    /// All names that have not expired, and what they stand for.
    pub async fn tokens(&self) -> Result<Vec<Token>, Error> {
        // What only the log has goes into the files.
        self.checkpoint().await?;
        let (tokens, now) = (Arc::clone(&self.shared.tokens), self.clock().now());
        let mut all = blocking(move || tokens.all()).await?;
        let old = self.ask(|keeper| keeper.tree.tokens()).await?;
        all.extend(old.map_err(Error::Unknown)?);
        all.retain(|token| token.expires > now);
        Ok(all)
    }

    /// Keeps names of another spool's, durably; gives back those that cannot be kept here. Nobody else uses the spool yet.
    pub async fn keep_tokens(&self, names: Vec<Token>) -> Result<Vec<Token>, Error> {
        let tokens = Arc::clone(&self.shared.tokens);
        blocking(move || tokens.take(names)).await
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

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, Error> {
    let done = tokio::task::spawn_blocking(work).await;
    let done = done.map_err(|e| Error::Unknown(e.to_string()))?;
    done.map_err(|e| Error::Unknown(format!("tokens: {e}")))
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
