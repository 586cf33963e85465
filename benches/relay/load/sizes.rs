//! The octets of a message: all alike, or drawn as real mail's are.

use std::str::FromStr;

/// How large messages are, header included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sizes {
    /// All of this many octets, at least [`SIZE_MIN`].
    Fixed(usize),
    /// Log-normal with a median of 20 KiB and a mean of about 60 KiB, from [`SIZE_MIN`] to 10 MiB.
    Real,
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
