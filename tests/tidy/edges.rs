//! Which crate may depend on which: the table of the design.

use toml::{Table, Value};

use crate::Finding;
use crate::manifests::{dependency_tables, line_of};

/// Crate → the crates of ours that it may depend on. The root package may depend on all but `testkit` and
/// `fuzz-targets`.
const EDGES: [(&str, &[&str]); 27] = [
    ("envelope", &[]),
    ("srs", &[]),
    ("spf", &[]),
    ("smtp", &["envelope"]),
    ("dns", &["envelope"]),
    ("sts", &["envelope", "dns"]),
    ("authentic", &["envelope", "dns"]),
    ("filter", &["envelope", "smtp"]),
    ("directory", &["envelope", "filter"]),
    ("policy", &["envelope"]),
    ("forwarder", &["envelope", "srs"]),
    ("spool", &["envelope"]),
    ("queue", &["envelope", "spool"]),
    ("queue-pg", &["envelope", "spool"]),
    ("bounce", &["envelope"]),
    ("smtp-in", &["envelope", "smtp"]),
    ("delivery", &["envelope", "smtp", "dns", "sts"]),
    ("control", &["envelope"]),
    ("http-door", &["control", "envelope", "journal"]),
    ("journal", &["envelope"]),
    ("linefile", &[]),
    ("counters", &["envelope", "linefile"]),
    ("acme", &["envelope", "filter", "linefile"]),
    ("history", &["control", "envelope", "journal"]),
    (
        "relay",
        &[
            "envelope",
            "smtp",
            "srs",
            "spf",
            "dns",
            "sts",
            "authentic",
            "filter",
            "directory",
            "smtp-in",
            "policy",
            "forwarder",
            "spool",
            "delivery",
            "bounce",
            "control",
            "journal",
            "counters",
            "linefile",
            "history",
        ],
    ),
    ("testkit", &["envelope", "smtp", "dns"]),
    (
        "fuzz-targets",
        &[
            "envelope",
            "dns",
            "authentic",
            "filter",
            "smtp",
            "smtp-in",
            "srs",
            "spf",
            "forwarder",
            "spool",
            "queue",
            "bounce",
        ],
    ),
];

/// Crates without I/O, clock and randomness: these arrive as arguments.
pub(crate) const PURE: [&str; 6] = ["envelope", "srs", "spf", "smtp", "policy", "bounce"];

/// What no pure crate may depend on, and what comes with them.
const IMPURE: [&str; 10] = [
    "tokio",
    "tokio-util",
    "tokio-rustls",
    "socket2",
    "hickory-resolver",
    "rand",
    "getrandom",
    "sled",
    "rustix",
    "tempfile",
];

/// Dev-dependencies are apart: tests may use what they like.
pub(crate) fn check(path: &str, manifest: &str) -> Vec<Finding> {
    let table: Table = manifest.parse().unwrap();
    let name = table["package"]["name"].as_str().unwrap();
    let is_root = path == "Cargo.toml";
    let row = EDGES.iter().find(|(of, _)| *of == name);
    let allowed = row.map_or(&[][..], |(_, allowed)| allowed);
    if row.is_none() && !is_root {
        let advice = format!(
            "`{name}` is not in the table: add a row to tests/tidy/edges.rs and to DESIGN.md §2"
        );
        return vec![Finding::new(path, 1, advice)];
    }
    let mut findings = Vec::new();
    for dependency in dependency_tables(&table).flat_map(Table::keys) {
        let is_ours = EDGES.iter().any(|(of, _)| of == dependency);
        let advice = if is_root && matches!(dependency.as_str(), "testkit" | "fuzz-targets") {
            format!("`{dependency}` is for tests: move it to [dev-dependencies]")
        } else if is_ours && !is_root && !allowed.contains(&dependency.as_str()) {
            format!(
                "`{name}` must not depend on `{dependency}`: pass a noun of `envelope` through the binary, or a trait"
            )
        } else if PURE.contains(&name) && IMPURE.contains(&dependency.as_str()) {
            format!(
                "`{name}` is pure and must not depend on `{dependency}`: take the result as an argument"
            )
        } else {
            continue;
        };
        findings.push(Finding::new(path, line_of(manifest, dependency), advice));
    }
    findings.extend(wrong_source(path, manifest, &table));
    findings
}

/// Versions stand in the root's manifest alone.
fn wrong_source(path: &str, manifest: &str, table: &Table) -> Vec<Finding> {
    let is_inherited =
        |value: &Value| value.get("workspace").and_then(Value::as_bool) == Some(true);
    let strays = dependency_tables(table)
        .flatten()
        .filter(|(_, value)| !is_inherited(value));
    let finding = |(name, _): (&String, &Value)| {
        let advice = format!(
            "write `{name}.workspace = true`, and its version into the root's [workspace.dependencies]"
        );
        Finding::new(path, line_of(manifest, name), advice)
    };
    strays.map(finding).collect()
}

mod tests {
    use super::*;

    #[track_caller]
    fn expect(path: &str, manifest: &str, expected: &[(usize, &str)]) {
        let findings = check(path, manifest);
        assert_eq!(findings.len(), expected.len(), "{findings:?}");
        for (finding, (line, word)) in findings.iter().zip(expected) {
            assert_eq!(finding.line, *line, "{finding}");
            assert!(finding.advice.contains(word), "{finding}");
        }
    }

    #[test]
    fn edges() {
        let srs = "[package]\nname = \"srs\"\n[dependencies]\n";
        expect("p", srs, &[]);
        let inherited = |name| format!("{srs}{name}.workspace = true\n");
        expect(
            "p",
            &inherited("envelope"),
            &[(4, "`srs` must not depend on `envelope`")],
        );
        expect("p", &inherited("tokio"), &[(4, "`srs` is pure")]);
        expect("p", &inherited("hmac"), &[]);
        let dev = "[package]\nname = \"srs\"\n[dev-dependencies]\nenvelope.workspace = true\n";
        expect("p", dev, &[]);
        expect(
            "p",
            &format!("{srs}hmac = \"1\"\n"),
            &[(4, "hmac.workspace")],
        );
        let target = "[package]\nname = \"bounce\"\n[target.'cfg(unix)'.dependencies]\nqueue.workspace = true\n";
        expect("p", target, &[(4, "`bounce` must not depend on `queue`")]);
        expect("p", "[package]\nname = \"new\"\n", &[(1, "add a row")]);
        let root = "[package]\nname = \"onward\"\n[dependencies]\nsrs.workspace = true\ntestkit.workspace = true\n";
        expect("Cargo.toml", root, &[(5, "dev-dependencies")]);
    }
}
