//! The state of sites in a simulated world: lanes, time and luck are the test's.

use std::collections::{HashMap, VecDeque};
use std::pin::Pin;
use std::time::Duration;

use envelope::{Actor, Diagnosis, EnhancedStatus, LegId, MessageId, Timestamp};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use testkit::nouns;
use tokio::sync::futures::OwnedNotified;

use super::facts::{Fact, identity};
use super::*;
use crate::health::Answer;
use crate::plan::Hosts;
use crate::policy::Policy;
use crate::pressure::Sign;
use crate::shaping::{ReplyRule, Shape, Then};
use crate::view::{Reach, SiteView};

fn key(domain: envelope::Domain) -> SiteKey {
    SiteKey {
        hosts: Hosts::Implicit(domain),
        policy: Policy::default(),
        egress: None,
    }
}

fn no_connection(text: &str, slow: bool) -> NoConnection {
    NoConnection {
        reason: Diagnosis {
            host: Some("mx[192.0.2.1]:25".to_owned()),
            ..Diagnosis::local(EnhancedStatus::transient(4, 1), text)
        },
        slow,
        back_at: None,
    }
}

/// A lane as the simulation knows it.
enum Lane {
    Connecting,
    Reaching(Parcel),
    Working(Parcel),
    Idle(Pin<Box<OwnedNotified>>),
}

struct World {
    sites: Sites,
    now: Instant,
    rng: SmallRng,
    lanes: Vec<(SiteId, Lane)>,
    lookups: Vec<Destination>,
    /// Legs that are due, as the spool would have them.
    due: VecDeque<Claim>,
    /// As the spool has been told.
    parked: HashSet<Destination>,
    settled: HashMap<LegId, u32>,
    events: Vec<SiteEvent>,
    given: u128,
    /// One connection in so many fails; 0: none.
    failing: u32,
    /// One transaction in so many is too much for the site; 0: none.
    throttling: u32,
    /// All mail for this one is too much for it.
    bombed: Option<Mailbox>,
    connects: usize,
    /// Other lanes have their steps while a connection is made.
    slowly: bool,
    /// What the names of all sites end in.
    suffix: &'static str,
}

fn deferred() -> Answer {
    Answer::Deferred(Diagnosis::local(EnhancedStatus::transient(2, 0), "not now"))
}

fn throttled() -> Answer {
    Answer::Throttled {
        reason: Diagnosis::local(EnhancedStatus::transient(7, 28), "too much"),
        took: false,
        pause: None,
    }
}

impl World {
    fn new(seed: u64) -> Self {
        Self::make(seed, |_| {})
    }

    fn with(change: impl FnOnce(&mut Settings)) -> Self {
        Self::make(1, change)
    }

    fn make(seed: u64, change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = Settings::new("us.test".parse().unwrap());
        settings.concurrency = 3;
        settings.connections = 5;
        settings.legs_max = 100;
        settings.legs_per_site = 16;
        settings.recipients_per_transaction = 3;
        change(&mut settings);
        Self {
            sites: Sites::new(Arc::new(settings)),
            now: Instant::now(),
            rng: SmallRng::seed_from_u64(seed),
            lanes: Vec::new(),
            lookups: Vec::new(),
            due: VecDeque::new(),
            parked: HashSet::new(),
            settled: HashMap::new(),
            events: Vec::new(),
            given: 0,
            failing: 0,
            throttling: 0,
            bombed: None,
            connects: 0,
            slowly: false,
            suffix: "site",
        }
    }

    /// A message for some users of `host`.
    fn mail(&mut self, host: &str, legs: u32) {
        self.given += 1;
        let id = MessageId::from_bits(self.given);
        let message = Arc::new(nouns::message(id, 1));
        for number in 0..legs {
            let leg = nouns::leg(&format!("u{number}@{host}"));
            self.due.push_back(nouns::claim(&message, number, leg));
        }
    }

    fn perform(&mut self, todo: Todo) {
        self.lookups.extend(todo.resolve);
        let lanes = todo.lanes.into_iter().map(|id| (id, Lane::Connecting));
        self.lanes.extend(lanes);
        self.events.extend(todo.events);
        todo.release
            .into_iter()
            .rev()
            .for_each(|claim| self.due.push_front(claim));
        self.check();
    }

    fn check(&self) {
        let settings = &self.sites.settings;
        let taken = self.sites.admission.taken();
        assert!(taken <= settings.connections);
        assert_eq!(taken, self.lanes.len());
        let mut by_site: HashMap<SiteId, usize> = HashMap::new();
        for (id, _) in &self.lanes {
            *by_site.entry(*id).or_default() += 1;
        }
        assert!(by_site.values().all(|n| *n <= settings.concurrency));
        for site in self.sites.sites.values() {
            let legs = site.queue.legs();
            assert_eq!(site.waiting, legs);
            // Otherwise its legs would be claimed and released in circles.
            assert!(site.closed || !site.health.is_resting(self.now));
            assert!(!site.health.is_paused() || (site.closed && site.queue.is_empty()));
            for host in &site.destinations {
                assert!(!site.closed || self.sites.is_parked(host));
            }
        }
    }

    fn claim(&mut self) {
        self.claim_while(|_| {});
    }

    /// Claims; `meanwhile` comes between what is wanted and what is given.
    fn claim_while(&mut self, meanwhile: impl FnOnce(&mut Sites)) {
        let todo = self.sites.tick(self.now);
        self.perform(todo);
        let Some(want) = self.sites.want() else {
            return;
        };
        for (host, parked) in want.park {
            match parked {
                true => self.parked.insert(host),
                false => self.parked.remove(&host),
            };
        }
        let told = |host: &Destination| self.parked.contains(host) == self.sites.is_parked(host);
        assert!(self.sites.destinations.keys().chain(&self.parked).all(told));
        let mut by_host: HashMap<Destination, usize> = HashMap::new();
        let (mut taken, mut left) = (Vec::new(), VecDeque::new());
        for claim in self.due.drain(..) {
            let host = claim.leg.destination();
            let full = taken.len() >= want.max || self.parked.contains(&host);
            let count = by_host.entry(host).or_default();
            if full || *count >= want.per_host {
                left.push_back(claim);
            } else {
                *count += 1;
                taken.push(claim);
            }
        }
        self.due = left;
        meanwhile(&mut self.sites);
        let todo = self.sites.accept(taken, self.now);
        self.perform(todo);
        assert!(self.sites.held <= self.sites.settings.legs_max);
    }

    /// Wants these hosts probed. Tells whether that changes anything.
    fn probe_now(&mut self, hosts: &[&str]) -> bool {
        let hosts = hosts.iter().map(|host| host.parse().unwrap()).collect();
        let any = self.sites.probe_now(&hosts, self.now);
        self.check();
        any
    }

