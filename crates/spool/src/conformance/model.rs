//! Work drawn by lot, done to the engine and to the one in memory: both must answer alike.

use std::collections::{BTreeMap, HashMap};

use envelope::{Claim, Diagnosis, EnhancedStatus, Lease, LegId};

use super::{Engine, at, body, id, leg, message, minutes, notice, open};
use crate::memory::MemorySpool;
use crate::{
    Action, Arrival, BodyWriter, Clock, Error, Filter, Lifetime, Settlement, Spool, State, Update,
    Want,
};

/// Numbers that are the same each time (Knuth's MMIX).
struct Lots(u64);

impl Lots {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

/// An engine, and what it has leased.
struct Side<S> {
    spool: S,
    leases: BTreeMap<LegId, Lease>,
}

impl<S: Spool> Side<S> {
    fn new(spool: S) -> Self {
        let leases = BTreeMap::new();
        Self { spool, leases }
    }

    async fn put(&self, n: u64, hosts: &[u64], due: u64, held: bool) {
        let mut writer = self.spool.begin(id(n)).await.expect("a writer");
        writer.write(body(20)).await.expect("written");
        let legs = hosts.iter().map(|host| leg(&format!("a@h{host}.example")));
        let why = Diagnosis::local(EnhancedStatus::transient(7, 1), "held");
        let arrival = Arrival {
            held: if held {
                HashMap::from([(0, why)])
            } else {
                HashMap::new()
            },
            ..Arrival::new(message(n, 20), legs.collect(), at(due))
        };
        self.spool.commit(writer, arrival).await.expect("committed");
    }

    /// What it gave, in the order of ids: which leg, and its attempts.
    fn keep(&mut self, claims: impl Iterator<Item = Claim>) -> Vec<(LegId, u32, bool)> {
        let mut given = Vec::new();
        for claim in claims {
            given.push((claim.lease.leg, claim.attempts, claim.warned));
            self.leases.insert(claim.lease.leg, claim.lease);
        }
        given.sort_unstable();
        given
    }

    async fn claim(&mut self, lease: u64) -> Vec<(LegId, u32, bool)> {
        let want = Want {
            max: 1000,
            per_host: 1000,
            lease: minutes(lease),
        };
        let claims = self.spool.claim(&want).await.expect("claims");
        self.keep(claims.into_iter())
    }

    async fn overdue(&mut self) -> Vec<(LegId, u32, bool)> {
        let overdue = self.spool.overdue(1000, minutes(5)).await.expect("overdue");
        self.keep(overdue.into_iter().map(|overdue| overdue.claim))
    }

    /// The `n`th of its leases, counted round.
    fn lease(&self, n: u64) -> Option<Lease> {
        let n = n.checked_rem(self.leases.len() as u64)?;
        self.leases.values().nth(n as usize).cloned()
    }

    async fn settle(&mut self, lease: Lease, settlement: Settlement) -> Result<(), Error> {
        self.leases.remove(&lease.leg);
        self.spool.settle_one(lease, settlement).await
    }

    /// How many legs an action has changed.
    async fn act(&self, filter: &Filter, action: Action) -> usize {
        let changed = self.spool.admin(filter, action, None, 5000).await;
        changed.expect("done").entries.len()
    }

    /// All there is, as an operator sees it.
    async fn shown(&self) -> Vec<(LegId, State, u64, u32, Option<Action>, String)> {
        let page = self.spool.list(&Filter::default(), None, 5000).await;
        let entries = page.expect("a page").entries.into_iter();
        let shown = entries.map(|it| {
            (
                it.id,
                it.state,
                it.due.unix_millis(),
                it.attempts,
                it.pending,
                it.last_words(),
            )
        });
        shown.collect()
    }
}

/// Both engines under the same work.
struct Pair<A, B> {
    one: Side<A>,
    two: Side<B>,
    lots: Lots,
    clock: Clock,
    /// Minutes.
    now: u64,
    /// Messages so far.
    count: u64,
}

impl<A: Spool, B: Spool> Pair<A, B> {
    async fn put(&mut self) {
        self.count += 1;
        let hosts: Vec<u64> = (0..=self.lots.below(3))
            .map(|_| self.lots.below(4))
            .collect();
        let due = self.now + self.lots.below(2) * 7;
        let held = self.lots.below(20) == 0;
        self.one.put(self.count, &hosts, due, held).await;
        self.two.put(self.count, &hosts, due, held).await;
    }

