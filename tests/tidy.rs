//! House rules that the compiler does not check: crate edges, file heads, sizes, words, paths in the documentation.
//!
//! Each check is a pure function from text to [`Finding`]s, tried on a bad sample beside it, and run here over the
//! whole tree. A finding says where, and what to do.

#![expect(
    clippy::unwrap_used,
    reason = "a test: a file that cannot be read fails it"
)]

use std::fmt;
use std::path::Path;

#[path = "tidy/architecture.rs"]
mod architecture;
#[path = "tidy/edges.rs"]
mod edges;
#[path = "tidy/functions.rs"]
mod functions;
#[path = "tidy/log.rs"]
mod log;
#[path = "tidy/manifests.rs"]
mod manifests;
#[path = "tidy/mask.rs"]
mod mask;
#[path = "tidy/sources.rs"]
mod sources;
#[path = "tidy/tree.rs"]
mod tree;

/// A broken rule.
#[derive(Debug, PartialEq, Eq)]
struct Finding {
    file: String,
    /// From 1.
    line: usize,
    advice: String,
}

impl Finding {
    fn new(file: &str, line: usize, advice: impl Into<String>) -> Self {
        Self {
            file: file.to_owned(),
            line,
            advice: advice.into(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.advice)
    }
}

#[track_caller]
fn assert_none(findings: impl IntoIterator<Item = Finding>) {
    let lines: Vec<_> = findings
        .into_iter()
        .map(|finding| finding.to_string())
        .collect();
    assert!(
        lines.is_empty(),
        "{} to put right:\n{}",
        lines.len(),
        lines.join("\n")
    );
}

/// Every `.rs` file of ours, by its path from the root, and its text.
fn rust_files() -> Vec<(String, String)> {
    let files = tree::files()
        .into_iter()
        .filter(|path| path.ends_with(".rs"));
    files
        .map(|path| (path.clone(), tree::read(&path)))
        .collect()
}

fn check_rust(check: fn(&str, &str) -> Vec<Finding>) {
    let files = rust_files();
    assert!(
        files.len() > 50,
        "the tree was not found: {} files",
        files.len()
    );
    assert_none(files.iter().flat_map(|(path, text)| check(path, text)));
}

#[test]
fn crates_depend_only_on_what_the_design_allows() {
    assert_none(
        tree::manifests()
            .iter()
            .flat_map(|(path, text)| edges::check(path, text)),
    );
}

#[test]
fn manifests_take_the_workspace_s_lints() {
    assert_none(
        tree::manifests()
            .iter()
            .flat_map(|(path, text)| manifests::lints(path, text)),
    );
}

#[test]
fn pure_crates_have_fences_of_their_own() {
    let findings = edges::PURE.iter().flat_map(|name| {
        let path = format!("crates/{name}/clippy.toml");
        manifests::fences(&path, tree::read_if_there(&path).as_deref())
    });
    assert_none(findings);
}

#[test]
fn stages_hold_no_foreign_words() {
    check_rust(sources::words);
}

#[test]
fn files_say_what_they_are() {
    check_rust(sources::head);
}

#[test]
fn files_are_short() {
    check_rust(sources::length);
}

#[test]
fn functions_are_short() {
    check_rust(functions::length);
}

#[test]
fn nothing_unwraps_outside_tests() {
    check_rust(sources::unwraps);
}

#[test]
fn lints_are_not_switched_off() {
    check_rust(sources::allows);
}

#[test]
fn architecture_names_only_what_exists() {
    let path = "ARCHITECTURE.md";
    // Until it is written there is nothing to compare.
    if let Some(text) = tree::read_if_there(path) {
        assert_none(architecture::check(path, &text, &tree::all()));
    }
}

#[test]
fn the_mail_log_is_explained() {
    let doc = tree::read("etc/mail-log.md");
    let (value, rule) = (("=> \"", "\""), ("(\"", "\", "));
    let sources = rust_files().into_iter().filter_map(|(path, text)| {
        let marker = match &*path {
            "crates/journal/src/event.rs" | "crates/smtp/src/server/replies.rs" => value,
            path if path.ends_with("tests.rs") => return None,
            path if path.starts_with("crates/policy/src/rules/") => rule,
            _ => return None,
        };
        Some(log::names(&path, &text, marker, &doc))
    });
    let sources: Vec<_> = sources.collect();
    assert!(sources.len() > 8, "the sources were not found");
    let path = "crates/journal/src/fields.rs";
    let text = tree::read(path);
    for start in ["(out, \"", "out.text(\"", "out.number(\""] {
        assert_none(log::names(path, &text, (start, "\""), &doc));
    }
    assert_none(sources.into_iter().flatten());
}

#[test]
fn findings_say_where() {
    let finding = Finding::new("a/b.rs", 7, "do this");
    assert_eq!(finding.to_string(), "a/b.rs:7: do this");
    assert!(Path::new(tree::ROOT).join("Cargo.toml").exists());
}
