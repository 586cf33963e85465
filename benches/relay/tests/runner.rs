//! Checks of `runner.rs`.

use std::io;
use std::time::{Duration, Instant};

use crate::report::figure::Figure;
use crate::report::progress::Progress;
use crate::report::results::{Point, Repeat};
use crate::runner::*;
use crate::system::System;

fn bench(time: Duration) -> Bench {
    let settings = Settings {
        systems: vec![System::Direct, System::Onward],
        repeats: 2,
        points: Vec::new(),
        length: Duration::from_secs(1),
        scale: 0.1,
        seed: 1,
        folder: "/nowhere".into(),
        tools: Tools::Ours,
        is_quick: true,
    };
    {
        let (progress, _) = Progress::on_terminal(Instant::now());
        Bench::new(settings, progress, Instant::now() + time)
    }
}

fn points() -> [(Point, u32); 2] {
    [1, 2].map(|n| (Point::named(format!("p{n}"), 1, 0), n))
}

#[test]
fn systems_take_turns() {
    let mut bench = bench(Duration::from_secs(60));
    let mut order = Vec::new();
    let systems = bench.settings.systems.clone();
    bench.interleave("s", &points(), &systems, 2, |_, system, point, repeat| {
        order.push((repeat, *point, system));
        let mut figures = Repeat::default();
        figures.set(Figure::Rate, f64::from(*point));
        Ok(figures)
    });
    use System::{Direct, Onward};
    let expected = [
        (0, 1, Direct),
        (0, 1, Onward),
        (0, 2, Direct),
        (0, 2, Onward),
        (1, 1, Onward),
        (1, 1, Direct),
        (1, 2, Onward),
        (1, 2, Direct),
    ];
    assert_eq!(order, expected);
    assert_eq!(bench.results.measurements.len(), 4);
    assert_eq!(bench.median("s", Onward, "p2", Figure::Rate), Some(2.0));
}

#[test]
fn the_time_limit_ends_it_with_a_note() {
    let mut bench = bench(Duration::ZERO);
    let systems = bench.settings.systems.clone();
    bench.interleave("s", &points(), &systems, 2, |_, _, _, _| {
        unreachable!("there is no time")
    });
    assert!(bench.notes[0].contains("time limit"), "{:?}", bench.notes);
}

#[test]
fn what_fails_or_loses_is_noted_and_the_rest_goes_on() {
    let mut bench = bench(Duration::from_secs(60));
    bench.interleave("s", &points(), &[System::Onward], 1, |_, _, point, _| {
        if *point == 1 {
            return Err(io::Error::other("no spool"));
        }
        let mut figures = Repeat::default();
        figures.set(Figure::Lost, 3.0);
        Ok(figures)
    });
    assert_eq!(bench.failures(), 1);
    assert!(bench.notes[0].contains("p1: failed: no spool"));
    assert!(bench.notes[1].contains("p2: 3 lost"));
}

#[test]
fn counts_are_scaled() {
    let bench = bench(Duration::ZERO);
    assert_eq!((bench.scaled(100_000), bench.scaled(3)), (10_000, 1));
    assert_ne!(bench.next_run(), bench.next_run());
}

#[test]
fn a_system_that_fails_again_and_again_is_left_out() {
    let mut bench = bench(Duration::from_secs(60));
    let systems = bench.settings.systems.clone();
    let mut tried = 0;
    bench.interleave("s", &points(), &systems, 5, |_, system, _, _| {
        if system == System::Onward {
            tried += 1;
            return Err(io::Error::other("it ended\nwith two lines"));
        }
        Ok(Repeat::default())
    });
    assert_eq!((tried, bench.failures()), (3, 3));
    let last = bench.notes.last().unwrap();
    assert!(last.contains("left out"), "{last}");
    assert!(bench.notes[0].ends_with("it ended; with two lines"));
}
