//! Power cuts: thousands of states that a cut may leave on the disk, each recovered and held against what was promised.
//!
//! A relay's life is recorded on a store in memory (`memory`, `workload`), its promises in a book (`ledger`). Then the power
//! is cut at many moments of that history: `crash` makes disks that the history allows there, sled's files in any state. A spool is
//! opened on each. It must show what was promised before that moment, and nothing that was not; open a second time alike; and call no
//! tear damage. Then a second life begins on one of these disks, and so on, so that what a crash left half done
//! is met by all that comes later.
//!
//! `POWER_CUT_STATES=10000 POWER_CUT_SEED=7 cargo test -p queue --release --test queue -- --nocapture power_cut` tries more.
//! The seed rules all choices but the threads' timing; a state that fails is kept on disk for a look.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod crash;
mod ledger;
mod recover;
mod workload;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use queue::LogSpool;

use crate::luck::Luck;
use crate::memory::{History, Image, Memory};
use crash::{Platter, State};
use ledger::{Ledger, Seen};
use recover::{Spot, look, open, scratch};
use workload::Worker;

const STATES: usize = 2_000;
const LIVES: u64 = 10;
/// A life is short, and the machine decides whether an index is written anew in it: none to eight times were seen in ten lives.
const MORE_ROUNDS: u64 = 5;
const WORKERS: u64 = 4;
const STEPS: usize = 80;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn a_power_cut_loses_nothing_that_was_promised() {
    let states = number("POWER_CUT_STATES").map_or(STATES, |n| n as usize);
    let seed = number("POWER_CUT_SEED").unwrap_or(1);
    // sled panics over some of these indexes, by design: a line will do.
    std::panic::set_hook(Box::new(|info| eprintln!("{info}")));
    let began = Instant::now();
    let rounds = states.div_ceil(STATES) as u64;
    let mut renewals = 0;
    for round in 0..rounds + MORE_ROUNDS {
        // Some power cuts must meet an index that is being written anew.
        if round >= rounds && renewals > 0 {
            break;
        }
        renewals += campaign(seed + round, states.div_ceil(rounds as usize));
    }
    println!(
        "{states} states, seed {seed}, {renewals} renewals of the index: {:?}",
        began.elapsed()
    );
    assert!(renewals > 0, "no index was ever written anew");
}

/// Some lives, and power cuts in each; says how often an index was written anew in them.
fn campaign(seed: u64, states: usize) -> usize {
    let mut luck = Luck::new(seed);
    let mut state = State::empty();
    let mut ledger = Ledger::default();
    let mut renewals = 0;
    for life in 0..LIVES {
        let (image, history, book) = live(&state, ledger, life, &mut luck);
        renewals += history.renewals();
        let spot = Spot { seed, life };
        let seen = cut_often(
            &spot,
            &image,
            &history,
            &book,
            states / LIVES as usize,
            &mut luck,
        );
        (state, ledger) = seen;
    }
    renewals
}

/// Lives on a disk for a while; says what was on it first, what was done to it, and what was promised.
fn live(state: &State, ledger: Ledger, life: u64, luck: &mut Luck) -> (Image, History, Ledger) {
    let dir = scratch();
    let memory = open::store(state, dir.path(), true, Duration::from_micros(150));
    let image = memory.image();
    let spool = Arc::new(open::spool(dir.path(), &memory));
    let ledger = Arc::new(Mutex::new(ledger));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let workers = (0..WORKERS).map(|number| {
            let worker = Worker {
                life,
                number,
                spool: Arc::clone(&spool),
                memory: memory.clone(),
                ledger: Arc::clone(&ledger),
                luck: Luck::new(luck.next()),
                made: 0,
            };
            tokio::spawn(worker.run(STEPS))
        });
        for worker in workers.collect::<Vec<_>>() {
            worker.await.unwrap();
        }
    });
    // What follows is no part of the history: the power goes.
    let history = memory.take_history();
    drop(runtime);
    drop(spool);
    let ledger = Arc::try_unwrap(ledger).map(Mutex::into_inner).unwrap();
    (image, history, ledger)
}

