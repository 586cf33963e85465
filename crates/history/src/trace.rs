//! What happened to messages: found by id or by words, compared, and put together.

use std::collections::HashSet;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::time::Instant;

use control::{MailStatus, PAGE_ROWS_MAX, Traced, TracedLeg, TracedMessage, ask};
use envelope::{IdPart, MessageId, Timestamp};
use rusqlite::{Connection, Result};

use crate::store::Error;
use crate::words::{self, Words};
use crate::{key, rows};

/// Answers the question, as far as there is time.
pub(crate) fn answer(file: &Connection, ask: &ask::Trace, until: Instant) -> Result<Traced, Error> {
    let limit = ask.limit.clamp(1, PAGE_ROWS_MAX) as usize;
    let mut messages = Vec::new();
    let is_cut = search(file, &Search::of(ask), until, |message| {
        messages.push(message);
        messages.len() < limit
    })?;
    messages.sort_by_key(|message| std::cmp::Reverse((message.at, message.id)));
    Ok(Traced {
        messages,
        is_cut,
        oldest: oldest(file)?,
        silent_nodes: Vec::new(),
    })
}

/// The time of the first message.
pub(crate) fn oldest(file: &Connection) -> Result<Option<Timestamp>> {
    let oldest: Option<i64> = file.query_row("SELECT min(key) FROM mail", [], |row| row.get(0))?;
    Ok(oldest.map(key::time))
}

/// What messages must have.
#[derive(Default)]
pub(crate) struct Search {
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    /// Of one of these, which begin as was typed or are one.
    ids: Vec<RangeInclusive<MessageId>>,
    word: Option<String>,
    from: Option<String>,
    to: Option<String>,
    client: Option<IpAddr>,
    status: Option<MailStatus>,
}

impl Search {
    pub(crate) fn of(ask: &ask::Trace) -> Self {
        let what = ask.what.as_deref().map(|what| words::bare(what.trim()));
        let what = what.map(|what| what.strip_prefix('@').unwrap_or(what));
        // An id begins with a digit, and so no domain without a dot is taken for one.
        let ids = what.and_then(|what| Some(what.parse::<IdPart>().ok()?.messages));
        let word = what.filter(|what| ids.is_none() && !what.is_empty());
        let ids = ask.ids.iter().map(|id| *id..=*id).chain(ids);
        Self {
            since: ask.since,
            until: ask.until,
            word: word.map(ToOwned::to_owned),
            ids: ids.collect(),
            from: ask.from.as_ref().map(ToString::to_string),
            to: ask.to.as_ref().map(ToString::to_string),
            client: ask.client.map(|client| client.to_canonical()),
            status: ask.status,
        }
    }

    /// Legs of this forward that stand so.
    pub(crate) fn forward(recipient: &str, target: &str, status: MailStatus) -> Self {
        Self {
            word: Some(recipient.to_owned()),
            to: Some(target.to_owned()),
            status: Some(status),
            ..Self::default()
        }
    }

    /// The index has all of them.
    fn words(&self) -> Vec<u32> {
        let status = self.status.and_then(words::of_status);
        let client = self.client.map(|client| client.to_string());
        let all = [&self.word, &self.to, &self.from, &client];
        let all = all.into_iter().flatten();
        let all = all.map(String::as_str).chain(status);
        all.map(words::hash).collect()
    }

    pub(crate) fn matches(&self, message: &TracedMessage) -> bool {
        let (mut has_word, mut is_to) = (self.word.is_none(), self.to.is_none());
        let is = |wanted: &Option<String>, word: &str| {
            wanted
                .as_deref()
                .is_some_and(|wanted| wanted.eq_ignore_ascii_case(word))
        };
        message.words(|word| has_word |= is(&self.word, word));
        for leg in &message.legs {
            leg.words(|word| {
                has_word |= is(&self.word, word);
                is_to |= is(&self.to, word);
            });
        }
        let has = |wanted: &Option<String>, address: &Option<String>| {
            let words = address.as_deref().map(words::of_address);
            words.is_some_and(|words| words.into_iter().any(|word| is(wanted, word)))
        };
        let is_one_of = |ids: &RangeInclusive<_>| message.id.is_some_and(|id| ids.contains(&id));
        let client = message.client.as_deref().and_then(words::client);
        let stands = |status| {
            message.status == status || message.legs.iter().any(|leg| leg.status == status)
        };
        has_word
            && (is_to || has(&self.to, &message.recipient))
            && (self.from.is_none() || has(&self.from, &message.sender))
            && (self.client.is_none() || self.client == client)
            && (self.ids.is_empty() || self.ids.iter().any(is_one_of))
            && self.since.is_none_or(|since| message.at >= since)
            && self.status.is_none_or(stands)
    }
}

