//! What a site remembers of single addresses, so that each connection does not learn it anew: which one could not be
//! reached a moment ago (it is tried last), and with which one TLS failed (it is talked to in clear).
//!
//! Shared by the lanes of a site. Bounded; the clock is passed in.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// A site's memory. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct HostMemory(Arc<Mutex<HashMap<(IpAddr, Trait), Instant>>>);

/// What may be remembered of an address, for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Trait {
    /// No connection, or no service over it.
    Unreachable,
    /// The TLS handshake failed.
    NoTls,
}

impl HostMemory {
    pub(crate) fn remember(&self, address: IpAddr, what: Trait, now: Instant, lifetime: Duration) {
        let mut known = self.0.lock();
        known.retain(|_, until| now < *until);
        // Only a site that changes its addresses all the time gets here; what it has left behind does not matter.
        if known.len() >= ENTRIES_MAX {
            known.clear();
        }
        known.insert((address, what), now + lifetime);
    }

    pub(crate) fn knows(&self, address: IpAddr, what: Trait, now: Instant) -> bool {
        let known = self.0.lock();
        known
            .get(&(address, what))
            .is_some_and(|until| now < *until)
    }

    pub(crate) fn forget(&self, address: IpAddr, what: Trait) {
        self.0.lock().remove(&(address, what));
    }
}

/// Entries at most.
const ENTRIES_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remembers_for_a_while() {
        let memory = HostMemory::default();
        let address: IpAddr = "192.0.2.1".parse().unwrap();
        let start = Instant::now();
        let after = |secs| start + Duration::from_secs(secs);
        memory.remember(address, Trait::NoTls, start, Duration::from_secs(60));
        assert!(memory.knows(address, Trait::NoTls, after(59)));
        assert!(!memory.knows(address, Trait::NoTls, after(60)));
        assert!(!memory.knows(address, Trait::Unreachable, start));
        memory.forget(address, Trait::NoTls);
        assert!(!memory.knows(address, Trait::NoTls, start));
        for i in 0..1000u32 {
            let address = IpAddr::from(i.to_be_bytes());
            memory.remember(address, Trait::NoTls, start, Duration::from_secs(60));
        }
        assert!(memory.0.lock().len() <= ENTRIES_MAX);
    }
}
