//! Checks of `report/goal.rs`.

use crate::report::goal::*;

#[track_caller]
fn check(bound: Bound, wanted: f64, found: f64, expected: bool) {
    let goal = Goal::new("a", bound, wanted, found, |v| format!("{v} ×"), "b");
    assert_eq!(goal.is_reached, expected, "{goal:?}");
    assert_eq!(goal.found, format!("{found} × (b)"));
}

#[test]
fn bounds() {
    check(Bound::AtLeast, 10.0, 10.0, true);
    check(Bound::AtLeast, 10.0, 9.9, false);
    check(Bound::AtMost, 1.3, 1.3, true);
    check(Bound::AtMost, 1.3, 1.31, false);
    check(Bound::AtMost, 1.3, f64::NAN, false);
}
