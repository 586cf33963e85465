//! What every Rust file keeps to.

use crate::Finding;
use crate::mask::{code, code_without_tests, is_word, line_at, test_item};

/// Lines of a file, its `#[cfg(test)]` items apart.
const LINES_MAX: usize = 400;

/// What must not stand in which crates' code, and why. The design's table: "must not contain".
const WORDS: [(&[&str], &[&str], &str); 4] = [
    (
        &["envelope", "srs", "smtp", "policy", "bounce"],
        &[
            "tokio::",
            "std::env",
            "rand::",
            "TcpStream",
            "TcpListener",
            "UdpSocket",
        ],
        "a pure crate takes it as an argument",
    ),
    (
        &["envelope", "srs", "smtp", "policy", "bounce", "forwarder"],
        &["Instant::now", "SystemTime::now"],
        "`now` is an argument",
    ),
    (
        &[
            "envelope", "srs", "smtp", "policy", "bounce", "dns", "smtp-in", "delivery", "relay",
        ],
        &["std::fs", "tokio::fs", "File::open", "File::create"],
        "files are read by the binary or the queue, and their bytes passed in",
    ),
    (
        &["forwarder", "queue"],
        &["TcpStream", "TcpListener", "UdpSocket"],
        "sockets belong to smtp-in, delivery, dns and control",
    ),
];

/// The first line is a `//!` line.
pub(crate) fn head(path: &str, source: &str) -> Vec<Finding> {
    if source.starts_with("//! ") {
        return Vec::new();
    }
    vec![Finding::new(
        path,
        1,
        "begin with `//! ` and what this file is, as a noun phrase",
    )]
}

/// Files under a `tests` directory are data and exempt.
pub(crate) fn length(path: &str, source: &str) -> Vec<Finding> {
    let mut masked = code(source);
    let mut lines = source.lines().count();
    while let Some(item) = test_item(&masked) {
        lines -= masked[item.clone()].lines().count();
        masked.replace_range(item, "");
    }
    if lines <= LINES_MAX || is_test(path) {
        return Vec::new();
    }
    let advice = format!(
        "{lines} lines without tests, {LINES_MAX} are allowed: move one thing into a file of its own"
    );
    vec![Finding::new(path, LINES_MAX + 1, advice)]
}

/// No `unwrap()` and no `expect(…)` where mail passes.
pub(crate) fn unwraps(path: &str, source: &str) -> Vec<Finding> {
    if is_test(path) {
        return Vec::new();
    }
    let advice = "outside tests, return an error; for what cannot be, use `unreachable!` or `assert!` with the reason";
    find(
        path,
        &code_without_tests(source),
        &[".unwrap()", ".expect("],
        advice,
    )
}

/// `#[expect(…, reason = …)]` goes away by itself, `#[allow]` stays for ever.
pub(crate) fn allows(path: &str, source: &str) -> Vec<Finding> {
    let advice = "use `#[expect(…, reason = \"…\")]`";
    find(path, &code(source), &["#[allow(", "#![allow("], advice)
}

/// Words that a crate's place in the design forbids.
pub(crate) fn words(path: &str, source: &str) -> Vec<Finding> {
    let stage = path
        .strip_prefix("crates/")
        .and_then(|rest| rest.split('/').next());
    // An example is a program of its own beside the crate.
    let is_program = is_test(path) || path.contains("/examples/");
    let Some(stage) = stage.filter(|_| !is_program) else {
        return Vec::new();
    };
    let code = code_without_tests(source);
    let rows = WORDS
        .iter()
        .filter(|(stages, _, _)| stages.contains(&stage));
    rows.flat_map(|(_, words, why)| find(path, &code, words, why))
        .collect()
}

/// Each place where one of `words` stands, not as the end of a longer word.
fn find(path: &str, code: &str, words: &[&str], why: &str) -> Vec<Finding> {
    let places = words
        .iter()
        .flat_map(|word| code.match_indices(word))
        .filter(|(at, word)| {
            let goes_on = *at > 0 && is_word(code.as_bytes()[at - 1]);
            !(goes_on && is_word(word.as_bytes()[0]))
        });
    let finding = |(at, word): (usize, &str)| {
        Finding::new(path, line_at(code, at), format!("`{word}`: {why}"))
    };
    places.map(finding).collect()
}

/// Test files, benches, the crate that only tests use, and the suite for engines.
fn is_test(path: &str) -> bool {
    let in_folder = path.split('/').any(|part| {
        matches!(
            part,
            "tests" | "benches" | "testkit" | "conformance" | "conformance.rs"
        )
    });
    in_folder || path.ends_with("/tests.rs")
}

mod tests {
    use super::*;

    #[track_caller]
    fn check(rule: fn(&str, &str) -> Vec<Finding>, path: &str, source: &str, lines: &[usize]) {
        let found: Vec<_> = rule(path, source)
            .iter()
            .map(|finding| finding.line)
            .collect();
        assert_eq!(found, lines, "{path}: {source}");
    }

    const PATH: &str = "crates/smtp/src/a.rs";

    #[test]
    fn heads() {
        check(head, PATH, "//! A thing.\n", &[]);
        check(head, PATH, "use std::fmt;\n//! A thing.\n", &[1]);
        check(head, PATH, "", &[1]);
    }

    #[test]
    fn lengths() {
        let tests = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", "// x\n".repeat(100));
        check(
            length,
            PATH,
            &format!("{}{tests}", "a();\n".repeat(400)),
            &[],
        );
        check(
            length,
            PATH,
            &format!("{}{tests}", "a();\n".repeat(401)),
            &[401],
        );
        check(length, "tests/flow/a.rs", &"a();\n".repeat(500), &[]);
    }

    #[test]
    fn unwraps_are_found() {
        let source = "fn a() {\n  b.unwrap();\n  // .unwrap()\n  \".unwrap()\";\n  c\n    .expect(\"d\");\n}\n";
        check(unwraps, PATH, source, &[2, 6]);
        check(
            unwraps,
            PATH,
            &format!("#[cfg(test)]\nmod tests {{ {source} }}\n"),
            &[],
        );
        check(unwraps, "crates/smtp/tests/a.rs", source, &[]);
        check(unwraps, PATH, "a.unwrap_or(b); #[expect(c)] fn d() {}", &[]);
    }

    #[test]
    fn allows_are_found() {
        check(
            allows,
            PATH,
            "#[allow(dead_code)]\nfn a() {}\n// #[allow(b)]\n",
            &[1],
        );
        check(
            allows,
            "tests/main.rs",
            "//! A.\n#![allow(dead_code)]\n",
            &[2],
        );
        check(
            allows,
            PATH,
            "#[expect(dead_code, reason = \"b\")]\nfn a() {}\n",
            &[],
        );
    }

    #[test]
    fn words_are_found() {
        check(words, PATH, "use tokio::net;\n", &[1]);
        check(words, PATH, "let a = 1;\nlet now = Instant::now();\n", &[2]);
        check(
            words,
            PATH,
            "// Instant::now()\nlet a: Instant;\nlet b = strand::c();\n",
            &[],
        );
        check(
            words,
            "crates/delivery/src/a.rs",
            "Instant::now(); std::fs::read(a);\n",
            &[1],
        );
        check(
            words,
            "crates/queue/src/a.rs",
            "std::fs::read(a);\nTcpStream::connect(b);\n",
            &[2],
        );
        check(words, "crates/smtp/tests/a.rs", "use tokio::net;\n", &[]);
        check(words, "crates/smtp/examples/a.rs", "use tokio::net;\n", &[]);
        check(words, "crates/onward/main.rs", "use tokio::net;\n", &[]);
    }
}
