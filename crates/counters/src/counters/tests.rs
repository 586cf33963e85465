//! Rates against a plain model, and what is learnt of recipients.

use super::*;
use crate::key::Kind;
use crate::limit::{Of, Then};

const SEC: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_hours(24);

fn limit(max: u64, per: Duration) -> Limit {
    Limit {
        name: "x".into(),
        key: Kind::Recipient,
        of: Of::Messages,
        max,
        per,
        then: Then::Defer,
        usual: 0,
        passes_known: false,
    }
}

fn key(name: &str) -> Key {
    Key::new(Kind::Recipient, name)
}

/// Numbers that look random, and are the same each time.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, max: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % max
    }
}

/// A bucket that leaks, in whole numbers: `max` · `per` deep.
struct Bucket {
    level: u128,
    at: u64,
}

impl Bucket {
    fn take(&mut self, max: u64, per: u64, n: u64, now: u64) -> bool {
        let leaked = u128::from(now - self.at) * u128::from(max);
        (self.level, self.at) = (self.level.saturating_sub(leaked), now);
        let level = self.level + u128::from(n) * u128::from(per);
        let fits = level <= u128::from(max) * u128::from(per);
        if fits {
            self.level = level;
        }
        fits
    }
}

#[test]
fn as_a_leaking_bucket_and_never_more_than_the_limit_in_any_time() {
    let mut numbers = Numbers(42);
    for round in 0..200 {
        let max = 1 + numbers.below(50);
        let cell = 1 + numbers.below(1_000_000);
        let per = max * cell;
        let limit = limit(max, Duration::from_nanos(per));
        let (counters, key) = (Counters::new(), key("a"));
        let mut bucket = Bucket { level: 0, at: 0 };
        let (mut now, mut taken) = (0, Vec::new());
        for _ in 0..300 {
            now += numbers.below(3 * cell);
            if numbers.below(50) == 0 {
                now += per;
                // A quiet window: all of it is there.
                assert!(counters.fits(&limit, &key, max, Duration::from_nanos(now)));
                assert!(!counters.fits(&limit, &key, max + 1, Duration::from_nanos(now)));
            }
            let (n, at) = (1 + numbers.below(3), Duration::from_nanos(now));
            let fits = counters.fits(&limit, &key, n, at);
            let left = counters.left(&limit, &key, at);
            assert_eq!(fits, n <= left, "round {round}: {n} of {left}");
            let took = counters.take(&limit, &key, n, at);
            assert_eq!(took, fits, "a look tells what a take does");
            assert_eq!(took, bucket.take(max, per, n, now), "round {round}");
            if took {
                taken.push((now, n));
            }
        }
        for (from, (start, _)) in taken.iter().enumerate() {
            let mut sum = 0;
            for (end, n) in &taken[from..] {
                sum += n;
                assert!(sum * per <= max * (per + end - start), "round {round}");
            }
        }
    }
}

#[test]
fn odd_rates_lose_nothing() {
    for (max, per) in [(7, 3600 * SEC), (100, DAY), (3, SEC), (100_000, 3600 * SEC)] {
        let (counters, limit, key) = (Counters::new(), limit(max, per), key("a"));
        let taken = (0..max + 9).filter(|_| counters.take(&limit, &key, 1, SEC));
        assert_eq!(taken.count() as u64, max);
    }
    // A rate finer than the clock: a TiB a second.
    let (counters, limit, key) = (Counters::new(), limit(1 << 40, SEC), key("a"));
    let taken = (0..2000).filter(|_| counters.take(&limit, &key, 1 << 30, SEC));
    assert_eq!(taken.count(), 1024);
}

#[test]
fn what_has_happened_is_counted_but_not_for_ever() {
    let (counters, limit, key) = (Counters::new(), limit(2, 10 * SEC), key("a"));
    let adds: Vec<bool> = (0..99)
        .map(|_| counters.add(&limit, &key, 1, SEC))
        .collect();
    assert_eq!(&adds[..4], [true, true, false, false]);
    assert!(!counters.fits(&limit, &key, 1, 15 * SEC));
    assert!(counters.fits(&limit, &key, 1, 16 * SEC));
    counters.add(&limit, &key, 99, 16 * SEC);
    counters.forget(&limit, &key);
    assert!(counters.fits(&limit, &key, 2, 16 * SEC));
    // Numbers beyond all measure.
    assert!(!counters.take(&limit, &key, u64::MAX, 16 * SEC));
    assert!(!counters.add(&limit, &key, u64::MAX, 16 * SEC));
}

#[test]
fn a_clock_that_jumps_costs_two_windows_at_most() {
    let (counters, limit, key) = (Counters::new(), limit(2, 10 * SEC), key("a"));
    let far = 100 * DAY;
    assert!(counters.take(&limit, &key, 2, far));
    assert!(!counters.take(&limit, &key, 1, SEC));
    counters.add(&limit, &key, 1, SEC);
    assert!(counters.take(&limit, &key, 2, 21 * SEC));
    assert!(counters.take(&limit, &key, 2, far));
}

