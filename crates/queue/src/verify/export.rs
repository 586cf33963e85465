//! Handing out every queued message of a spool that no process has open.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use envelope::{LegId, Message, MessageId, Timestamp};
use spool::Entry;

use crate::index::entry::{pending, standing};
use crate::lock::SpoolLock;
use crate::log::codec::{Extent, LegRow, MessageRow};
use crate::read::trace;
use crate::settings::StartError;
use crate::tokens;
use crate::verify::survey::Survey;
use crate::verify::{Damage, Depth, Progress, Report, look};

/// One queued message, and the way to its body.
#[derive(Debug)]
pub struct Exported<'a> {
    /// The message.
    pub message: Arc<Message>,
    /// Its legs that have not ended, as they stand.
    pub legs: Vec<Entry>,
    body: Vec<Extent>,
    survey: &'a Survey,
}

/// A piece of a body.
#[derive(Debug)]
pub struct PieceOfBody {
    /// Its octets; of a damaged one as they stand, perhaps none.
    pub octets: Bytes,
    /// What is wrong with it.
    pub damage: Option<Damage>,
}

impl Exported<'_> {
    /// The message's trace and its body, piece by piece (1 MiB each at most), in order.
    pub fn body(&self) -> impl Iterator<Item = PieceOfBody> {
        let piece = |extent| match self.survey.piece(extent) {
            Ok(octets) => (octets, None),
            Err(damage) => (
                self.survey.as_it_stands(extent).into(),
                Some(damage.of(self.message.id)),
            ),
        };
        std::iter::once((trace(&self.message), None))
            .chain(self.body.iter().map(piece))
            .map(|(octets, damage)| PieceOfBody { octets, damage })
    }
}

/// Hands every queued message of the spool in `dir` to `visit`, oldest first, and says what was damaged. Nothing in the
/// spool is changed. An error of `visit` ends it. What the spool's tokens stand for goes to `tokens_to`, if that is given.
///
/// # Errors
/// As [`verify`](crate::verify::verify), and what `visit` says.
pub fn export<E: From<StartError>>(
    dir: &Path,
    now: Timestamp,
    tokens_to: Option<&Path>,
    progress: Progress<'_>,
    mut visit: impl FnMut(&Exported<'_>) -> Result<(), E>,
) -> Result<Report, E> {
    let lock = SpoolLock::take_to_read(dir)?;
    let (survey, mirror, _) = look(dir, Depth::Whole, progress)?;
    let lost = survey.only_in(&mirror.ids());
    let mut ids: Vec<MessageId> = survey.live.keys().copied().chain(lost).collect();
    ids.sort_unstable();
    for id in ids {
        let found: Option<(MessageRow, Vec<LegRow>)> = match survey.live.get(&id) {
            Some(live) => survey.row(live).map(|row| (row, survey.legs(live))),
            None => mirror.message(id),
        };
        let Some((row, legs)) = found else {
            continue;
        };
        let message = Arc::new(row.message);
        let entry = |leg: LegRow| Entry {
            id: LegId {
                message: id,
                number: leg.number,
            },
            message: Arc::clone(&message),
            state: standing(&leg.state, false, now),
            due: leg.state.due,
            deadlines: row.deadlines,
            attempts: leg.state.attempts,
            warned: leg.state.warned,
            last: leg.state.last.as_deref().cloned(),
            pending: pending(&leg.state, false),
            leg: leg.leg,
        };
        let legs = legs.into_iter().map(entry).collect();
        visit(&Exported {
            message: Arc::clone(&message),
            legs,
            body: row.body,
            survey: &survey,
        })?;
    }
    if let Some(to) = tokens_to {
        let copied = tokens::merge(dir, to).and_then(|_| tokens::add(to, &survey.tokens_again));
        copied.map_err(|source| StartError::Io {
            what: "copy the tokens to",
            path: to.to_owned(),
            source,
        })?;
    }
    let report = survey.report(&mirror, Depth::Whole);
    drop(lock);
    Ok(report)
}
