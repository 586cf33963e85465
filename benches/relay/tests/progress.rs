//! Checks of `report/progress.rs`.

use std::time::Duration;
use std::time::Instant;

use crate::report::progress::*;

#[test]
fn the_line_fills() {
    let left = Duration::from_secs(61);
    let at = |done, of| line("t", done, of, left);
    assert_eq!(
        at(1, 2),
        format!(
            "{}{}  50 %  t  (≤ 2 min left)",
            "█".repeat(12),
            "░".repeat(12)
        )
    );
    assert!(
        at(3, 2).starts_with(&"█".repeat(24)),
        "more than all is all"
    );
    assert!(at(0, 0).starts_with('·'));
}

#[test]
fn a_silent_progress_takes_everything() {
    let progress = Progress::silent();
    progress.task("t");
    progress.set(1, 2);
    let (_, drawing) = Progress::on_terminal(Instant::now());
    drop(drawing);
}