    fn lookup(&mut self) {
        if self.lookups.is_empty() {
            return;
        }
        let at = self.rng.random_range(0..self.lookups.len());
        let host = self.lookups.swap_remove(at);
        // The first letter is the site.
        let site: envelope::Domain = format!("{}.{}", &host.to_string()[..1], self.suffix)
            .parse()
            .unwrap();
        // Sites of a kind share an address.
        let last = host.to_string().as_bytes()[0] % 3 + 1;
        let address = Some(SocketAddr::from(([192, 0, 2, last], 25)));
        let todo = self.sites.resolved(host, key(site), address, self.now);
        self.perform(todo);
    }

    /// What an operator orders, as the line of a file.
    fn order(&mut self, line: &str) {
        let wall = Timestamp::from_unix_millis(0);
        let (_, todo) = self.sites.order(line.parse().unwrap(), wall, self.now);
        self.perform(todo);
    }

    /// What another node has found.
    fn learn(&mut self, facts: &[Fact]) {
        let wall = Timestamp::default();
        let todo = self.sites.learn(facts, wall, self.now, &mut self.rng);
        self.perform(todo);
    }

    /// Messages that went out, all lanes doing what they can.
    fn go(&mut self) -> usize {
        let before = self.settled.len();
        self.claim();
        (0..10).for_each(|_| self.lookup());
        (0..60).for_each(|_| self.lane());
        self.settled.len() - before
    }

    fn settle(&mut self, parcel: Parcel) {
        let legs = parcel.len();
        for claim in parcel.into_claims() {
            *self.settled.entry(claim.lease.leg).or_default() += 1;
        }
        self.sites.finished(legs);
    }

    fn answered(&mut self, id: SiteId, answer: Answer) {
        let todo = self
            .sites
            .answered(id, answer, true, self.now, &mut self.rng);
        self.perform(todo);
    }

    /// Lets one lane take its next step.
    fn lane(&mut self) {
        if self.lanes.is_empty() {
            return;
        }
        let at = self.rng.random_range(0..self.lanes.len());
        let (id, lane) = self.lanes.swap_remove(at);
        match lane {
            Lane::Connecting => self.connect(id),
            Lane::Reaching(parcel) => self.reach(id, parcel),
            Lane::Working(parcel) => {
                let is_bomb = self.bombed.as_ref() == Some(&parcel.first().leg.target);
                self.settle(parcel);
                // The lane is still there while this is done.
                self.lanes.push((id, Lane::Connecting));
                let is_throttled = is_bomb
                    || self.throttling > 0 && self.rng.random_range(0..self.throttling) == 0;
                self.answered(
                    id,
                    if is_throttled {
                        throttled()
                    } else {
                        Answer::Took
                    },
                );
                self.remove_placeholder(id);
                self.next(id);
            }
            Lane::Idle(mut woken) => {
                if woken.as_mut().enable() {
                    self.sites.idle_ended(id);
                    self.next(id);
                } else {
                    self.lanes.push((id, Lane::Idle(woken)));
                }
            }
        }
    }

    fn remove_placeholder(&mut self, id: SiteId) {
        let at = self
            .lanes
            .iter()
            .position(|(lane, state)| *lane == id && matches!(state, Lane::Connecting))
            .unwrap();
        self.lanes.swap_remove(at);
    }

    fn connect(&mut self, id: SiteId) {
        self.lanes.push((id, Lane::Connecting));
        let (parcel, todo) = self.sites.first_parcel(id, self.now);
        self.perform(todo);
        self.remove_placeholder(id);
        let Some(parcel) = parcel else {
            let todo = self.sites.connect_ended(id, self.now);
            return self.perform(todo);
        };
        self.connects += 1;
        match self.slowly {
            true => self.lanes.push((id, Lane::Reaching(parcel))),
            false => self.reach(id, parcel),
        }
    }

    /// The outcome of connecting.
    fn reach(&mut self, id: SiteId, parcel: Parcel) {
        if self.failing > 1 && self.rng.random_range(0..4) == 0 {
            // Every host says 5xx to this one.
            self.settle(parcel);
            let todo = self.sites.connect_ended(id, self.now);
            return self.perform(todo);
        }
        if self.failing > 0 && self.rng.random_range(0..self.failing) == 0 {
            let why = no_connection("refused", false);
            let (tried, todo) = self
                .sites
                .connect_failed(id, parcel, why, self.now, &mut self.rng);
            self.perform(todo);
            if let Some(parcel) = tried {
                self.settle(parcel);
            }
            return;
        }
        self.lanes.push((id, Lane::Working(parcel)));
        let todo = self.sites.connected(id, self.now);
        self.perform(todo);
    }

    fn next(&mut self, id: SiteId) {
        let wake = self.sites.lane_site(id).unwrap().wake;
        let mut woken = Box::pin(wake.notified_owned());
        woken.as_mut().enable();
        let (next, todo) = self.sites.next(id, self.now);
        match next {
            Next::Parcel(parcel) => self.lanes.push((id, Lane::Working(parcel))),
            Next::Idle => self.lanes.push((id, Lane::Idle(woken))),
            Next::Close => {
                let closed = self.sites.closed(id, self.now);
                self.perform(closed);
            }
        }
        self.perform(todo);
    }

    /// Closes an idle lane, as age or a starved site would.
    fn close_one_idle(&mut self) {
        let idle = |(_, lane): &(SiteId, Lane)| matches!(lane, Lane::Idle(_));
        if let Some(at) = self.lanes.iter().position(idle) {
            let (id, lane) = self.lanes.swap_remove(at);
            self.sites.idle_ended(id);
            drop(lane);
            let todo = self.sites.closed(id, self.now);
            self.perform(todo);
        }
    }

    fn steps(&mut self, n: usize) {
        for _ in 0..n {
            match self.rng.random_range(0..10) {
                0 => self.claim(),
                1 | 2 => self.lookup(),
                3 => self.now += Duration::from_millis(self.rng.random_range(0..5000)),
                4 if self.sites.admission.is_full() => self.close_one_idle(),
                _ => self.lane(),
            }
        }
    }
}

