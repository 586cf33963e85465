//! What every manifest and every pure crate's `clippy.toml` has to say.

use toml::{Table, Value};

use crate::Finding;

/// Clippy does not merge a crate's `clippy.toml` with the root's: what the root says has to be said again.
const FENCES: [&str; 5] = [
    "allow-unwrap-in-tests = true",
    "too-many-lines-threshold = 70",
    "std::time::SystemTime::now",
    "std::time::Instant::now",
    "std::net::TcpStream",
];

/// `[lints] workspace = true`.
pub(crate) fn lints(path: &str, manifest: &str) -> Vec<Finding> {
    let table: Table = manifest.parse().unwrap();
    let inherits = table
        .get("lints")
        .and_then(|lints| lints.get("workspace")?.as_bool());
    match inherits {
        Some(true) => Vec::new(),
        _ => vec![Finding::new(
            path,
            1,
            "add `[lints]` with `workspace = true`",
        )],
    }
}

/// `None` when the file is not there.
pub(crate) fn fences(path: &str, text: Option<&str>) -> Vec<Finding> {
    let Some(text) = text else {
        let advice = "a pure crate needs its own clippy.toml: copy the one of crates/envelope";
        return vec![Finding::new(path, 1, advice)];
    };
    let missing = FENCES.iter().filter(|fence| !text.contains(*fence));
    let finding = |fence: &&str| {
        Finding::new(
            path,
            1,
            format!("add `{fence}`, as in crates/envelope/clippy.toml"),
        )
    };
    missing.map(finding).collect()
}

/// `[dependencies]` and `[build-dependencies]`, those of a target too.
pub(crate) fn dependency_tables(manifest: &Table) -> impl Iterator<Item = &Table> {
    let targets = manifest.get("target").and_then(Value::as_table);
    let targets = targets
        .into_iter()
        .flat_map(Table::values)
        .filter_map(Value::as_table);
    let holders = targets.chain([manifest]);
    holders.flat_map(|holder| {
        ["dependencies", "build-dependencies"]
            .iter()
            .filter_map(|kind| holder.get(*kind)?.as_table())
    })
}

/// Where a dependency stands, in either form: `name = …` or `name.workspace = …`.
pub(crate) fn line_of(manifest: &str, name: &str) -> usize {
    let is_it = |line: &str| {
        let rest = line.strip_prefix(name);
        rest.is_some_and(|rest| rest.trim_start().starts_with(['.', '=']))
    };
    // The last: in the root's manifest, the table of versions comes first.
    manifest
        .lines()
        .enumerate()
        .filter(|(_, line)| is_it(line))
        .last()
        .map_or(1, |(at, _)| at + 1)
}

mod tests {
    use super::*;

    #[test]
    fn lints_are_missed() {
        let row = |text: &str| lints("p", &format!("[package]\nname = \"a\"\n{text}")).len();
        assert_eq!(row("[lints]\nworkspace = true\n"), 0);
        assert_eq!(row(""), 1);
        assert_eq!(row("[lints]\nworkspace = false\n"), 1);
        assert_eq!(row("[lints.clippy]\nall = \"warn\"\n"), 1);
    }

    #[test]
    fn fences_are_missed() {
        let whole = FENCES.join("\n");
        assert_eq!(fences("p", Some(&whole)), []);
        assert_eq!(fences("p", None).len(), 1);
        let findings = fences("p", Some(&whole.replace("Instant", "")));
        assert_eq!(findings.len(), 1);
        assert!(findings[0].advice.contains("std::time::Instant::now"));
    }
}
