//! A model of the scheduler and the leases, and the engine beside it: random schedules on a simulated clock, and after each step the
//! engine must say what the model says.
//!
//! # Invariants
//! 1. A leg ends once: delivered, failed (with its notice) or removed. A crash may forget an end that no durable deed followed,
//!    and nothing else; then the leg is there in a state it had since.
//! 2. Within a lease nobody else gets the leg; who comes with an older claim is fenced, and changes nothing.
//! 3. Within a host legs come in order of their due time, then of their ids; hosts in order of their first leg.
//! 4. A leg that is due, not leased, not held, not to be bounced and not parked is in the next claim that has room for it.
//! 5. Deadlines hold whatever is parked; held legs have none.
//! 6. What is counted is what is there; the next event is never announced late.
//! 7. After a crash all leases are free, and a claim of the old life is fenced.
//!
//! All of them are equalities with `book`, which is short enough to be read. `MODEL_SCHEDULES=100000 MODEL_SEED=9 cargo test
//! -p queue --test queue -- --nocapture model` runs more. A failure names the seed of its run and the schedule.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod book;

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::support;
use envelope::LegId;
use envelope::{Host, Lease, Message, MessageId, ReversePath, Timestamp};
use queue::{LogSpool, Settings};
use spool::{
    Action, Arrival, BodyWriter, Clock, Counts, Dsn, Error, Filter, Spool, State, Update, Want,
};
use testkit::nouns;

use crate::luck::Luck;
use crate::memory::{Image, Memory};
use book::{Book, Leg, LegState};

const SCHEDULES: usize = 3_000;
const STEPS: usize = 40;
const HOSTS: usize = 4;
const MINUTE: u64 = 60_000;
const START: u64 = 1_800_000_000_000;

fn time(millis: u64) -> Timestamp {
    Timestamp::from_unix_millis(millis)
}

fn host(n: usize) -> Host {
    format!("h{n}.example").parse().unwrap()
}

fn leg_to(host: usize) -> envelope::Leg {
    nouns::leg(&format!("a@h{host}.example"))
}

fn open(dir: &Path, image: &Image, now: u64) -> (LogSpool, Memory) {
    let memory = Memory::new(dir, image, false, Duration::ZERO);
    let settings = Settings {
        clock: Clock::manual(time(now)),
        ..support::settings(dir)
    };
    let spool = LogSpool::open_on(settings, Arc::new(memory.clone()));
    (spool.unwrap(), memory)
}

/// The engine, the model, and what workers hold.
struct Run {
    dir: tempfile::TempDir,
    spool: Option<LogSpool>,
    memory: Memory,
    book: Book,
    luck: Luck,
    now: u64,
    made: u64,
    /// Claims that were given out, old ones too.
    leases: Vec<Lease>,
    /// Of the claims of this life.
    owner: Option<u64>,
    crashes: usize,
    /// By the number of the host.
    parked: [bool; HOSTS],
}

impl Run {
    fn new(seed: u64) -> Self {
        let shm = Path::new("/dev/shm");
        let dir = match shm.is_dir() {
            true => tempfile::tempdir_in(shm).unwrap(),
            false => tempfile::tempdir().unwrap(),
        };
        let (spool, memory) = open(dir.path(), &Image::new(), START);
        let settings = Settings::new(dir.path());
        let book = Book {
            warn_after: settings.lifetime.warn_after.as_millis() as u64,
            expire: settings.lifetime.expire.as_millis() as u64,
            ..Book::default()
        };
        Self {
            dir,
            spool: Some(spool),
            memory,
            book,
            luck: Luck::new(seed),
            now: START,
            made: 0,
            leases: Vec::new(),
            owner: None,
            crashes: 0,
            parked: [false; HOSTS],
        }
    }

    fn spool(&self) -> &LogSpool {
        self.spool.as_ref().unwrap()
    }

    async fn step(&mut self) {
        match self.luck.below(100) {
            0..25 => self.commit().await,
            25..45 => self.claim().await,
            45..75 => self.settle().await,
            75..80 => self.overdue().await,
            80..88 => self.operate().await,
            88..97 => self.pass(90 * MINUTE),
            97 => self.pass(48 * 60 * MINUTE),
            _ => self.check().await,
        }
    }

