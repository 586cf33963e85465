//! Fair admission: which site may have the next connection when there are not enough for all. Pure; the clock comes in.
//!
//! Every connection passes two **gates**: one for all of them, one for those to the same address; and if it leaves from an
//! egress, one for what its addresses may have; and one that the sites of a provider have together, where `shaping` limits them. A site is **proven** while its
//! address has answered lately and the site itself did not keep us waiting the last time. A connection of a site that is not passes
//! two narrower gates besides: a quarter of all, and two of an address. So servers that accept and then say nothing hold a
//! quarter at most, however many they are and however many names lead to them; the rest is kept for those that answer.
//!
//! A site that is turned away waits at the gate that was full, and is called in the order of its coming.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use envelope::network_of;

use crate::orders::SiteMatch;
use crate::settings::Settings;
use crate::sites::SiteId;

/// The gates.
#[derive(Debug)]
pub(crate) struct Admission {
    all: Gate,
    unproven: Gate,
    per_address: usize,
    addresses: HashMap<SocketAddr, Address>,
    /// For connections from the addresses of each egress; and for those without proof.
    pools: HashMap<Arc<str>, [Gate; 2]>,
    /// For connections to sites that have a limit of `shaping` together.
    shaped: BTreeMap<SiteMatch, Gate>,
    /// Addresses where a waiting site may have room now.
    eased: Vec<SocketAddr>,
}

/// What a site holds of the connections.
#[derive(Debug, Default)]
pub(crate) struct Pass {
    /// Where its mail goes first; an IPv6 address stands for its /64. `None`: not known.
    address: Option<SocketAddr>,
    /// What it leaves from.
    egress: Option<Arc<str>>,
    /// With which sites it has a limit together.
    shaped: Option<SiteMatch>,
    lanes: usize,
    /// Of these, those that were let in without proof.
    unproven: usize,
    /// It kept us waiting the last time.
    slow: bool,
    /// It stands at a gate.
    waiting: bool,
}

#[derive(Debug)]
struct Gate {
    taken: usize,
    max: usize,
    /// With where its mail goes first.
    waiting: VecDeque<(SiteId, Option<SocketAddr>)>,
}

#[derive(Debug)]
struct Address {
    all: Gate,
    unproven: Gate,
    answered: Option<Instant>,
}

impl Admission {
    pub(crate) fn new(settings: &Settings) -> Self {
        Self {
            all: Gate::new(settings.connections),
            unproven: Gate::new((settings.connections / UNPROVEN_SHARE).max(1)),
            per_address: settings.connections_per_address.max(settings.concurrency),
            addresses: HashMap::new(),
            pools: {
                let gates = |max: usize| [max, (max / UNPROVEN_SHARE).max(1)].map(Gate::new);
                let pools = settings.egresses.iter();
                pools
                    .map(|pool| (Arc::clone(&pool.name), gates(pool.connections())))
                    .collect()
            },
            shaped: BTreeMap::new(),
            eased: Vec::new(),
        }
    }

    /// The site has a limit of so many connections together with these from now on.
    pub(crate) fn shape(&mut self, pass: &mut Pass, limit: Option<(&SiteMatch, usize)>) {
        let before = pass.shaped.take();
        if let Some(gate) = before.and_then(|of| self.shaped.get_mut(&of)) {
            gate.taken -= pass.lanes;
        }
        if let Some((of, max)) = limit {
            let gate = self
                .shaped
                .entry(of.clone())
                .or_insert_with(|| Gate::new(max));
            gate.taken += pass.lanes;
            gate.max = max;
            pass.shaped = Some(of.clone());
        }
    }

    /// Whether the site has answered lately, and in good time.
    pub(crate) fn is_proven(&self, pass: &Pass, now: Instant) -> bool {
        let address = pass
            .address
            .and_then(|address| self.addresses.get(&address));
        !pass.slow && address.is_some_and(|address| address.is_proven(now))
    }

    /// Lets the site have one connection more, or puts it where it waits for one.
    pub(crate) fn admit(&mut self, id: SiteId, pass: &mut Pass, now: Instant) -> bool {
        let proven = self.is_proven(pass, now);
        let mut gates = vec![&mut self.all];
        let mut narrow = vec![&mut self.unproven];
        if let Some([all, unproven]) = of_pass(&mut self.pools, pass) {
            gates.push(all);
            narrow.push(unproven);
        }
        let shaped = pass.shaped.as_ref();
        gates.extend(shaped.and_then(|of| self.shaped.get_mut(of)));
        if let Some(at) = pass.address {
            let max = self.per_address;
            let address = self
                .addresses
                .entry(at)
                .or_insert_with(|| Address::new(max));
            gates.push(&mut address.all);
            narrow.push(&mut address.unproven);
        }
        if !proven {
            gates.append(&mut narrow);
        }
        // The narrowest first: who waits at a wide one does so for nothing else.
        if let Some(full) = gates.iter_mut().rev().find(|gate| gate.is_full()) {
            if !std::mem::replace(&mut pass.waiting, true) {
                full.waiting.push_back((id, pass.address));
            }
            return false;
        }
        gates.into_iter().for_each(|gate| gate.taken += 1);
        pass.lanes += 1;
        pass.unproven += usize::from(!proven);
        true
    }