/// Cuts the power at many moments. Gives one of the disks, and what it showed, for the next life.
fn cut_often(
    spot: &Spot,
    image: &Image,
    history: &History,
    ledger: &Ledger,
    states: usize,
    luck: &mut Luck,
) -> (State, Ledger) {
    let events = history.events.len();
    let mut cuts: Vec<usize> = (0..states).map(|_| luck.below(events + 1)).collect();
    cuts.sort_unstable();
    let last = Mutex::new(None);
    let done = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for half in 0..2 {
            let mut luck = Luck::new(luck.next());
            let (cuts, last, done) = (&cuts, &last, &done);
            let half = cuts.iter().skip(half).step_by(2);
            scope.spawn(move || {
                let mut platter = Platter::of(image);
                let mut applied = 0;
                for cut in half {
                    // A moment at which something hangs in the balance tells more.
                    let cut = unsettled(&mut platter, history, &mut applied, *cut);
                    let state = platter.cut(history, &mut luck);
                    let seen = spot.try_state(&state, cut, ledger, &mut luck);
                    done.fetch_add(1, Ordering::Relaxed);
                    let mut last = last.lock();
                    if last.is_none() || (cut * 10 > events * 9 && luck.chance(10)) {
                        *last = Some((state, seen));
                    }
                }
            });
        }
    });
    assert_eq!(done.into_inner(), states);
    let (state, seen) = last.into_inner().unwrap();
    let next = Ledger::of(&seen, &ledger.bodies);
    (state, next)
}

/// Applies events up to `cut`, and on to the next moment with something unsynced if that is near.
fn unsettled(platter: &mut Platter, history: &History, applied: &mut usize, cut: usize) -> usize {
    while *applied < history.events.len()
        && (*applied < cut || (*applied < cut + 2 && !platter.is_unsettled()))
    {
        platter.apply(&history.events[*applied]);
        *applied += 1;
    }
    *applied
}

impl Spot {
    /// Recovers from a state; panics if a promise is broken.
    fn try_state(&self, state: &State, cut: usize, ledger: &Ledger, luck: &mut Luck) -> Seen {
        let nested = luck.chance(10);
        let dir = scratch();
        let memory = open::store(state, dir.path(), nested, Duration::ZERO);
        let broken = |what: String| -> ! { self.fail(state, cut, &what) };
        let spool = open::spool(dir.path(), &memory);
        let seed = luck.next();
        let seen = look(&spool, ledger, seed).unwrap_or_else(|what| broken(what));
        if let Err(what) = ledger.check(cut, &seen) {
            broken(what);
        }
        if spool.damaged() > 0 {
            broken("a tear was called damage".into());
        }
        if nested {
            self.cut_the_recovery(state, &memory, cut, ledger, (&seen, luck));
        }
        if luck.chance(15) {
            drop(spool);
            let spool: LogSpool = open::spool(dir.path(), &memory);
            let again = look(&spool, ledger, seed).unwrap_or_else(|what| broken(what));
            if again != seen {
                broken(format!("opened again it is {again:?}, was {seen:?}"));
            }
        }
        seen
    }

    /// Cuts the power in the recovery itself, or right behind it.
    fn cut_the_recovery(
        &self,
        state: &State,
        memory: &Memory,
        cut: usize,
        ledger: &Ledger,
        (seen, luck): (&Seen, &mut Luck),
    ) {
        let mut history = memory.take_history();
        state.put_first(&mut history);
        let mut platter = Platter::of(&state.image);
        for event in history
            .events
            .iter()
            .take(luck.below(history.events.len() + 1))
        {
            platter.apply(event);
        }
        let again = platter.cut(&history, luck);
        let dir = scratch();
        let memory = open::store(&again, dir.path(), false, Duration::ZERO);
        let spool = open::spool(dir.path(), &memory);
        let found = look(&spool, ledger, luck.next());
        let checked = found.and_then(|found| ledger.check(cut, &found));
        if let Err(what) = checked {
            let what = format!(
                "{what}\nafter a cut of the recovery ({}), seen {seen:?}",
                again.how
            );
            self.fail(state, cut, &what);
        }
        if spool.damaged() > 0 {
            self.fail(
                state,
                cut,
                "after a cut of the recovery: a tear was called damage",
            );
        }
    }

    fn fail(&self, state: &State, cut: usize, what: &str) -> ! {
        let dir = std::env::temp_dir().join(format!("onward-power-cut-{}", std::process::id()));
        state.write_to(&dir);
        panic!(
            "seed {}, life {}, cut at event {cut} ({}): {what}\nthe spool is in {}",
            self.seed,
            self.life,
            state.how,
            dir.display()
        );
    }
}