    /// Time goes by, less than `max`.
    fn pass(&mut self, max: u64) {
        self.now += self.luck.next() % max;
        self.spool().clock().set(time(self.now));
    }

    fn message(&mut self) -> Message {
        self.made += 1;
        let id = MessageId::new(time(self.now), u128::from(self.made));
        self.book.arrived.insert(id, self.now);
        Message::new(id, time(self.now), ReversePath::Null, 4)
    }

    fn enter(&mut self, id: MessageId, hosts: &[usize], due: u64) {
        for (number, host) in (0..).zip(hosts) {
            let leg = Leg {
                host: *host,
                state: LegState {
                    due,
                    attempts: 0,
                    warned: false,
                    held: false,
                    bounced: false,
                },
                token: None,
                leased: None,
                older: Vec::new(),
            };
            let id = LegId {
                message: id,
                number,
            };
            self.book.legs.insert(id, leg);
        }
        self.book.synced();
    }

    async fn commit(&mut self) {
        let message = self.message();
        let hosts: Vec<usize> = (0..=self.luck.below(3))
            .map(|_| self.luck.below(HOSTS))
            .collect();
        let due = self.now + self.luck.next() % (10 * MINUTE);
        let id = message.id;
        let mut writer = self.spool().begin(id).await.unwrap();
        writer.write(b"body".to_vec()).await.unwrap();
        let legs = hosts.iter().map(|host| leg_to(*host)).collect();
        let done = self
            .spool()
            .commit(writer, Arrival::new(message, legs, time(due)))
            .await;
        done.unwrap();
        self.enter(id, &hosts, due);
    }

    async fn claim(&mut self) {
        for n in 0..HOSTS {
            self.parked[n] = self.luck.chance(30);
        }
        let parked: Vec<_> = (0..HOSTS)
            .map(|n| (host(n).into(), self.parked[n]))
            .collect();
        self.spool().park(&parked).await;
        let want = Want {
            max: 1 + self.luck.below(6),
            per_host: 1 + self.luck.below(4),
            lease: Duration::from_millis(1 + self.luck.next() % (20 * MINUTE)),
        };
        self.book.expire_leases(self.now);
        let expected = self
            .book
            .claimable(want.max, want.per_host, &self.open_hosts(), self.now);
        let claims = self.spool().claim(&want).await.unwrap();
        let found: Vec<LegId> = claims.iter().map(|claim| claim.lease.leg).collect();
        assert_eq!(found, expected, "claimed at {}", self.now);
        for claim in claims {
            let state = &self.book.legs[&claim.lease.leg].state;
            assert_eq!(
                (claim.attempts, claim.warned),
                (state.attempts, state.warned)
            );
            self.hold(claim.lease);
        }
    }

    fn hold(&mut self, lease: Lease) {
        let until = lease.expires.unix_millis();
        self.owner = Some(lease.owner);
        self.book.lease(lease.leg, lease.token, until);
        self.leases.push(lease);
    }

    async fn overdue(&mut self) {
        let max = 1 + self.luck.below(4);
        self.book.expire_leases(self.now);
        let expected = self.book.overdue(max, self.now);
        let lease = Duration::from_millis(10 * MINUTE);
        let overdue = self.spool().overdue(max, lease).await;
        let overdue = overdue.unwrap();
        let found: Vec<_> = overdue.iter().map(|o| (o.claim.lease.leg, o.why)).collect();
        assert_eq!(found, expected, "overdue at {}", self.now);
        for overdue in overdue {
            self.hold(overdue.claim.lease);
        }
    }