/// Gives `take` what is found, the latest first as far as that is known, until it has enough. Whether there may be more.
pub(crate) fn search(
    file: &Connection,
    search: &Search,
    until: Instant,
    mut take: impl FnMut(TracedMessage) -> bool,
) -> Result<bool, Error> {
    let since = search.since.unwrap_or(Timestamp::from_unix_millis(0));
    let (first, end) = (key::at(since), search.until.map_or(i64::MAX, key::at));
    let words = search.words();
    let (mut seen, mut room) = (HashSet::new(), OCTETS_MAX);
    let mut goes_on = |key: i64| -> Result<bool> {
        if key < first || key >= end || !seen.insert(key) {
            return Ok(true);
        }
        let mut left = room;
        let found = load(file, key, &mut left)?.filter(|message| search.matches(message));
        let is_enough = found.is_some_and(|message| {
            room = left;
            !take(message)
        });
        Ok(!is_enough && room > 0 && Instant::now() < until)
    };
    if !search.ids.is_empty() || words.is_empty() {
        let keys = |ids: &RangeInclusive<MessageId>| {
            let start = first.max(key::at(ids.start().timestamp()));
            (key::message(*ids.end()) + key::ROWS, start)
        };
        let mut ranges: Vec<_> = search.ids.iter().map(keys).collect();
        if ranges.is_empty() {
            ranges.push((end, first));
        }
        let mut before = file.prepare_cached("SELECT max(key) FROM mail WHERE key < ?1")?;
        for (mut key, first) in ranges {
            loop {
                let row: Option<i64> = before.query_row([key], |row| row.get(0))?;
                key = match row.map(|row| row / key::ROWS * key::ROWS) {
                    Some(message) if message >= first => message,
                    _ => break,
                };
                if !goes_on(key)? {
                    return Ok(true);
                }
            }
        }
        return Ok(false);
    }
    Ok(words::find(file, first, &words, until, goes_on)?)
}

/// A message with its legs, as far as there is room.
fn load(file: &Connection, key: i64, room: &mut usize) -> Result<Option<TracedMessage>> {
    let mut rows = file
        .prepare_cached("SELECT key, data FROM mail WHERE key >= ?1 AND key < ?2 ORDER BY key")?;
    let mut rows = rows.query((key, key + key::ROWS))?;
    let (mut message, mut legs) = (None, Vec::<TracedLeg>::new());
    while let Some(row) = rows.next()? {
        let data = row.get_ref(1)?.as_blob()?;
        *room = room.saturating_sub(data.len());
        if *room == 0 {
            break;
        }
        match row.get::<_, i64>(0)? == key {
            true => message = serde_json::from_slice(data).ok(),
            false => legs.extend(serde_json::from_slice::<TracedLeg>(data)),
        }
    }
    let first = legs.first().map(|leg| leg.leg.message);
    let message = message.or_else(|| first.map(rows::blank));
    Ok(message.map(|mut message| {
        message.legs = legs;
        message.status = status(&message);
        message
    }))
}

/// How a message stands as a whole.
pub(crate) fn status(message: &TracedMessage) -> MailStatus {
    let is_discarded = message.notes.iter().any(|note| note.event == "discarded");
    match message.legs.iter().map(|leg| leg.status).max() {
        _ if message.refused.is_some() => MailStatus::Refused,
        Some(worst) => worst,
        None if is_discarded => MailStatus::Discarded,
        None => MailStatus::Queued,
    }
}

/// Peers choose what they reply, and how often: an answer must fit into a line of the control socket, and go to another node.
pub(crate) const OCTETS_MAX: usize = 4 * 1024 * 1024;