#[test]
fn limits_and_keys_do_not_mix() {
    let (counters, one) = (Counters::new(), limit(1, SEC));
    assert!(counters.take(&one, &key("a"), 1, SEC));
    assert!(counters.take(&one, &key("b"), 1, SEC));
    assert!(counters.take(&one, &Key::new(Kind::Sender, "a"), 1, SEC));
    assert!(counters.take(&limit(2, SEC), &key("a"), 2, SEC));
    // The same limit from another reading of the file keeps its count.
    assert!(!counters.take(&limit(1, SEC), &key("A"), 1, SEC));
}

/// 5 messages a day for two weeks; then a flood, of a recipient like that and of one that gets nothing.
#[test]
fn what_is_usual_raises_the_limit() {
    let flooded = |uptime: u64, a_day: u64, busy: u64| {
        let counters = Counters::new();
        let limit = Limit {
            usual: 50,
            ..limit(20, 600 * SEC)
        };
        let key = key("a");
        for hour in 0..uptime {
            if a_day > 0 && hour % (24 / a_day) == 0 {
                assert!(counters.take(&limit, &key, 1, SEC * 3600 * hour as u32));
            }
        }
        let now = SEC * 3600 * uptime as u32;
        let taken = (0..busy).filter(|_| counters.take(&limit, &key, 1, now));
        taken.count() as u64
    };
    // 24 a day are a sixth of one in ten minutes, 50 times that are 8: 20 is more.
    assert_eq!(flooded(14 * 24, 24, 1000), 20);
    assert_eq!(flooded(14 * 24, 0, 1000), 20);
    // Nothing is known yet: all is let through.
    assert_eq!(flooded(0, 0, 1000), 1000);
    assert_eq!(flooded(1, 0, 1000), 1000);
    // A mailbox that always gets much: 10 in ten minutes is usual for it, and 500 is 50 times that.
    let counters = Counters::new();
    let limit = Limit {
        usual: 50,
        ..limit(20, 600 * SEC)
    };
    for minute in 0..14 * 24 * 60u32 {
        assert!(counters.take(&limit, &key("busy"), 1, 60 * SEC * minute));
    }
    let taken = (0..2000).filter(|_| counters.take(&limit, &key("busy"), 1, 14 * DAY));
    let taken = taken.count();
    assert!((400..700).contains(&taken), "{taken}");
    // What is used up is measured by what holds for this key.
    let used = |n: u32, now| {
        counters.add(&limit, &key("busy"), u64::from(n), now);
        counters.used(&limit, &key("busy"), now)
    };
    let full = used(0, 14 * DAY);
    assert!((0.9..=1.0).contains(&full), "{full}");
    let quiet = used(25, 15 * DAY);
    assert!((0.02..0.1).contains(&quiet), "{quiet}");
}

#[test]
fn known_are_those_who_wrote_before() {
    let counters = Counters::new();
    let (to, ann, eve) = (key("a"), key("ann"), key("eve"));
    counters.meet(&to, &ann, SEC);
    counters.meet(&to, &eve, 9 * DAY);
    let knows = |who: &Key, now| counters.knows(&to, who, now);
    assert!(knows(&ann, 9 * DAY));
    assert!(!knows(&eve, 9 * DAY + 3600 * SEC));
    assert!(knows(&eve, 10 * DAY));
    assert!(!counters.knows(&key("b"), &ann, 10 * DAY));
    assert!(!knows(&key("new"), 10 * DAY));
    // Soon after a start: who wrote in the first half of the time.
    assert!(knows(&ann, 3600 * SEC));
    counters.meet(&to, &key("late"), 3000 * SEC);
    assert!(!knows(&key("late"), 3600 * SEC));
}

/// `cargo test --release -p counters -- --ignored memory`.
#[test]
#[ignore = "a measurement"]
fn memory() {
    let resident = || {
        let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
        let pages: u64 = statm.split(' ').nth(1).unwrap().parse().unwrap();
        (pages * 4096) >> 20
    };
    let before = resident();
    let (counters, limit) = (Counters::new(), limit(100, 3600 * SEC));
    for n in 0..1_000_000 {
        counters.take(&limit, &key(&format!("user{n}@example.org")), 1, SEC);
    }
    let freezes = crate::Freezes::in_memory();
    for n in 0..10_000 {
        let now = envelope::Timestamp::from_unix_millis(n);
        freezes.freeze(&key(&format!("user{n}@example.org")), "cracked", now);
    }
    println!(
        "{} keys and {} frozen: {} MiB",
        counters.len(),
        freezes.len(),
        resident() - before
    );
    assert!(resident() - before < 200);
}
