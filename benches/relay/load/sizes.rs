//! The octets of a message: all alike, or drawn as real mail's are.

use std::f64::consts::TAU;
use std::str::FromStr;

use rand::RngExt;
use rand::rngs::SmallRng;

/// How large messages are, header included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sizes {
    /// All of this many octets, at least [`SIZE_MIN`].
    Fixed(usize),
    /// Log-normal with a median of 20 KiB and a mean of about 60 KiB, from [`SIZE_MIN`] to 10 MiB.
    Real,
}

impl Sizes {
    /// The sizes that messages are drawn from evenly.
    pub(super) fn pool(self, rng: &mut SmallRng) -> Vec<usize> {
        match self {
            Self::Fixed(octets) => vec![octets],
            Self::Real => (0..REAL_POOL).map(|_| real(rng)).collect(),
        }
    }
}

/// A log-normal draw, by Box and Muller.
fn real(rng: &mut SmallRng) -> usize {
    let (a, b): (f64, f64) = (1.0 - rng.random::<f64>(), rng.random());
    let normal = (-2.0 * a.ln()).sqrt() * (TAU * b).cos();
    let octets = REAL_MEDIAN * (REAL_SIGMA * normal).exp();
    octets.clamp(SIZE_MIN as f64, REAL_MAX) as usize
}

/// The smallest message: the stamp, a header and a line.
pub(crate) const SIZE_MIN: usize = 1 << 10;

impl FromStr for Sizes {
    type Err = String;

    /// `real`, or octets, with `K` or `M` for KiB and MiB: `10K`.
    fn from_str(text: &str) -> Result<Self, String> {
        if text == "real" {
            return Ok(Self::Real);
        }
        let (digits, unit) = match text.as_bytes().last() {
            Some(b'K' | b'k') => (&text[..text.len() - 1], 1 << 10),
            Some(b'M' | b'm') => (&text[..text.len() - 1], 1 << 20),
            _ => (text, 1),
        };
        let octets = digits.parse::<usize>().ok();
        octets
            .and_then(|octets| octets.checked_mul(unit))
            .filter(|octets| (SIZE_MIN..=SIZE_MAX).contains(octets))
            .map(Self::Fixed)
            .ok_or_else(|| format!("`{text}` is neither `real` nor a size from 1K to 100M"))
    }
}

/// The largest message: one copy is kept in memory.
const SIZE_MAX: usize = 100 << 20;
const REAL_MEDIAN: f64 = 20.0 * 1024.0;
/// Puts the mean at three times the median, as in real mail: most is text, most octets are in a few attachments.
const REAL_SIGMA: f64 = 1.5;
const REAL_MAX: f64 = 10.0 * 1024.0 * 1024.0;
/// Sizes in the pool: enough that the tail is there, few enough that their checksums are quick.
const REAL_POOL: usize = 2000;
