//! The text of all messages: rendered once, cut where each size wants it.
//!
//! Every message below its stamp is a prefix of one text, so that a body costs nothing but the write. The text begins with a complete header
//! (a relay has nothing to add to it) and goes on in lines of 76 characters that do not compress well; one in sixteen begins with a dot.

use authentic::Key;
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
    /// Renders what messages of these sizes need; with a key, a signed text of one size.
    pub(super) fn new(sizes: Sizes, signer: Option<&Key>, seed: u64) -> Self {
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
        if let Some(key) = signer {
            bodies.sign(key);
        }
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
        Cut {
            plain,
            stuffed: plain + dots.partition_point(|dot| *dot < plain),
            checksum: self.checksum(plain),
        }
    }

    fn checksum(&self, plain: usize) -> u32 {
        let mut checksum = crc32fast::Hasher::new();
        checksum.update(&self.plain[..plain]);
        checksum.update(b"\r\n");
        checksum.finalize()
    }

    /// Signs the text of the only size, and puts a Message-ID, which the signature covers, and the signature above it.
    fn sign(&mut self, key: &Key) {
        let [mut cut] = self.cuts[..] else {
            return;
        };
        let mut reader = authentic::Reader::signing();
        for part in [SIGNED_ID, &self.plain[..cut.plain], b"\r\n"] {
            reader.feed(part);
        }
        // What does not get its signature is not proved where it arrives, and seen there.
        let now = stamp::now_micros() / 1_000_000;
        let signature = authentic::sign(key, &reader.finish(), now).unwrap_or_default();
        let top = [signature.as_bytes(), SIGNED_ID].concat();
        self.plain.splice(..0, top.iter().copied());
        self.stuffed.splice(..0, top.iter().copied());
        cut.plain += top.len();
        cut.stuffed += top.len();
        cut.checksum = self.checksum(cut.plain);
        self.cuts = vec![cut];
    }
}

impl Cut {
    /// Octets below the stamp, the last CRLF included.
    pub(super) fn octets(&self) -> u64 {
        self.plain as u64 + 2
    }
}

/// Writes what stands above the text: the stamp, and above it, unless the text has one, a Message-ID of its own for each message.
pub(super) fn write_head(head: &mut Vec<u8>, stamp: &stamp::Stamp, with_id: bool) {
    head.clear();
    if with_id {
        write_id(head, stamp);
    }
    stamp.write(head);
}

fn write_id(head: &mut Vec<u8>, stamp: &stamp::Stamp) {
    head.extend_from_slice(b"Message-ID: <");
    stamp::hex(head, u64::from(stamp.run), 8);
    head.push(b'.');
    stamp::hex(head, stamp.sequence, 16);
    head.extend_from_slice(b"@load.example>\r\n");
}

/// Octets of what [`write_head`] writes, a Message-ID included.
pub(super) const HEAD_LENGTH: usize = 13 + 8 + 1 + 16 + 16 + stamp::LENGTH;

const SIGNED_ID: &[u8] = b"Message-ID: <signed@load.example>\r\n";
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
