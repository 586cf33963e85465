//! What messages are found by: each address, domain, client and Message-ID that is named in one is a **word** of it.
//!
//! The index keeps words as hashes, in **runs** of some thousand messages: a word that nobody has seen before goes to the region
//! of the file that is written just now, instead of anywhere in an index of all. What a look-up finds is compared with the message.

use std::net::SocketAddr;

use control::{MailStatus, TracedLeg, TracedMessage};
use rusqlite::{Connection, Result};

/// The hash of a word, whatever its case. It stands in files: FNV-1a, of which 48 bits are kept.
pub(crate) fn hash(word: &str) -> i64 {
    let mix = |hash: u64, octet: u8| {
        (hash ^ u64::from(octet.to_ascii_lowercase())).wrapping_mul(0x100_0000_01b3)
    };
    (word.bytes().fold(0xcbf2_9ce4_8422_2325, mix) >> 16).cast_signed()
}

/// A path or a Message-ID without its angle brackets; `<>` as it is.
pub(crate) fn bare(text: &str) -> &str {
    let inner = text
        .strip_prefix('<')
        .and_then(|text| text.strip_suffix('>'));
    inner.filter(|inner| !inner.is_empty()).unwrap_or(text)
}

/// What follows the last `@`; of the null sender, itself.
pub(crate) fn domain(address: &str) -> &str {
    let address = bare(address);
    address
        .rsplit_once('@')
        .map_or(address, |(_, domain)| domain)
}

/// The words of an address: itself, and its domain.
pub(crate) fn of_address(address: &str) -> [&str; 2] {
    [bare(address), domain(address)]
}

/// The word of a client, whatever its port.
pub(crate) fn of_client(client: &str) -> Option<String> {
    let client: SocketAddr = client.parse().ok()?;
    Some(client.ip().to_canonical().to_string())
}

/// The words for how a leg or message stands. What is delivered or waits for the first time is too common to look for.
pub(crate) fn of_status(status: MailStatus) -> Option<&'static str> {
    match status {
        MailStatus::Delivered | MailStatus::Queued | MailStatus::Discarded => None,
        status => Some(status.name()),
    }
}

/// Calls `with` for each word of a message, less its legs'.
pub(crate) fn of_message(message: &TracedMessage, mut with: impl FnMut(&str)) {
    let client = message.client.as_deref().and_then(of_client);
    client.iter().for_each(|client| with(client));
    let addresses = [&message.sender, &message.recipient];
    let addresses = addresses.into_iter().flatten();
    addresses
        .flat_map(|address| of_address(address))
        .for_each(&mut with);
    message.message_id.iter().for_each(|id| with(bare(id)));
    let refused = message.refused.as_ref();
    let refused = refused.and_then(|_| of_status(MailStatus::Refused));
    refused.into_iter().for_each(with);
}

/// Calls `with` for each word of a leg.
pub(crate) fn of_leg(leg: &TracedLeg, mut with: impl FnMut(&str)) {
    let addresses = [&leg.recipient, &leg.target].into_iter().chain(&leg.others);
    addresses
        .flat_map(|address| of_address(address))
        .for_each(&mut with);
    of_status(leg.status).into_iter().for_each(with);
}

/// The latest run before this one.
pub(crate) fn run_before(connection: &Connection, run: i64) -> Result<Option<i64>> {
    let mut query = connection.prepare_cached("SELECT max(run) FROM word WHERE run < ?1")?;
    query.query_row([run], |row| row.get(0))
}

/// The messages of a run that have all these words, the latest first.
pub(crate) fn messages_with(connection: &Connection, run: i64, words: &[i64]) -> Result<Vec<i64>> {
    let [first, others @ ..] = words else {
        return Ok(Vec::new());
    };
    let mut has = connection.prepare_cached("SELECT 1 FROM word WHERE run = ?1 AND hash = ?2")?;
    for word in others {
        if !has.exists((run, word))? {
            return Ok(Vec::new());
        }
    }
    let mut all = connection.prepare_cached(
        "SELECT message FROM word WHERE run = ?1 AND hash = ?2 ORDER BY message DESC",
    )?;
    let mut has_too = connection
        .prepare_cached("SELECT 1 FROM word WHERE run = ?1 AND hash = ?2 AND message = ?3")?;
    let mut found = Vec::new();
    for message in all.query_map((run, first), |row| row.get(0))? {
        let message: i64 = message?;
        let mut is_meant = true;
        for other in others {
            is_meant &= has_too.exists((run, other, message))?;
        }
        if is_meant {
            found.push(message);
        }
    }
    Ok(found)
}

/// Messages of a run: its part of the index is some three megabytes.
pub(crate) const RUN_MESSAGES: usize = 16_384;
