//! The operator's side: listing, counting, and acting on legs. On the keeper's thread, a bounded piece at a time.

use std::collections::HashMap;
use std::sync::Arc;

use envelope::{Destination, Host, LegId, Message, MessageId, Timestamp};
use spool::{Action, Changed, Counts, Deadlines, Entry, Error, Filter, Page};

use crate::fault;
use crate::index::entry::{pending, standing};
use crate::index::keeper::Keeper;
use crate::index::state::{Effect, leg_of};
use crate::index::window::Due;
use crate::log::codec::{self, LegRow, LegState};
use crate::log::committer::LogHandle;
use crate::log::record::{Kind, Payload};

impl Keeper {
    /// See [`Spool::list`](crate::Spool::list).
    pub(crate) fn list(
        &self,
        filter: &Filter,
        cursor: Option<LegId>,
        n: usize,
        now: Timestamp,
    ) -> Page {
        let mut page = Page::default();
        let mut from = cursor.map(|cursor| cursor.message);
        // Who wants the oldest leg alone mostly finds it in the first message.
        let mut at_once = n.saturating_add(1).min(IDS_AT_ONCE);
        for _ in 0..EXAMINED_MAX / IDS_AT_ONCE {
            let ids = self.ids(filter, from, at_once);
            for id in &ids {
                for entry in self.entries(*id, now) {
                    let behind = cursor.is_none_or(|cursor| entry.id > cursor);
                    if !behind || !filter.matches(&entry, now) {
                        continue;
                    }
                    if page.entries.len() >= n {
                        page.next = page.entries.last().map(|last| last.id);
                        return page;
                    }
                    page.entries.push(entry);
                }
            }
            let Some(last) = ids.last().copied().filter(|_| ids.len() >= at_once) else {
                page.next = None;
                return page;
            };
            let done = LegId {
                message: last,
                number: u32::MAX,
            };
            page.next = Some(done);
            from = Some(after(last));
            at_once = (at_once * 2).min(IDS_AT_ONCE);
        }
        page
    }

    /// The next ids in memory or in sled, in order, from `from` on.
    fn ids(&self, filter: &Filter, from: Option<MessageId>, at_once: usize) -> Vec<MessageId> {
        let from = from.unwrap_or(MessageId::from_bits(0));
        let mut ids: Vec<_> = filter.ids.iter().map(|id| id.message()).collect();
        if ids.is_empty() {
            ids.extend(self.tree.messages(from).take(at_once));
            let state = self.state.lock();
            ids.extend(
                state
                    .messages
                    .range(from..)
                    .map(|(id, _)| *id)
                    .take(at_once),
            );
        } else {
            ids.retain(|id| *id >= from);
        }
        ids.sort_unstable();
        ids.dedup();
        ids.truncate(at_once);
        ids
    }

    /// The open legs of a message, wherever it is.
    fn entries(&self, id: MessageId, now: Timestamp) -> Vec<Entry> {
        {
            let state = self.state.lock();
            if let Some(entry) = state.messages.get(&id) {
                let legs = entry.legs().iter();
                let deadlines = state.deadlines(entry.dates());
                return legs
                    .map(|leg| {
                        shown(
                            &entry.message,
                            &leg.row,
                            leg.leased.is_some(),
                            deadlines,
                            now,
                        )
                    })
                    .collect();
            }
        }
        let Ok(Some(found)) = self.tree.message(id) else {
            return Vec::new();
        };
        let dates = (found.row.message.arrived, found.row.deadlines);
        let deadlines = self.state.lock().deadlines(dates);
        let message = Arc::new(found.row.message);
        let legs = found.legs.iter();
        legs.map(|leg| shown(&message, leg, false, deadlines, now))
            .collect()
    }

