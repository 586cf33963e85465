//! What a damaged log has forgotten: told, and where the index knows it, written anew.
//!
//! A start goes by the index, so it need not see that a record is damaged behind whose back the index was made. Before an
//! index is made anew from the log alone, the log is therefore read as that will read it and held against what index and log say
//! together: what only the index knows is written to the log first.
//!
//! It does *not* take the index's word against a log that is whole: then that is the truth, and a message is rather sent twice.

use std::collections::BTreeMap;
use std::path::Path;

use envelope::{LegId, MessageId};

use crate::index::keeper::Keeper;
use crate::index::state::Effect;
use crate::log::codec::{Change, Commit, LegRow};
use crate::log::committer::LogHandle;
use crate::log::record::{Kind, Payload, Position};
use crate::settings::StartError;
use crate::verify::survey::Survey;

/// Writes to the log what only the index knows; says of how many messages.
pub(crate) fn inherit(
    keeper: &Keeper,
    log: &LogHandle<Effect>,
    dir: &Path,
) -> Result<u64, StartError> {
    settle(log, dir)?;
    if keeper.is_broken() {
        // sled fails: memory alone is not all that is known.
        return Err(StartError::Index {
            path: dir.to_owned(),
            text: "it cannot be written".to_owned(),
        });
    }
    let mut survey = Survey::begin(dir)?;
    survey.read_log(Position::default(), &mut |_, _| {});
    // What was moved to the quarantine by this start is no damage of the log any more.
    survey.lost_records |= keeper.quarantine.count() > 0;
    let mut written = 0;
    for id in keeper.known() {
        match inherit_message(keeper, log, &survey, id) {
            // It learns only later where it is.
            true => written += 1,
            false => keeper.state.lock().evict(id),
        }
    }
    if survey.lost_records {
        inherit_ends(keeper, log, &survey);
    }
    keeper.hold_damaged();
    settle(log, dir)?;
    Ok(written)
}

/// Tells of messages that this start has not found because their records are damaged, as far as these can be read.
pub(crate) fn tell_lost(keeper: &Keeper, dir: &Path) {
    let read = Survey::begin(dir).map(|mut survey| {
        survey.read_log(Position::default(), &mut |_, _| {});
        survey
    });
    for (id, (hint, at)) in read.map(|survey| survey.hints).unwrap_or_default() {
        // The index has had what lies before: there it has ended.
        if at >= keeper.replayed_from && !keeper.load(id) {
            tracing::error!(message = %id, segment = at.segment(), at = at.offset(), "queued message is lost, its record is damaged: {hint}");
        }
        keeper.state.lock().evict(id);
    }
}

/// Writes a message anew, unless the log says as much of it.
fn inherit_message(
    keeper: &Keeper,
    log: &LogHandle<Effect>,
    survey: &Survey,
    id: MessageId,
) -> bool {
    keeper.load(id);
    let mut state = keeper.state.lock();
    let Some(entry) = state.messages.get(&id) else {
        return false;
    };
    let by_number = |legs: Vec<LegRow>| -> BTreeMap<u32, LegRow> {
        legs.into_iter().map(|leg| (leg.number, leg)).collect()
    };
    let said = survey.live.get(&id).map(|live| survey.legs(live));
    let said = by_number(said.unwrap_or_default());
    let legs: Vec<_> = entry.legs().iter().map(|leg| leg.row.clone()).collect();
    let is_said = legs.iter().all(|leg| said.contains_key(&leg.number));
    if legs.is_empty() || is_said && (!survey.lost_records || said == by_number(legs.clone())) {
        return false;
    }
    tracing::warn!(message = %id, sender = %entry.message.reverse_path, "the log has lost a record of a queued message: written anew from the index");
    let damage = entry
        .body
        .iter()
        .find_map(|extent| survey.piece(extent).err());
    let commit = Commit {
        row: entry.row(),
        legs,
        tokens: Vec::new(),
        also: None,
        inline: None,
    };
    let (payload, commit) = commit.into_payload(None);
    drop(log.append(payload, Some(Effect::Moved(Box::new(commit)))));
    let reason = damage.map(|damage| (id, damage.text));
    state.damaged.extend(reason);
    true
}

/// Ends in the log what has ended by the index: the record that said so may be the one that is damaged.
fn inherit_ends(keeper: &Keeper, log: &LogHandle<Effect>, survey: &Survey) {
    let live = survey.live.iter().filter_map(|(id, live)| {
        let numbers = live.legs.iter().map(|(number, _)| *number).collect();
        Some((*id, survey.row(live)?.since, numbers))
    });
    // One of which no leg can be read has ended all the same.
    let hints = survey.hints.iter().map(|(id, (hint, at))| {
        let numbers = hint.recipients.iter().map(|(number, _)| *number);
        let numbers: Vec<u32> = numbers.chain([0]).collect();
        (*id, at.segment(), numbers)
    });
    for (message, since, numbers) in live.chain(hints) {
        // A message that lives was written anew with the legs that it has left.
        if keeper.load(message) {
            keeper.state.lock().evict(message);
            continue;
        }
        for number in numbers {
            let change = Change {
                leg: LegId { message, number },
                since,
                state: None,
            };
            let payload = Payload::new(Kind::Change, vec![change.encode()]);
            log.append_lazily(payload, Effect::Changed(since));
        }
    }
}

/// Until all that was handed to the log is durable.
fn settle(log: &LogHandle<Effect>, dir: &Path) -> Result<(), StartError> {
    let io = |e: spool::Error| StartError::Io {
        what: "write the log of",
        path: dir.to_owned(),
        source: std::io::Error::other(e),
    };
    let answer = log.barrier().blocking_recv();
    answer
        .unwrap_or(Err(spool::Error::Closed))
        .map(|_| ())
        .map_err(io)
}
