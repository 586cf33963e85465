//! Checks of `report/figure.rs`.

use crate::report::figure::*;

#[track_caller]
fn check(unit: Unit, value: f64, expected: &str) {
    assert_eq!(unit.show(value), expected);
}

#[test]
fn values_are_shown_with_their_unit() {
    check(Unit::PerSecond, 12345.6, "12,346/s");
    check(Unit::PerSecond, 0.0, "0/s");
    check(Unit::Milliseconds, 0.1234, "0.123 ms");
    check(Unit::Milliseconds, 1.0, "1.00 ms");
    check(Unit::Seconds, 99.94, "99.9 s");
    check(Unit::Share, 0.404, "40.4 %");
    check(Unit::Share, 1.0, "100 %");
    check(Unit::Count, 3.0, "3");
    check(Unit::Count, 1_000_000.0, "1,000,000");
    check(Unit::Times, 1.304, "1.30 ×");
    check(Unit::Octets, -1234.0, "-1,234 B");
    check(Unit::Seconds, 0.0001, "< 0.001 s");
}

#[test]
fn every_figure_has_a_column_and_a_line_in_the_readme() {
    let readme = include_str!("../../README.md");
    let mut seen = std::collections::BTreeSet::new();
    for figure in Figure::ALL {
        assert!(seen.insert(figure), "{figure:?} stands twice");
        let title = figure.title();
        assert!(
            readme.contains(&format!("| {title} |")),
            "benches/README.md does not explain `{title}`"
        );
    }
}
