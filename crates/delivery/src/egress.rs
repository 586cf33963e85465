//! Where connections come from: pools of addresses of ours, which of them is next, and how many connections each has.
//!
//! The next is the one with the fewest connections for its weight; chance decides between equals, by weight. An address is passed
//! by while it rests at the destination's site (its provider blocks it: [`HostMemory`]), has all the connections that it may
//! have, or could not be bound to. A family that a pool has no address of is not used for its mail.

use std::cmp::{Ordering, Reverse};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use envelope::{Diagnosis, Domain, EnhancedStatus, LegOptions, Outcome};
use parking_lot::Mutex;
use rand::{Rng, RngExt};
use tokio::sync::Notify;

use crate::memory::HostMemory;
use crate::route::Route;
use crate::settings::Settings;

/// A pool of source addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Egress {
    /// What options and settings call it.
    pub name: Arc<str>,
    /// Its addresses.
    pub sources: Vec<Source>,
}

/// One of our addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// To bind to.
    pub address: IpAddr,
    /// Our name in EHLO from there.
    pub hello: Domain,
    /// How much it gets beside the others of its family; more than zero.
    pub weight: u32,
    /// Connections from it at most, to all sites together.
    pub connections: usize,
}

/// Connections by source address, of all pools together. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sources(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    loads: Mutex<HashMap<IpAddr, Load>>,
    /// One of them has a connection less.
    freed: Notify,
}

#[derive(Debug, Default)]
struct Load {
    connections: usize,
    /// It could not be bound to; not before this again.
    absent_until: Option<Instant>,
    /// A connection waits for one that is open and idle.
    wanted: Arc<Notify>,
}

/// A source that is used for a connection until this is dropped.
#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) source: Source,
    /// Told when another connection waits for this one to end.
    pub(crate) wanted: Arc<Notify>,
    sources: Sources,
}

/// Why there is no source for a connection: of several reasons the greatest counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum NoSource {
    /// The pool has none of the destination's family.
    Family,
    /// None is to be used there before this.
    Until(Reverse<Instant>),
    /// One has the connections that it may have.
    Busy,
}

impl Egress {
    /// Connections from all of its addresses together, at most.
    pub(crate) fn connections(&self) -> usize {
        let each = self.sources.iter().map(|source| source.connections);
        each.fold(0, usize::saturating_add)
    }

    /// Its addresses of this one's family.
    pub(crate) fn of_family(&self, other: IpAddr) -> impl Iterator<Item = &Source> + Clone {
        let same = move |source: &&Source| source.address.is_ipv4() == other.is_ipv4();
        self.sources.iter().filter(same)
    }
}

impl Settings {
    /// The pool that mail of this way leaves from, of several wishes the nearest: its own, its route's, ours.
    pub(crate) fn egress_for(
        &self,
        way: &LegOptions,
        route: Option<&Route>,
    ) -> Result<Option<Arc<str>>, Outcome> {
        let name = way.get("egress").map(Arc::from);
        let name = name.or_else(|| route.and_then(|route| route.egress.clone()));
        let name = name.or_else(|| self.egress.clone());
        match &name {
            // It was taken out of the configuration since: better late than from another address.
            Some(gone) if self.pool(gone).is_none() => {
                let text = format!("there is no [[egress]] `{gone}` for it to leave from");
                Err(Outcome::Deferred(Diagnosis::local(NO_EGRESS, text)))
            }
            _ => Ok(name),
        }
    }
}

impl Sources {
    /// Takes the next source of the pool for a connection to `destination`. Waits for a while if all are busy.
    pub(crate) async fn take(
        &self,
        egress: &Egress,
        destination: IpAddr,
        memory: &HostMemory,
    ) -> Result<Taken, NoSource> {
        let wait = tokio::time::sleep(BUSY_WAIT);
        tokio::pin!(wait);
        loop {
            let mut freed = std::pin::pin!(self.0.freed.notified());
            freed.as_mut().enable();
            let now = Instant::now();
            let taken = self.choose(egress, destination, memory, now, &mut rand::rng());
            if !matches!(taken, Err(NoSource::Busy)) {
                return taken;
            }
            tokio::select! {
                () = freed => {}
                () = &mut wait => return taken,
            }
        }
    }

