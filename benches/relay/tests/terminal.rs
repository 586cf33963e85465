//! Checks of `report/terminal.rs`.

use crate::report::figure::Figure;
use crate::report::goal::Goal;
use crate::report::results::Results;
use crate::report::results::{Point, Repeat};
use crate::report::terminal::*;

#[test]
fn columns_are_aligned() {
    let mut results = Results::default();
    for (system, rate) in [("Onward", 12_000.0), ("Postfix", 500.0)] {
        let mut repeat = Repeat::default();
        repeat
            .set(Figure::Rate, rate)
            .set(Figure::Tail, 1.0)
            .set(Figure::Cpu, 70.0);
        results.add("relay", system, &Point::load(10, 2048), repeat);
    }
    results.goals.push(Goal {
        text: "a".into(),
        wanted: "≥ 1".into(),
        found: "0".into(),
        is_reached: false,
    });
    let expected = "
relay
  point                  system   relay rate  to last delivery  CPU/message
  10 connections, 2 KiB  Onward     12,000/s            1.00 s      70.0 µs
  10 connections, 2 KiB  Postfix       500/s            1.00 s      70.0 µs

goals
               goal  wanted  found
  not reached  a     ≥ 1     0
";
    assert_eq!(show(&results), expected);
}

#[test]
fn a_measurement_in_a_line() {
    let figures = [(Figure::Rate, 12_345.0), (Figure::Cpu, 70.0)];
    assert_eq!(summary(figures), "relay rate 12,345/s, CPU/message 70.0 µs");
}
