//! The text of all messages: rendered once, cut where each size wants it.
//!
//! Every message below its stamp is a prefix of one text, so that a body costs nothing but the write. The text begins with a complete header
//! (a relay has nothing to add to it) and goes on in lines of 76 characters that do not compress well; one in sixteen begins with a dot.

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::sizes::{SIZE_MIN, Sizes};
use crate::stamp;

/// One text and the places to cut it.
#[derive(Debug)]
pub(super) struct Bodies {
    /// As it is.
    plain: Vec<u8>,
    /// With a second dot before each dot at the start of a line (RFC 5321 §4.5.2).
    stuffed: Vec<u8>,
    cuts: Vec<Cut>,
}

/// One size of message below its stamp.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cut {
    plain: usize,
    stuffed: usize,
    /// CRC-32 of the text and the CRLF behind it.
    pub(super) checksum: u32,
}

impl Bodies {
    /// Renders what messages of these sizes need.
    pub(super) fn new(sizes: Sizes, seed: u64) -> Self {
        let mut rng = SmallRng::seed_from_u64(seed);
        let sizes = sizes.pool(&mut rng);
        let longest = sizes.iter().copied().fold(SIZE_MIN, usize::max);
        let mut bodies = Self {
            plain: Vec::with_capacity(longest + LINE),
            stuffed: Vec::with_capacity(longest + longest / 1000 + LINE),
            cuts: Vec::new(),
        };
        let dots = bodies.render(longest, &mut rng);
        bodies.cuts = sizes.iter().map(|size| bodies.cut(*size, &dots)).collect();
        bodies
    }

    /// One size of the pool.
    pub(super) fn draw(&self, rng: &mut SmallRng) -> Cut {
        match &self.cuts[..] {
            [only] => *only,
            cuts => cuts[rng.random_range(0..cuts.len())],
        }
    }

    /// The text for BDAT, without its last CRLF.
    pub(super) fn plain(&self, cut: Cut) -> &[u8] {
        &self.plain[..cut.plain]
    }

    /// The text for DATA, without its last CRLF.
    pub(super) fn stuffed(&self, cut: Cut) -> &[u8] {
        &self.stuffed[..cut.stuffed]
    }

    /// Fills both texts; the offsets of the dots that were doubled, in the plain one.
    fn render(&mut self, octets: usize, rng: &mut SmallRng) -> Vec<usize> {
        let mut dots = Vec::new();
        self.plain.extend_from_slice(HEADER);
        self.stuffed.extend_from_slice(HEADER);
        let mut line = [b'\n'; LINE];
        line[LINE - 2] = b'\r';
        for number in 0_usize.. {
            if self.plain.len() >= octets {
                break;
            }
            for octet in &mut line[..LINE - 2] {
                *octet = LETTERS[rng.random_range(0..LETTERS.len())];
            }
            if number % 16 == 7 {
                line[0] = b'.';
                dots.push(self.plain.len());
                self.stuffed.push(b'.');
            }
            self.plain.extend_from_slice(&line);
            self.stuffed.extend_from_slice(&line);
        }
        dots
    }

    fn cut(&self, size: usize, dots: &[usize]) -> Cut {
        let mut plain = size.saturating_sub(HEAD_LENGTH + 2).max(HEADER.len());
        // A CR before the CRLF that is put behind would stand alone.
        plain -= usize::from(self.plain[plain - 1] == b'\r');
        let mut checksum = crc32fast::Hasher::new();
        checksum.update(&self.plain[..plain]);
        checksum.update(b"\r\n");
        Cut {
            plain,
            stuffed: plain + dots.partition_point(|dot| *dot < plain),
            checksum: checksum.finalize(),
        }
    }
}

impl Cut {
    /// Octets below the stamp, the last CRLF included.
    pub(super) fn octets(&self) -> u64 {
        self.plain as u64 + 2
    }
}

/// Writes what stands above the text: a Message-ID of its own for each message, and the stamp.
pub(super) fn write_head(head: &mut Vec<u8>, stamp: &stamp::Stamp) {
    head.clear();
    head.extend_from_slice(b"Message-ID: <");
    stamp::hex(head, u64::from(stamp.run), 8);
    head.push(b'.');
    stamp::hex(head, stamp.sequence, 16);
    head.extend_from_slice(b"@load.example>\r\n");
    stamp.write(head);
}

/// Octets of what [`write_head`] writes.
pub(super) const HEAD_LENGTH: usize = 13 + 8 + 1 + 16 + 16 + stamp::LENGTH;

const HEADER: &[u8] = b"Date: Sat, 21 Nov 2026 12:00:00 +0000\r\n\
From: Load <load@load.example>\r\n\
To: Sink <sink@load.example>\r\n\
Subject: A message of the load harness\r\n\
MIME-Version: 1.0\r\n\
Content-Type: text/plain; charset=us-ascii\r\n\
\r\n";
/// Octets of a line, CRLF included.
const LINE: usize = 78;
const LETTERS: &[u8; 64] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+ ";