    /// Both give the same, and look and count alike then. (Before, an engine need not have noticed that a lease is over.)
    async fn claim(&mut self) {
        let lease = 1 + self.lots.below(20);
        assert_eq!(self.one.claim(lease).await, self.two.claim(lease).await);
        assert_eq!(self.one.shown().await, self.two.shown().await);
        let counts = self.one.spool.counts().await;
        assert_eq!(counts, self.two.spool.counts().await);
    }

    async fn settle(&mut self) {
        let lot = self.lots.below(1000);
        self.count += 1;
        let (now, number) = (self.now, self.count);
        let settlement = || match lot % 4 {
            0 => Settlement::Release,
            1 => Settlement::Complete(None),
            2 => Settlement::Complete(Some(notice(number))),
            _ => {
                let attempts = 1;
                let update = Update {
                    attempts,
                    ..Update::default()
                };
                Settlement::Reschedule(at(now + lot % 30), update)
            }
        };
        if let (Some(a), Some(b)) = (self.one.lease(lot), self.two.lease(lot)) {
            let done = self.one.settle(a, settlement()).await;
            assert_eq!(done, self.two.settle(b, settlement()).await);
        }
    }

    async fn go_on(&mut self) {
        self.now += self.lots.below(20);
        let now = at(self.now);
        self.clock.set(now);
        // Whether a lease that ran out may still be settled is the engine's matter.
        self.one.leases.retain(|_, lease| lease.expires > now);
        self.two.leases.retain(|_, lease| lease.expires > now);
        self.claim().await;
    }

    async fn park(&mut self) {
        let host = format!("h{}.example", self.lots.below(4));
        let to = [(host.parse().expect("a host"), self.lots.below(3) == 0)];
        self.one.spool.park(&to).await;
        self.two.spool.park(&to).await;
    }

    async fn act(&mut self) {
        let host = format!("h{}.example", self.lots.below(4));
        let filter = Filter {
            to: Some(host.parse().expect("a pattern")),
            ..Filter::default()
        };
        let action = ACTIONS[self.lots.below(5) as usize];
        let changed = self.one.act(&filter, action).await;
        assert_eq!(changed, self.two.act(&filter, action).await, "{action:?}");
    }

    async fn extend(&mut self) {
        let lot = self.lots.below(1000);
        let (a, b) = (self.one.lease(lot), self.two.lease(lot));
        let done = self.one.spool.extend(a.as_slice(), minutes(9)).await;
        assert_eq!(done, self.two.spool.extend(b.as_slice(), minutes(9)).await);
    }
}

/// Some hundred pieces of work, each time the same.
pub async fn it_does_as_the_model_does<E: Engine>(engine: &E) {
    let (one, clock) = open(engine).await;
    let mut pair = Pair {
        one: Side::new(one),
        two: Side::new(MemorySpool::new(clock.clone(), Lifetime::default())),
        lots: Lots(1),
        clock,
        now: 0,
        count: 0,
    };
    for _ in 0..WORK {
        match pair.lots.below(12) {
            0..=2 => pair.put().await,
            3 => pair.claim().await,
            4..=6 => pair.settle().await,
            7 => pair.go_on().await,
            8 => assert_eq!(pair.one.overdue().await, pair.two.overdue().await),
            9 => pair.park().await,
            10 => pair.act().await,
            _ => pair.extend().await,
        }
    }
}

const WORK: u64 = 500;
const ACTIONS: [Action; 5] = [
    Action::Hold,
    Action::Release,
    Action::RetryNow,
    Action::Bounce,
    Action::Remove,
];
