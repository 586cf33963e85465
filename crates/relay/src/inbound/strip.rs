//! Authentication-Results fields that claim to be ours, taken out of a header as it streams in (RFC 8601 §5).
//!
//! Works on chunks split anywhere. It holds back the start of one field, at most [`CLAIM_OCTETS_MAX`] octets, and of most fields
//! nothing. All else goes on byte for byte.

use authentic::{CLAIM_OCTETS_MAX, is_ours};
use envelope::Domain;

/// Takes our own fields out of a header.
#[derive(Debug)]
pub(super) struct Strip {
    /// Ours.
    hostname: Domain,
    /// The start of a field, while it may be ours.
    held: Vec<u8>,
    field: Field,
    at_line_start: bool,
    /// The header is over.
    pub(super) is_done: bool,
    /// Fields that were taken out.
    pub(super) removed: u64,
}

/// What becomes of the field that is being read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Undecided,
    Kept,
    Removed,
}

impl Strip {
    pub(super) fn new(hostname: Domain) -> Self {
        Self {
            hostname,
            held: Vec::new(),
            field: Field::Undecided,
            at_line_start: true,
            is_done: false,
            removed: 0,
        }
    }

    /// Takes the next chunk; what is to go on is appended to `out`.
    pub(super) fn feed(&mut self, mut chunk: &[u8], out: &mut Vec<u8>) {
        out.reserve(chunk.len());
        while let Some(first) = chunk.first().filter(|_| !self.is_done) {
            if self.at_line_start && !matches!(first, b' ' | b'\t') {
                self.decide(out);
                self.field = match first {
                    b'a' | b'A' => Field::Undecided,
                    b'!'..=b'~' => Field::Kept,
                    // The empty line perhaps; and some readers pass over control characters.
                    _ => Field::Undecided,
                };
            }
            let end = memchr::memchr(b'\n', chunk).map(|at| at + 1);
            self.at_line_start = end.is_some();
            let (line, rest) = chunk.split_at(end.unwrap_or(chunk.len()));
            self.take(line, out);
            if self.at_line_start && matches!(*self.held, [b'\n'] | [b'\r', b'\n']) {
                self.finish(out);
            }
            chunk = rest;
        }
        out.extend_from_slice(chunk);
    }

    /// The header is over, or there is none.
    pub(super) fn finish(&mut self, out: &mut Vec<u8>) {
        self.decide(out);
        self.is_done = true;
    }

    /// Takes octets of one field.
    fn take(&mut self, octets: &[u8], out: &mut Vec<u8>) {
        let room = match self.field {
            Field::Undecided => CLAIM_OCTETS_MAX - self.held.len(),
            _ => 0,
        };
        let (first, rest) = octets.split_at(octets.len().min(room));
        self.held.extend_from_slice(first);
        if self.held.len() == CLAIM_OCTETS_MAX {
            self.decide(out);
        }
        if self.field == Field::Kept {
            out.extend_from_slice(rest);
        }
    }

    /// Enough of the field is there, or all of it.
    fn decide(&mut self, out: &mut Vec<u8>) {
        if self.field != Field::Undecided {
            return;
        }
        self.field = match is_ours(&self.held, &self.hostname) {
            true => Field::Removed,
            false => Field::Kept,
        };
        match self.field {
            Field::Removed => self.removed += 1,
            _ => out.extend_from_slice(&self.held),
        }
        self.held.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strip(chunks: &[&[u8]]) -> (Vec<u8>, u64) {
        let hostname = "mx.example.net".parse().unwrap();
        let (mut strip, mut out) = (Strip::new(hostname), Vec::new());
        for chunk in chunks {
            strip.feed(chunk, &mut out);
            assert!(strip.held.len() < CLAIM_OCTETS_MAX);
        }
        strip.finish(&mut out);
        (out, strip.removed)
    }

    /// Whole, in single octets, and split at every point.
    #[track_caller]
    fn check(message: &str, expected: &str, removed: u64) {
        let message = message.as_bytes();
        let expected = (expected.as_bytes().to_vec(), removed);
        let octets: Vec<&[u8]> = message.chunks(1).collect();
        assert_eq!(strip(&octets), expected);
        for at in 0..=message.len() {
            let (one, other) = message.split_at(at);
            assert_eq!(strip(&[one, other]), expected, "at {at}");
        }
    }

    #[track_caller]
    fn unchanged(message: &str) {
        check(message, message, 0);
    }

    #[test]
    fn our_fields_are_taken_out_and_nothing_else() {
        let ours =
            "Authentication-Results: mx.example.net;\r\n\tdkim=pass header.d=bank.example\r\n";
        let (top, rest) = ("From: a@b.example\r\n", "Subject: x\r\n y\r\n\r\n");
        check(&format!("{ours}{top}{rest}"), &format!("{top}{rest}"), 1);
        check(
            &format!("{top}{ours}{ours}{rest}{ours}"),
            &format!("{top}{rest}{ours}"),
            2,
        );
        check(&format!("{top}{ours}"), top, 1);
        check(
            &format!("{top}{ours}\r\n{ours}"),
            &format!("{top}\r\n{ours}"),
            1,
        );
        let odd = "\u{1}AUTHENTICATION-RESULTS \t:\r\n (x) MX.example.net; none\r\n";
        check(&format!("{top}{odd}{rest}"), &format!("{top}{rest}"), 1);
    }

    #[test]
    fn what_is_not_ours_stays_byte_for_byte() {
        unchanged("");
        unchanged("\r\n");
        unchanged("\r\nAuthentication-Results: mx.example.net; none\r\n");
        unchanged("Authentication-Results: other.example; spf=pass\r\n\r\nbody");
        unchanged("Authentication-Result: mx.example.net; none\r\nA: b\r\n \r\n\t\r\nx");
        unchanged(" folded at the top\r\nA\r\n\rb\r\nc\r\n\r\nend");
    }

    #[test]
    fn a_long_field_is_judged_by_its_start() {
        let fold = format!("{}\r\n\t", "x".repeat(900)).repeat(40);
        let check = |start: &str, is_ours: bool| {
            let field = format!("Authentication-Results: {start}{fold}\r\n");
            let message = format!("A: b\r\n{field}C: d\r\n\r\nbody");
            let expected = match is_ours {
                true => "A: b\r\nC: d\r\n\r\nbody",
                false => &message,
            };
            let octets: Vec<&[u8]> = message.as_bytes().chunks(7).collect();
            for chunks in [&[message.as_bytes()], &octets[..]] {
                assert_eq!(strip(chunks), (expected.into(), u64::from(is_ours)));
            }
        };
        check("mx.example.net; spf=pass ", true);
        check("other.example; spf=pass ", false);
        // Its name may still come, in a comment that has not ended.
        check("other.example (", true);
    }

    #[test]
    fn a_field_of_many_megabytes_takes_no_memory() {
        let hostname = "mx.example.net".parse().unwrap();
        let mut strip = Strip::new(hostname);
        let mut out = Vec::new();
        strip.feed(b"Authentication-Results: mx.example.net", &mut out);
        for _ in 0..1000 {
            strip.feed(&[b'x'; 5000], &mut out);
            assert!(strip.held.capacity() <= 2 * CLAIM_OCTETS_MAX && out.is_empty());
        }
    }
}
