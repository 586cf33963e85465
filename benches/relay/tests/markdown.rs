//! Checks of `report/markdown.rs`.

use crate::report::figure::Figure;
use crate::report::goal::Goal;
use crate::report::markdown::*;
use crate::report::results::Results;
use crate::report::results::{Point, Repeat};

fn sample() -> Results {
    let mut results = Results::default();
    for (system, rate) in [
        ("Onward", 12_000.0),
        ("Onward", 10_000.0),
        ("Postfix", 500.0),
    ] {
        let mut repeat = Repeat::default();
        repeat.set(Figure::Rate, rate).set(Figure::Lost, 0.0);
        results.add("relay", system, &Point::load(10, 2048), repeat);
    }
    results
}

#[test]
fn a_table_has_medians_and_spreads() {
    let text = table(&sample(), "relay");
    let expected = "## relay\n\n| point | system | relay rate | repeats |\n|---|---|---:|---:|\n\
        | 10 connections, 2 KiB | Onward | 11,000/s<br>10,000–12,000 | 2 |\n\
        | 10 connections, 2 KiB | Postfix | 500/s | 1 |\n";
    assert_eq!(text, expected);
}

#[test]
fn a_loss_gets_a_column() {
    let mut results = sample();
    results.measurements[1].repeats[0].set(Figure::Lost, 2.0);
    assert!(table(&results, "relay").contains("| lost |"));
}

#[test]
fn goals_are_shown_reached_or_not() {
    let goal = Goal {
        text: "a".into(),
        wanted: "≥ 1".into(),
        found: "0".into(),
        is_reached: false,
    };
    assert!(goals(&[goal]).contains("| a | ≥ 1 | 0 | not reached |"));
    assert_eq!(goals(&[]), "");
}

#[test]
fn tables_go_between_the_marks() {
    let old = format!("before\n{BEGIN}\nold\n{END}\nafter\n");
    let new = replaced(&old, "new\n").unwrap();
    assert_eq!(new, format!("before\n{BEGIN}\n\nnew\n\n{END}\nafter\n"));
    assert_eq!(replaced(&new, "new\n").unwrap(), new);
    assert_eq!(replaced("no marks", "new"), None);
}
