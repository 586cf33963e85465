//! A spool in memory: all that the trait asks, in the simplest way, for tests that need no disk.
//!
//! Each call looks at every leg. It passes the conformance suite as every engine does; "durable" means that it outlives
//! [`MemorySpool::reopen`]. It does *not* bound what it holds, and no message of it is ever damaged.

mod queue;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use envelope::{Claim, Destination, Host, Lease, LegId, MessageId, Timestamp};
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::{
    Action, Arrival, BodyReader, BodyWriter, By, Changed, Clock, Counts, Deadlines, Entry, Error,
    Filter, Lifetime, OpenError, Overdue, Page, Settlement, Spool, State, Summary, Token, Want,
    Why, summarise,
};
use queue::{Queue, name};

/// The engine.
#[derive(Debug)]
pub struct MemorySpool {
    queue: Arc<Mutex<Queue>>,
    changes: watch::Sender<()>,
    clock: Clock,
    lifetime: Lifetime,
}

/// Takes a body in.
#[derive(Debug)]
pub struct MemoryWriter {
    id: MessageId,
    body: BytesMut,
    tokens: Vec<Token>,
}

/// Gives a body out.
#[derive(Debug, Clone)]
pub struct MemoryReader(std::vec::IntoIter<Bytes>);

impl MemorySpool {
    /// An empty one. `lifetime` says when senders are told and mail is given up.
    pub fn new(clock: Clock, lifetime: Lifetime) -> Self {
        Self {
            queue: Arc::default(),
            changes: watch::Sender::new(()),
            clock,
            lifetime,
        }
    }

    /// The clock that it goes by.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// The same mail after a restart, on this clock: nobody has leases, no host is parked.
    pub fn reopen(&self, clock: Clock) -> Self {
        let mut queue = self.queue.lock();
        queue.parked.clear();
        queue.claimed_at = None;
        for slot in queue.legs.values_mut() {
            (slot.leased, slot.token) = (None, 0);
        }
        Self {
            queue: Arc::clone(&self.queue),
            changes: watch::Sender::new(()),
            clock,
            lifetime: self.lifetime,
        }
    }

    fn with<T>(&self, work: impl FnOnce(&mut Queue, Timestamp) -> T) -> T {
        let now = self.clock.now();
        let mut queue = self.queue.lock();
        for slot in queue.legs.values_mut() {
            slot.leased = slot.leased.filter(|until| *until > now);
        }
        work(&mut queue, now)
    }
}

impl Spool for MemorySpool {
    type Writer = MemoryWriter;
    type Reader = MemoryReader;

    async fn begin(&self, id: MessageId) -> Result<MemoryWriter, Error> {
        Ok(MemoryWriter {
            id,
            body: BytesMut::new(),
            tokens: Vec::new(),
        })
    }

    async fn commit(&self, writer: MemoryWriter, arrival: Arrival) -> Result<Vec<Claim>, Error> {
        let id = arrival.message.id;
        debug_assert_eq!(writer.id, id, "the writer is another message's");
        let claims = self.with(|queue, now| {
            let tokens = writer.tokens.into_iter();
            let tokens = tokens.map(|token| (token.name.clone(), token));
            queue.tokens.extend(tokens);
            let until = arrival.lease.map(|lease| now.plus(lease));
            let numbers = 0..arrival.legs.len() as u32;
            let free: Vec<_> = numbers.filter(|n| !arrival.held.contains_key(n)).collect();
            let is_new = queue.bring_back(arrival.entries(), writer.body.freeze(), self.lifetime);
            let until = until.filter(|_| is_new).into_iter();
            let legs = until.flat_map(|until| free.iter().map(move |n| (name(id, *n), until)));
            legs.filter_map(|(leg, until)| queue.lease(leg, until))
                .collect()
        });
        self.changes.send_replace(());
        Ok(claims)
    }