    /// Somebody is done with a leg; he may have come too late.
    async fn settle(&mut self) {
        if self.leases.is_empty() {
            return;
        }
        let at = self.luck.below(self.leases.len());
        let keeps = self.luck.chance(10);
        let lease = match keeps {
            true => self.leases[at].clone(),
            false => self.leases.swap_remove(at),
        };
        let leg = lease.leg;
        let owns = Some(lease.owner) == self.owner && self.book.owns(leg, lease.token);
        let result = match self.luck.below(10) {
            0..4 => {
                let done = self.spool().complete(lease, None).await;
                if owns {
                    self.book.change(leg, None);
                }
                done
            }
            4 => self.fail(lease, owns).await,
            5..8 => self.defer(lease, owns).await,
            8 => {
                let done = self.spool().release(lease).await;
                if let Some(leg) = self.book.legs.get_mut(&leg).filter(|_| owns) {
                    (leg.token, leg.leased) = (None, None);
                }
                done
            }
            _ => {
                let span = 1 + self.luck.next() % (30 * MINUTE);
                let until = self.now + span;
                let leases = [lease.clone()];
                let done = self
                    .spool()
                    .extend(&leases, Duration::from_millis(span))
                    .await
                    .remove(0);
                if let Some(leg) = self.book.legs.get_mut(&leg).filter(|_| owns) {
                    leg.leased = Some(until);
                    self.leases.push(lease);
                }
                done
            }
        };
        let expected = if owns {
            Ok(())
        } else {
            Err(Error::Fenced(leg))
        };
        assert_eq!(result, expected, "{leg:?} at {}", self.now);
    }

    async fn fail(&mut self, lease: Lease, owns: bool) -> Result<(), Error> {
        let leg = lease.leg;
        let (message, host) = (self.message(), self.luck.below(HOSTS));
        let (id, due) = (message.id, self.now);
        let dsn = Dsn {
            arrival: Arrival::new(message, vec![leg_to(host)], time(due)),
            body: "note".into(),
        };
        let done = self.spool().complete(lease, Some(dsn)).await;
        if owns {
            self.book.change(leg, None);
            self.enter(id, &[host], due);
        }
        done
    }

    async fn defer(&mut self, lease: Lease, owns: bool) -> Result<(), Error> {
        let leg = lease.leg;
        let due = self.now + self.luck.next() % (60 * MINUTE);
        let warned = self.luck.chance(20);
        let attempts = self.luck.below(9) as u32;
        let notice = warned.then(|| (self.message(), self.luck.below(HOSTS)));
        let update = Update {
            attempts,
            warned,
            last: Some(nouns::deferral("450")),
            dsn: notice.clone().map(|(message, host)| Dsn {
                arrival: Arrival::new(message, vec![leg_to(host)], time(due)),
                body: "note".into(),
            }),
        };
        let done = self.spool().reschedule(lease, time(due), update).await;
        if owns {
            let state = LegState {
                due,
                attempts,
                warned,
                ..self.book.legs[&leg].state.clone()
            };
            self.book.change(leg, Some(state));
            if let Some((message, host)) = notice {
                self.enter(message.id, &[host], due);
            }
        }
        done
    }

    async fn operate(&mut self) {
        let legs: Vec<LegId> = self.book.legs.keys().copied().collect();
        if legs.is_empty() {
            return;
        }
        let action = match self.luck.below(5) {
            0 => Action::Hold,
            1 => Action::Release,
            2 => Action::RetryNow,
            3 => Action::Bounce,
            _ => Action::Remove,
        };
        let (filter, chosen) = match self.luck.chance(20) {
            true => {
                let n = self.luck.below(HOSTS);
                let filter = Filter {
                    hosts: HashSet::from([host(n)]),
                    ..Filter::default()
                };
                let of_host = legs.into_iter().filter(|id| self.book.legs[id].host == n);
                (filter, of_host.collect())
            }
            false => {
                let leg = legs[self.luck.below(legs.len())];
                let filter = Filter::only(leg);
                (filter, vec![leg])
            }
        };
        let mut expected = 0;
        for leg in chosen {
            expected += u64::from(self.book.act(leg, action, self.now));
        }
        let done = self.spool().admin(&filter, action, None, usize::MAX).await;
        assert_eq!(
            done.map(|changed| changed.entries.len() as u64),
            Ok(expected),
            "{action:?} at {}",
            self.now
        );
        self.book.synced();
    }