    /// See [`Spool::counts`](crate::Spool::counts). The lock is held for some hosts at a time.
    pub(crate) fn counts(&self, now: Timestamp) -> Counts {
        let mut counts = Counts::default();
        let mut hosts: HashMap<Host, u64> = HashMap::new();
        let (all, mut just) = {
            let state = self.state.lock();
            (counts.held, counts.ready, counts.deferred) = state.window.count(now);
            let all = state.window.destinations().cloned();
            (all.collect::<Vec<Destination>>(), 0)
        };
        for some in all.chunks(HOSTS_AT_ONCE) {
            let state = self.state.lock();
            for to in some {
                let (legs, due) = state.window.count_of(to, now);
                *hosts.entry(to.host.clone()).or_default() += legs;
                just += due;
            }
        }
        // Others may have come meanwhile.
        let just = just.min(counts.deferred);
        counts.ready += just;
        counts.deferred -= just;
        let state = self.state.lock();
        for leased in state.window.leases.iter().map(Due::leg) {
            if let Some((_, leg)) = leg_of(&state.messages, leased) {
                counts.active += 1;
                *hosts.entry(leg.row.leg.target.host().clone()).or_default() += 1;
            }
        }
        drop(state);
        hosts.retain(|_, legs| *legs > 0);
        counts.rank(hosts);
        counts
    }

    /// See [`Spool::admin`](crate::Spool::admin).
    pub(crate) fn admin(
        &mut self,
        filter: &Filter,
        action: Action,
        cursor: Option<LegId>,
        n: usize,
        now: Timestamp,
    ) -> Result<Changed, Error> {
        let log = self.log.clone().ok_or(Error::Closed)?;
        let Page { entries, next } = self.list(filter, cursor, n, now);
        let matched = entries.len() as u64;
        let ids = entries.iter().map(|entry| entry.id);
        let changed = ids.filter_map(|id| self.act(&log, id, filter, action, now));
        let entries = changed.collect();
        if next.is_some() {
            // What was changed need not stay in memory.
            self.checkpoint();
        }
        fault::point("admin.before_barrier");
        let durable = log.barrier().blocking_recv();
        durable.map_err(|_| Error::Closed)??;
        fault::point("admin.durable");
        Ok(Changed {
            matched,
            entries,
            next,
        })
    }

    /// Changes a leg if the filter still matches it; says how it stood before.
    fn act(
        &self,
        log: &LogHandle<Effect>,
        id: LegId,
        filter: &Filter,
        action: Action,
        now: Timestamp,
    ) -> Option<Entry> {
        if !self.load(id.message) {
            return None;
        }
        let mut state = self.settled(log, id.message).ok()?;
        let entry = state.messages.get(&id.message)?;
        let leg = entry.leg(id.number)?;
        let (active, since) = (leg.leased.is_some(), entry.since);
        let deadlines = state.deadlines(entry.dates());
        let before = shown(&entry.message, &leg.row, active, deadlines, now);
        let new = changed(&leg.row.state, active, action, now)
            .filter(|_| filter.matches(&before, now))?;
        let change = codec::Change {
            leg: id,
            since,
            state: new,
        };
        state.apply_admin(&change);
        let payload = Payload::new(Kind::Change, vec![change.encode()]);
        log.append_lazily(payload, Effect::Changed(since));
        Some(before)
    }
}

/// What an action makes of a leg: nothing, a new state, or its end.
fn changed(
    state: &LegState,
    active: bool,
    action: Action,
    now: Timestamp,
) -> Option<Option<LegState>> {
    let mut new = state.clone();
    match action {
        Action::Remove => return Some(None),
        Action::Hold => (new.held, new.damaged) = (true, false),
        Action::Release if state.held => (new.held, new.damaged, new.due) = (false, false, now),
        Action::RetryNow if !state.held && !active => new.due = now,
        Action::Bounce => (new.bounced, new.held, new.damaged) = (true, false, false),
        Action::Release | Action::RetryNow => {}
    }
    (new != *state).then_some(Some(new))
}

fn shown(
    message: &Arc<Message>,
    row: &LegRow,
    leased: bool,
    deadlines: Deadlines,
    now: Timestamp,
) -> Entry {
    Entry {
        id: LegId {
            message: message.id,
            number: row.number,
        },
        message: Arc::clone(message),
        leg: row.leg.clone(),
        state: standing(&row.state, leased, now),
        due: row.state.due,
        deadlines: Some(deadlines),
        attempts: row.state.attempts,
        warned: row.state.warned,
        last: row.state.last.as_deref().cloned(),
        pending: pending(&row.state, leased),
    }
}

fn after(id: MessageId) -> MessageId {
    MessageId::from_bits(id.bits().saturating_add(1))
}

const IDS_AT_ONCE: usize = 512;
const HOSTS_AT_ONCE: usize = 100;
/// Messages looked at for one page: a filter that matches little must not hold the keeper up.
const EXAMINED_MAX: usize = 16 * IDS_AT_ONCE;
