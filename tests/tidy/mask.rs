//! Rust source with its comments, strings and characters blanked, so that a search finds only code.
//!
//! A lexer of the few things that matter, not a parser: it knows nested comments, raw strings, and the difference
//! between a character and a lifetime. Lines and columns stay where they were.

use std::ops::Range;

/// The source with all but code replaced by spaces; same length, same lines.
pub(crate) fn code(source: &str) -> String {
    let mut out = source.as_bytes().to_vec();
    let mut at = 0;
    while at < source.len() {
        let end = at
            + blank_octets(
                &source.as_bytes()[at..],
                at > 0 && is_word(source.as_bytes()[at - 1]),
            );
        if end == at {
            at += 1;
            continue;
        }
        out[at..end]
            .iter_mut()
            .filter(|b| **b != b'\n')
            .for_each(|b| *b = b' ');
        at = end;
    }
    // Outside of comments and literals, Rust is ASCII but for identifiers, which are kept whole.
    String::from_utf8(out).unwrap()
}

/// The code without what is compiled for tests only: `#[cfg(test)]` and the item behind it are blanked too.
pub(crate) fn code_without_tests(source: &str) -> String {
    let mut code = code(source);
    while let Some(item) = test_item(&code) {
        let blank: String = code[item.clone()]
            .chars()
            .map(|c| if c == '\n' { c } else { ' ' })
            .collect();
        code.replace_range(item, &blank);
    }
    code
}

/// Where the first `#[cfg(test)]` item stands, its attribute included.
pub(crate) fn test_item(code: &str) -> Option<Range<usize>> {
    let start = code.find("#[cfg(test)]")?;
    Some(start..item_end(code, start))
}

/// The end of the item that begins at `start`: behind its `;` or its closing brace.
pub(crate) fn item_end(code: &str, start: usize) -> usize {
    let mut depth = 0_usize;
    for (at, b) in code.bytes().enumerate().skip(start) {
        match b {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' => depth = depth.saturating_sub(1),
            b'}' if depth <= 1 => return at + 1,
            b'}' => depth -= 1,
            b';' if depth == 0 => return at + 1,
            _ => {}
        }
    }
    code.len()
}

/// From 1.
pub(crate) fn line_at(text: &str, at: usize) -> usize {
    1 + text[..at].matches('\n').count()
}

pub(crate) fn is_word(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b == b'_' || !b.is_ascii()
}

/// How many octets at the start are a comment, a string or a character; 0 for code.
fn blank_octets(rest: &[u8], after_word: bool) -> usize {
    match rest {
        [b'/', b'/', ..] => rest.iter().position(|b| *b == b'\n').unwrap_or(rest.len()),
        [b'/', b'*', ..] => block_comment(rest),
        [b'"', ..] => 1 + quoted(&rest[1..], b'"'),
        // b'…', b"…", c"…" fall apart into a letter and the rest; only raw ones need their prefix.
        [b'r', b'"' | b'#', ..] if !after_word => raw_string(rest, 1),
        [b'b' | b'c', b'r', b'"' | b'#', ..] if !after_word => raw_string(rest, 2),
        [b'\'', b'\\', ..] => 1 + quoted(&rest[1..], b'\''),
        [b'\'', tail @ ..] => character(tail),
        _ => 0,
    }
}

fn block_comment(rest: &[u8]) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        let step = match &rest[at..] {
            [b'/', b'*', ..] => 1,
            [b'*', b'/', ..] => -1,
            _ => 0,
        };
        depth += step;
        at += if step == 0 { 1 } else { 2 };
        if depth == 0 {
            break;
        }
    }
    at
}

/// Up to and with the closing quote; a backslash takes the next octet with it.
fn quoted(rest: &[u8], quote: u8) -> usize {
    let mut at = 0;
    while at < rest.len() {
        match rest[at] {
            b'\\' => at += 2,
            b if b == quote => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

fn raw_string(rest: &[u8], prefix: usize) -> usize {
    let hashes = rest[prefix..].iter().take_while(|b| **b == b'#').count();
    let open = prefix + hashes;
    if rest.get(open) != Some(&b'"') {
        return 0;
    }
    let close = [b"\"".as_slice(), &b"#".repeat(hashes)].concat();
    let found = rest[open + 1..]
        .windows(close.len())
        .position(|window| window == close);
    found.map_or(rest.len(), |at| open + 1 + at + close.len())
}

/// `'x'`, behind its first quote; a lifetime has no second one and is code.
fn character(tail: &[u8]) -> usize {
    let octets = match tail.first() {
        None | Some(b'\'') => return 0,
        Some(0..0x80) => 1,
        Some(0x80..0xE0) => 2,
        Some(0xE0..0xF0) => 3,
        Some(_) => 4,
    };
    if tail.get(octets) == Some(&b'\'') {
        2 + octets
    } else {
        0
    }
}

mod tests {
    use super::*;

    #[track_caller]
    fn check(source: &str, expected: &str) {
        let code = code(source);
        assert_eq!(code.len(), source.len());
        assert_eq!(
            code.split_whitespace().collect::<Vec<_>>().join(" "),
            expected
        );
    }

    #[test]
    fn comments_and_literals_are_blanked() {
        check("a // b\nc", "a c");
        check("a /* b /* c */ d */ e", "a e");
        check(r#"a("b\"c", "d")"#, "a( , )");
        check("a(r\"b\\\", c)", "a( , c)");
        check("a(r##\"b\"# c\"##, d)", "a( , d)");
        check("a(br#\"b\"#, d)", "a( , d)");
        check("for\"x\"", "for");
        check("a('\"', b)", "a( , b)");
        check("a('\\'', 'ü', '\\u{1}') b", "a( , , ) b");
        check("fn a<'b>(c: &'b str)", "fn a<'b>(c: &'b str)");
        check("a \"b", "a");
        check("\"\\", "");
    }

    #[test]
    fn test_items_are_blanked() {
        let source = "a();\n#[cfg(test)]\nmod tests {\n  fn b() { [0; 3]; }\n}\nc();\n#[cfg(test)]\nmod d;\ne();";
        let code = code_without_tests(source);
        assert_eq!(
            code.split_whitespace().collect::<Vec<_>>(),
            ["a();", "c();", "e();"]
        );
        assert_eq!(line_at(&code, code.find("e()").unwrap()), 9);
    }
}
