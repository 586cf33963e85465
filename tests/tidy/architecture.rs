//! `ARCHITECTURE.md` against the tree: what it names in backticks has to exist.

use crate::Finding;

/// Files are named with one of these ends.
const ENDS: [&str; 6] = [".rs", ".md", ".toml", ".smtp", ".service", ".sh"];

/// A text that begins with one of these is a path whatever its end.
const ROOTS: [&str; 6] = ["crates/", "tests/", "etc/", "benches/", "spool/", ".ci/"];

/// `tree` holds every file and directory from the root. A path may be shortened from the left (`server/mod.rs`), and
/// a part of it may have a `*`.
pub(crate) fn check(path: &str, text: &str, tree: &[String]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (number, line) in text.lines().enumerate() {
        for named in line
            .split('`')
            .skip(1)
            .step_by(2)
            .filter(|named| is_path(named))
        {
            let pattern: Vec<_> = named.trim_end_matches('/').split('/').collect();
            if !tree.iter().any(|known| ends_with(known, &pattern)) {
                let advice = format!("`{named}` does not exist: name what is there now");
                findings.push(Finding::new(path, number + 1, advice));
            }
        }
    }
    findings
}

fn is_path(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._-/*".contains(c);
    let looks_like_one = ROOTS.iter().any(|root| text.starts_with(root))
        || ENDS.iter().any(|end| text.ends_with(end));
    looks_like_one && text.chars().all(allowed)
}

fn ends_with(known: &str, pattern: &[&str]) -> bool {
    let parts: Vec<_> = known.split('/').collect();
    let Some(skipped) = parts.len().checked_sub(pattern.len()) else {
        return false;
    };
    parts[skipped..]
        .iter()
        .zip(pattern)
        .all(|(part, pattern)| match pattern.split_once('*') {
            Some((start, end)) => {
                part.len() >= start.len() + end.len()
                    && part.starts_with(start)
                    && part.ends_with(end)
            }
            None => part == pattern,
        })
}

mod tests {
    use super::*;

    #[track_caller]
    fn expect(text: &str, expected: usize) {
        let tree = [
            "crates",
            "crates/smtp",
            "crates/smtp/src",
            "crates/smtp/src/dot.rs",
            "tests/a.smtp",
        ];
        let findings = check("p", text, &tree.map(str::to_owned));
        assert_eq!(findings.len(), expected, "{findings:?}");
        assert!(findings.iter().all(|finding| finding.line == 2));
    }

    #[test]
    fn paths() {
        expect(
            "\nSee `crates/smtp/src/dot.rs`, `dot.rs`, `src/dot.rs`, `crates/smtp/`.",
            0,
        );
        expect("\nSee `crates/*/src/dot.rs` and `tests/*.smtp`.", 0);
        expect("\nSee `dash.rs`.", 1);
        expect("\nSee `crates/imap/` and `lib/dot.rs`, `tests/*.eml`.", 3);
        expect(
            "\nNo paths: `text/plain`, `a::b`, `onward serve --config a.toml`, dash.rs.",
            0,
        );
    }
}
