//! A filter's words, so that they can stand in a reply, a log line or a header: printable ASCII, and not too much of it.

/// Text on one line.
pub(crate) fn text(raw: &str) -> String {
    let words = raw.split(|c: char| c.is_whitespace() || c.is_control());
    let words: Vec<_> = words.filter(|word| !word.is_empty()).collect();
    let joined = words.join(" ");
    joined.chars().take(TEXT_MAX).map(plain).collect()
}

/// A whole header field (RFC 5322 §2.2), with all its blanks and folds: the value, which is all behind the colon, may hold a
/// signature of itself. None: it is not one, or too long.
pub(crate) fn field(name: &str, value: &str) -> Option<String> {
    let fits = |b: u8| matches!(b, b'!'..=b'~') && b != b':';
    if name.is_empty()
        || name.len() > NAME_MAX
        || !name.bytes().all(fits)
        || value.len() > FIELD_MAX
    {
        return None;
    }
    let mut whole = format!("{name}:");
    let lines = value.split(['\r', '\n']);
    for (number, line) in lines.filter(|line| !line.trim().is_empty()).enumerate() {
        if number > 0 {
            whole.push_str("\r\n");
            // It could begin a field, or end the header.
            whole.extend((!line.starts_with([' ', '\t'])).then_some('\t'));
        }
        whole.extend(line.chars().map(plain));
    }
    whole.push_str("\r\n");
    whole
        .lines()
        .all(|line| line.len() <= LINE_MAX)
        .then_some(whole)
}

fn plain(c: char) -> char {
    match c {
        '\t' | ' '..='~' => c,
        _ => '?',
    }
}

/// Characters of a filter's text that are kept.
const TEXT_MAX: usize = 400;
/// Octets of a field's name; Postfix takes as many.
const NAME_MAX: usize = 100;
/// Octets of a field's value.
const FIELD_MAX: usize = 8 << 10;
/// RFC 5322 §2.1.1.
const LINE_MAX: usize = 998;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts() {
        assert_eq!(text("a\r\n550 b\t\u{202e}c\0"), "a 550 b ?c");
        assert_eq!(text(&"x".repeat(9000)).len(), TEXT_MAX);
        assert_eq!(text(" \r\n"), "");
    }

    #[test]
    fn fields() {
        let ok =
            |name, value, expected: &str| assert_eq!(field(name, value).as_deref(), Some(expected));
        ok("X-Spam", " Yes", "X-Spam: Yes\r\n");
        ok("X-A", "b;\n\t \tc \n d", "X-A:b;\r\n\t \tc \r\n d\r\n");
        ok(
            "X-A",
            " b\r\n\tc\nBcc: evil\r\n \r\n\r\nbody",
            "X-A: b\r\n\tc\r\n\tBcc: evil\r\n\tbody\r\n",
        );
        ok("X-A", "ü\0", "X-A:??\r\n");
        ok("X-A", " ", "X-A:\r\n");
        for name in ["", "X A", "X:", "X\r\nY", &"x".repeat(101)] {
            assert_eq!(field(name, "v"), None, "{name:?}");
        }
        assert_eq!(field("X", &"y".repeat(999)), None);
        assert_eq!(field("X", &"y\n".repeat(9000)), None);
    }
}
