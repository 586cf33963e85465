//! Checks of `report/results.rs`.

use crate::report::figure::Figure;
use crate::report::results::*;

#[track_caller]
fn check(values: &[f64], expected: Option<(f64, f64, f64)>) {
    let found = Spread::of(values.to_vec()).map(|s| (s.median, s.min, s.max));
    assert_eq!(found, expected, "{values:?}");
}

#[test]
fn medians() {
    check(&[], None);
    check(&[3.0], Some((3.0, 3.0, 3.0)));
    check(&[9.0, 1.0], Some((5.0, 1.0, 9.0)));
    check(&[9.0, 1.0, 2.0], Some((2.0, 1.0, 9.0)));
    check(&[4.0, 9.0, 1.0, 2.0], Some((3.0, 1.0, 9.0)));
}

#[test]
fn sizes_are_shown_in_the_unit_that_leaves_them_whole() {
    for (octets, expected) in [
        (0, "mixed sizes"),
        (500, "500 B"),
        (10_240, "10 KiB"),
        (25_000_000, "25 MB"),
        (1 << 20, "1 MiB"),
    ] {
        assert_eq!(show_size(octets), expected);
    }
}

fn one(system: &str, rate: f64) -> Results {
    let mut results = Results::default();
    let mut repeat = Repeat::default();
    repeat.set(Figure::Rate, rate).set(Figure::Tail, f64::NAN);
    results.add("relay", system, &Point::load(1, 2048), repeat);
    results
}

#[test]
fn repeats_gather_at_their_point() {
    let mut results = one("onward", 10.0);
    let more = one("onward", 30.0).measurements.remove(0);
    for repeat in more.repeats {
        results.add("relay", "onward", &more.point, repeat);
    }
    let spread = results.spread("relay", "onward", "1 connection, 2 KiB", Figure::Rate);
    assert_eq!(spread.map(|s| (s.median, s.count)), Some((20.0, 2)));
    assert_eq!(
        results.spread("relay", "onward", "1 connection, 2 KiB", Figure::Tail),
        None
    );
}

#[test]
fn a_newer_measurement_replaces_an_older() {
    let mut results = one("onward", 10.0);
    results.join(one("postfix", 1.0));
    results.join(one("onward", 20.0));
    assert_eq!(results.measurements.len(), 2);
    let rate = |system| {
        results
            .spread("relay", system, "1 connection, 2 KiB", Figure::Rate)
            .map(|s| s.median)
    };
    assert_eq!((rate("onward"), rate("postfix")), (Some(20.0), Some(1.0)));
}

#[test]
fn json_reads_back() {
    let results = one("onward", 10.0);
    let text = serde_json::to_string(&results).unwrap();
    let back: Results = serde_json::from_str(&text).unwrap();
    assert_eq!(back.measurements, results.measurements);
}
