//! The leases that this node holds. They are short, and renewed together while their legs are worked on.
//!
//! A lease may run out all the same, because the machine slept. If another node has the leg by then, the outcome here no longer
//! counts. If this node claims the leg again, the running attempt goes on under the new lease, and no second one starts.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use envelope::{Claim, Lease, LegId, Timestamp};
use parking_lot::Mutex;
use spool::{Error, Spool};
use tokio_util::sync::CancellationToken;

use super::Outbound;

/// The newest lease of each leg that is worked on, and until when it is renewed.
#[derive(Debug, Default)]
pub(super) struct Leases(Mutex<HashMap<LegId, (Lease, Timestamp)>>);

impl Leases {
    /// Holds what was claimed at `now`; says whether work on the leg may begin: not when it is going on already. The worker is
    /// told how long the lease is renewed, not how long it lasts.
    pub(super) fn hold(&self, claim: &mut Claim, now: Timestamp) -> bool {
        let until = now.plus(RENEWED_FOR);
        let lease = claim.lease.clone();
        claim.lease.expires = until;
        self.0.lock().insert(lease.leg, (lease, until)).is_none()
    }

    /// The lease under which a leg is settled now. It is not held any more: once it is settled, the leg may be claimed at once,
    /// and that is new work.
    pub(super) fn take(&self, claim: &Claim) -> Lease {
        let held = self.0.lock().remove(&claim.lease.leg);
        held.map_or_else(|| claim.lease.clone(), |(lease, _)| lease)
    }

    /// Holds a lease again whose leg could not be settled.
    pub(super) fn put_back(&self, lease: Lease, claim: &Claim) {
        let mut held = self.0.lock();
        held.entry(lease.leg)
            .or_insert((lease, claim.lease.expires));
    }

    /// Stops renewing it; says whether it was held.
    fn drop(&self, lease: &Lease) -> bool {
        let mut held = self.0.lock();
        let own = held.get(&lease.leg);
        let is_held = own.is_some_and(|(own, _)| own.token == lease.token);
        if is_held {
            held.remove(&lease.leg);
        }
        is_held
    }

    fn to_renew(&self, now: Timestamp) -> Vec<Lease> {
        let mut held = self.0.lock();
        held.retain(|_, (_, until)| *until > now);
        held.values().map(|(lease, _)| lease.clone()).collect()
    }
}

impl<S: Spool> Outbound<S> {
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
                    if self.leases.drop(lease) {
                        tracing::warn!(%leg, "lease lost while the leg was worked on: what comes of it here does not count");
                    }
                }
                Err(error) => tracing::error!(%error, "cannot renew a lease"),
                Ok(()) => {}
            }
        }
    }
}

/// What another node waits before it takes over from one that died.
pub(super) const LEASE: Duration = Duration::from_mins(1);
const RENEW_EVERY: Duration = Duration::from_secs(20);
/// No attempt lasts longer (`delivery::Settings::attempt_timeout`, tried on a few hosts): a leg that a bug has forgotten comes out
/// again then.
pub(super) const RENEWED_FOR: Duration = Duration::from_hours(6);
