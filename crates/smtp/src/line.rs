//! Command lines out of a stream of bytes (RFC 5321 §2.3.8): only CRLF ends a line.
//!
//! A bare CR, a bare LF or a NUL never ends a line, and no two parties might agree on where the next one begins. So with
//! one of these, as with a line over its limit, the session must end: nothing behind it is looked at.

use memchr::memchr3;
use zeroize::Zeroize;

/// Bytes that were received but not yet used, cut into lines on demand.
#[derive(Debug, Default)]
pub struct LineBuffer {
    bytes: Vec<u8>,
    /// What lies before it is used.
    start: usize,
    /// What lies between `start` and it is the line so far, and sound.
    scanned: usize,
}

/// Why a line is no command line. Told as soon as it shows, with no need for the line's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// Longer than the limit.
    #[error("line too long")]
    TooLong,
    /// A CR or LF that is not part of a CRLF, or a NUL.
    #[error("bare CR, bare LF or NUL in a command line")]
    Broken,
}

impl LineBuffer {
    /// Adds bytes at the end.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.start == self.bytes.len() {
            self.clear();
        } else if self.start >= COMPACT_FROM {
            self.bytes.drain(..self.start);
            self.scanned -= self.start;
            self.start = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// Takes the next whole line, without its CRLF; `None` when there is none yet. `octets_max` counts the CRLF in.
    pub fn next_line(&mut self, octets_max: usize) -> Option<Result<&[u8], LineError>> {
        let sound = &self.bytes[self.scanned..];
        let end = memchr3(b'\r', b'\n', 0, sound).map_or(self.bytes.len(), |at| self.scanned + at);
        self.scanned = end;
        if end - self.start + 2 > octets_max {
            return Some(Err(LineError::TooLong));
        }
        match self.bytes[end..] {
            [] | [b'\r'] => None,
            [b'\r', b'\n', ..] => {
                let line = self.start..end;
                self.start = end + 2;
                self.scanned = self.start;
                Some(Ok(&self.bytes[line]))
            }
            _ => Some(Err(LineError::Broken)),
        }
    }

    /// What is not used yet.
    pub fn unread(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    /// Uses up the first `octets` of [`LineBuffer::unread`].
    pub fn consume(&mut self, octets: usize) {
        self.start += octets;
        assert!(self.start <= self.bytes.len(), "more used than was there");
        self.scanned = self.scanned.max(self.start);
    }

    /// Overwrites what is used: it was a secret.
    pub fn wipe_used(&mut self) {
        self.bytes[..self.start].zeroize();
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.start = 0;
        self.scanned = 0;
    }
}

/// Used bytes are moved out only when this many have gathered: moving has its price.
const COMPACT_FROM: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds `input` split at every point and compares the lines found, up to the first error; `!` is too long, `?` broken.
    #[track_caller]
    fn check(input: &str, expected: &[&str]) {
        for split in 0..=input.len() {
            let mut buffer = LineBuffer::default();
            let mut got = Vec::new();
            for part in [&input.as_bytes()[..split], &input.as_bytes()[split..]] {
                buffer.push(part);
                while let Some(line) = buffer.next_line(10) {
                    let error = match line {
                        Ok(line) => {
                            got.push(String::from_utf8(line.to_vec()).unwrap());
                            continue;
                        }
                        Err(LineError::TooLong) => "!",
                        Err(LineError::Broken) => "?",
                    };
                    if got.last().is_none_or(|last| last != error) {
                        got.push(error.to_owned());
                    }
                    break;
                }
            }
            assert_eq!(got, expected, "{input:?} split at {split}");
        }
    }

    #[test]
    fn lines() {
        check("NOOP\r\nQUIT\r\n", &["NOOP", "QUIT"]);
        check("\r\n\r\n", &["", ""]);
        check("12345678\r\n", &["12345678"]);
        check("12345678\r", &[]);
        check("NOOP", &[]);
        check("NOOP\r", &[]);
    }

    /// As soon as it shows: no client is left waiting for an answer to a line that it thinks ended.
    #[test]
    fn what_ends_the_session() {
        check("123456789", &["!"]);
        check("123456789\r\n", &["!"]);
        check("A\r\n123456789012345678901234\r\nA\r\n", &["A", "!"]);
        check("NOOP\n", &["?"]);
        check("a\nb\r\nc\r\n", &["?"]);
        check("a\rb", &["?"]);
        check("a\r\r\nc\r\n", &["?"]);
        check("a\r\n\nc\r\n", &["a", "?"]);
        check("a\0", &["?"]);
    }

    #[test]
    fn a_line_behind_consumed_bytes() {
        let mut buffer = LineBuffer::default();
        buffer.push(b"\r");
        assert_eq!(buffer.next_line(10), None);
        buffer.consume(1);
        buffer.push(b"\nA\r\n");
        // The CR was used as body: it may not pair with the LF.
        assert_eq!(buffer.next_line(10), Some(Err(LineError::Broken)));
    }

    #[test]
    fn memory_stays_bounded() {
        let mut buffer = LineBuffer::default();
        for _ in 0..10_000 {
            buffer.push(b"a\r\nb\r");
            while buffer.next_line(2048).is_some() {}
            buffer.push(b"\n");
            while buffer.next_line(2048).is_some() {}
        }
        assert!(buffer.bytes.capacity() < 64 * 1024);
    }
}
