//! Connection caps: how many connections there may be at once, in total and from one client network.
//!
//! One IPv4 address is one client; of IPv6 one /64, since that is what one customer is given (DESIGN promise 6).
//! A [`Slot`] is held for a connection's whole life and gives back what it took when dropped, panics included.
//!
//! A flood that holds its connections open must not keep others out. So the last places are a reserve: each newcomer that takes one
//! sends away a stranger that keeps us waiting, the one that does so longest. A client that talks is never that one for long, and a
//! server that is not nearly full sends nobody away.
//!
//! It counts connections, not messages or attempts: rates are another matter.

use std::collections::{BTreeMap, HashMap};
use std::future::pending;
use std::net::IpAddr;
use std::sync::Arc;

use envelope::network_of;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::visit::Ending;

/// Which cap refused a connection; in words for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Cap {
    /// That of all connections together.
    #[error("too many connections")]
    Total,
    /// That of one address (IPv4) or /64 (IPv6).
    #[error("too many connections from one network")]
    PerAddress,
}

/// The counts of a server, shared by its listeners.
#[derive(Debug)]
pub(crate) struct Caps {
    total_max: usize,
    per_address_max: usize,
    held: Mutex<Held>,
}

/// Room for one connection.
#[derive(Debug)]
pub(crate) struct Slot {
    caps: Arc<Caps>,
    network: Option<IpAddr>,
}

#[derive(Debug, Default)]
struct Held {
    total: usize,
    by_network: HashMap<IpAddr, usize>,
    /// Who keeps us waiting. Its sender is dropped to ask for its place.
    waiting: BTreeMap<Turn, oneshot::Sender<()>>,
    waits: u64,
}

/// Who is asked for its place first: clients without a transaction, and of them the one that has waited longest.
type Turn = (bool, u64);

/// A place in `waiting`, left when dropped.
struct Waiting<'a> {
    caps: &'a Caps,
    turn: Turn,
}

impl Caps {
    pub(crate) fn new(total_max: usize, per_address_max: usize) -> Arc<Self> {
        Arc::new(Self {
            total_max,
            per_address_max,
            held: Mutex::default(),
        })
    }

    /// Room in total; whose connection it is is said later, by [`Slot::charge`].
    pub(crate) fn admit(self: &Arc<Self>) -> Result<Slot, Cap> {
        let mut held = self.held.lock();
        if held.total >= self.total_max {
            return Err(Cap::Total);
        }
        held.total += 1;
        if held.total > self.total_max - self.total_max / RESERVE {
            held.waiting.pop_first();
        }
        Ok(Slot {
            caps: Arc::clone(self),
            network: None,
        })
    }

    fn wait(&self, in_transaction: bool, stays: oneshot::Sender<()>) -> Waiting<'_> {
        let mut held = self.held.lock();
        held.waits += 1;
        let turn = (in_transaction, held.waits);
        held.waiting.insert(turn, stays);
        Waiting { caps: self, turn }
    }
}

impl Slot {
    /// Whether the client is one that is trusted: such a one is not counted by itself.
    pub(crate) fn is_trusted(&self) -> bool {
        self.network.is_none()
    }

    /// Counts the connection for its client, unless that is trusted, and no longer for another.
    pub(crate) fn charge(&mut self, client: IpAddr, trusted: bool) -> Result<(), Cap> {
        self.release();
        if trusted {
            return Ok(());
        }
        let network = network_of(client);
        let mut held = self.caps.held.lock();
        let count = held.by_network.entry(network).or_default();
        // An entry of zero is only ever left behind by a cap of zero; then the map holds one entry per refusal.
        if *count >= self.caps.per_address_max {
            if *count == 0 {
                held.by_network.remove(&network);
            }
            return Err(Cap::PerAddress);
        }
        *count += 1;
        drop(held);
        self.network = Some(network);
        Ok(())
    }

    /// To be polled while the client keeps us waiting, and dropped when it no longer does: returns when a newcomer needs the place.
    /// Never for a trusted client.
    pub(crate) async fn is_needed(&self, in_transaction: bool) {
        if self.is_trusted() {
            return pending().await;
        }
        let (stays, asked) = oneshot::channel();
        let _waiting = self.caps.wait(in_transaction, stays);
        // The sender is only ever dropped.
        let _ = asked.await;
    }

    /// Does `work`, which waits for a client without a transaction, unless its place is needed meanwhile.
    pub(crate) async fn unless_needed<T>(
        &self,
        work: impl Future<Output = T>,
    ) -> Result<T, Ending> {
        tokio::select! {
            biased;
            done = work => Ok(done),
            () = self.is_needed(false) => Err(Ending::MadeRoom),
        }
    }

    fn release(&mut self) {
        let Some(network) = self.network.take() else {
            return;
        };
        let mut held = self.caps.held.lock();
        if let Some(count) = held.by_network.get_mut(&network) {
            *count -= 1;
            if *count == 0 {
                held.by_network.remove(&network);
            }
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.release();
        self.caps.held.lock().total -= 1;
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.caps.held.lock().waiting.remove(&self.turn);
    }
}

/// This part of all places is the reserve: as many as can be taken before those that were asked have left.
const RESERVE: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn charge(caps: &Arc<Caps>, address: &str) -> Result<Slot, Cap> {
        let mut slot = caps.admit()?;
        slot.charge(address.parse().unwrap(), address.starts_with("10."))?;
        Ok(slot)
    }

    #[test]
    fn total() {
        let caps = Caps::new(2, 9);
        let first = charge(&caps, "192.0.2.1").unwrap();
        let _second = charge(&caps, "192.0.2.2").unwrap();
        assert_eq!(charge(&caps, "192.0.2.3").unwrap_err(), Cap::Total);
        drop(first);
        charge(&caps, "192.0.2.3").unwrap();
    }

    #[test]
    fn per_address_and_per_v6_network() {
        let caps = Caps::new(99, 1);
        let held: Vec<_> = ["192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8:0:1::1"]
            .map(|address| charge(&caps, address).unwrap())
            .into();
        for refused in ["192.0.2.1", "::ffff:192.0.2.1", "2001:db8::2:1"] {
            assert_eq!(charge(&caps, refused).unwrap_err(), Cap::PerAddress);
        }
        let _trusted = [1, 2].map(|_| charge(&caps, "10.1.1.1").unwrap());
        assert_eq!(caps.held.lock().total, 6, "what was refused holds nothing");
        drop(held);
        charge(&caps, "2001:db8::2:1").unwrap();
        assert!(
            caps.held.lock().by_network.is_empty(),
            "no trace of who has gone"
        );
    }

    #[test]
    fn charged_to_another() {
        let caps = Caps::new(9, 1);
        let mut slot = charge(&caps, "192.0.2.1").unwrap();
        slot.charge("192.0.2.2".parse().unwrap(), false).unwrap();
        charge(&caps, "192.0.2.1").unwrap();
        assert_eq!(charge(&caps, "192.0.2.2").unwrap_err(), Cap::PerAddress);
        slot.charge("10.1.1.1".parse().unwrap(), true).unwrap();
        assert!(slot.is_trusted() && caps.held.lock().by_network.is_empty());
    }

    #[test]
    fn cap_of_zero_refuses_all_and_keeps_nothing() {
        let caps = Caps::new(9, 0);
        assert_eq!(charge(&caps, "192.0.2.1").unwrap_err(), Cap::PerAddress);
        assert!(caps.held.lock().by_network.is_empty());
        assert_eq!(caps.held.lock().total, 0);
    }
}
