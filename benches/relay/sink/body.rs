//! A message as it passes: dots taken out, the stamp found, the rest checked, and nothing kept.
//!
//! Until the stamp is found the octets are held, up to [`HEAD_MAX`]. A message with the null sender and no stamp in its header
//! may be a delivery status notification: then the stamp of the message that it is about is looked for in what is held.
//! Octets are scanned for CRLF and a dot by SIMD, never line by line.

use memchr::memmem;

use crate::stamp::Stamp;

/// A message under way.
#[derive(Debug, Default)]
pub(crate) struct Body {
    position: Position,
    head: Vec<u8>,
    /// How much of `head` has been looked at.
    scanned: usize,
    is_header_over: bool,
    below: Option<Below>,
    octets: u64,
}

/// A complete message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arrived {
    /// A message of a load.
    Stamped {
        /// What its stamp says.
        stamp: Stamp,
        /// Whether what is below the stamp is as it was sent.
        is_intact: bool,
        /// Whether a relay says above it that SPF, DKIM and DMARC pass.
        is_proved: bool,
    },
    /// A notification about a message of a load.
    Notice {
        /// That message's stamp.
        about: Stamp,
        /// For how many recipients delivery failed.
        failed: u16,
    },
    /// Something else.
    Stray,
}

/// What is below the stamp, so far.
#[derive(Debug)]
struct Below {
    stamp: Stamp,
    checksum: crc32fast::Hasher,
    octets: u64,
    is_proved: bool,
}

/// Where in a line of dot-stuffed data the next octet stands (RFC 5321 §4.5.2).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Position {
    #[default]
    LineStart,
    Text,
    Cr,
    Dot,
    DotCr,
}

impl Body {
    /// Takes octets that followed a 354: how many of them belong to the message, and whether it ended there.
    pub(crate) fn data(&mut self, input: &[u8]) -> (usize, bool) {
        let mut at = 0;
        while at < input.len() {
            let octet = input[at];
            match (self.position, octet) {
                (Position::Text, _) => at = self.text(input, at),
                (Position::Cr, b'\n') => {
                    self.take(b"\n");
                    self.position = Position::LineStart;
                    at += 1;
                }
                (Position::LineStart, b'.') => {
                    self.position = Position::Dot;
                    at += 1;
                }
                (Position::Dot, b'\r') => {
                    self.position = Position::DotCr;
                    at += 1;
                }
                (Position::DotCr, b'\n') => return (at + 1, true),
                (Position::DotCr, _) => {
                    self.take(b"\r");
                    self.position = Position::Text;
                }
                (Position::LineStart | Position::Cr | Position::Dot, _) => {
                    self.position = Position::Text;
                }
            }
        }
        (at, false)
    }

    /// Takes octets of a BDAT chunk.
    pub(crate) fn chunk(&mut self, input: &[u8]) {
        self.take(input);
    }

    /// Octets so far, dots taken out.
    pub(crate) fn octets(&self) -> u64 {
        self.octets
    }

    /// All octets are there.
    pub(crate) fn finish(self, has_null_sender: bool) -> Arrived {
        if let Some(below) = self.below {
            let stamp = below.stamp;
            let is_intact =
                below.octets == stamp.octets && below.checksum.finalize() == stamp.checksum;
            return Arrived::Stamped {
                stamp,
                is_intact,
                is_proved: below.is_proved,
            };
        }
        let quoted = || {
            let line = &self.head[Stamp::find(&self.head)?..];
            let line = &line[..memchr::memchr(b'\n', line)?];
            Stamp::read(line)
        };
        match quoted().filter(|_| has_null_sender) {
            Some(about) => Arrived::Notice {
                about,
                failed: failed(&self.head),
            },
            None => Arrived::Stray,
        }
    }

    /// Text from `at` up to the next dot at the start of a line, or the end; where it ends.
    fn text(&mut self, input: &[u8], at: usize) -> usize {
        let rest = &input[at..];
        if let Some(found) = memmem::find(rest, b"\r\n.") {
            self.take(&rest[..found + 2]);
            self.position = Position::LineStart;
            return at + found + 2;
        }
        self.take(rest);
        self.position = match rest {
            [.., b'\r', b'\n'] => Position::LineStart,
            [.., b'\r'] => Position::Cr,
            _ => Position::Text,
        };
        input.len()
    }

    fn take(&mut self, octets: &[u8]) {
        self.octets += octets.len() as u64;
        if let Some(below) = &mut self.below {
            below.take(octets);
            return;
        }
        let room = HEAD_MAX - self.head.len();
        self.head
            .extend_from_slice(&octets[..octets.len().min(room)]);
        if !self.is_header_over {
            self.look_for_stamp();
        }
    }

    fn look_for_stamp(&mut self) {
        // A line that was not complete may be now: go back to its start.
        let from = memchr::memrchr(b'\n', &self.head[..self.scanned]).unwrap_or(0);
        self.scanned = self.head.len();
        let fresh = &self.head[from..];
        let header_end = memmem::find(fresh, b"\n\r\n");
        let header = &fresh[..header_end.map_or(fresh.len(), |end| end + 1)];
        let Some(start) = Stamp::find(header) else {
            self.is_header_over = header_end.is_some();
            return;
        };
        let Some(length) = memchr::memchr(b'\n', &header[start..]) else {
            return;
        };
        let Some(stamp) = Stamp::read(&header[start..start + length]) else {
            self.is_header_over = true;
            return;
        };
        let above = &self.head[..from + start];
        let mut below = Below {
            stamp,
            checksum: crc32fast::Hasher::new(),
            octets: 0,
            is_proved: PROOFS.iter().all(|proof| says(above, proof)),
        };
        below.take(&fresh[start + length + 1..]);
        self.below = Some(below);
        self.head = Vec::new();
    }
}

impl Below {
    fn take(&mut self, octets: &[u8]) {
        self.checksum.update(octets);
        self.octets += octets.len() as u64;
    }
}

fn says(header: &[u8], what: &[u8]) -> bool {
    memmem::find(header, what).is_some()
}

/// How many recipients a notification says have failed (RFC 3464 §2.3.3): one when it has no such fields, none when it tells of
/// a delay only.
fn failed(notice: &[u8]) -> u16 {
    let count = |what: &[u8]| memmem::find_iter(notice, what).count();
    match (count(b"\nAction: failed"), count(b"\nAction: ")) {
        (0, 0) => 1,
        (failed, _) => u16::try_from(failed).unwrap_or(u16::MAX),
    }
}

/// As Authentication-Results says it (RFC 8601).
const PROOFS: [&[u8]; 3] = [b"spf=pass", b"dkim=pass", b"dmarc=pass"];
/// Octets that are held of a message without a stamp.
const HEAD_MAX: usize = 256 << 10;
