//! How text from strangers is shown: nothing in it can move the cursor, reverse the line, or hide.
//!
//! Addresses, replies and subjects come from strangers. A terminal obeys control characters; overrides of direction make
//! a line read in another order; characters without width make two addresses look like one. All that is printed and logged
//! goes through here.

use std::borrow::Cow;
use std::fmt::Write;

/// For people: what must not be shown raw is written as Rust writes it, `\u{202e}`. Line feeds and tabs stay.
pub fn lines(text: &str) -> Cow<'_, str> {
    escape(
        text,
        |c| c == '\n' || c == '\t',
        |out, c| {
            out.extend(c.escape_default());
        },
    )
}

/// As [`lines`], for a value that must stay on its line.
pub fn line(text: &str) -> Cow<'_, str> {
    escape(text, |_| false, |out, c| out.extend(c.escape_default()))
}

/// A whole JSON document: the same value, written in JSON's own escapes. Between its strings there are only line feeds and blanks.
pub fn json(text: &str) -> Cow<'_, str> {
    escape(
        text,
        |c| c == '\n',
        |out, c| {
            for unit in c.encode_utf16(&mut [0; 2]) {
                // Writing to a string cannot fail.
                let _ = write!(out, "\\u{unit:04x}");
            }
        },
    )
}

fn escape(
    text: &str,
    keep: impl Fn(char) -> bool,
    put: impl Fn(&mut String, char),
) -> Cow<'_, str> {
    let is_raw = |c: char| is_unseen(c) && !keep(c);
    if !text.contains(is_raw) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match is_raw(c) {
            true => put(&mut out, c),
            false => out.push(c),
        }
    }
    Cow::Owned(out)
}

/// Control and format characters, separators other than the blank, and code points that Unicode has not assigned: the standard library
/// escapes them in a string's `Debug`, and has the tables. (The letter in front keeps combining marks as they are.)
fn is_unseen(c: char) -> bool {
    match c {
        ' '..='~' => false,
        '\0'..='\x7f' => true,
        _ => {
            let mut buffer = ['a', c].iter().collect::<String>();
            let plain = buffer.len();
            buffer = buffer.escape_debug().collect();
            buffer.len() != plain
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, shown: &str, as_json: &str) {
        assert_eq!(lines(text), shown);
        let document = serde_json::Value::String(text.to_owned()).to_string();
        assert_eq!(json(&document), as_json);
        let back: String = serde_json::from_str(&json(&document)).unwrap();
        assert_eq!(back, text);
    }

    #[test]
    fn what_moves_turns_or_hides_is_escaped() {
        check(
            "b\u{fc}cher@\u{4f8b}.example",
            "b\u{fc}cher@\u{4f8b}.example",
            "\"b\u{fc}cher@\u{4f8b}.example\"",
        );
        check(
            "bu\u{308}cher \u{928}\u{93f}",
            "bu\u{308}cher \u{928}\u{93f}",
            "\"bu\u{308}cher \u{928}\u{93f}\"",
        );
        check("a\u{202e}b", "a\\u{202e}b", "\"a\\u202eb\"");
        check(
            "a\u{200b}b\u{2066}",
            "a\\u{200b}b\\u{2066}",
            "\"a\\u200bb\\u2066\"",
        );
        check(
            "a\u{2028}\u{2029}\u{feff}",
            "a\\u{2028}\\u{2029}\\u{feff}",
            "\"a\\u2028\\u2029\\ufeff\"",
        );
        check(
            "\x1b[2J\x7f\u{9b}",
            "\\u{1b}[2J\\u{7f}\\u{9b}",
            "\"\\u001b[2J\\u007f\\u009b\"",
        );
        check("a\u{e0041}", "a\\u{e0041}", "\"a\\udb40\\udc41\"");
        check(
            "two\nlines\t\"'\\",
            "two\nlines\t\"'\\",
            "\"two\\nlines\\t\\\"'\\\\\"",
        );
        assert_eq!(line("two\nlines"), "two\\nlines");
    }
}