    async fn bring_back(&self, writer: MemoryWriter, legs: Vec<Entry>) -> Result<bool, Error> {
        let is_new = self.with(|queue, _| {
            let tokens = writer.tokens.into_iter();
            let tokens = tokens.map(|token| (token.name.clone(), token));
            queue.tokens.extend(tokens);
            queue.bring_back(legs, writer.body.freeze(), self.lifetime)
        });
        self.changes.send_replace(());
        Ok(is_new)
    }

    async fn claim(&self, want: &Want) -> Result<Vec<Claim>, Error> {
        Ok(self.with(|queue, now| {
            queue.claimed_at = Some(now);
            let mut hosts: HashMap<Destination, Vec<(Timestamp, LegId)>> = HashMap::new();
            for (id, slot) in &queue.legs {
                let host = slot.leg.destination();
                if slot.state(now) == State::Ready && !queue.parked.contains(&host) {
                    hosts.entry(host).or_default().push((slot.due, *id));
                }
            }
            let mut hosts: Vec<_> = hosts.into_iter().collect();
            hosts.iter_mut().for_each(|(_, legs)| legs.sort_unstable());
            hosts.sort_unstable_by_key(|(host, legs)| (legs[0].0, host.clone()));
            let mut wanted = Vec::new();
            for (_, legs) in &hosts {
                let room = want.per_host.min(want.max - wanted.len());
                wanted.extend(Want::choose(legs.iter().copied(), room));
            }
            let (legs, until) = (wanted.into_iter(), now.plus(want.lease));
            legs.filter_map(|(_, id)| queue.lease(id, until)).collect()
        }))
    }

    async fn park(&self, destinations: &[(Destination, bool)]) {
        let parked = &mut self.queue.lock().parked;
        for (host, is_parked) in destinations {
            if *is_parked {
                parked.insert(host.clone());
            } else {
                parked.remove(host);
            }
        }
    }

    async fn overdue(&self, max: usize, lease: Duration) -> Result<Vec<Overdue>, Error> {
        Ok(self.with(|queue, now| {
            let free = queue.legs.iter().filter(|(_, slot)| slot.leased.is_none());
            let deadlines = free.filter_map(|(id, slot)| {
                let Deadlines { warn, expire } = queue.mail.get(&id.message)?.2;
                let (at, why) = match () {
                    () if slot.held => return None,
                    () if slot.bounced => (Timestamp::from_unix_millis(0), Why::Bounced),
                    () if now >= expire => (if slot.warned { expire } else { warn }, Why::Expired),
                    () if slot.warned => return None,
                    () => (warn, Why::Warn),
                };
                (at <= now).then_some((at, *id, why))
            });
            let mut past: Vec<_> = deadlines.collect();
            past.sort_unstable_by_key(|(at, id, _)| (*at, *id));
            let leased = past.into_iter().take(max).filter_map(|(_, id, why)| {
                let claim = queue.lease(id, now.plus(lease))?;
                let slot = queue.legs.get(&id)?;
                Some(Overdue {
                    claim,
                    why,
                    due: slot.due,
                    last: slot.last.clone(),
                })
            });
            leased.collect()
        }))
    }

    async fn extend(&self, leases: &[Lease], lease: Duration) -> Vec<Result<(), Error>> {
        self.with(|queue, now| {
            let until = Some(now.plus(lease));
            let extend = |lease| queue.leased(lease).map(|slot| slot.leased = until);
            leases.iter().map(extend).collect()
        })
    }

    async fn settle(&self, legs: Vec<(Lease, Settlement)>) -> Vec<Result<(), Error>> {
        let results = self.with(|queue, _| {
            let legs = legs.into_iter();
            legs.map(|(lease, settlement)| queue.settle(&lease, settlement, self.lifetime))
                .collect()
        });
        self.changes.send_replace(());
        results
    }