    /// Counts, listing and the next event.
    async fn check(&mut self) {
        let nobody = Want::default();
        self.book.expire_leases(self.now);
        // Claims nothing, but lets leases run out.
        self.spool().claim(&nobody).await.unwrap();
        let counts = self.spool().counts().await.unwrap();
        let found = Counts {
            hosts: Vec::new(),
            ..counts
        };
        assert_eq!(found, self.book.counts(self.now), "at {}", self.now);
        let open = self.open_hosts();
        if self.book.claimable(1, 1, &open, self.now).is_empty() {
            let next = self.spool().next_due().await;
            let expected = self.book.next_event(&open, self.now);
            let expected = expected.map(|at| Duration::from_millis(at - self.now));
            assert_eq!(next, expected, "next event at {}", self.now);
        }
    }

    /// Hosts that are not parked.
    fn open_hosts(&self) -> Vec<usize> {
        (0..HOSTS).filter(|n| !self.parked[*n]).collect()
    }

    /// The process dies; what the model then takes for the truth is what it could have been.
    async fn crash(&mut self) {
        self.crashes += 1;
        self.owner = None;
        self.parked = [false; HOSTS];
        let image = self.memory.image();
        drop(self.spool.take());
        std::fs::remove_dir_all(self.dir.path().join("index")).unwrap();
        let (spool, memory) = open(self.dir.path(), &image, self.now);
        (self.spool, self.memory) = (Some(spool), memory);
        let all = Filter::default();
        let page = self.spool().list(&all, None, 100_000);
        let page = page.await.unwrap();
        let mut before = std::mem::take(&mut self.book.legs);
        before.append(&mut self.book.ended.clone());
        let mut found = HashSet::new();
        for entry in page.entries {
            let mut leg = before[&entry.id].clone();
            let fits = |state: &&LegState| {
                state.due == entry.due.unix_millis()
                    && state.attempts == entry.attempts
                    && state.held == (entry.state == State::Held)
            };
            let ended = self.book.ended.contains_key(&entry.id);
            let now = (!ended).then_some(&leg.state);
            let state = now.into_iter().chain(leg.older.iter().rev()).find(fits);
            leg.state = state
                .unwrap_or_else(|| panic!("{entry:?} was {leg:?}"))
                .clone();
            leg.older.clear();
            (leg.token, leg.leased) = (None, None);
            found.insert(entry.id);
            self.book.legs.insert(entry.id, leg);
        }
        for id in before.keys() {
            let gone = !found.contains(id) && !self.book.ended.contains_key(id);
            assert!(!gone, "{id:?} is lost in a crash");
        }
        self.book.ended.clear();
    }

    /// The next schedule begins with an empty queue.
    async fn clear(&mut self) {
        let all = Filter::default();
        let removed = self
            .spool()
            .admin(&all, Action::Remove, None, usize::MAX)
            .await;
        assert_eq!(
            removed.map(|changed| changed.entries.len()),
            Ok(self.book.legs.len())
        );
        let counts = self.spool().counts().await.unwrap();
        assert_eq!(counts, Counts::default());
        self.book.legs.clear();
        self.book.ended.clear();
        self.book.arrived.clear();
        self.leases.clear();
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Schedules on one engine, one after the other.
fn run(seed: u64, schedules: usize) -> usize {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let mut run = Run::new(seed);
    runtime.block_on(async {
        for schedule in 0..schedules {
            for _ in 0..STEPS {
                run.step().await;
            }
            if schedule % 10 == 9 {
                run.crash().await;
                for _ in 0..STEPS {
                    run.step().await;
                }
            }
            run.check().await;
            run.clear().await;
        }
    });
    run.crashes
}

#[test]
fn the_engine_does_as_the_model_says() {
    let schedules = number("MODEL_SCHEDULES").map_or(SCHEDULES, |n| n as usize);
    let seed = number("MODEL_SEED").unwrap_or(1);
    let began = Instant::now();
    let crashes: usize = std::thread::scope(|scope| {
        let halves = [0, 1].map(|half| {
            let run = move || {
                println!("run with seed {}", seed * 2 + half);
                run(seed * 2 + half, schedules / 2)
            };
            scope.spawn(run)
        });
        halves.map(|half| half.join().unwrap()).iter().sum()
    });
    println!(
        "{schedules} schedules, {crashes} crashes: {:?}",
        began.elapsed()
    );
}
