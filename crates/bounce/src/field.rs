//! Lines of a message: folded fields, wrapped paragraphs, quoted-printable.
//!
//! Whatever the input, what comes out has only CRLF line ends, no control characters, and no line over
//! [`LINE_OCTETS_MAX`].

/// RFC 5322 §2.1.1, less the CRLF.
pub(crate) const LINE_OCTETS_MAX: usize = 998;

/// Lines are wrapped here: below the 78 of RFC 5322 §2.1.1, and so that quoted-printable need not break them again.
const LINE_OCTETS_GOOD: usize = 75;

/// A single word is cut into pieces of this size; below the limit by room for an indent.
const WORD_OCTETS_MAX: usize = 900;

/// Appends `name: value` CRLF, folded between words (RFC 5322 §2.2.3).
pub(crate) fn field(out: &mut String, name: &str, value: &str) {
    let first = format!("{name}:");
    wrap(out, &first, " ", value);
}

/// Appends a paragraph that is wrapped between words, every line after `indent`.
pub(crate) fn paragraph(out: &mut String, indent: &str, text: &str) {
    wrap(out, "", indent, text);
}

/// `text` on one line: line ends and other control characters become spaces, runs of them one.
pub(crate) fn one_line(text: &str) -> String {
    let words = text.split(|c: char| c.is_whitespace() || c.is_control());
    let words: Vec<_> = words.filter(|word| !word.is_empty()).collect();
    words.join(" ")
}

/// The longest start of `text` that has no more than `octets` and ends between two characters.
pub(crate) fn clip(text: &str, octets: usize) -> &str {
    &text[..text.floor_char_boundary(octets)]
}

/// Quoted-printable for text (RFC 2045 §6.7): `\r\n` stays a line end, lines have at most 76 octets.
pub(crate) fn quoted_printable(bytes: &[u8]) -> String {
    const LINE_MAX: usize = 76;
    let mut out = String::with_capacity(bytes.len() + bytes.len() / 8);
    let mut column = 0;
    let mut rest = bytes;
    while let Some((&b, tail)) = rest.split_first() {
        if let Some(after) = rest.strip_prefix(b"\r\n") {
            out.push_str("\r\n");
            (rest, column) = (after, 0);
            continue;
        }
        // White space at the end of a line would be lost on the way.
        let ends_line = tail.is_empty() || tail.starts_with(b"\r\n");
        let plain = matches!(b, b'!'..=b'~') && b != b'=';
        let plain = plain || (matches!(b, b' ' | b'\t') && !ends_line);
        let octets = if plain { 1 } else { 3 };
        if column + octets > LINE_MAX - 1 {
            out.push_str("=\r\n");
            column = 0;
        }
        if plain {
            out.push(char::from(b));
        } else {
            out.push_str(&format!("={b:02X}"));
        }
        column += octets;
        rest = tail;
    }
    out
}

/// `first`, then the words of `text`; a new line, which begins with `indent`, where the next word does not fit.
fn wrap(out: &mut String, first: &str, indent: &str, text: &str) {
    let text = one_line(text);
    let start = if first.is_empty() { indent } else { first };
    let mut line = String::from(start);
    let mut has_word = false;
    for word in text.split(' ').flat_map(pieces) {
        if has_word && line.len() + 1 + word.len() > LINE_OCTETS_GOOD {
            end_line(out, &line);
            line = String::from(indent);
        } else if has_word || !first.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
        has_word = true;
    }
    end_line(out, &line);
}

fn end_line(out: &mut String, line: &str) {
    debug_assert!(line.len() <= LINE_OCTETS_MAX, "a word was not cut");
    out.push_str(line);
    out.push_str("\r\n");
}

/// A word that no line could hold, in pieces that one can.
fn pieces(word: &str) -> impl Iterator<Item = &str> {
    let mut rest = word;
    std::iter::from_fn(move || {
        let piece = clip(rest, WORD_OCTETS_MAX);
        rest = &rest[piece.len()..];
        (!piece.is_empty()).then_some(piece)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_field(value: &str, expected: &str) {
        let mut out = String::new();
        field(&mut out, "X", value);
        assert_eq!(out, expected);
    }

    #[test]
    fn fields() {
        check_field("a  b\r\nBcc: evil\0", "X: a b Bcc: evil\r\n");
        check_field("", "X:\r\n");
        let (a, b) = ("a".repeat(40), "b".repeat(40));
        check_field(&format!("{a} {b}"), &format!("X: {a}\r\n {b}\r\n"));
        let long = "ü".repeat(900);
        let (first, rest) = ("ü".repeat(450), "ü".repeat(450));
        check_field(&long, &format!("X: {first}\r\n {rest}\r\n"));
    }

    #[test]
    fn paragraphs() {
        let mut out = String::new();
        paragraph(&mut out, "  ", &["word"; 20].join(" "));
        let lines: Vec<_> = out.split_terminator("\r\n").collect();
        assert_eq!(lines.len(), 2);
        assert!(
            lines
                .iter()
                .all(|line| line.starts_with("  word") && line.len() <= LINE_OCTETS_GOOD)
        );
    }

    #[test]
    fn quoted_printable_lines() {
        assert_eq!(
            quoted_printable(b"a=b\r\nc \r\n\xff\r"),
            "a=3Db\r\nc=20\r\n=FF=0D"
        );
        let long = quoted_printable("ü".repeat(100).as_bytes());
        assert!(long.split("\r\n").all(|line| line.len() <= 76));
        assert_eq!(long.replace("=\r\n", ""), "=C3=BC".repeat(100));
    }
}
