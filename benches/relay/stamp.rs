//! The header line that the load puts on every message and the sink reads: run, number, moment, checksum.
//!
//! ```text
//! X-Bench: 00000001 000000000000002a 0006300f2a1c7e80 89abcdef 0000000000002800
//! ```
//!
//! Fields in hexadecimal of fixed width: the run, the sequence number, the intended time of sending in microseconds since the Unix
//! epoch, the CRC-32 and the length of everything *below* this line (the rest of the header and the body, dots not stuffed).
//! A relay puts its trace header above the line and must not touch what is below.
//! The clock is the system's, so load and sink may be two processes of one machine; between machines the clocks' difference is in the figures.

use std::time::{SystemTime, UNIX_EPOCH};

/// What the line says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// Which load sent it: loads at the same time, and a warm-up before, are told apart by it.
    pub(crate) run: u32,
    /// From 0, by run.
    pub(crate) sequence: u64,
    /// When it was to be sent, µs since the Unix epoch.
    pub(crate) intended_micros: u64,
    /// CRC-32 (IEEE) of everything below the line.
    pub(crate) checksum: u32,
    /// Octets below the line.
    pub(crate) octets: u64,
}

impl Stamp {
    /// The line, CRLF included.
    pub(crate) fn write(&self, line: &mut Vec<u8>) {
        line.extend_from_slice(NAME);
        hex(line, u64::from(self.run), 8);
        line.push(b' ');
        hex(line, self.sequence, 16);
        line.push(b' ');
        hex(line, self.intended_micros, 16);
        line.push(b' ');
        hex(line, u64::from(self.checksum), 8);
        line.push(b' ');
        hex(line, self.octets, 16);
        line.extend_from_slice(b"\r\n");
    }

    /// Reads a line, with or without its CRLF; `None` when it is no stamp.
    pub(crate) fn read(line: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(line.strip_prefix(NAME)?).ok()?;
        let mut words = text.split_ascii_whitespace();
        let mut word = || u64::from_str_radix(words.next()?, 16).ok();
        let stamp = Self {
            run: u32::try_from(word()?).ok()?,
            sequence: word()?,
            intended_micros: word()?,
            checksum: u32::try_from(word()?).ok()?,
            octets: word()?,
        };
        words.next().is_none().then_some(stamp)
    }

    /// Where the first stamp in `text` stands at the start of a line: the offset of the line.
    pub(crate) fn find(text: &[u8]) -> Option<usize> {
        if text.starts_with(NAME) {
            return Some(0);
        }
        memchr::memmem::find(text, LINE_START).map(|at| at + 1)
    }
}

/// Octets of a line, CRLF included.
pub(crate) const LENGTH: usize = NAME.len() + 8 + 1 + 16 + 1 + 16 + 1 + 8 + 1 + 16 + 2;

/// Now, in microseconds since the Unix epoch; 0 for a clock before it.
pub(crate) fn now_micros() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
    })
}

/// The last `digits` hexadecimal digits of `value`, by hand: this is done for every message, and `write!` costs ten times as much.
pub(crate) fn hex(line: &mut Vec<u8>, value: u64, digits: u32) {
    let digit = |at: u32| DIGITS[(value >> (4 * at) & 0xf) as usize];
    line.extend((0..digits).rev().map(digit));
}

const NAME: &[u8] = b"X-Bench: ";
const LINE_START: &[u8] = b"\nX-Bench: ";
const DIGITS: &[u8; 16] = b"0123456789abcdef";
