//! Programs that are asked what they are.

#![expect(
    clippy::disallowed_methods,
    reason = "the bench asks the systems under test for their versions"
)]

use std::process::Command;

use super::group::PATH;

/// All that a program says, without the blanks around it; `None` when it cannot be started or says nothing.
pub(super) fn says(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program)
        .args(arguments)
        .env("PATH", PATH)
        .output()
        .ok()?;
    // Some tell their version on standard error.
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).trim().to_owned();
    (!said.is_empty()).then_some(said)
}