    fn choose(
        &self,
        egress: &Egress,
        destination: IpAddr,
        memory: &HostMemory,
        now: Instant,
        rng: &mut impl Rng,
    ) -> Result<Taken, NoSource> {
        let mut loads = self.0.loads.lock();
        let mut best: Option<(&Source, usize)> = None;
        let mut weights = 0;
        let mut why_not = NoSource::Family;
        for source in egress.of_family(destination) {
            let load = loads.entry(source.address).or_default();
            let rests = memory.rests_until(source.address, now);
            let absent = load.absent_until.filter(|until| now < *until);
            if let Some(until) = rests.max(absent) {
                why_not = why_not.max(NoSource::Until(Reverse(until)));
                continue;
            }
            if load.connections >= source.connections {
                why_not = NoSource::Busy;
                load.wanted.notify_one();
                continue;
            }
            // connections / weight, compared without dividing.
            let share = |source: &Source| source.weight.max(1) as usize;
            let order = best.map_or(Ordering::Less, |(best, connections)| {
                (load.connections * share(best)).cmp(&(connections * share(source)))
            });
            if order.is_gt() {
                continue;
            }
            weights = share(source) + if order.is_eq() { weights } else { 0 };
            if rng.random_range(0..weights) < share(source) {
                best = Some((source, load.connections));
            }
        }
        let (source, _) = best.ok_or(why_not)?;
        let load = loads.entry(source.address).or_default();
        load.connections += 1;
        Ok(Taken {
            source: source.clone(),
            wanted: Arc::clone(&load.wanted),
            sources: self.clone(),
        })
    }

    /// It could not be bound to: it is left alone for a while.
    pub(crate) fn absent(&self, address: IpAddr, now: Instant) {
        let mut loads = self.0.loads.lock();
        loads.entry(address).or_default().absent_until = Some(now + ABSENT_KEPT);
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let shared = &self.sources.0;
        if let Some(load) = shared.loads.lock().get_mut(&self.source.address) {
            load.connections -= 1;
        }
        shared.freed.notify_waiters();
    }
}