#[test]
fn every_leg_comes_back_exactly_once_whatever_happens() {
    for seed in 0..60 {
        let mut world = World::new(seed);
        world.failing = (seed % 4) as u32;
        world.throttling = (seed % 3 * 2) as u32;
        world.slowly = true;
        let mut given = 0;
        for _ in 0..100 {
            let hosts = [
                "a1.test", "a2.test", "a3.test", "b1.test", "c1.test", "d1.test",
            ];
            let host = hosts[world.rng.random_range(0..hosts.len())];
            let legs = world.rng.random_range(1..6);
            world.mail(host, legs);
            given += legs as usize;
            world.steps(20);
            // An impatient operator, with every other seed.
            if seed % 8 >= 4 {
                world.probe_now(&hosts);
            }
            if seed % 3 == 0 {
                let orders = [
                    "pause {} - 0 a why",
                    "resume a",
                    "limit {} 1 100 0 site ",
                    "unlimit site",
                ];
                let order = orders[world.rng.random_range(0..orders.len())];
                world.order(&order.replace("{}", "1970-01-01T00:00:00.000Z"));
            }
            // One of several nodes, whose others say this and that.
            if seed % 5 < 2 {
                let nodes = world.rng.random_range(1..4);
                let number = world.rng.random_range(0..nodes);
                let todo = world.sites.share(Share { number, nodes }, world.now);
                world.perform(todo);
                let mut facts = world.sites.news(Timestamp::default(), world.now);
                let swapped = |fact: &mut Fact| {
                    fact.down = match fact.down {
                        Some(_) => None,
                        None => Some(DOWN.to_owned()),
                    }
                };
                facts.iter_mut().for_each(swapped);
                world.learn(&facts);
            }
        }
        // Better times: all of it goes out in the end.
        world.failing = 0;
        world.order("resume a");
        world.order("unlimit site");
        for _ in 0..2000 {
            if world.settled.len() == given {
                break;
            }
            world.steps(50);
        }
        assert_eq!(world.settled.len(), given, "seed {seed}: legs are stuck");
        assert!(world.settled.values().all(|times| *times == 1));
        assert_eq!(world.sites.held, 0);
        let downs = |e: &&SiteEvent| matches!(e, SiteEvent::Down { .. });
        let ups = |e: &&SiteEvent| matches!(e, SiteEvent::Up { .. });
        let down = world.events.iter().filter(downs).count();
        let up = world.events.iter().filter(ups).count();
        assert!(up <= down && (seed % 4 != 1 || down > 0), "{down} {up}");
    }
}

#[test]
fn a_thousand_legs_for_a_dead_site_cost_one_connection_a_probe() {
    let mut world = World::new(1);
    world.failing = 1;
    for _ in 0..1_000 / 5 {
        world.mail("a1.test", 5);
    }
    for _ in 0..40 {
        // One minute, in which nothing changes the world but itself.
        for _ in 0..20 {
            world.claim();
            world.lookup();
            world.lane();
            world.lane();
            world.now += Duration::from_secs(3);
        }
    }
    // 40 minutes: probes after 30, 60, 120, 240, 480, 600, 600 s.
    assert!((7..=9).contains(&world.connects), "{}", world.connects);
    // A parcel each, and no more, had an attempt.
    assert!(world.settled.len() <= 3 * world.connects);
    assert_eq!(world.sites.held, 0);
}

#[test]
fn a_site_with_enough_waiting_is_parked_until_half_is_gone() {
    let mut world = World::new(1);
    let host: Destination = "a1.test".parse().unwrap();
    world.mail("a1.test", 1);
    world.claim();
    assert!(world.sites.is_parked(&host), "while it is looked up");
    world.lookup();
    // The first connection, and the first message over it: now it is known that it answers.
    (0..2).for_each(|_| world.lane());
    for _ in 0..40 {
        world.mail("a1.test", 1);
    }
    world.claim();
    assert_eq!(world.due.len(), 24, "16 are enough");
    loop {
        let waiting = world.sites.sites.values().next().unwrap().waiting;
        match waiting {
            9.. => assert!(world.sites.is_parked(&host), "{waiting}"),
            1..=6 => assert!(!world.sites.is_parked(&host), "{waiting}"),
            0 => break,
            _ => {}
        }
        world.lane();
    }
}

/// Nobody wakes the claiming for a host that is let in all the time: more of it is due, and would wait for the next minute.
#[test]
fn a_site_of_which_more_is_due_is_parked_whatever_ends_meanwhile() {
    let mut world = World::new(1);
    let host: Destination = "a1.test".parse().unwrap();
    world.mail("a1.test", 1);
    world.claim();
    world.lookup();
    (0..2).for_each(|_| world.lane());
    for _ in 0..20 {
        world.mail("a1.test", 1);
    }
    world.sites.held += 60;
    world.claim_while(|sites| sites.held -= 60);
    assert_eq!(world.due.len(), 14, "a smaller memory asked for six");
    assert!(world.sites.is_parked(&host));
}

#[test]
fn a_site_that_gives_legs_back_is_parked() {
    let mut world = World::new(1);
    let host: Destination = "a1.test".parse().unwrap();
    world.mail("a1.test", 1);
    world.claim();
    world.lookup();
    (0..2).for_each(|_| world.lane());
    for _ in 0..12 {
        world.mail("a1.test", 1);
    }
    world.claim();
    assert!(!world.sites.is_parked(&host));
    world.sites.held += 70;
    world.mail("a2.test", 1);
    world.claim();
    world.lookup();
    assert_eq!(world.due.len(), 1, "far too many wait already");
    assert!(world.sites.is_parked(&host));
}

/// Accept, and then say nothing.
fn open_silent_sites(world: &mut World, hosts: impl Iterator<Item = String>) {
    hosts.for_each(|host| world.mail(&host, 5));
    (0..20).for_each(|_| world.claim());
    while let Some(host) = world.lookups.pop() {
        let number: u8 = host.to_string()[1..]
            .split('.')
            .next()
            .unwrap()
            .parse()
            .unwrap();
        let key = key(host.to_string().parse().unwrap());
        let address = Some(SocketAddr::from(([198, 51, 100, number], 25)));
        let todo = world.sites.resolved(host, key, address, world.now);
        world.perform(todo);
    }
}

#[test]
fn silent_sites_get_a_quarter_and_those_that_answer_the_rest() {
    let mut world = World::with(|settings| {
        settings.connections = 20;
        settings.legs_max = 10_000;
    });
    world.mail("a1.test", 1);
    world.claim();
    world.lookup();
    (0..2).for_each(|_| world.lane());
    world.close_one_idle();
    open_silent_sites(&mut world, (0..50).map(|n| format!("s{n}.test")));
    assert_eq!(world.lanes.len(), 5);

    world.mail("a1.test", 1);
    world.claim();
    assert_eq!(world.lanes.len(), 6, "it has a connection at once");
    let (id, _) = world.lanes.pop().unwrap();
    assert!(!world.sites.is_wanted(id), "its leaving would help nobody");
    world.lanes.push((id, Lane::Connecting));
    let (silent, _) = world.lanes[0];
    assert!(world.sites.is_wanted(silent));

    // The silent ones are given up, one after the other; each makes room for one that waits.
    for left in (0..50usize).rev() {
        let at = world
            .lanes
            .iter()
            .position(|(lane, _)| *lane != id)
            .unwrap();
        let (silent, _) = world.lanes.swap_remove(at);
        let (parcel, todo) = world.sites.first_parcel(silent, world.now);
        world.lanes.push((silent, Lane::Connecting));
        world.perform(todo);
        world.lanes.pop();
        let (tried, todo) = world.sites.connect_failed(
            silent,
            parcel.unwrap(),
            no_connection("timed out", true),
            world.now,
            &mut world.rng,
        );
        world.perform(todo);
        world.settle(tried.unwrap());
        assert_eq!(world.lanes.len(), 1 + left.min(5));
    }
}