    /// A connection of the site is no more.
    pub(crate) fn leave(&mut self, pass: &mut Pass) {
        pass.lanes -= 1;
        let unproven = usize::from(pass.unproven > pass.lanes);
        pass.unproven -= unproven;
        self.ease(pass, 1, unproven);
    }

    /// Whether the site answered in time.
    pub(crate) fn answered(&mut self, pass: &mut Pass, in_time: bool, now: Instant) {
        pass.slow = !in_time;
        if !in_time {
            return;
        }
        if let Some(address) = pass.address.and_then(|at| self.addresses.get_mut(&at)) {
            if !address.is_proven(now) {
                // Sites that waited for this proof now wait for a connection alone.
                let waiting = &mut address.all.waiting;
                waiting.append(&mut address.unproven.waiting);
                let pools = self.pools.values_mut().map(|[_, unproven]| unproven);
                for gate in pools.chain([&mut self.unproven]) {
                    gate.waiting.retain(|site| {
                        let lacked = site.1 == pass.address;
                        waiting.extend(lacked.then_some(*site));
                        !lacked
                    });
                }
            }
            address.answered = Some(now);
        }
        let unproven = std::mem::take(&mut pass.unproven);
        self.ease(pass, 0, unproven);
    }

    /// The next site that may try its luck again.
    pub(crate) fn call(&mut self) -> Option<SiteId> {
        while let Some(at) = self.eased.last() {
            let address = self.addresses.get_mut(at);
            let called = address.and_then(|a| a.all.call().or_else(|| a.unproven.call()));
            if called.is_some() {
                return called;
            }
            self.eased.pop();
        }
        let mut pools = self.pools.values_mut().flatten();
        let called = pools.find_map(Gate::call);
        let called = called.or_else(|| self.shaped.values_mut().find_map(Gate::call));
        let called = called.or_else(|| self.all.call());
        called.or_else(|| self.unproven.call())
    }

    /// Whether all connections are taken.
    pub(crate) fn is_full(&self) -> bool {
        self.all.is_full()
    }

    /// Whether another site waits for what this one holds.
    pub(crate) fn is_wanted(&self, pass: &Pass) -> bool {
        let wanted = |all: &Gate, unproven: &Gate| {
            !all.waiting.is_empty() || (pass.unproven > 0 && !unproven.waiting.is_empty())
        };
        let address = pass.address.and_then(|at| self.addresses.get(&at));
        let pool = pass
            .egress
            .as_ref()
            .and_then(|egress| self.pools.get(egress));
        let shaped = pass.shaped.as_ref().and_then(|of| self.shaped.get(of));
        wanted(&self.all, &self.unproven)
            || shaped.is_some_and(|gate| !gate.waiting.is_empty())
            || pool.is_some_and(|[all, unproven]| wanted(all, unproven))
            || address.is_some_and(|a| wanted(&a.all, &a.unproven))
    }

    /// Forgets addresses of which nothing is left to be known.
    pub(crate) fn sweep(&mut self, now: Instant) {
        let idle = |gate: &Gate| gate.taken == 0 && gate.waiting.is_empty();
        self.addresses
            .retain(|_, a| a.is_proven(now) || !idle(&a.all) || !idle(&a.unproven));
    }

    /// Connections open or being made.
    pub(crate) fn taken(&self) -> usize {
        self.all.taken
    }

    fn ease(&mut self, pass: &Pass, lanes: usize, unproven: usize) {
        self.all.taken -= lanes;
        self.unproven.taken -= unproven;
        if let Some([all, proofless]) = of_pass(&mut self.pools, pass) {
            all.taken -= lanes;
            proofless.taken -= unproven;
        }
        let shaped = pass.shaped.as_ref();
        if let Some(gate) = shaped.and_then(|of| self.shaped.get_mut(of)) {
            gate.taken -= lanes;
        }
        let at = pass.address;
        if let Some((at, address)) = at.and_then(|at| Some((at, self.addresses.get_mut(&at)?))) {
            address.all.taken -= lanes;
            address.unproven.taken -= unproven;
            self.eased.push(at);
        }
    }
}

impl Pass {
    pub(crate) fn new(address: Option<SocketAddr>, egress: Option<Arc<str>>) -> Self {
        Self {
            address: address.map(network),
            egress,
            ..Self::default()
        }
    }

    /// It was called from its gate.
    pub(crate) fn called(&mut self) {
        self.waiting = false;
    }
}

impl Gate {
    fn new(max: usize) -> Self {
        Self {
            taken: 0,
            max,
            waiting: VecDeque::new(),
        }
    }

    fn is_full(&self) -> bool {
        self.taken >= self.max
    }

    fn call(&mut self) -> Option<SiteId> {
        if self.is_full() {
            return None;
        }
        self.waiting.pop_front().map(|(id, _)| id)
    }
}