/// RFC 3463 §3.4: system incorrectly configured.
const NO_EGRESS: EnhancedStatus = EnhancedStatus::transient(3, 5);
/// How long a connection waits for a source before its mail goes back to its site.
const BUSY_WAIT: Duration = Duration::from_secs(5);
/// How long an address that is not on this machine is left alone: somebody may be adding it.
const ABSENT_KEPT: Duration = Duration::from_mins(5);

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Sources as `address weight connections`.
    pub(crate) fn pool(sources: &[(&str, u32, usize)]) -> Egress {
        let source = |(address, weight, connections): &(&str, u32, usize)| Source {
            address: address.parse().unwrap(),
            hello: "out.test".parse().unwrap(),
            weight: *weight,
            connections: *connections,
        };
        Egress {
            name: "main".into(),
            sources: sources.iter().map(source).collect(),
        }
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    struct World {
        sources: Sources,
        memory: HostMemory,
        now: Instant,
        taken: Vec<Taken>,
    }

    impl World {
        fn new() -> Self {
            Self {
                sources: Sources::default(),
                memory: HostMemory::default(),
                now: Instant::now(),
                taken: Vec::new(),
            }
        }

        fn take(&mut self, pool: &Egress, to: &str) -> Result<String, NoSource> {
            let rng = &mut rand::rng();
            let taken = self
                .sources
                .choose(pool, ip(to), &self.memory, self.now, rng)?;
            let address = taken.source.address.to_string();
            self.taken.push(taken);
            Ok(address)
        }

        /// How many of the connections that are held each has.
        fn held(&self, of: &str) -> usize {
            let all = self.taken.iter();
            all.filter(|taken| taken.source.address == ip(of)).count()
        }
    }

    #[test]
    fn connections_are_shared_out_by_weight() {
        let pool = pool(&[("192.0.2.1", 3, 99), ("192.0.2.2", 1, 99)]);
        let mut world = World::new();
        (0..40).for_each(|_| drop(world.take(&pool, "203.0.113.1").unwrap()));
        assert_eq!((world.held("192.0.2.1"), world.held("192.0.2.2")), (30, 10));
        // One after the other: chance, by weight.
        world.taken.clear();
        let mut first = 0;
        for _ in 0..1000 {
            first += usize::from(world.take(&pool, "203.0.113.1").unwrap() == "192.0.2.1");
            world.taken.clear();
        }
        assert!((600..900).contains(&first), "{first}");
    }

    #[test]
    fn a_family_that_it_does_not_have_is_not_used() {
        let v4 = pool(&[("192.0.2.1", 1, 9)]);
        let mut world = World::new();
        assert_eq!(world.take(&v4, "2001:db8::1"), Err(NoSource::Family));
        let both = pool(&[("192.0.2.1", 1, 9), ("2001:db8::2", 1, 9)]);
        assert_eq!(world.take(&both, "2001:db8::1").unwrap(), "2001:db8::2");
        assert_eq!(world.take(&both, "203.0.113.1").unwrap(), "192.0.2.1");
    }

    #[test]
    fn one_that_rests_is_passed_by_until_it_is_back() {
        let pool = pool(&[("192.0.2.1", 1, 99), ("192.0.2.2", 1, 99)]);
        let mut world = World::new();
        let blocked = Diagnosis::local(EnhancedStatus::transient(7, 1), "blocked");
        let later = world.now + Duration::from_secs(60);
        world.memory.rest_source(ip("192.0.2.1"), later, &blocked);
        for _ in 0..9 {
            assert_eq!(world.take(&pool, "203.0.113.1").unwrap(), "192.0.2.2");
        }
        let end = later + Duration::from_secs(60);
        world.memory.rest_source(ip("192.0.2.2"), end, &blocked);
        let none = world.take(&pool, "203.0.113.1");
        assert_eq!(
            none,
            Err(NoSource::Until(Reverse(later))),
            "the first that is back"
        );
        world.now = later;
        assert_eq!(world.take(&pool, "203.0.113.1").unwrap(), "192.0.2.1");
        // That one has become unusable everywhere.
        world.sources.absent(ip("192.0.2.1"), world.now);
        let none = world.take(&pool, "203.0.113.1");
        assert_eq!(none, Err(NoSource::Until(Reverse(end))));
    }

    #[test]
    fn no_source_has_more_connections_than_it_may() {
        let (one, other) = (
            pool(&[("192.0.2.1", 1, 2), ("192.0.2.2", 1, 1)]),
            pool(&[("192.0.2.1", 1, 2)]),
        );
        let mut world = World::new();
        (0..3).for_each(|_| drop(world.take(&one, "203.0.113.1").unwrap()));
        assert_eq!(world.take(&one, "203.0.113.1"), Err(NoSource::Busy));
        assert_eq!(
            world.take(&other, "203.0.113.1"),
            Err(NoSource::Busy),
            "in whatever pool"
        );
        let at = world
            .taken
            .iter()
            .position(|t| t.source.address == ip("192.0.2.1"));
        world.taken.remove(at.unwrap());
        assert_eq!(world.take(&other, "203.0.113.1").unwrap(), "192.0.2.1");
    }

    #[tokio::test]
    async fn who_waits_is_served_when_a_connection_ends() {
        let pool = pool(&[("192.0.2.1", 1, 1)]);
        let (sources, memory) = (Sources::default(), HostMemory::default());
        let to = ip("203.0.113.1");
        let first = sources.take(&pool, to, &memory).await.unwrap();
        let next = sources.take(&pool, to, &memory);
        let (next, ()) = tokio::join!(next, async { drop(first) });
        assert_eq!(next.unwrap().source.address, ip("192.0.2.1"));
    }
}