#[test]
fn many_names_of_one_silent_address_get_two_connections() {
    let mut world = World::with(|settings| settings.connections = 20);
    for n in 0..25 {
        world.mail(&format!("a{n}.test"), 1);
    }
    world.claim();
    while let Some(host) = world.lookups.pop() {
        let key = key(host.to_string().parse().unwrap());
        let address = Some("[2001:db8::1]:25".parse().unwrap());
        let todo = world.sites.resolved(host, key, address, world.now);
        world.perform(todo);
    }
    assert_eq!(world.lanes.len(), 2);
    // One of them answers: then the others need not be kept from it.
    let (id, _) = world.lanes[0];
    let todo = world.sites.connected(id, world.now);
    world.perform(todo);
    world.answered(id, deferred());
    assert_eq!(world.lanes.len(), 20);
}

#[test]
fn no_number_of_slow_sites_fills_the_memory() {
    let mut world = World::with(|settings| {
        settings.connections = 1000;
        settings.legs_max = 20_000;
        settings.legs_per_site = 400;
    });
    for n in 0..250 {
        (0..20).for_each(|_| world.mail(&format!("s{n}.test"), 5));
    }
    open_silent_sites(&mut world, iter::empty());
    let want = world.sites.want().expect("room in memory");
    // It came to nothing: what it was to park is said again.
    world.sites.not_claimed(want);
    world.mail("a1.test", 1);
    world.claim();
    let other: Destination = "a1.test".parse().unwrap();
    assert!(world.lookups.contains(&other), "others are still claimed");
}

#[test]
fn a_site_that_takes_mail_again_is_an_event() {
    let mut world = World::new(1);
    for _ in 0..10 {
        world.mail("a1.test", 1);
    }
    world.claim();
    world.lookup();
    world.lane();
    let (id, _) = world.lanes[0];
    for _ in 0..20 {
        world.answered(id, deferred());
    }
    assert_eq!(world.lanes.len(), 1, "4xx opens no further connection");
    // Nobody asks for its host meanwhile.
    world.now += Duration::from_hours(1);
    world.sites.sweep(world.now);
    for _ in 0..2 {
        world.answered(id, Answer::Took);
    }
    let [SiteEvent::TakesMail { site, hosts }] = &world.events[..] else {
        panic!("{:?}", world.events)
    };
    assert_eq!(site, "a.site");
    assert_eq!(*hosts, HashSet::from(["a1.test".parse().unwrap()]));
}

#[test]
fn what_nobody_asks_for_is_forgotten() {
    let mut world = World::new(1);
    world.mail("a1.test", 1);
    world.steps(200);
    assert_eq!(world.settled.len(), 1);
    let later = world.now + Duration::from_hours(1);
    world.sites.sweep(later);
    assert!(!world.sites.sites.is_empty(), "a lane is still open");
    world.close_one_idle();
    world.sites.sweep(later);
    assert!(world.sites.sites.is_empty() && world.sites.destinations.is_empty());
    world.claim();
    assert!(world.sites.by_key.is_empty() && world.parked.is_empty());
}

#[test]
fn a_late_lane_does_not_open_a_site_that_went_down() {
    let mut world = World::new(1);
    for _ in 0..10 {
        world.mail("a1.test", 1);
    }
    world.claim();
    world.lookup();
    world.lane();
    let (id, _) = world.lanes[0];
    for _ in 0..2 {
        world.answered(id, Answer::Took);
    }
    assert_eq!(world.lanes.len(), 3, "two more are connecting");
    let Lane::Working(parcel) = world.lanes.remove(0).1 else {
        panic!("the first lane has no connection")
    };
    world.settle(parcel);
    let todo = world.sites.closed(id, world.now);
    world.perform(todo);
    // One of the two fails, and that is the end of the site; the other one ends without a word about it.
    world.failing = 1;
    let (id, _) = world.lanes.remove(0);
    world.connect(id);
    assert!(matches!(world.events[..], [SiteEvent::Down { .. }]));
    world.lanes.clear();
    let todo = world.sites.connect_ended(id, world.now);
    world.perform(todo);
    let host: Destination = "a1.test".parse().unwrap();
    assert!(world.sites.is_parked(&host));
}

/// Failures so far of each failed connection.
fn failures(events: &[SiteEvent]) -> Vec<u32> {
    let failures = |event: &SiteEvent| match event {
        SiteEvent::Down { failures, .. } => Some(*failures),
        _ => None,
    };
    events.iter().filter_map(failures).collect()
}

#[test]
fn a_wanted_probe_is_one_connection_at_once() {
    let mut world = World::new(1);
    world.failing = 1;
    // Two sites, one of them with two hosts.
    let hosts = ["a1.test", "a2.test", "b1.test"];
    for host in hosts {
        world.mail(host, 6);
    }
    world.claim();
    (0..3).for_each(|_| world.lookup());
    assert!(!world.probe_now(&["a1.test"]), "it is up");
    (0..2).for_each(|_| world.lane());
    assert_eq!((world.connects, world.lanes.len()), (2, 0), "both down");
    world.claim();
    assert_eq!(world.lanes.len(), 0, "both rest");

    assert!(world.probe_now(&["a1.test", "a2.test", "unknown.test"]));
    assert!(!world.probe_now(&["a2.test"]), "it is due already");
    world.claim();
    assert!(!world.probe_now(&["a1.test"]), "it is under way");
    world.claim();
    assert_eq!(world.lanes.len(), 1, "and none for the other site");
    world.lane();
    assert_eq!(failures(&world.events), [1, 1, 2]);
    let Some(SiteEvent::Down { probe_in, .. }) = world.events.last() else {
        panic!("the probe failed")
    };
    let (shortest, longest) = (Duration::from_secs(54), Duration::from_secs(66));
    assert!(
        (shortest..=longest).contains(probe_in),
        "{probe_in:?}: twice the first pause, as after any probe"
    );
    world.claim();
    assert_eq!(world.lanes.len(), 0, "it rests again");

    world.failing = 0;
    assert!(world.probe_now(&["a2.test"]));
    world.claim();
    world.lane();
    assert!(matches!(world.events.last(), Some(SiteEvent::Up { .. })));
}

