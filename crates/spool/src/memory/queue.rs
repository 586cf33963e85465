//! What a spool in memory holds: messages, their legs, tokens.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use envelope::{Claim, Destination, Diagnosis, Lease, Leg, LegId, Message, MessageId, Timestamp};

use crate::{
    Action, Deadlines, Dsn, Entry, Error, Filter, Lifetime, Page, Settlement, State, Token, Update,
};

#[derive(Debug, Default)]
pub(super) struct Queue {
    pub(super) mail: BTreeMap<MessageId, (Arc<Message>, Bytes, Deadlines)>,
    pub(super) legs: BTreeMap<LegId, Slot>,
    pub(super) tokens: HashMap<Box<str>, Token>,
    pub(super) parked: HashSet<Destination>,
    pub(super) claimed_at: Option<Timestamp>,
    pub(super) leases: u64,
}

#[derive(Debug)]
pub(super) struct Slot {
    pub(super) leg: Leg,
    pub(super) due: Timestamp,
    pub(super) attempts: u32,
    pub(super) warned: bool,
    pub(super) held: bool,
    pub(super) bounced: bool,
    pub(super) last: Option<Diagnosis>,
    /// Of the newest lease; 0: nobody may settle it.
    pub(super) token: u64,
    pub(super) leased: Option<Timestamp>,
}

impl Queue {
    /// Says whether it is new.
    pub(super) fn bring_back(&mut self, legs: Vec<Entry>, body: Bytes, lifetime: Lifetime) -> bool {
        let Some(first) = legs.first() else {
            return false;
        };
        let id = first.message.id;
        if self.mail.contains_key(&id) {
            return false;
        }
        let own = || lifetime.deadlines(first.message.arrived);
        let deadlines = first.deadlines.unwrap_or_else(own);
        let mail = (Arc::clone(&first.message), body, deadlines);
        self.mail.insert(id, mail);
        for entry in legs {
            let slot = Slot {
                held: entry.is_held(),
                bounced: entry.pending == Some(Action::Bounce),
                leg: entry.leg,
                due: entry.due,
                attempts: entry.attempts,
                warned: entry.warned,
                last: entry.last,
                token: 0,
                leased: None,
            };
            self.legs.insert(entry.id, slot);
        }
        true
    }

    pub(super) fn lease(&mut self, id: LegId, until: Timestamp) -> Option<Claim> {
        self.leases += 1;
        let slot = self.legs.get_mut(&id)?;
        let (message, _, deadlines) = self.mail.get(&id.message)?;
        (slot.token, slot.leased) = (self.leases, Some(until));
        Some(Claim {
            lease: Lease {
                leg: id,
                owner: 1,
                token: slot.token,
                expires: until,
            },
            message: Arc::clone(message),
            leg: slot.leg.clone(),
            attempts: slot.attempts,
            warned: slot.warned,
            deadline: deadlines.expire,
        })
    }

    pub(super) fn leased(&mut self, lease: &Lease) -> Result<&mut Slot, Error> {
        let slot = self.legs.get_mut(&lease.leg);
        let own = slot.filter(|slot| slot.token == lease.token);
        own.ok_or(Error::Fenced(lease.leg))
    }

    pub(super) fn settle(
        &mut self,
        lease: &Lease,
        settlement: Settlement,
        lifetime: Lifetime,
    ) -> Result<(), Error> {
        let slot = self.leased(lease)?;
        (slot.token, slot.leased) = (0, None);
        let dsn = match settlement {
            Settlement::Release => None,
            Settlement::Complete(dsn) => {
                self.end(lease.leg);
                dsn
            }
            Settlement::Reschedule(
                due,
                Update {
                    attempts,
                    warned,
                    last,
                    dsn,
                },
            ) => {
                (slot.due, slot.attempts, slot.warned, slot.last) = (due, attempts, warned, last);
                dsn
            }
        };
        if let Some(Dsn { arrival, body }) = dsn {
            self.bring_back(arrival.entries(), body, lifetime);
        }
        Ok(())
    }

    pub(super) fn end(&mut self, id: LegId) {
        self.legs.remove(&id);
        let all = name(id.message, 0)..=name(id.message, u32::MAX);
        if self.legs.range(all).next().is_none() {
            self.mail.remove(&id.message);
        }
    }

    pub(super) fn entry(&self, id: LegId, now: Timestamp) -> Option<Entry> {
        let slot = self.legs.get(&id)?;
        let pending = match () {
            () if slot.held && slot.leased.is_some() => Some(Action::Hold),
            () => slot.bounced.then_some(Action::Bounce),
        };
        let (message, _, deadlines) = self.mail.get(&id.message)?;
        Some(Entry {
            id,
            message: Arc::clone(message),
            leg: slot.leg.clone(),
            state: slot.state(now),
            due: slot.due,
            deadlines: Some(*deadlines),
            attempts: slot.attempts,
            warned: slot.warned,
            last: slot.last.clone(),
            pending,
        })
    }

    pub(super) fn list(
        &self,
        filter: &Filter,
        after: Option<LegId>,
        n: usize,
        now: Timestamp,
    ) -> Page {
        let ids = self.legs.keys();
        let behind = ids.filter(|id| after.is_none_or(|after| **id > after));
        let entries = behind.filter_map(|id| self.entry(*id, now));
        let mut matching = entries.filter(|entry| filter.matches(entry, now));
        let entries: Vec<_> = matching.by_ref().take(n).collect();
        let more = matching.next().is_some();
        let next = entries.last().filter(|_| more).map(|last| last.id);
        Page { entries, next }
    }

    /// Says whether it changed anything.
    pub(super) fn act(&mut self, id: LegId, action: Action, now: Timestamp) -> bool {
        let Some(slot) = self.legs.get_mut(&id) else {
            return false;
        };
        let before = (slot.held, slot.bounced, slot.due);
        match action {
            Action::Remove => {
                self.end(id);
                return true;
            }
            Action::Hold => slot.held = true,
            Action::Release if slot.held => (slot.held, slot.due) = (false, now),
            Action::RetryNow if !slot.held && slot.leased.is_none() => slot.due = now,
            Action::Bounce => (slot.bounced, slot.held) = (true, false),
            Action::Release | Action::RetryNow => {}
        }
        before != (slot.held, slot.bounced, slot.due)
    }
}

impl Slot {
    pub(super) fn state(&self, now: Timestamp) -> State {
        match () {
            () if self.leased.is_some() => State::Active,
            () if self.held => State::Held,
            () if self.bounced || self.due > now => State::Deferred,
            () => State::Ready,
        }
    }
}

pub(super) fn name(message: MessageId, number: u32) -> LegId {
    LegId { message, number }
}
