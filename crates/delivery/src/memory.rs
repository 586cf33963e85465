//! What a site remembers of single addresses, so that each connection does not learn it anew: which one could not be
//! reached a moment ago (it is tried last), and with which one TLS failed (it is talked to in clear); which of our own
//! addresses rests there. And after how many messages its servers want a new connection.
//!
//! Shared by the lanes of a site. Bounded; the clock is passed in.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use envelope::Diagnosis;
use parking_lot::Mutex;

use crate::peer::Endpoint;

/// A site's memory. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct HostMemory(Arc<Mutex<Known>>);

#[derive(Debug, Default)]
struct Known {
    hosts: HashMap<(Endpoint, Trouble), Instant>,
    /// Source addresses of ours that rest, each until then, and what was said to them.
    resting: BTreeMap<IpAddr, (Instant, Diagnosis)>,
    /// Messages that a connection took before it was refused one, and until when that counts.
    messages: Option<(u64, Instant)>,
}

/// What may be remembered of an address, for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Trouble {
    /// No connection, or no service over it.
    Unreachable,
    /// The TLS handshake failed.
    NoTls,
}

impl HostMemory {
    pub(crate) fn remember(
        &self,
        address: &Endpoint,
        what: Trouble,
        now: Instant,
        lifetime: Duration,
    ) {
        let known = &mut self.0.lock().hosts;
        known.retain(|_, until| now < *until);
        // Only a site that changes its addresses all the time gets here; what it has left behind does not matter.
        if known.len() >= ENTRIES_MAX {
            known.clear();
        }
        known.insert((address.clone(), what), now + lifetime);
    }

    pub(crate) fn knows(&self, address: &Endpoint, what: Trouble, now: Instant) -> bool {
        let known = self.0.lock();
        known
            .hosts
            .get(&(address.clone(), what))
            .is_some_and(|until| now < *until)
    }

    pub(crate) fn forget(&self, address: &Endpoint, what: Trouble) {
        self.0.lock().hosts.remove(&(address.clone(), what));
    }

    /// No new connection from this address of ours before then: the site's provider blocks it.
    pub(crate) fn rest_source(&self, source: IpAddr, until: Instant, why: &Diagnosis) {
        let resting = &mut self.0.lock().resting;
        let begun = resting.get(&source).map(|(until, _)| *until);
        let until = begun.max(Some(until)).unwrap_or(until);
        resting.insert(source, (until, why.of_others()));
    }

    /// Why our addresses rest: what was said to the one that is back first.
    pub(crate) fn why_rests(&self, now: Instant) -> Option<Diagnosis> {
        let known = self.0.lock();
        let resting = known.resting.values().filter(|(until, _)| now < *until);
        let first = resting.min_by_key(|(until, _)| *until);
        first.map(|(_, why)| why.clone())
    }

    /// Until when this address of ours rests, if it does.
    pub(crate) fn rests_until(&self, source: IpAddr, now: Instant) -> Option<Instant> {
        let known = self.0.lock();
        let (until, _) = known.resting.get(&source)?;
        Some(*until).filter(|until| now < *until)
    }

    /// Whether a connection from there is to take no more.
    pub(crate) fn rests(&self, source: Option<IpAddr>) -> bool {
        source.is_some_and(|source| self.rests_until(source, Instant::now()).is_some())
    }

    /// Addresses of ours that rest, and until when.
    pub(crate) fn resting(&self, now: Instant) -> Vec<(IpAddr, Instant)> {
        let resting = &mut self.0.lock().resting;
        resting.retain(|_, (until, _)| now < *until);
        let all = resting.iter();
        all.map(|(source, (until, _))| (*source, *until)).collect()
    }

    /// A connection took so many messages and refused the next, which another connection took then.
    pub(crate) fn learn_messages_max(&self, messages: u64, now: Instant) {
        self.0.lock().messages = Some((messages, now + MESSAGES_MAX_KEPT));
    }

    /// Messages over one connection at most, as far as it is known.
    pub(crate) fn messages_max(&self, now: Instant) -> Option<u64> {
        let known = self.0.lock();
        let (messages, until) = known.messages?;
        (now < until).then_some(messages)
    }
}

/// Entries at most.
const ENTRIES_MAX: usize = 256;
/// How long a server's limit of messages is believed: it may be raised, or was never one.
const MESSAGES_MAX_KEPT: Duration = Duration::from_hours(1);

#[cfg(test)]
mod tests {
    use envelope::EnhancedStatus;

    use super::*;

    #[test]
    fn why_our_addresses_rest_is_what_the_first_one_heard() {
        let memory = HostMemory::default();
        let start = Instant::now();
        let after = |secs| start + Duration::from_secs(secs);
        for (last, secs, detail) in [(1, 60, 1), (2, 90, 2), (3, 70, 3)] {
            let why = Diagnosis::local(EnhancedStatus::transient(7, detail), "blocked");
            memory.rest_source(IpAddr::from([192, 0, 2, last]), after(secs), &why);
        }
        let detail = |at| memory.why_rests(at).map(|why| why.status.detail);
        let heard = [0, 60, 70, 90].map(|secs| detail(after(secs)));
        assert_eq!(heard, [Some(1), Some(3), Some(2), None]);
    }

    #[test]
    fn remembers_for_a_while() {
        let memory = HostMemory::default();
        let address = &Endpoint::Tcp("192.0.2.1:25".parse().unwrap());
        let start = Instant::now();
        let after = |secs| start + Duration::from_secs(secs);
        memory.remember(address, Trouble::NoTls, start, Duration::from_secs(60));
        assert!(memory.knows(address, Trouble::NoTls, after(59)));
        assert!(!memory.knows(address, Trouble::NoTls, after(60)));
        assert!(!memory.knows(address, Trouble::Unreachable, start));
        memory.forget(address, Trouble::NoTls);
        assert!(!memory.knows(address, Trouble::NoTls, start));
        for i in 0..1000u32 {
            let address = &Endpoint::Tcp((i.to_be_bytes(), 25).into());
            memory.remember(address, Trouble::NoTls, start, Duration::from_secs(60));
        }
        assert!(memory.0.lock().hosts.len() <= ENTRIES_MAX);
        assert_eq!(memory.messages_max(start), None);
        memory.learn_messages_max(2, start);
        assert_eq!(memory.messages_max(after(3599)), Some(2));
        assert_eq!(memory.messages_max(after(3600)), None);
    }
}