#[test]
fn a_paused_site_is_parked_whenever_it_is_found() {
    let mut world = World::new(1);
    world.mail("b1.test", 1);
    (0..5).for_each(|n| world.mail(&format!("a{n}.test"), 9));
    // Nothing of that site is known yet; of its hosts only one is named.
    world.order(
        "pause 1970-01-01T00:00:00.000Z 1970-01-01T01:00:00.000Z 7 a3.test they asked for it",
    );
    world.claim();
    while world
        .lookups
        .iter()
        .any(|host| host.to_string() == "a3.test")
    {
        world.lookup();
    }
    assert_eq!(world.go(), 1, "the other site's");
    assert_eq!(world.due.len(), 45);
    for _ in 0..100 {
        world.now += Duration::from_secs(30);
        world.sites.sweep(world.now);
        assert_eq!(
            (world.go(), world.lookups.len(), world.sites.held),
            (0, 0, 0)
        );
        world.probe_now(&["a0.test"]);
    }
    let host = "a0.test".parse().unwrap();
    let view = world.sites.site_of(&host, world.now).unwrap();
    let by = view.pause.unwrap().by;
    assert_eq!(
        (&*view.name, view.reach, by),
        ("a.site", Reach::Up, Actor::Uid(7))
    );

    let told = world.sites.trouble(&host).unwrap().to_string();
    assert!(
        told.contains("are paused") && !told.contains("asked"),
        "{told}"
    );

    // Its hour is over.
    assert!(world.sites.timer().is_some_and(|at| at > world.now));
    world.now += Duration::from_mins(10);
    world.claim();
    world.claim();
    assert!(
        matches!(&world.events[..], [SiteEvent::PauseOver(order)] if order.reason == "they asked for it")
    );
    assert_eq!(
        world
            .lanes
            .iter()
            .filter(|(_, lane)| matches!(lane, Lane::Connecting))
            .count(),
        0,
        "looked up anew"
    );
    (0..5).for_each(|_| world.lookup());
    assert_eq!(
        world
            .lanes
            .iter()
            .filter(|(_, lane)| matches!(lane, Lane::Connecting))
            .count(),
        1,
        "one to begin with"
    );
    for _ in 0..40 {
        world.go();
    }
    assert_eq!(world.due.len(), 0);
}

#[test]
fn a_pause_takes_back_what_waits_and_lets_go_of_connections() {
    let mut world = World::new(1);
    (0..40).for_each(|_| world.mail("a1.test", 1));
    assert!(world.go() > 0);
    world.order("pause 1970-01-01T00:00:00.000Z - 0 a.site ");
    // What is under way goes on.
    (0..20).for_each(|_| world.lane());
    assert_eq!(world.lanes.len(), 0);
    let gone = world.settled.len();
    assert_eq!(gone + world.due.len(), 40);
    assert_eq!(world.go(), 0);
    world.order("resume b");
    assert_eq!(world.go(), 0, "another one");
    world.order("resume a.site");
    (0..20).for_each(|_| _ = world.go());
    assert_eq!(world.settled.len(), 40);
}

#[test]
fn a_limit_is_kept() {
    let mut world = World::new(1);
    world.order("limit 1970-01-01T00:00:00.000Z 1 30 0 a ");
    (0..200).for_each(|_| world.mail("a1.test", 1));
    world.mail("b1.test", 1);
    let mut sent = Vec::new();
    for _ in 0..600 {
        sent.push(world.go());
        assert!(
            world
                .sites
                .views(Some(&"a".parse().unwrap()), world.now)
                .iter()
                .all(|site| site.connections <= 1)
        );
        assert!(world.sites.held <= 32, "no more than a minute's");
        world.now += Duration::from_millis(200);
    }
    // Two minutes, and the other site's.
    let in_two_minutes: usize = sent.iter().sum();
    assert!((58..=63).contains(&in_two_minutes), "{in_two_minutes}");
    world.order("unlimit a");
    (0..60).for_each(|_| _ = world.go());
    assert_eq!(world.settled.len(), 201);
}

#[test]
fn a_limit_above_what_is_looked_at_is_kept_too() {
    let mut world = World::new(1);
    world.order("limit 1970-01-01T00:00:00.000Z - 1200 0 a ");
    let mut sent = 0;
    for _ in 0..100 {
        (0..20).for_each(|_| world.mail("a1.test", 1));
        world.now += Duration::from_millis(100);
        sent += world.go();
    }
    assert!((190..=225).contains(&sent), "{sent}: ten seconds of twenty");
}

/// A provider that takes nothing for two minutes.
#[test]
fn a_throttled_site_costs_one_connection_a_pause() {
    let mut world = World::new(1);
    (0..60).for_each(|_| world.mail("a1.test", 1));
    world.throttling = 1;
    world.go();
    assert_eq!(world.lanes.len(), 0);
    assert_eq!(world.connects, 1);
    assert_eq!(world.settled.len(), 3);
    assert_eq!(world.due.len(), 57, "the rest waits in the spool");
    let throttled = |event: &SiteEvent| {
        matches!(
            event,
            SiteEvent::Down {
                throttled: true,
                ..
            }
        )
    };
    assert_eq!(
        world.events.iter().filter(|event| throttled(event)).count(),
        1
    );
    for _ in 0..120 {
        world.now += Duration::from_secs(1);
        world.go();
    }
    assert_eq!(
        (world.connects, world.settled.len()),
        (3, 5),
        "after 30 s and after 90 s"
    );
    assert!(world.sites.is_parked(&"a1.test".parse().unwrap()));
    // What it said to others' mail may name their addresses.
    let why = world.sites.trouble(&"a1.test".parse().unwrap()).unwrap();
    assert_eq!(why.words(), "waits, since the server said 4.7.28 before");
    // It is over; at the end of the pause all of it goes.
    world.throttling = 0;
    world.now += Duration::from_secs(132);
    for _ in 0..5 {
        world.go();
    }
    assert_eq!((world.due.len(), world.settled.len()), (0, 60));
    let told = |event: &SiteEvent| matches!(event, SiteEvent::TakesMail { .. });
    assert_eq!(world.events.iter().filter(|event| told(event)).count(), 1);
}

#[test]
fn a_mailbox_that_gets_too_much_does_not_stop_its_site() {
    let mut world = World::new(1);
    world.bombed = Some(nouns::mailbox("u0@a1.test"));
    (0..60).for_each(|_| world.mail("a1.test", 1));
    world.go();
    (0..60).for_each(|_| world.mail("a1.test", 1));
    for _ in 0..5 {
        world.mail("a2.test", 1);
        for _ in 0..66 {
            world.now += Duration::from_secs(1);
            world.go();
        }
        let waits = |claim: &Claim| claim.leg.target.host().to_string() == "a2.test";
        assert!(!world.due.iter().any(waits), "longer than two pauses");
    }
}

#[test]
fn a_connection_under_way_when_a_site_is_throttled_does_not_end_its_probes() {
    let mut world = World::new(1);
    (0..9).for_each(|_| world.mail("a1.test", 1));
    world.claim();
    world.lookup();
    world.lane();
    let (id, _) = world.lanes[0];
    world.answered(id, Answer::Took);
    world.slowly = true;
    world.lanes.remove(1);
    world.connect(id);
    (0..3).for_each(|_| world.answered(id, throttled()));
    assert!(world.sites.timer().is_some(), "the probe");
    // All connections end, the late one after a message that it takes.
    while !world.lanes.is_empty() {
        world.lane();
    }
    world.slowly = false;
    let host = "a1.test".parse().unwrap();
    assert!(world.sites.is_parked(&host));
    let probe_at = world.sites.timer().expect("the probe is still to come");
    world.now = probe_at;
    (0..3).for_each(|_| _ = world.go());
    assert_eq!((world.settled.len(), world.due.len()), (9, 0));
}

