//! Checks of `command.rs`.

use crate::command::one_line;

#[test]
fn commands_fit_one_line() {
    let commands = "mkdir A && cd A\nfor a in b; do\n    c $a\ndone";
    let expected = "mkdir A && cd A; for a in b; do c $a; done";
    assert_eq!(one_line(commands), expected);
}
