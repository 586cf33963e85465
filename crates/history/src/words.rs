//! What messages are found by: each address, domain, client and Message-ID that is named in one is a **word** of it.
//!
//! The index is a list of hashes in the order of time, cut into **runs**, and no tree: to append to it costs next to nothing, and
//! those of a million messages are read in the time that a few thousand look-ups take. What is found is compared with the message.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use control::{MailStatus, TracedLeg, TracedMessage};
use rusqlite::{Connection, OptionalExtension, Result};

/// What has words.
pub(crate) trait Words {
    /// Calls `with` for each.
    fn words(&self, with: impl FnMut(&str));
}

/// Words on their way into the index: hashes, and for each the key of its message, as octets.
#[derive(Default)]
pub(crate) struct Found {
    hashes: Vec<u8>,
    messages: Vec<u8>,
}

/// The hash of a word, whatever its case. It stands in files: FNV-1a, of which 32 bits are kept.
pub(crate) fn hash(word: &str) -> u32 {
    let mix = |hash: u64, octet: u8| {
        (hash ^ u64::from(octet.to_ascii_lowercase())).wrapping_mul(0x100_0000_01b3)
    };
    (word.bytes().fold(0xcbf2_9ce4_8422_2325, mix) >> 32) as u32
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

/// A client, whatever its port: as text, a word.
pub(crate) fn client(client: &str) -> Option<IpAddr> {
    let client: SocketAddr = client.parse().ok()?;
    Some(client.ip().to_canonical())
}

/// The words for how a leg or message stands. What is delivered or waits for the first time is too common to look for.
pub(crate) fn of_status(status: MailStatus) -> Option<&'static str> {
    match status {
        MailStatus::Delivered | MailStatus::Queued | MailStatus::Discarded => None,
        status => Some(status.name()),
    }
}

impl Words for TracedMessage {
    /// Less those of its legs.
    fn words(&self, mut with: impl FnMut(&str)) {
        let client = self.client.as_deref().and_then(client);
        client.iter().for_each(|client| with(&client.to_string()));
        let addresses = [&self.sender, &self.recipient].into_iter().flatten();
        addresses
            .flat_map(|address| of_address(address))
            .for_each(&mut with);
        self.message_id.iter().for_each(|id| with(bare(id)));
        let refused = self.refused.as_ref();
        let refused = refused.and_then(|_| of_status(MailStatus::Refused));
        refused.into_iter().for_each(with);
    }
}

impl Words for TracedLeg {
    fn words(&self, mut with: impl FnMut(&str)) {
        let addresses = [&self.recipient, &self.target].into_iter();
        addresses
            .chain(&self.others)
            .flat_map(|address| of_address(address))
            .for_each(&mut with);
        of_status(self.status).into_iter().for_each(with);
    }
}

impl Found {
    pub(crate) fn add(&mut self, hash: u32, message: i64) {
        self.hashes.extend(hash.to_le_bytes());
        self.messages.extend(message.to_le_bytes());
    }

    /// Writes them behind what the latest run has, or as a new run that begins `now`.
    pub(crate) fn write(self, connection: &Connection, now: i64) -> Result<()> {
        if self.hashes.is_empty() {
            return Ok(());
        }
        let columns = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
        let mut latest = connection.prepare_cached(LATEST)?;
        let latest = latest.query_row([RUN_OCTETS], columns).optional()?;
        let (run, mut hashes, mut messages): (i64, Vec<u8>, Vec<u8>) = match latest {
            Some(run) => run,
            None => {
                let newest: Option<i64> =
                    connection.query_row("SELECT max(run) FROM word", [], |row| row.get(0))?;
                let run = newest.map_or(now, |newest| now.max(newest + 1));
                (run, Vec::new(), Vec::new())
            }
        };
        hashes.extend(self.hashes);
        messages.extend(self.messages);
        let mut insert =
            connection.prepare_cached("INSERT OR REPLACE INTO word VALUES (?1, ?2, ?3)")?;
        insert.execute((run, hashes, messages))?;
        Ok(())
    }
}

/// Gives `take` the key of each message that has all these words, the latest first as far as that is known, some twice, until it
/// has enough or the time is over. Whether there may be more. No message from `since` on is passed over.
pub(crate) fn find(
    file: &Connection,
    since: i64,
    words: &[u32],
    until: Instant,
    mut take: impl FnMut(i64) -> Result<bool>,
) -> Result<bool> {
    let all = (1u32 << words.len()) - 1;
    // A word may come hours after the others, as that of a status does.
    let mut found: HashMap<i64, u32> = HashMap::new();
    let mut runs = file.prepare_cached(RUNS)?;
    let mut runs = runs.query([since])?;
    while let Some(run) = runs.next()? {
        let hashes = run.get_ref(0)?.as_blob()?.as_chunks().0;
        for (place, hash) in hashes.iter().enumerate().rev() {
            let hash = u32::from_le_bytes(*hash);
            if !words.contains(&hash) {
                continue;
            }
            let bits = words.iter().rev();
            let bits = bits.fold(0, |bits, word| bits << 1 | u32::from(*word == hash));
            let messages = run.get_ref(1)?.as_blob()?.as_chunks().0;
            let Some(message) = messages.get(place) else {
                continue;
            };
            let message = i64::from_le_bytes(*message);
            let found = found.entry(message).or_default();
            *found |= bits;
            if *found == all && !take(message)? {
                return Ok(true);
            }
        }
        if Instant::now() >= until {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Deletes the runs that end before this key. How many.
pub(crate) fn prune(connection: &Connection, oldest: i64) -> Result<usize> {
    connection.prepare_cached(PRUNE)?.execute([oldest])
}

/// While the latest run has fewer octets of hashes than this, it grows.
const RUN_OCTETS: i64 = 8192;

const LATEST: &str =
    "SELECT * FROM (SELECT run, hashes, messages FROM word ORDER BY run DESC LIMIT 1)
    WHERE length(hashes) < ?1";
/// The one that was being written at this time, and those after it.
const RUNS: &str = "SELECT hashes, messages FROM word
    WHERE run >= ifnull((SELECT max(run) FROM word WHERE run <= ?1), 0) ORDER BY run DESC";
const PRUNE: &str = "DELETE FROM word WHERE run < (SELECT max(run) FROM word WHERE run <= ?1)";