    async fn open_body(&self, id: MessageId) -> Result<MemoryReader, OpenError> {
        let queue = self.queue.lock();
        let (message, body, _) = queue.mail.get(&id).ok_or(OpenError::NotFound)?;
        let trace = Bytes::copy_from_slice(message.trace.as_bytes());
        let chunks = [trace, body.clone()].into_iter();
        let chunks: Vec<_> = chunks.filter(|chunk| !chunk.is_empty()).collect();
        Ok(MemoryReader(chunks.into_iter()))
    }

    async fn next_due(&self) -> Option<Duration> {
        let now = self.clock.now();
        let queue = self.queue.lock();
        let seen = queue.claimed_at;
        let events = queue.legs.values().filter_map(|slot| {
            let waits =
                !slot.held && !slot.bounced && !queue.parked.contains(&slot.leg.destination());
            slot.leased.or_else(|| waits.then_some(slot.due))
        });
        let next = events.filter(|at| seen.is_none_or(|seen| *at > seen)).min();
        next.map(|next| next.since(now))
    }

    fn changed(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }

    async fn list(&self, filter: &Filter, cursor: Option<LegId>, n: usize) -> Result<Page, Error> {
        Ok(self.with(|queue, now| queue.list(filter, cursor, n, now)))
    }

    async fn counts(&self) -> Result<Counts, Error> {
        Ok(self.with(|queue, now| {
            let mut counts = Counts::default();
            let mut hosts: HashMap<Host, u64> = HashMap::new();
            for slot in queue.legs.values() {
                *hosts.entry(slot.leg.target.host().clone()).or_default() += 1;
                *match slot.state(now) {
                    State::Ready => &mut counts.ready,
                    State::Deferred => &mut counts.deferred,
                    State::Active => &mut counts.active,
                    State::Held => &mut counts.held,
                } += 1;
            }
            counts.rank(hosts);
            counts
        }))
    }

    async fn summary(&self, filter: &Filter, by: By, n: usize) -> Result<Summary, Error> {
        summarise(self, filter, by, n, self.clock.now()).await
    }

    async fn admin(
        &self,
        filter: &Filter,
        action: Action,
        cursor: Option<LegId>,
        n: usize,
    ) -> Result<Changed, Error> {
        let changed = self.with(|queue, now| {
            let mut page = queue.list(filter, cursor, n, now);
            let matched = page.entries.len() as u64;
            page.entries
                .retain(|entry| queue.act(entry.id, action, now));
            Changed {
                matched,
                entries: page.entries,
                next: page.next,
            }
        });
        self.changes.send_replace(());
        Ok(changed)
    }

    fn token(&self, value: &str, expires: Timestamp) -> Token {
        Token {
            name: format!("T{:016X}", rand::random::<u64>()).into(),
            value: value.into(),
            expires,
        }
    }

    async fn recall(&self, name: &str) -> Result<Option<String>, Error> {
        let now = self.clock.now();
        let queue = self.queue.lock();
        let found = queue.tokens.get(name).filter(|token| token.expires > now);
        Ok(found.map(|token| token.value.to_string()))
    }
}

impl BodyWriter for MemoryWriter {
    type Reader = MemoryReader;

    async fn write(&mut self, chunk: impl Into<Bytes> + Send) -> Result<(), Error> {
        self.body.extend_from_slice(&chunk.into());
        Ok(())
    }

    async fn read_back(&mut self) -> Result<MemoryReader, Error> {
        let whole = self.body.clone().freeze();
        Ok(MemoryReader(vec![whole].into_iter()))
    }

    fn is_in_memory(&self) -> bool {
        true
    }

    fn keep(&mut self, token: Token) {
        self.tokens.push(token);
    }

    fn len(&self) -> u64 {
        self.body.len() as u64
    }
}

impl BodyReader for MemoryReader {
    async fn chunk(&mut self) -> Result<Option<Bytes>, OpenError> {
        Ok(self.0.next())
    }
}
