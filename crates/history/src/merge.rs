//! One answer of what several nodes say, each from a history of its own.
//!
//! A message that one node took in and another delivered is one again: its beginning is that of the node that took it in, its
//! attempts and notes are those of all. Sums are added up. What was said twice counts once in a message, and twice in a sum.

use std::cmp::Reverse;
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::mem;

use control::{
    Change, FailingForward, FailingForwards, HourRow, MailStatus, PAGE_ROWS_MAX, StatsPage,
    StatsRow, Traced, TracedLeg, TracedMessage, TracedNote, ask,
};
use envelope::Timestamp;

use crate::trace::Search;
use crate::{batch, stats, trace};

/// What nodes are asked to find messages. Of a leg that another node took over, only the first knows who sent it, and only the
/// other how it stands: to the first it still waits.
pub fn parts(ask: &ask::Trace) -> Vec<ask::Trace> {
    let is_of_beginning = ask.what.is_some() || ask.from.is_some() || ask.client.is_some();
    let mut statuses = vec![ask.status];
    if ask.status.is_some() && is_of_beginning {
        let waits = [MailStatus::Queued, MailStatus::Deferred, MailStatus::Held].map(Some);
        statuses.extend(waits.iter().filter(|status| **status != ask.status));
    }
    let part = |status: Option<_>| ask::Trace {
        status,
        limit: status.map_or(ask.limit, |_| PAGE_ROWS_MAX),
        ..ask.clone()
    };
    statuses.into_iter().map(part).collect()
}

/// Messages, the latest first.
pub fn traced(said: impl IntoIterator<Item = Traced>) -> Traced {
    let mut whole = Traced::default();
    for part in said {
        whole.messages.extend(part.messages);
        whole.is_cut |= part.is_cut;
        whole.oldest = earlier(whole.oldest, part.oldest);
    }
    let messages = &mut whole.messages;
    // Who knows the beginning comes first.
    messages.sort_by_key(|part| (part.id, part.client.is_none() && part.sender.is_none()));
    messages.dedup_by(|part, whole| {
        let is_same = whole.id.is_some() && part.id == whole.id;
        if is_same {
            join(whole, mem::take(part));
        }
        is_same
    });
    messages.sort_by_key(|message| Reverse((message.at, message.id)));
    whole
}

/// Keeps what was meant, as a whole.
pub fn keep_meant(ask: &ask::Trace, whole: &mut Traced) {
    let (search, mut room) = (Search::of(ask), trace::OCTETS_MAX);
    let messages = &mut whole.messages;
    messages.retain(|message| search.matches(message));
    let fits = messages.iter().take(rows(ask.limit)).take_while(|row| {
        room = room.saturating_sub(serde_json::to_vec(row).map_or(0, |json| json.len()));
        room > 0
    });
    let fits = fits.count().max(1);
    whole.is_cut |= messages.len() > fits;
    messages.truncate(fits);
}

/// Adds what another node knows of a message.
fn join(whole: &mut TracedMessage, part: TracedMessage) {
    add_new(&mut whole.notes, part.notes);
    whole.notes.sort_by_key(|note| note.at);
    let TracedMessage { legs, notes, .. } = whole;
    legs.extend(part.legs);
    legs.sort_by_key(|leg| (leg.leg, leg.sender.is_none()));
    legs.dedup_by(|part, leg| {
        let is_same = part.leg == leg.leg;
        if is_same {
            add_new(&mut leg.attempts, mem::take(&mut part.attempts));
            leg.attempts.sort_by_key(|one| (one.attempt, one.at));
            leg.status = stands(leg, notes);
        }
        is_same
    });
    whole.status = trace::status(whole);
}

fn add_new<T: PartialEq>(to: &mut Vec<T>, more: Vec<T>) {
    for one in more {
        if !to.contains(&one) {
            to.push(one);
        }
    }
}

/// How a leg stands: as it ended, as was asked (`leg=ID action=hold …` in the mail log), or as it was tried.
fn stands(leg: &TracedLeg, notes: &[TracedNote]) -> MailStatus {
    let mut results = leg.attempts.iter().map(|attempt| attempt.result);
    let end = results.rfind(|result| *result != MailStatus::Deferred);
    let of_leg = format!("leg={} ", leg.leg);
    let asked = notes.iter().rev().find_map(|note| {
        let about = note.text.strip_prefix(&of_leg)?;
        match &*note.event {
            "held" => Some(MailStatus::Held),
            "operator" => batch::asked(about.strip_prefix("action=")?.split(' ').next()?),
            _ => None,
        }
    });
    match asked.filter(|asked| *asked != MailStatus::Queued) {
        _ if end.is_some() => end.unwrap_or_default(),
        Some(asked) => asked,
        None if leg.attempts.is_empty() => MailStatus::Queued,
        None => MailStatus::Deferred,
    }
}

