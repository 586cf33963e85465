//! The day stamp: days since 1970-01-01 UTC modulo 1024, as two digits of base 32.

use std::fmt;

/// A day on the stamp's circle of 1024.
///
/// ```
/// let day = srs::Day::from_unix_secs(1_577_836_860);
/// assert_eq!(day.to_string(), "2W");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Day(u16);

impl Day {
    /// The stamp repeats after this many days.
    pub const CIRCLE: u16 = 1024;

    /// The day that holds this moment, in seconds since the epoch.
    pub const fn from_unix_secs(secs: u64) -> Self {
        Self((secs / SECS_PER_DAY % Self::CIRCLE as u64) as u16)
    }

    /// Reads a stamp in either case; anything but exactly two digits is none. (Reading *any* length, digit by
    /// digit, is how an over-long stamp burned the processor in CVE-2020-35573.)
    pub(crate) fn from_stamp(stamp: &str) -> Option<Self> {
        let &[high, low] = stamp.as_bytes() else {
            return None;
        };
        Some(Self(digit_value(high)? << 5 | digit_value(low)?))
    }

    /// The two digits.
    pub(crate) fn stamp(self) -> [u8; 2] {
        [
            DIGITS[usize::from(self.0 >> 5)],
            DIGITS[usize::from(self.0 & 31)],
        ]
    }

    /// Days from `earlier` to this day, going forward round the circle: a day in the future is many days ago.
    pub(crate) fn since(self, earlier: Self) -> u16 {
        (Self::CIRCLE + self.0 - earlier.0) % Self::CIRCLE
    }
}

/// The stamp as it stands in an address.
impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.stamp()
            .iter()
            .try_for_each(|b| fmt::Write::write_char(f, char::from(*b)))
    }
}

fn digit_value(b: u8) -> Option<u16> {
    match b.to_ascii_uppercase() {
        letter @ b'A'..=b'Z' => Some(u16::from(letter - b'A')),
        digit @ b'2'..=b'7' => Some(u16::from(digit - b'2') + 26),
        _ => None,
    }
}

const SECS_PER_DAY: u64 = 86_400;
const DIGITS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_day_reads_back_in_either_case() {
        for number in 0..Day::CIRCLE {
            let day = Day(number);
            assert_eq!(Day::from_stamp(&day.to_string()), Some(day));
            assert_eq!(Day::from_stamp(&day.to_string().to_lowercase()), Some(day));
        }
    }

    #[test]
    fn only_two_digits_are_a_stamp() {
        for bad in [
            "",
            "A",
            "AAA",
            "A1",
            "0A",
            "8A",
            "A=",
            "é",
            &"A".repeat(1 << 20),
        ] {
            assert_eq!(Day::from_stamp(bad), None);
        }
    }

    #[test]
    fn distance_goes_round() {
        assert_eq!(Day(3).since(Day(1023)), 4);
        assert_eq!(Day(1023).since(Day(3)), 1020);
        assert_eq!(Day::from_unix_secs(86_400 * 1024 + 86_399), Day(0));
    }
}