#[test]
fn other_shaping_ends_a_pause_that_a_rule_wanted() {
    let mut world = World::new(1);
    world.mail("a1.test", 1);
    world.claim();
    world.lookup();
    let pause = Some(Duration::from_hours(4));
    let Answer::Throttled { reason, took, .. } = throttled() else {
        unreachable!()
    };
    let paused = Answer::Throttled {
        reason,
        took,
        pause,
    };
    world.lane();
    world.answered(world.lanes[0].0, paused);
    let in_minutes = |world: &World| {
        let until = world.sites.timer().unwrap();
        until.duration_since(world.now).as_secs() / 60
    };
    assert_eq!(in_minutes(&world), 240);
    let layer = Layer {
        of: "a.site".parse().ok(),
        shape: Shape {
            connections: Some(2),
            ..Shape::default()
        },
        ..Layer::default()
    };
    world.sites.settings.shaping.replace(vec![layer]);
    world.claim();
    assert_eq!(in_minutes(&world), 10);
}

#[test]
fn other_shaping_holds_for_sites_that_are_known() {
    let mut world = World::with(|settings| settings.connections = 20);
    (0..30).for_each(|_| world.mail("a1.test", 2));
    world.claim();
    world.lookup();
    let site = |world: &World| world.sites.views(None, world.now).remove(0);
    let layer = |connections, messages_per_hour| Layer {
        of: "a.site".parse().ok(),
        shape: Shape {
            connections,
            messages_per_hour,
            messages_per_connection: Some(7),
            recipients: Some(1),
            ..Shape::default()
        },
        ..Layer::default()
    };
    world.go();
    assert_eq!(site(&world).window, 3, "as the settings say");
    let shaping = world.sites.settings.shaping.clone();
    shaping.replace(vec![layer(Some(2), None)]);
    world.claim();
    assert_eq!(site(&world).window, 2);
    let (id, _) = *world
        .lanes
        .first()
        .map(|(id, _)| (id, ()))
        .iter()
        .next()
        .unwrap();
    assert_eq!(world.sites.lane_site(*id).unwrap().messages_max, 7);
    world.go();
    // Then one a minute.
    shaping.replace(vec![layer(None, Some(60))]);
    (0..3).for_each(|_| world.mail("a1.test", 2));
    assert_eq!(world.go(), 1, "one recipient each");
    assert_eq!(world.go(), 0);
    world.now += Duration::from_mins(1);
    assert_eq!(world.go(), 1);
}

#[test]
fn what_is_known_of_sites_outlives_a_restart() {
    let mut world = World::new(1);
    (0..9).for_each(|_| world.mail("a1.test", 1));
    (0..9).for_each(|_| world.mail("b1.test", 1));
    world.mail("c1.test", 1);
    world.throttling = 1;
    world.go();
    world.throttling = 0;
    world.mail("d1.test", 9);
    world.go();
    world.go();
    let wall = Timestamp::from_unix_millis(1_700_000_000_000);
    let facts = world.sites.facts(wall, world.now);
    assert!(
        facts[0].contains(".site/")
            && facts[0].contains(" throttled 2023-")
            && facts[0].ends_with(" 4.7.28 - too much"),
        "{facts:?}"
    );
    assert_eq!(facts.len(), 3);
    let mut second = World::new(2);
    for broken in ["", "x a", "1", "1 a.site up", "1 a.site down 2023"] {
        second.sites.recall(&[broken.to_owned()], wall, second.now);
        assert!(second.sites.recalled.is_empty(), "{broken}");
    }
    second.sites.recall(&facts, wall, second.now);
    let outages = |facts: &[String]| {
        let facts = facts.iter().filter(|fact| fact.contains(" throttled "));
        facts.cloned().collect::<BTreeSet<_>>()
    };
    // A second restart, before there was mail for any of them.
    let again = second.sites.facts(wall, second.now);
    assert_eq!((outages(&again), again.len()), (outages(&facts), 2));
    for host in ["a1.test", "b1.test", "d1.test"] {
        (0..9).for_each(|_| second.mail(host, 1));
    }
    for _ in 0..3 {
        second.go();
    }
    assert_eq!(
        (second.connects, second.settled.len()),
        (3, 9),
        "all at once for the site that was well"
    );
    let reach = |world: &World| {
        let views = world.sites.views(None, world.now);
        let throttled = |view: &&SiteView| matches!(view.reach, Reach::Throttled { .. });
        views.iter().filter(throttled).count()
    };
    assert_eq!(reach(&second), 2);
    second.now += Duration::from_secs(40);
    for _ in 0..5 {
        second.go();
    }
    assert_eq!((reach(&second), second.settled.len()), (0, 27));
}

#[test]
fn a_site_that_is_down_is_probed_by_the_node_that_found_it() {
    let wall = Timestamp::default();
    let mut nodes = [1, 2, 3].map(World::new);
    let all = |nodes: &mut [World; 3], legs| {
        for world in nodes {
            world.mail("a1.test", legs);
        }
    };
    // The third does not know the site yet.
    all(&mut nodes, 1);
    nodes[1].go();
    nodes[1].close_one_idle();
    nodes[1].now += Duration::from_mins(10);
    nodes[0].failing = 1;
    nodes[0].go();
    let told = nodes[0].sites.news(wall, nodes[0].now);
    assert!(told[0].down.is_some(), "{told:?}");
    nodes[1..].iter_mut().for_each(|world| world.learn(&told));
    let before: Vec<_> = nodes.iter().map(|world| world.connects).collect();
    all(&mut nodes, 3);
    // Its pause is 30 s; that of the others goes on for as long as its probe may take.
    for _ in 0..5 {
        nodes.iter_mut().for_each(|world| {
            world.now += Duration::from_secs(10);
            _ = world.go();
        });
    }
    let connects: Vec<_> = nodes.iter().map(|world| world.connects).collect();
    assert_eq!(connects, [before[0] + 1, before[1], before[2]]);
    // What it finds holds for all, at once.
    let told = nodes[0].sites.news(wall, nodes[0].now);
    assert!(told[0].down.as_ref().unwrap().contains(" 2 4.4.1 mx"));
    nodes[1..].iter_mut().for_each(|world| world.learn(&told));
    all(&mut nodes, 3);
    nodes[0].failing = 0;
    nodes[0].now += Duration::from_mins(3);
    nodes[0].go();
    let told = nodes[0].sites.news(wall, nodes[0].now);
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].down, None);
    for world in &mut nodes[1..] {
        world.learn(&told);
        assert!(world.go() > 0);
        assert_eq!(world.sites.news(wall, world.now), [], "it is no news");
    }
    // Who has a connection open believes that.
    nodes[0].learn(&[Fact {
        down: Some(DOWN.to_owned()),
        ..told[0].clone()
    }]);
    nodes[0].mail("a1.test", 1);
    assert_eq!(nodes[0].go(), 1);
}