/// Sums, the largest first.
pub fn stats(said: impl IntoIterator<Item = StatsPage>, limit: u32) -> StatsPage {
    let (mut whole, mut sums) = (StatsPage::default(), HashMap::<_, StatsRow>::new());
    for part in said {
        whole.keys = whole.keys.max(part.keys);
        whole.is_cut |= part.is_cut;
        whole.oldest = earlier(whole.oldest, part.oldest);
        for row in part.rows {
            match sums.entry((row.key.clone(), row.target.clone())) {
                Entry::Occupied(mut sum) => add(sum.get_mut(), &row),
                Entry::Vacant(sum) => drop(sum.insert(row)),
            }
        }
    }
    whole.rows = sums.into_values().collect();
    whole.rows.sort_by(stats::by_weight);
    whole.keys = whole.keys.max(whole.rows.len() as u64);
    whole.rows.truncate(rows(limit));
    whole.left_out = whole.keys - whole.rows.len() as u64;
    whole
}

fn add(sum: &mut StatsRow, row: &StatsRow) {
    sum.received += row.received;
    sum.octets += row.octets;
    sum.refused += row.refused;
    sum.delivered += row.delivered;
    sum.deferred += row.deferred;
    sum.failed += row.failed;
    sum.is_new &= row.is_new;
}

/// Sums of the hours.
pub fn hours(said: impl IntoIterator<Item = Vec<HourRow>>) -> Vec<HourRow> {
    let mut hours = BTreeMap::<_, HourRow>::new();
    for row in said.into_iter().flatten() {
        let sum = hours.entry(row.at).or_default();
        sum.at = row.at;
        sum.refused += row.refused;
        sum.delivered += row.delivered;
        sum.deferred += row.deferred;
        sum.failed += row.failed;
    }
    hours.into_values().collect()
}

/// Changes, the latest first; with the node's name, if it has one.
pub fn changes(
    said: impl IntoIterator<Item = (Option<String>, Vec<Change>)>,
    limit: u32,
) -> Vec<Change> {
    let mut all = Vec::new();
    for (node, mut changes) in said {
        if let Some(node) = node {
            let texts = changes.iter_mut().map(|change| &mut change.text);
            texts.for_each(|text| text.insert_str(0, &format!("node={node} ")));
        }
        all.extend(changes);
    }
    all.sort_by_key(|change| Reverse(change.at));
    all.truncate(rows(limit));
    all
}

/// Forwards that fail on all nodes together, those that fail most first.
pub fn failing(said: impl IntoIterator<Item = FailingForwards>, limit: u32) -> FailingForwards {
    let (mut whole, mut sums) = (FailingForwards::default(), HashMap::new());
    for part in said {
        whole.left_out = whole.left_out.max(part.left_out);
        whole.is_cut |= part.is_cut;
        whole.oldest = earlier(whole.oldest, part.oldest);
        for row in part.forwards {
            match sums.entry((row.recipient.clone(), row.target.clone())) {
                Entry::Occupied(mut sum) => add_failures(sum.get_mut(), row),
                Entry::Vacant(sum) => drop(sum.insert(row)),
            }
        }
    }
    whole.forwards = sums.into_values().filter(stats::is_failing).collect();
    whole.forwards.sort_by(stats::by_failures);
    let left_out = whole.forwards.len().saturating_sub(rows(limit));
    whole.left_out += left_out as u64;
    whole.is_cut |= left_out > 0;
    whole.forwards.truncate(rows(limit));
    whole
}

/// The last failure of both is told.
fn add_failures(sum: &mut FailingForward, mut row: FailingForward) {
    if row.last_failure > sum.last_failure {
        mem::swap(sum, &mut row);
    }
    sum.delivered += row.delivered;
    sum.failed += row.failed;
    sum.deferred += row.deferred;
    sum.last_success = sum.last_success.max(row.last_success);
}

fn earlier(one: Option<Timestamp>, other: Option<Timestamp>) -> Option<Timestamp> {
    [one, other].into_iter().flatten().min()
}

fn rows(limit: u32) -> usize {
    limit.clamp(1, PAGE_ROWS_MAX) as usize
}

#[cfg(test)]
mod tests;
