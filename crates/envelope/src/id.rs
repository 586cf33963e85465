//! Message ids: ordered by time, unique across hosts, safe in file names, logs and replies.

use std::fmt;
use std::str::FromStr;

use crate::timestamp::Timestamp;

/// 48 bits of milliseconds, then 80 bits that the maker fills so that no two messages of any host agree.
/// Written as 26 characters of Crockford's base 32 (digits and upper-case letters without I, L, O, U).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MessageId(u128);

/// One leg of a message: the message and the leg's number in it, from 0.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LegId {
    /// The message.
    pub message: MessageId,
    /// The leg's number, from 0.
    pub number: u32,
}

/// A text that is no id of a message or leg.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a message id (26 characters of 0-9 and A-Z without I, L, O, U)")]
pub struct NotAnId;

impl MessageId {
    pub(crate) const DIGITS: usize = 26;

    /// An id of this moment. `unique` counts in its lower 80 bits.
    pub const fn new(now: Timestamp, unique: u128) -> Self {
        Self(((now.unix_millis() as u128) << 80) | (unique & ((1 << 80) - 1)))
    }

    /// As a number; [`MessageId::from_bits`] takes it back.
    pub const fn bits(self) -> u128 {
        self.0
    }

    /// From [`MessageId::bits`].
    pub const fn from_bits(bits: u128) -> Self {
        Self(bits)
    }

    /// When it was made.
    pub const fn timestamp(self) -> Timestamp {
        Timestamp::from_unix_millis((self.0 >> 80) as u64)
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digit = |i: usize| ALPHABET[(self.0 >> (5 * (Self::DIGITS - 1 - i)) & 31) as usize];
        let text: [u8; Self::DIGITS] = std::array::from_fn(digit);
        f.write_str(std::str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

impl FromStr for MessageId {
    type Err = NotAnId;

    /// Takes either case.
    fn from_str(text: &str) -> Result<Self, NotAnId> {
        // 26 digits hold 130 bits: the first may only be 0 to 7.
        if text.len() != Self::DIGITS || text.as_bytes()[0] > b'7' {
            return Err(NotAnId);
        }
        text.bytes()
            .try_fold(0u128, |bits, b| {
                let digit = ALPHABET
                    .iter()
                    .position(|d| *d == b.to_ascii_uppercase())
                    .ok_or(NotAnId)?;
                Ok((bits << 5) | digit as u128)
            })
            .map(Self)
    }
}

impl fmt::Display for LegId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.message, self.number)
    }
}

impl FromStr for LegId {
    type Err = NotAnId;

    fn from_str(text: &str) -> Result<Self, NotAnId> {
        let (message, number) = text.split_once('.').ok_or(NotAnId)?;
        Ok(Self {
            message: message.parse()?,
            number: number.parse().map_err(|_| NotAnId)?,
        })
    }
}

impl fmt::Debug for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for LegId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_round_trip_and_order() {
        let early = MessageId::new(Timestamp::from_unix_millis(1_795_264_496_789), u128::MAX);
        let late = MessageId::new(Timestamp::from_unix_millis(1_795_264_496_790), 0);
        assert_eq!(early.to_string().parse(), Ok(early));
        assert_eq!(early.to_string().to_lowercase().parse(), Ok(early));
        assert!(early < late && early.to_string() < late.to_string());
        assert_eq!(late.timestamp().unix_millis(), 1_795_264_496_790);
        for bad in [
            "",
            "0",
            "8ZZZZZZZZZZZZZZZZZZZZZZZZZ",
            "0000000000000000000000000U",
            "é0000000000000000000000000",
        ] {
            assert_eq!(bad.parse::<MessageId>(), Err(NotAnId), "{bad}");
        }
    }
}
