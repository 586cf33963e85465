//! Command lines out of a stream of bytes (RFC 5321 §2.3.8): only CRLF ends a line.
//!
//! A bare CR, a bare LF or a NUL never ends a line but spoils the one that it is in, so that no two parties can
//! disagree on where a command ends. A line that is too long is read to its end without being kept.

use memchr::{memchr, memchr_iter, memchr3};

/// Bytes that were received but not yet used, cut into lines on demand.
#[derive(Debug, Default)]
pub struct LineBuffer {
    bytes: Vec<u8>,
    /// What lies before it is used.
    start: usize,
    /// What lies before it holds no end of line.
    scanned: usize,
    /// The line that is coming in is over its limit and being dropped.
    overlong: bool,
}

/// Why a line is no command line. The line is used up.
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
            self.clear_used();
        } else if self.start >= COMPACT_FROM {
            self.bytes.drain(..self.start);
            self.scanned -= self.start;
            self.start = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// Takes the next whole line, without its CRLF. `octets_max` counts the CRLF in.
    pub fn next_line(&mut self, octets_max: usize) -> Option<Result<&[u8], LineError>> {
        let Some(end) = self.find_line_end() else {
            self.drop_overlong(octets_max);
            return None;
        };
        let line = self.start..end - 2;
        self.start = end;
        self.scanned = end;
        let too_long = std::mem::take(&mut self.overlong) || line.len() + 2 > octets_max;
        let line = &self.bytes[line];
        Some(if too_long {
            Err(LineError::TooLong)
        } else if memchr3(b'\r', b'\n', 0, line).is_some() {
            Err(LineError::Broken)
        } else {
            Ok(line)
        })
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

    /// Forgets everything, an overlong line in progress too.
    pub fn clear(&mut self) {
        self.clear_used();
        self.overlong = false;
    }

    fn clear_used(&mut self) {
        self.bytes.clear();
        self.start = 0;
        self.scanned = 0;
    }

    /// Where the byte behind the next CRLF is.
    fn find_line_end(&mut self) -> Option<usize> {
        let from = self.scanned;
        let found = memchr_iter(b'\n', &self.bytes[from..])
            .map(|at| from + at)
            .find(|at| *at > self.start && self.bytes[at - 1] == b'\r');
        if found.is_none() {
            self.scanned = self.bytes.len();
        }
        found.map(|at| at + 1)
    }

    /// Keeps an unfinished line below its limit; of a dropped one only a last CR matters.
    fn drop_overlong(&mut self, octets_max: usize) {
        if !self.overlong && self.unread().len() < octets_max {
            return;
        }
        self.overlong = true;
        let ends_in_cr = self.unread().last() == Some(&b'\r');
        self.start = self.bytes.len() - usize::from(ends_in_cr);
        debug_assert!(memchr(b'\n', self.unread()).is_none());
    }
}

/// Used bytes are moved out only when this many have gathered: moving has its price.
const COMPACT_FROM: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds `input` split at every point and compares the lines found; `!` is too long, `?` broken.
    #[track_caller]
    fn check(input: &str, expected: &[&str]) {
        for split in 0..=input.len() {
            let mut buffer = LineBuffer::default();
            let mut got = Vec::new();
            for part in [&input.as_bytes()[..split], &input.as_bytes()[split..]] {
                buffer.push(part);
                while let Some(line) = buffer.next_line(10) {
                    got.push(match line {
                        Ok(line) => String::from_utf8(line.to_vec()).unwrap(),
                        Err(LineError::TooLong) => "!".to_owned(),
                        Err(LineError::Broken) => "?".to_owned(),
                    });
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
        check("123456789\r\n", &["!"]);
        check("123456789012345678901234\r\nA\r\n", &["!", "A"]);
        check("123456789012\n\r345\r\r\nA\r\n", &["!", "A"]);
        check("a\nb\r\nc\r\n", &["?", "c"]);
        check("a\rb\r\nc\r\n", &["?", "c"]);
        check("a\r\r\nc\r\n", &["?", "c"]);
        check("\na\r\nc\r\n", &["?", "c"]);
        check("a\0b\r\nc\r\n", &["?", "c"]);
        check("a\n\r\n\n", &["?"]);
        check("NOOP", &[]);
        check("NOOP\r", &[]);
        check("NOOP\n", &[]);
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
            buffer.push(&[b'a'; 1000]);
            assert_eq!(buffer.next_line(2048), None);
        }
        assert!(buffer.bytes.capacity() < 64 * 1024);
        for _ in 0..10_000 {
            buffer.push(b"a\r\nb\r");
            while buffer.next_line(2048).is_some() {}
            buffer.push(b"\n");
            while buffer.next_line(2048).is_some() {}
        }
        assert!(buffer.bytes.capacity() < 64 * 1024);
    }
}
