//! The leases that this node holds. They are short, and renewed together while their legs are worked on.
//!
//! A lease may run out all the same, because the machine slept. If another node has the leg by then, the outcome here no longer
//! counts. If this node claims the leg again, the running attempt goes on under the new lease, and no second one starts.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use envelope::{Claim, Lease, LegId, MessageId, Timestamp};
use parking_lot::Mutex;
use spool::{Error, Spool};
use tokio_util::sync::CancellationToken;

use super::Outbound;

/// The newest lease of each leg that is worked on.
#[derive(Debug, Default)]
pub(super) struct Leases(Mutex<BTreeMap<LegId, Held>>);

#[derive(Debug)]
struct Held {
    lease: Lease,
    /// Until when it is renewed.
    until: Timestamp,
    /// Another node may have the leg.
    lost: bool,
}

impl Leases {
    /// Holds what was claimed at `now`; says whether work on the leg may begin: not when it is going on already. The worker is
    /// told how long the lease is renewed, not how long it lasts.
    pub(super) fn hold(&self, claim: &mut Claim, now: Timestamp) -> bool {
        let until = now.plus(RENEWED_FOR);
        let lease = claim.lease.clone();
        claim.lease.expires = until;
        let (leg, lost) = (lease.leg, false);
        let held = Held { lease, until, lost };
        self.0.lock().insert(leg, held).is_none()
    }

    /// The lease under which a leg is settled now. It is not held any more: once it is settled, the leg may be claimed at once,
    /// and that is new work.
    pub(super) fn take(&self, claim: &Claim) -> Lease {
        let held = self.0.lock().remove(&claim.lease.leg);
        held.map_or_else(|| claim.lease.clone(), |held| held.lease)
    }

    /// Holds a lease again whose leg could not be settled.
    pub(super) fn put_back(&self, lease: Lease, claim: &Claim) {
        let (until, lost) = (claim.lease.expires, false);
        let held = |lease| Held { lease, until, lost };
        let mut leases = self.0.lock();
        leases.entry(lease.leg).or_insert_with(|| held(lease));
    }

    /// Whether a message may go out: not while `holds` does not say so of each of its leases here.
    pub(super) fn may_send(&self, message: MessageId, holds: impl Fn(&Lease) -> bool) -> bool {
        let leg = |number| LegId { message, number };
        let leases = self.0.lock();
        let mut own = leases.range(leg(0)..=leg(u32::MAX));
        own.all(|(_, held)| !held.lost && holds(&held.lease))
    }

    /// Stops renewing it; says whether it was held.
    fn lose(&self, lease: &Lease) -> bool {
        let mut leases = self.0.lock();
        let own = leases.get_mut(&lease.leg);
        let own = own.filter(|held| held.lease.token == lease.token);
        own.is_some_and(|held| !std::mem::replace(&mut held.lost, true))
    }

    fn to_renew(&self, now: Timestamp) -> Vec<Lease> {
        let mut leases = self.0.lock();
        leases.retain(|_, held| held.until > now);
        let held = leases.values().filter(|held| !held.lost);
        held.map(|held| held.lease.clone()).collect()
    }
}

impl<S: Spool> Outbound<S> {
    /// Legs that this node holds.
    pub(crate) fn working_on(&self) -> u64 {
        self.leases.0.lock().len() as u64
    }

    /// Renews the leases until `stopped`, which comes when all legs are settled.
    pub async fn keep_leases(self: Arc<Self>, stopped: CancellationToken) {
        while !stopped.is_cancelled() {
            self.renew_leases().await;
            tokio::select! {
                () = stopped.cancelled() => {}
                () = tokio::time::sleep(RENEW_EVERY) => {}
            }
        }
    }

    pub(super) async fn renew_leases(&self) {
        let leases = self.leases.to_renew(self.clock.now());
        let results = self.spool.extend(&leases, LEASE).await;
        for (lease, result) in leases.iter().zip(results) {
            match result {
                // Not held any more: it was settled meanwhile.
                Err(Error::Fenced(leg)) => {
                    if self.leases.lose(lease) {
                        tracing::warn!(%leg, "lease lost while the leg was worked on: what comes of it here does not count");
                    }
                }
                Err(error) => tracing::error!(%error, "cannot renew a lease"),
                Ok(()) => {}
            }
        }
    }
}

/// Longer than a spool's database may be away while what was delivered waits to be settled. The death of a node is noticed by other
/// means, and sooner.
pub(super) const LEASE: Duration = Duration::from_mins(3);
const RENEW_EVERY: Duration = Duration::from_secs(20);
/// No attempt lasts longer (`delivery::Settings::attempt_timeout`, tried on a few hosts): a leg that a bug has forgotten comes out
/// again then.
pub(super) const RENEWED_FOR: Duration = Duration::from_hours(6);
