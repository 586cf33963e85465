//! The harness's own books: every message offered, every 250 heard, every copy that a sink took, every kill.
//!
//! Nothing in here comes from the relay but what its peers saw of it; only [`Books::known`] is its own word, and proves nothing.
//! What the books prove is in `proof.rs`.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use aws_lc_rs::digest::{SHA256, digest};
use tokio::sync::Notify;

use super::world::Place;

/// All books, shared by clients and sinks.
#[derive(Default)]
pub(super) struct Ledger {
    books: Mutex<Books>,
    /// Something was settled.
    pub(super) settled: Notify,
}

#[derive(Default)]
pub(super) struct Books {
    pub(super) messages: HashMap<u64, Entry>,
    /// When each run was ended by a kill.
    pub(super) kills: HashMap<u32, Instant>,
    /// From when until when something stood still, of several nodes and their database (`nodes.rs`).
    pub(super) hurt: Option<(Instant, Instant)>,
    /// What the relay logged as delivered: in which run, its name for the message, where. It tells whose fault a duplicate is.
    pub(super) known: HashSet<(u32, String, Place)>,
    /// What must never happen, as it was seen.
    pub(super) findings: Vec<String>,
    /// Places of acknowledged messages that nothing has reached yet.
    pub(super) open: usize,
    /// The run that goes on; a connection belongs to the run it was made in.
    pub(super) run: u32,
}

/// One message.
pub(super) struct Entry {
    octets: usize,
    sha256: [u8; 32],
    pub(super) places: Vec<Place>,
    /// Its 250 was heard.
    pub(super) acknowledged: bool,
    /// Offered whole, and no 250 heard: the relay may have it. Also those that were answered 4xx.
    pub(super) unheard: u32,
    /// Broken off before its end: the relay must not have it.
    pub(super) cut: u32,
    pub(super) copies: Vec<Copy>,
}

/// What reached a place.
#[derive(Debug, Clone)]
pub(super) struct Copy {
    pub(super) place: Place,
    /// The relay's name for the message that the client handed over.
    pub(super) origin: String,
    /// The name of what was delivered: of that message, or of a DSN about it.
    pub(super) name: String,
    pub(super) run: u32,
    /// How the relay that brought it called itself.
    pub(super) by: String,
    /// Just before the sink said 250.
    pub(super) at: Instant,
}

/// How an offer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Offer {
    Acknowledged,
    /// By the destination: nothing may come of it.
    Refused,
    Unheard,
    Cut,
}

impl Ledger {
    pub(super) fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes a message down, before its first octet goes out.
    pub(super) fn open(&self, id: u64, bytes: &[u8], places: &[Place]) {
        let entry = Entry {
            octets: bytes.len(),
            sha256: sha256(bytes),
            places: places.to_vec(),
            acknowledged: false,
            unheard: 0,
            cut: 0,
            copies: Vec::new(),
        };
        self.books().messages.entry(id).or_insert(entry);
    }

    pub(super) fn offered(&self, id: u64, offer: Offer) {
        let mut books = self.books();
        let books = &mut *books;
        let entry = books.messages.get_mut(&id).expect("written down before");
        match offer {
            Offer::Acknowledged => {
                entry.acknowledged = true;
                books.open += entry.unreached().count();
            }
            Offer::Refused => {}
            Offer::Unheard => entry.unheard += 1,
            Offer::Cut => entry.cut += 1,
        }
    }

    /// A sink has something for a message: books it, for these places.
    pub(super) fn arrived(&self, id: u64, copies: impl IntoIterator<Item = Copy>) {
        let mut books = self.books();
        let books = &mut *books;
        let Some(entry) = books.messages.get_mut(&id) else {
            books.note(format!("a message m{id} arrived that nobody sent"));
            return;
        };
        for copy in copies {
            let first = !entry.has(copy.place);
            if first && entry.acknowledged && entry.places.contains(&copy.place) {
                books.open -= 1;
            }
            entry.copies.push(copy);
        }
        self.settled.notify_waiters();
    }

    /// The trace headers above a message, when the rest is what was sent, byte for byte.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn trace_above<'a>(&self, id: u64, data: &'a [u8]) -> Result<&'a str, String> {
        let (octets, expected) = match self.books().messages.get(&id) {
            Some(entry) => (entry.octets, entry.sha256),
            None => return Err("nobody sent it".to_owned()),
        };
        let Some(top) = data.len().checked_sub(octets) else {
            return Err(format!("{} octets of {octets} arrived", data.len()));
        };
        if sha256(&data[top..]) != expected {
            return Err(format!("its last {octets} octets are not what was sent"));
        }
        let trace = std::str::from_utf8(&data[..top]).map_err(|_| "its trace is no text")?;
        let whole = trace.ends_with("\r\n") && trace.lines().all(is_trace_line);
        if !whole {
            return Err(format!("above it stands {trace:?}"));
        }
        Ok(trace)
    }
}

/// A line of a trace field, or the continuation of one.
fn is_trace_line(line: &str) -> bool {
    line.starts_with(['\t', ' '])
        || ["Received: ", "Delivered-To: ", "Return-Path: "]
            .iter()
            .any(|name| line.starts_with(name))
}

impl Books {
    pub(super) fn note(&mut self, finding: String) {
        self.findings.push(finding);
    }
}

impl Entry {
    fn has(&self, place: Place) -> bool {
        self.copies.iter().any(|copy| copy.place == place)
    }

    /// Places that nothing has reached.
    pub(super) fn unreached(&self) -> impl Iterator<Item = Place> {
        let places = self.places.iter().copied();
        places.filter(|&place| !self.has(place))
    }
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let digest = digest(&SHA256, bytes);
    digest.as_ref().try_into().expect("256 bits")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_byte_is_found() {
        let ledger = Ledger::default();
        ledger.open(1, b"S: t\r\n\r\nbody\r\n", &[]);
        let check = |data: &[u8]| ledger.trace_above(1, data).map(str::to_owned);
        let trace = "Received: from a\r\n\tid X\r\n";
        let whole = format!("{trace}S: t\r\n\r\nbody\r\n");
        assert_eq!(check(whole.as_bytes()).as_deref(), Ok(trace));
        for bad in [
            whole.replace("body", "bodY"),
            whole.replace("S: t", "X: y\r\nS: t"),
            whole.replace("body\r\n", "body\r\n\r\n"),
            "S: t\r\n".to_owned(),
        ] {
            assert!(check(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
