//! From a fuzzer's bytes to what a target needs: a plan, pieces of a stream, and texts.
//!
//! An input is a head of fixed size, the target's plan, and behind it the bytes of the wire or the file as they are:
//! so that seeds can be written by hand, and a mutation of one part does not change the other.

use arbitrary::{Arbitrary, Unstructured};

/// The plan at the front, and the rest. What is missing of a plan counts as zeros.
pub(crate) fn plan<'a, P: Arbitrary<'a>>(data: &'a [u8]) -> Option<(P, &'a [u8])> {
    let mut input = Unstructured::new(data);
    let plan = input.arbitrary().ok()?;
    Some((plan, input.take_rest()))
}

/// Cuts bytes as a network would: a seed of 0 leaves them whole, 1 gives one octet at a time, others any sizes.
pub(crate) struct Pieces<'a> {
    rest: &'a [u8],
    seed: u64,
}

impl<'a> Pieces<'a> {
    pub(crate) fn new(rest: &'a [u8], seed: u64) -> Self {
        Self { rest, seed }
    }
}

impl<'a> Iterator for Pieces<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.rest.is_empty() {
            return None;
        }
        let octets = match self.seed {
            0 => self.rest.len(),
            1 => 1,
            _ => {
                let random = xorshift(&mut self.seed) as usize;
                let octets_max = [1, 7, 60, 5000][random & 3];
                1 + (random >> 8) % octets_max
            }
        };
        let (piece, rest) = self.rest.split_at(octets.min(self.rest.len()));
        self.rest = rest;
        Some(piece)
    }
}

/// The next number of a row that depends on the seed alone (Marsaglia's xorshift64); the seed is not 0.
pub fn xorshift(seed: &mut u64) -> u64 {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    *seed
}

/// No control character: nothing that could end a line or a field, or confuse a terminal.
#[track_caller]
pub(crate) fn assert_clean(text: &str) {
    assert!(
        !text.contains(char::is_control),
        "control character in {text:?}"
    );
}

/// Whether a CR or LF stands alone, by the simplest definition.
pub(crate) fn has_bare_newline(bytes: &[u8]) -> bool {
    (0..bytes.len()).any(|at| match bytes[at] {
        b'\r' => bytes.get(at + 1) != Some(&b'\n'),
        b'\n' => at == 0 || bytes[at - 1] != b'\r',
        _ => false,
    })
}

/// The first place of `needle`.
pub(crate) fn find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    bytes
        .windows(needle.len())
        .position(|window| window == needle)
}
