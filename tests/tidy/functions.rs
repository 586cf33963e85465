//! The length of functions.

use std::ops::Range;

use crate::Finding;
use crate::mask::{code, is_word, item_end, line_at};

/// Lines of code from `fn` to the closing brace; comments and empty lines are free, as for clippy.
const LINES_MAX: usize = 70;

/// Functions that are too long, unless `#[expect(clippy::too_many_lines, reason = …)]` stands above.
pub(crate) fn length(path: &str, source: &str) -> Vec<Finding> {
    let code = code(source);
    let long = functions(&code).filter_map(|function| {
        let text = &code[function.clone()];
        let lines = text.lines().filter(|line| !line.trim().is_empty()).count();
        if lines <= LINES_MAX || is_excused(&code, function.start) {
            return None;
        }
        let advice =
            format!("function of {lines} lines, {LINES_MAX} are allowed: split it at its steps");
        Some(Finding::new(path, line_at(&code, function.start), advice))
    });
    long.collect()
}

/// Every `fn name`; `fn(…)` as a type has no name.
fn functions(code: &str) -> impl Iterator<Item = Range<usize>> {
    code.match_indices("fn ").filter_map(move |(at, _)| {
        let is_start = at == 0 || !is_word(code.as_bytes()[at - 1]);
        let is_named = code[at + 3..].bytes().next().is_some_and(is_word);
        (is_start && is_named).then(|| at..item_end(code, at))
    })
}

/// What stands between the item before and this one: its attributes.
fn is_excused(code: &str, start: usize) -> bool {
    let before = &code[..start];
    let attributes = before
        .rfind(['{', '}', ';'])
        .map_or(before, |end| &before[end..]);
    attributes.contains("#[expect(") && attributes.contains("clippy::too_many_lines")
}

mod tests {
    use super::*;

    #[track_caller]
    fn check(before: &str, body_lines: usize, expected: usize) {
        let body = "    step();\n".repeat(body_lines);
        let source = format!(
            "struct A;\n{before}pub fn a(b: [u8; 3]) {{\n{body}\n    // free\n}}\nfn c() {{}}\n"
        );
        let findings = length("p", &source);
        assert_eq!(findings.len(), expected, "{findings:?}");
        assert!(
            findings
                .iter()
                .all(|finding| finding.line == 2 + before.matches('\n').count())
        );
    }

    #[test]
    fn long_functions_are_found() {
        check("", 68, 0);
        check("", 69, 1);
        check(
            "#[expect(clippy::too_many_lines, reason = \"a table\")]\n",
            69,
            0,
        );
        check(
            "#[expect(clippy::other, reason = \"too_many_lines\")]\n",
            69,
            1,
        );
        check("#[expect(clippy::too_many_lines)]\nfn d() {}\n", 69, 1);
    }
}
