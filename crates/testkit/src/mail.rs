//! Messages for tests: made ones, and the comparison of what came out with what went in.

use std::fmt::Write;

/// A short message with CRLF line ends; the subject tells it from others.
pub fn short(subject: &str) -> Vec<u8> {
    format!(
        "From: Origin <origin@sender.test>\r\nTo: someone@example.test\r\nSubject: {subject}\r\n\
         Date: Sat, 21 Nov 2026 12:34:56 +0000\r\nMessage-ID: <{subject}@sender.test>\r\n\r\n\
         Hello,\r\n.a line that starts with a dot\r\n"
    )
    .into_bytes()
}

/// A message of exactly `octets` octets (at least 200): lines of 0 to 998 octets, many that begin with dots, 8-bit text.
/// The same for the same number.
pub fn long(octets: usize) -> Vec<u8> {
    let mut mail = b"From: origin@sender.test\r\nSubject: long\r\nMIME-Version: 1.0\r\n\
        Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
        .to_vec();
    assert!(octets >= 200, "too short for a header and a line");
    let mut seed = octets as u64 | 1;
    while mail.len() + LINE_MAX + 4 < octets {
        // xorshift64: nothing depends on its quality, only on its being the same each time.
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        let line = match seed % 5 {
            0 => ".".repeat(1 + (seed >> 8) as usize % 3),
            1 => String::new(),
            2 => "ü".repeat((seed >> 8) as usize % (LINE_MAX / 2)),
            3 => format!(".{}", "x".repeat((seed >> 8) as usize % (LINE_MAX - 1))),
            _ => "The quick brown fox. ".repeat((seed >> 8) as usize % 47),
        };
        mail.extend_from_slice(line.as_bytes());
        mail.extend_from_slice(b"\r\n");
    }
    while octets - mail.len() > LINE_MAX + 2 {
        mail.extend_from_slice(b"filler\r\n");
    }
    let rest = octets - mail.len();
    mail.resize(mail.len() + rest.saturating_sub(2), b'z');
    mail.extend_from_slice(&b"\r\n"[..rest.min(2)]);
    mail
}

/// The trace fields that a relay put on top of `original`, unfolded names and values in order.
///
/// # Panics
/// When `delivered` does not end with `original` byte for byte, or anything but whole header fields stands above it. Shows
/// where the first difference is.
#[track_caller]
pub fn added_on_top(delivered: &[u8], original: &[u8]) -> Vec<(String, String)> {
    let Some(top) = delivered.strip_suffix(original) else {
        panic!(
            "the message was changed:\n{}",
            difference(delivered, original)
        );
    };
    let top = std::str::from_utf8(top).expect("trace fields are UTF-8");
    let mut fields: Vec<(String, String)> = Vec::new();
    for line in top.split_terminator("\r\n") {
        match (fields.last_mut(), line.split_once(": ")) {
            (Some((_, value)), _) if line.starts_with([' ', '\t']) => {
                value.push(' ');
                value.push_str(line.trim_start());
            }
            (_, Some((name, value))) => fields.push((name.to_owned(), value.to_owned())),
            _ => panic!("not a header field above the message: {line:?}"),
        }
    }
    assert!(
        top.is_empty() || top.ends_with("\r\n"),
        "the trace does not end with CRLF: {top:?}"
    );
    fields
}

/// Where two messages part, told from the end: that is the part that must not differ.
fn difference(delivered: &[u8], original: &[u8]) -> String {
    let same = delivered
        .iter()
        .rev()
        .zip(original.iter().rev())
        .take_while(|(a, b)| a == b)
        .count();
    let mut text = String::new();
    for (name, bytes) in [("delivered", delivered), ("original", original)] {
        let at = bytes.len() - same;
        let from = at.saturating_sub(CONTEXT);
        let to = (at + CONTEXT).min(bytes.len());
        let _ = writeln!(
            text,
            "{name:>9}: {} octets, differs before octet {at}: {}|{}",
            bytes.len(),
            bytes[from..at].escape_ascii(),
            bytes[at..to].escape_ascii()
        );
    }
    text
}

/// RFC 5321 §4.5.3.1.6, without the CRLF.
const LINE_MAX: usize = 998;
const CONTEXT: usize = 60;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_mail_has_its_length_and_legal_lines() {
        for octets in [200, 1199, 1200, 5000, 100_001] {
            let mail = long(octets);
            assert_eq!(mail.len(), octets);
            assert!(mail.ends_with(b"\r\n"));
            let text = String::from_utf8(mail).expect("whole characters");
            assert!(
                text.split("\r\n")
                    .all(|line| line.len() <= LINE_MAX && !line.contains(['\r', '\n']))
            );
        }
        assert!(long(100_000).windows(3).any(|w| w == b"\n.\r"));
    }

    #[test]
    fn trace_on_top() {
        let fields = added_on_top(
            b"Received: from a\r\n\tby b\r\nX: y\r\nS: t\r\n\r\n",
            b"S: t\r\n\r\n",
        );
        let expected = [("Received", "from a by b"), ("X", "y")];
        assert_eq!(fields, expected.map(|(n, v)| (n.to_owned(), v.to_owned())));
    }

    #[test]
    #[should_panic(expected = "differs before octet 4: S: T|x")]
    fn change_is_shown() {
        added_on_top(b"S: Tx\r\n\r\n", b"S: tx\r\n\r\n");
    }
}