impl Address {
    fn new(max: usize) -> Self {
        Self {
            all: Gate::new(max),
            unproven: Gate::new(UNPROVEN_PER_ADDRESS),
            answered: None,
        }
    }

    fn is_proven(&self, now: Instant) -> bool {
        let age = |at: Instant| now.saturating_duration_since(at);
        self.answered.is_some_and(|at| age(at) < PROOF_KEPT)
    }
}

fn of_pass<'a>(
    pools: &'a mut HashMap<Arc<str>, [Gate; 2]>,
    pass: &Pass,
) -> Option<&'a mut [Gate; 2]> {
    pools.get_mut(pass.egress.as_ref()?)
}

/// Whoever has one IPv6 address has its /64.
fn network(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(network_of(address.ip()), address.port())
}

/// One connection in so many, at most, for sites without proof.
const UNPROVEN_SHARE: usize = 4;
/// And so many to one address: enough to find out whether it answers.
const UNPROVEN_PER_ADDRESS: usize = 2;
/// For how long an answer is a proof.
const PROOF_KEPT: Duration = Duration::from_hours(1);

#[cfg(test)]
mod tests {
    use super::*;

    /// Silent sites are many: a site with a proof does not wait behind them.
    #[test]
    fn a_proof_calls_all_that_wait_for_it() {
        let mut settings = Settings::new("us.test".parse().unwrap());
        settings.connections = 8;
        let now = Instant::now();
        let mut admission = Admission::new(&settings);
        let pass = |last| Pass::new(Some(SocketAddr::from(([192, 0, 2, last], 25))), None);
        let mut passes = [1, 2, 9, 3, 4, 9].map(pass);
        let mut admit = |admission: &mut Admission, n: usize| {
            admission.admit(SiteId::numbered(n as u64), &mut passes[n], now)
        };
        let let_in = [0, 1, 2, 3, 4, 5].map(|n| admit(&mut admission, n));
        assert_eq!(let_in, [true, true, false, false, false, false]);
        admission.leave(&mut passes[0]);
        assert_eq!(admission.call(), Some(SiteId::numbered(2)));
        passes[2].called();
        assert!(admission.admit(SiteId::numbered(2), &mut passes[2], now));
        admission.answered(&mut passes[2], true, now);
        assert_eq!(admission.call(), Some(SiteId::numbered(5)));
        passes[5].called();
        assert!(admission.admit(SiteId::numbered(5), &mut passes[5], now));
        assert_eq!(admission.call(), Some(SiteId::numbered(3)));
    }

    #[test]
    fn an_egress_that_is_full_keeps_only_its_own_sites_waiting() {
        let mut settings = Settings::new("us.test".parse().unwrap());
        settings.egresses = vec![crate::egress::tests::pool(&[("192.0.2.1", 1, 1)])];
        let now = Instant::now();
        let mut admission = Admission::new(&settings);
        let mut passes =
            [Some("main"), Some("main"), None].map(|of| Pass::new(None, of.map(Into::into)));
        let mut admit = |admission: &mut Admission, n: usize| {
            admission.admit(SiteId::numbered(n as u64), &mut passes[n], now)
        };
        let let_in = [0, 1, 2].map(|n| admit(&mut admission, n));
        assert_eq!(let_in, [true, false, true]);
        assert!(admission.is_wanted(&passes[0]) && !admission.is_wanted(&passes[2]));
        assert_eq!(admission.call(), None);
        admission.leave(&mut passes[0]);
        assert_eq!(admission.call(), Some(SiteId::numbered(1)));
    }

    #[test]
    fn silent_sites_hold_a_quarter_of_an_egress() {
        let mut settings = Settings::new("us.test".parse().unwrap());
        settings.egresses = vec![crate::egress::tests::pool(&[("192.0.2.1", 1, 8)])];
        let now = Instant::now();
        let mut admission = Admission::new(&settings);
        let at = |last| Some(SocketAddr::from(([192, 0, 2, last], 25)));
        let mut passes: Vec<_> = (0..6)
            .map(|n| Pass::new(at(n), Some("main".into())))
            .collect();
        let admit = |admission: &mut Admission, passes: &mut Vec<Pass>, n: usize| {
            admission.admit(SiteId::numbered(n as u64), &mut passes[n], now)
        };
        let let_in: Vec<_> = (0..5)
            .map(|n| admit(&mut admission, &mut passes, n))
            .collect();
        assert_eq!(let_in, [true, true, false, false, false]);
        // One that answers leaves the quarter; the next stranger has its place.
        admission.answered(&mut passes[0], true, now);
        assert_eq!(admission.call(), Some(SiteId::numbered(2)));
        passes[2].called();
        assert!(admit(&mut admission, &mut passes, 2));
        assert_eq!(admission.call(), None);
        // Another site where the first one's mail goes needs no place among strangers.
        passes[5] = Pass::new(at(0), Some("main".into()));
        assert!(admit(&mut admission, &mut passes, 5));
    }
}
