//! Leases: who works on which leg, until when, and who came too late.
//!
//! A lease lives in memory alone and dies with the process: after a restart every leg is free. The token of a leg's newest
//! lease fences all older ones; the owner is unique per process run.

use std::sync::Arc;
use std::time::Duration;

use envelope::{Claim, Lease, LegId, MessageId, Timestamp};
use spool::{Error, Overdue, Want, Why};

use crate::index::entry::{Entry, LegEntry};
use crate::index::state::{State, leg_of};

impl State {
    /// Changes who has a leg, and its place in the orders with it.
    pub(super) fn set_lease(&mut self, id: LegId, leased: Option<Timestamp>, token: Option<u64>) {
        self.unindex(id);
        let entry = self.messages.get_mut(&id.message);
        if let Some(leg) = entry.and_then(|entry| entry.leg_mut(id.number)) {
            leg.leased = leased;
            leg.token = token.unwrap_or(leg.token);
        }
        self.index(id);
    }

    fn expire_leases(&mut self, now: Timestamp) {
        while let Some(due) = self.window.leases.first().copied() {
            if due.at() > now {
                break;
            }
            let id = due.leg();
            if self.settling.has_leg(id) {
                // Its end is on the way to the disk: no second owner now.
                self.set_lease(id, Some(now.plus(SETTLING_PAUSE)), None);
                continue;
            }
            self.window.leases.remove(&due);
            // The token stays: until somebody else claims it, its owner may still end it.
            self.set_lease(id, None, None);
        }
    }

    /// The messages of these legs that must come from sled first.
    fn absent(&self, legs: impl Iterator<Item = LegId>) -> Vec<MessageId> {
        let ids = legs.map(|leg| leg.message);
        ids.filter(|id| !self.messages.contains_key(id)).collect()
    }

    /// The legs that `want` is about, in order, each with the number of its destination in it.
    fn wanted(&self, want: &Want, now: Timestamp) -> Vec<(usize, LegId)> {
        let mut wanted = Vec::new();
        for (n, to) in self.window.due_destinations(now).enumerate() {
            if wanted.len() >= want.max {
                break;
            }
            let most = want.per_host.min(want.max - wanted.len());
            let legs = Want::choose(self.window.due_legs(to, now), most);
            wanted.extend(legs.into_iter().map(|id| (n, id)));
        }
        wanted
    }

    /// Leases what is due. Where some of it must come from sled, nothing is leased and its messages are named, unless the
    /// caller wants what is in memory.
    pub(crate) fn claim(
        &mut self,
        want: &Want,
        now: Timestamp,
        in_memory: bool,
    ) -> Result<Vec<Claim>, Vec<MessageId>> {
        self.claimed_at = now;
        self.expire_leases(now);
        let wanted = self.wanted(want, now);
        let absent = self.absent(wanted.iter().map(|(_, id)| *id));
        if !in_memory && !absent.is_empty() {
            return Err(absent);
        }
        let mut claims = Vec::new();
        let mut stopped = None;
        for (destination, id) in wanted {
            if stopped == Some(destination) {
                continue;
            }
            match self.lease(id, now.plus(want.lease)) {
                Some(claim) => claims.push(claim),
                // It could not be brought from sled: nothing of its destination overtakes it.
                None => stopped = Some(destination),
            }
        }
        Ok(claims)
    }

    fn lease(&mut self, id: LegId, expires: Timestamp) -> Option<Claim> {
        let token = self.next_token;
        self.next_token += 1;
        self.set_lease(id, Some(expires), Some(token));
        let (entry, leg) = leg_of(&self.messages, id)?;
        Some(Claim {
            lease: Lease {
                leg: id,
                owner: self.owner,
                token,
                expires,
            },
            message: Arc::clone(&entry.message),
            leg: leg.row.leg.clone(),
            attempts: leg.row.state.attempts,
            warned: leg.row.state.warned,
            deadline: self.deadlines(entry.dates()).expire,
        })
    }

    /// Leases all legs of a message but those on hold.
    pub(super) fn lease_all(&mut self, id: MessageId, until: Timestamp) -> Vec<Claim> {
        let entry = self.messages.get(&id);
        let legs = entry.map(Entry::legs).unwrap_or_default().iter();
        let free = legs.filter(|leg| !leg.row.state.held);
        let numbers: Vec<u32> = free.map(|leg| leg.row.number).collect();
        let names = numbers.into_iter().map(|number| LegId {
            message: id,
            number,
        });
        names.filter_map(|leg| self.lease(leg, until)).collect()
    }

    /// As [`State::claim`], of what is past a deadline.
    pub(crate) fn overdue(
        &mut self,
        max: usize,
        lease: Duration,
        now: Timestamp,
        in_memory: bool,
    ) -> Result<Vec<Overdue>, Vec<MessageId>> {
        self.expire_leases(now);
        let due: Vec<LegId> = self.window.overdue(now).take(max).collect();
        let absent = self.absent(due.iter().copied());
        if !in_memory && !absent.is_empty() {
            return Err(absent);
        }
        let leased = due.into_iter().filter_map(|id| {
            let claim = self.lease(id, now.plus(lease))?;
            let (_, leg) = leg_of(&self.messages, id)?;
            let state = &leg.row.state;
            let why = if state.bounced {
                Why::Bounced
            } else if now >= claim.deadline {
                Why::Expired
            } else {
                Why::Warn
            };
            Some(Overdue {
                claim,
                why,
                due: state.due,
                last: state.last.as_deref().cloned(),
            })
        });
        Ok(leased.collect())
    }

    /// The leg that a lease is for, if it still is.
    pub(crate) fn leased(&self, lease: &Lease) -> Result<(&Entry, &LegEntry), Error> {
        let fenced = Error::Fenced(lease.leg);
        let entry = self
            .messages
            .get(&lease.leg.message)
            .ok_or_else(|| fenced.clone())?;
        let leg = entry.leg(lease.leg.number).ok_or_else(|| fenced.clone())?;
        if lease.owner == self.owner && lease.token == leg.token {
            Ok((entry, leg))
        } else {
            Err(fenced)
        }
    }

    pub(crate) fn extend(&mut self, lease: &Lease, until: Timestamp) -> Result<(), Error> {
        self.leased(lease)?;
        self.set_lease(lease.leg, Some(until), None);
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
