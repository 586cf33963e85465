//! Checks of `report/progress.rs`.

use std::time::{Duration, Instant};

use crate::report::progress::{Progress, line};

#[test]
fn the_line_fills() {
    let left = Duration::from_secs(61);
    let at = |done, of| line("t", done, of, left);
    let half = "█".repeat(12) + &"░".repeat(12);
    assert_eq!(at(1, 2), format!("{half}  50 %  t  (≤ 2 min left)"));
    assert!(
        at(3, 2).starts_with(&"█".repeat(24)),
        "more than all is all"
    );
    assert!(at(0, 0).starts_with('·'));
}

#[test]
fn it_may_be_told_things_after_its_end() {
    let (progress, drawing) = Progress::on_terminal(Instant::now());
    drop(drawing);
    progress.task("t");
    progress.set(1, 2);
}