#[test]
fn a_node_that_is_not_heard_of_is_not_waited_for() {
    let mut world = World::new(1);
    world.mail("a1.test", 1);
    world.go();
    world.close_one_idle();
    world.now += Duration::from_mins(10);
    let site = identity(&key("a.site".parse().unwrap()));
    let down = Some(DOWN.to_owned());
    world.learn(&[Fact { site, down }]);
    world.mail("a1.test", 1);
    assert_eq!(world.go(), 0);
    world.now += Duration::from_mins(2);
    assert_eq!(world.go(), 1);
    let told = world.sites.news(Timestamp::default(), world.now);
    assert_eq!(told[0].down, None);
}

#[test]
fn one_node_that_reaches_nobody_keeps_no_other_from_it() {
    let mut world = World::new(1);
    world.mail("a1.test", 1);
    assert_eq!(world.go(), 1);
    world.close_one_idle();
    let site = identity(&key("a.site".parse().unwrap()));
    let down = Some(DOWN.to_owned());
    let told = [Fact { site, down }];
    // It was connected a moment ago, and knows better.
    world.learn(&told);
    world.mail("a1.test", 1);
    assert_eq!(world.go(), 1);
    world.close_one_idle();
    world.now += Duration::from_mins(10);
    let mut waited = 0;
    loop {
        world.learn(&told);
        world.mail("a1.test", 1);
        if world.go() > 0 {
            break;
        }
        waited += 1;
        // The other one probes again before it is our turn.
        world.now += Duration::from_secs(60);
    }
    assert!((2..=3).contains(&waited), "{waited}");
    // The other one hears that, and tells of it no more.
    let mut other = World::new(2);
    other.failing = 1;
    other.mail("a1.test", 1);
    other.go();
    assert_eq!(other.sites.news(Timestamp::default(), other.now).len(), 1);
    let up = Fact {
        down: None,
        ..told[0].clone()
    };
    other.learn(&[up]);
    other.mail("a1.test", 1);
    other.now += Duration::from_secs(40);
    other.go();
    assert_eq!(other.connects, 2);
    assert_eq!(other.sites.news(Timestamp::default(), other.now), []);
    // What a peer says, it says to us.
    world.close_one_idle();
    world.throttling = 1;
    (0..3).for_each(|_| world.mail("a1.test", 1));
    world.go();
    assert!(matches!(
        world.sites.views(None, world.now)[0].reach,
        Reach::Throttled { .. }
    ));
    let told = world.sites.news(Timestamp::default(), world.now);
    assert!(told.iter().all(|fact| fact.down.is_none()), "{told:?}");
}

#[test]
fn what_is_ordered_is_shared_among_nodes() {
    let mut world = World::with(|settings| settings.concurrency = 10);
    world.order("limit 1970-01-01T00:00:00.000Z 2 - 0 a ");
    let mut window = |number, nodes| {
        let todo = world.sites.share(Share { number, nodes }, world.now);
        world.perform(todo);
        for _ in 0..5 {
            (0..9).for_each(|_| world.mail("a1.test", 1));
            world.go();
        }
        world.sites.connections()
    };
    assert_eq!(window(0, 1), 2);
    assert_eq!(window(0, 3), 1);
    assert_eq!(window(2, 3), 0);
    assert_eq!(window(0, 2), 1);
    let shares = |all, nodes| {
        let shares = (0..nodes).map(|number| Share { number, nodes }.of(all));
        shares.collect::<Vec<_>>()
    };
    assert_eq!(shares(7, 3), [3, 2, 2]);
    assert_eq!(shares(0, 2), [0, 0]);
}

#[test]
fn what_is_known_of_a_site_is_not_another_s_of_its_name() {
    let wall = Timestamp::from_unix_millis(1_700_000_000_000);
    let of = |mx: &[(u16, &str)]| crate::orders::tests::site(mx);
    let one = of(&[(1, "mx.test"), (5, "a.test")]);
    let other = of(&[(1, "mx.test"), (5, "b.test")]);
    let mut world = World::new(1);
    let (now, rng) = (world.now, &mut world.rng);
    let id = world.sites.site_for(one.clone(), None, now);
    let health = &mut world.sites.sites.get_mut(&id).unwrap().health;
    (0..3).for_each(|_| _ = health.answered(throttled(), now, rng));
    let facts = world.sites.facts(wall, world.now);
    let mut second = World::new(2);
    second.sites.recall(&facts, wall, second.now);
    let mut rests = |key| {
        let id = second.sites.site_for(key, None, second.now);
        second.sites.sites[&id].health.is_resting(second.now)
    };
    assert_eq!([other, one].map(&mut rests), [false, true]);
}

/// What a node tells of a site that it could not reach.
const DOWN: &str = "down 1970-01-01T00:00:00.000Z 1970-01-01T00:00:20.000Z 1 4.4.1 mx refused";

/// Sites of one provider, of which a layer says this.
fn provider(shape: Shape, replies: Vec<ReplyRule>) -> World {
    let mut world = World::with(|settings| settings.connections = 20);
    world.suffix = "big.test";
    let of = "big.test".parse().ok();
    let layer = Layer { of, shape, replies };
    world.sites.settings.shaping.replace(vec![layer]);
    world
}

#[test]
fn sites_of_a_provider_have_its_connections_together() {
    let mut world = provider(
        Shape {
            connections: Some(3),
            ..Shape::default()
        },
        Vec::new(),
    );
    let hosts = ["a1.test", "b1.test", "c1.test", "d1.test", "e1.test"];
    for host in hosts {
        (0..30).for_each(|_| world.mail(host, 1));
    }
    for _ in 0..3000 {
        world.steps(1);
        assert!(world.lanes.len() <= 3, "{}", world.lanes.len());
        world.close_one_idle();
    }
    assert_eq!((world.settled.len(), world.sites.sites.len()), (150, 5));
    world.sites.settings.shaping.replace(Vec::new());
    for host in hosts {
        (0..9).for_each(|_| world.mail(host, 1));
    }
    world.claim();
    world.steps(20);
    assert!(world.lanes.len() > 3, "the limit is gone");
}

#[test]
fn sites_of_a_provider_take_turns_with_its_messages() {
    let mut world = provider(
        Shape {
            messages_per_hour: Some(60),
            ..Shape::default()
        },
        Vec::new(),
    );
    for _ in 0..30 {
        ["a1.test", "b1.test", "c1.test"]
            .iter()
            .for_each(|host| world.mail(host, 1));
    }
    for _ in 0..20 * 60 {
        world.now += Duration::from_secs(1);
        world.go();
    }
    assert!((19..=22).contains(&world.settled.len()), "one a minute");
    let left = |letter: char| {
        let sites = world.sites.sites.values();
        let mut sites = sites.filter(|site| site.key.to_string().starts_with(letter));
        let waiting = sites.next().unwrap().waiting;
        let due = |claim: &&Claim| claim.leg.target.host().to_string().starts_with(letter);
        waiting + world.due.iter().filter(due).count()
    };
    for letter in ['a', 'b', 'c'] {
        assert!((21..=25).contains(&left(letter)), "{}", left(letter));
    }
}

