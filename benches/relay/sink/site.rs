//! One address of the sink: its script, its limits, its counts.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher as _};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use arc_swap::ArcSwap;

use super::{Counts, Script};

/// What the sessions of one address share.
#[derive(Debug)]
pub(super) struct Site {
    pub(super) address: SocketAddr,
    pub(super) script: ArcSwap<Script>,
    /// Connections are reset as they come.
    pub(super) resets: AtomicBool,
    counts: Mutex<Counts>,
    /// When a client first tried a sender and a recipient.
    greylist: Mutex<HashMap<u64, Instant>>,
}

/// A connection that counts as open while this lives.
#[derive(Debug)]
pub(super) struct OpenConnection {
    pub(super) site: Arc<Site>,
    /// Connections open when it came, itself included.
    pub(super) number: u64,
}

impl Site {
    /// A site that listens on `address`.
    pub(super) fn new(address: SocketAddr, script: Script) -> Self {
        Self {
            address,
            script: ArcSwap::from_pointee(script),
            resets: AtomicBool::new(false),
            counts: Mutex::default(),
            greylist: Mutex::default(),
        }
    }

    /// The counts, to read or to change.
    pub(super) fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a new connection; `None` when it is to be reset.
    pub(super) fn admit(self: &Arc<Self>) -> Option<OpenConnection> {
        let mut counts = self.counts();
        counts.connections += 1;
        if self.resets.load(Ordering::Relaxed) {
            counts.turned_away += 1;
            return None;
        }
        counts.open += 1;
        counts.open_max = counts.open_max.max(counts.open);
        Some(OpenConnection {
            site: Arc::clone(self),
            number: counts.open,
        })
    }

    /// Whether greylisting wants this recipient to come again later.
    pub(super) fn is_too_early(&self, script: &Script, peer: IpAddr, from: &[u8], to: u64) -> bool {
        let Some(delay) = script.greylist else {
            return false;
        };
        let now = Instant::now();
        let mut seen = self.greylist.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() >= GREYLIST_MAX {
            seen.clear();
        }
        let first = *seen.entry(hash(&(peer, from, to))).or_insert(now);
        now - first < delay
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.site.counts().open -= 1;
    }
}

/// The same value for the same thing, in this process.
pub(super) fn hash(thing: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    thing.hash(&mut hasher);
    hasher.finish()
}

/// Triples that are remembered; then it begins anew, which only delays mail.
const GREYLIST_MAX: usize = 4_000_000;
