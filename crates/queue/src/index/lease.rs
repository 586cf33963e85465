//! Leases: who works on which leg, until when, and who came too late.
//!
//! A lease lives in memory alone and dies with the process: after a restart every leg is free. The token of a leg's newest
//! lease fences all older ones; the owner is unique per process run.

use std::sync::Arc;
use std::time::Duration;

use envelope::{Claim, Host, Lease, LegId, Timestamp};

use crate::index::entry::{Entry, LegEntry};
use crate::index::state::{State, leg_of};
use crate::index::window::Due;
use crate::spool::{Error, Overdue, Want, Why};

impl State {
    /// Changes who has a leg, and its place in the orders with it.
    pub(super) fn set_lease(&mut self, id: LegId, leased: Option<Timestamp>, token: Option<u64>) {
        self.unindex(id);
        let entry = self.messages.get_mut(&id.message);
        if let Some(leg) = entry.and_then(|entry| entry.legs.get_mut(&id.number)) {
            leg.leased = leased;
            leg.token = token.unwrap_or(leg.token);
        }
        self.index(id);
    }

    fn expire_leases(&mut self, now: Timestamp) {
        self.now = self.now.max(now);
        while let Some((until, id)) = self.window.leases.first().copied() {
            if until > now {
                break;
            }
            if self.settling.has_leg(id) {
                // Its end is on the way to the disk: no second owner now.
                self.set_lease(id, Some(now.plus(SETTLING_PAUSE)), None);
                continue;
            }
            self.window.leases.remove(&(until, id));
            // The token stays: until somebody else claims it, its owner may still end it.
            self.set_lease(id, None, None);
        }
    }

    /// Hosts that sled must be asked about before `want` can be met in order.
    pub(crate) fn hosts_to_load(&mut self, want: &Want, now: Timestamp) -> Vec<Host> {
        self.expire_leases(now);
        let n = want.per_host.min(want.max);
        let mut hosts = self.hosts_wanted(want, now);
        hosts.retain(|host| self.window.needs_load(host, n, now));
        hosts
    }

    fn hosts_wanted(&self, want: &Want, now: Timestamp) -> Vec<Host> {
        match &want.only {
            Some(host) if want.exclude.contains(host) => Vec::new(),
            Some(host) => vec![host.clone()],
            None => {
                let due = self.window.due_hosts(now);
                let wanted = due.filter(|host| !want.exclude.contains(*host));
                wanted.take(want.max).cloned().collect()
            }
        }
    }

    /// Leases what is due and in memory.
    pub(crate) fn claim(&mut self, want: &Want, now: Timestamp) -> Vec<Claim> {
        self.expire_leases(now);
        let mut claims = Vec::new();
        for host in self.hosts_wanted(want, now) {
            let most = want.per_host.min(want.max - claims.len());
            for _ in 0..most {
                let Some((_, id)) = self.window.next(&host, now) else {
                    break;
                };
                let Some(claim) = self.lease(id, now.plus(want.lease)) else {
                    debug_assert!(false, "a leg in the order is in memory");
                    break;
                };
                claims.push(claim);
            }
            if claims.len() >= want.max {
                break;
            }
        }
        claims
    }

    fn lease(&mut self, id: LegId, expires: Timestamp) -> Option<Claim> {
        let token = self.next_token;
        self.next_token += 1;
        self.set_lease(id, Some(expires), Some(token));
        let (message, leg) = leg_of(&self.messages, id)?;
        Some(Claim {
            lease: Lease {
                leg: id,
                owner: self.owner,
                token,
                expires,
            },
            message: Arc::clone(message),
            leg: leg.row.leg.clone(),
            attempts: leg.row.state.attempts,
            warned: leg.row.state.warned,
        })
    }

    /// Leases what is past a deadline and in memory.
    pub(crate) fn overdue(&mut self, max: usize, lease: Duration, now: Timestamp) -> Vec<Overdue> {
        self.expire_leases(now);
        let past = |due: &&Due| due.0 <= now;
        let due: Vec<Due> = self
            .window
            .deadlines
            .iter()
            .take_while(past)
            .take(max)
            .copied()
            .collect();
        due.into_iter()
            .filter_map(|(_, id)| {
                let claim = self.lease(id, now.plus(lease))?;
                let (message, leg) = leg_of(&self.messages, id)?;
                let state = &leg.row.state;
                let why = if state.bounced {
                    Why::Bounced
                } else if now >= message.arrived.plus(self.expire) {
                    Why::Expired
                } else {
                    Why::Warn
                };
                Some(Overdue {
                    claim,
                    why,
                    due: state.due,
                    last: state.last.to_string(),
                })
            })
            .collect()
    }

    /// The leg that a lease is for, if it still is.
    pub(crate) fn leased(&self, lease: &Lease) -> Result<(&Entry, &LegEntry), Error> {
        let fenced = Error::Fenced(lease.leg);
        let entry = self
            .messages
            .get(&lease.leg.message)
            .ok_or_else(|| fenced.clone())?;
        let leg = entry
            .legs
            .get(&lease.leg.number)
            .ok_or_else(|| fenced.clone())?;
        if lease.owner == self.owner && lease.token == leg.token {
            Ok((entry, leg))
        } else {
            Err(fenced)
        }
    }

    pub(crate) fn extend(&mut self, lease: &mut Lease, until: Timestamp) -> Result<(), Error> {
        self.leased(lease)?;
        self.set_lease(lease.leg, Some(until), None);
        lease.expires = until;
        Ok(())
    }

    pub(crate) fn release(&mut self, lease: &Lease) -> Result<(), Error> {
        self.leased(lease)?;
        if self.settling.has_leg(lease.leg) {
            return Err(Error::Fenced(lease.leg));
        }
        self.set_lease(lease.leg, None, Some(0));
        Ok(())
    }
}

/// What is added to a lease that runs out while its end is on the way to the disk.
const SETTLING_PAUSE: Duration = Duration::from_secs(1);