#[test]
fn what_a_rule_says_of_a_provider_holds_for_all_its_sites() {
    let hour = Duration::from_hours(1);
    let rule = ReplyRule {
        code: None,
        words: "bad name".into(),
        then: Then::Pause(hour),
        after: 2,
        within: hour,
    };
    let mut world = provider(Shape::default(), vec![rule]);
    for host in ["a1.test", "b1.test", "d1.test"] {
        world.mail(host, 1);
    }
    world.claim();
    (0..3).for_each(|_| world.lookup());
    let ids: Vec<_> = world.sites.sites.keys().copied().collect();
    let mut met = |id| world.sites.count(id, &[(0, 0)], world.now).len();
    assert_eq!([ids[0], ids[1]].map(&mut met), [0, 1], "the second");
    let Answer::Throttled { reason, took, .. } = throttled() else {
        unreachable!()
    };
    let pause = Some(hour);
    let paused = Answer::Throttled {
        reason,
        took,
        pause,
    };
    // Their lanes have no parcel yet.
    world.answered(ids[1], paused);
    world.mail("c1.test", 9);
    world.now += hour - Duration::from_secs(1);
    (0..5).for_each(|_| _ = world.go());
    assert_eq!((world.sites.sites.len(), world.settled.len()), (4, 0));
    for view in world.sites.views(None, world.now) {
        assert!(matches!(view.reach, Reach::Throttled { .. }), "{view:?}");
    }
    world.now += hour / 10;
    (0..5).for_each(|_| _ = world.go());
    assert_eq!((world.due.len(), world.settled.len()), (0, 12));
    let source = "192.0.2.1".parse().unwrap();
    let why = Diagnosis::local(EnhancedStatus::permanent(7, 1), "bad name");
    let until = world.now + hour;
    world.sites.rest_source(ids[1], source, until, &why);
    let views = world
        .sites
        .views(Some(&"big.test".parse().unwrap()), world.now);
    assert!(views.iter().all(|view| view.resting.len() == 1));
}

/// Legs for these targets of a site come to this.
fn learn(sites: &mut Sites, sign: Sign, targets: &[String], now: Instant) {
    let message = Arc::new(nouns::message(MessageId::from_bits(1), 1));
    for target in targets {
        let claim = nouns::claim(&message, 0, nouns::leg(target));
        let id = sites.known(&claim.leg.destination()).unwrap();
        sites.learn_pressure(id, [(&claim, sign)].into_iter(), now);
    }
}

#[test]
fn pressure_is_on_a_site_or_on_a_mailbox() {
    let (mut sites, begun) = (World::new(1).sites, Instant::now());
    for host in ["slow.test", "also.slow.test", "fine.test"] {
        let site = if host == "fine.test" {
            host
        } else {
            "slow.site"
        };
        sites.resolved(
            host.parse().unwrap(),
            key(site.parse().unwrap()),
            None,
            begun,
        );
    }
    let after = |minutes| begun + Duration::from_mins(minutes);
    let pressed = sites.pressed();
    let is_pressed = || pressed.load(std::sync::atomic::Ordering::Relaxed);
    learn(&mut sites, Sign::Ended, &["a@slow.test".to_owned()], begun);
    assert!(!is_pressed());
    learn(
        &mut sites,
        Sign::SiteThrottled,
        &["a@slow.test".to_owned()],
        begun,
    );
    learn(
        &mut sites,
        Sign::MailboxFull,
        &["full@fine.test".to_owned()],
        begun,
    );
    assert!(is_pressed());
    let shares = |sites: &mut Sites, now| {
        [
            "x@slow.test",
            "x@also.slow.test",
            "full@fine.test",
            "x@fine.test",
            "x@new.test",
        ]
        .map(|target| {
            let target = nouns::mailbox(target);
            let to = target.host().clone().into();
            sites.pressure(&target, &to, 1.0, now)
        })
    };
    assert_eq!(shares(&mut sites, after(1)), [0; 5]);
    assert_eq!(shares(&mut sites, after(6)), [45, 45, 45, 0, 0]);
    // It takes mail again, without putting any off for some time.
    learn(
        &mut sites,
        Sign::Ended,
        &["a@slow.test".to_owned()],
        after(7),
    );
    assert_eq!(shares(&mut sites, after(11)), [0, 0, 90, 0, 0]);
    sites.sweep(after(60));
    assert!(is_pressed());
    sites.sweep(after(61));
    assert!(!is_pressed() && sites.full.is_empty());
}

#[test]
fn a_flood_of_full_mailboxes_is_not_remembered_whole() {
    let (mut sites, now) = (World::new(1).sites, Instant::now());
    sites.resolved(
        "x.test".parse().unwrap(),
        key("x.test".parse().unwrap()),
        None,
        now,
    );
    let targets: Vec<_> = (0..10_001).map(|n| format!("u{n}@x.test")).collect();
    learn(&mut sites, Sign::MailboxFull, &targets, now);
    assert_eq!(sites.full.len(), 10_000);
    learn(
        &mut sites,
        Sign::MailboxFull,
        &targets[..1],
        now + Duration::from_mins(30),
    );
    sites.sweep(now + Duration::from_mins(61));
    assert_eq!(sites.full.len(), 1);
}

#[test]
fn a_site_waits_until_the_first_of_our_addresses_is_back() {
    let mut world = World::new(1);
    world.mail("a1.test", 1);
    world.claim();
    world.lookup();
    let (id, _) = world.lanes.pop().unwrap();
    let back_at = world.now + Duration::from_secs(3600);
    let blocked = Diagnosis::local(EnhancedStatus::transient(7, 1), "blocked");
    let source = "192.0.2.1".parse().unwrap();
    world.sites.rest_source(id, source, back_at, &blocked);
    let (parcel, _) = world.sites.first_parcel(id, world.now);
    let why = NoConnection {
        back_at: Some(back_at),
        ..no_connection("each of our addresses rests", false)
    };
    let (now, rng) = (world.now, &mut world.rng);
    let (tried, todo) = world
        .sites
        .connect_failed(id, parcel.unwrap(), why, now, rng);
    world.perform(todo);
    world.settle(tried.unwrap());
    let hour = Duration::from_secs(3600);
    let view = &world.sites.views(Some(&"a".parse().unwrap()), world.now)[0];
    assert_eq!(view.resting, [("192.0.2.1".parse().unwrap(), hour)]);
    assert!(matches!(&view.reach, Reach::Down { probe_in, .. } if *probe_in == hour));
    world.now = back_at;
    world.sites.tick(world.now);
    assert!(!world.sites.is_parked(&"a1.test".parse().unwrap()));
    let view = &world.sites.views(Some(&"a".parse().unwrap()), world.now)[0];
    assert_eq!(view.resting, []);
}
