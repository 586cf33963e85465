//! What a forwarder chooses: secrets, separator, how long an address is valid, how long its tag is.

use std::fmt;
use std::ops::RangeInclusive;

/// Settings of [`Srs`](crate::Srs). `new` gives those of Mail::SRS, libsrs2 and postsrsd.
#[derive(Clone)]
pub struct Settings {
    /// The first signs, all verify: put a new secret first and keep the old one for `max_age_days`.
    pub secrets: Vec<Vec<u8>>,
    /// What we write behind `SRS0` or `SRS1`. Any of the three is read.
    pub separator: Separator,
    /// The alphabet of the tags that we write. Either is read.
    pub alphabet: Alphabet,
    /// An SRS0 address is valid on the day of its making and on so many days after it; 21 by default, at most 500.
    pub max_age_days: u16,
    /// How many days into the future a stamp may be, for clocks that disagree; 1 by default, at most 10.
    pub skew_days: u16,
    /// Length of the tags that we write, within [`Settings::TAG_OCTETS`]; 4 by default.
    pub tag_octets: usize,
    /// The shortest tag that we accept, at most `tag_octets`; 4 by default. Raise `tag_octets` first, and this
    /// one when all old addresses have expired.
    pub tag_octets_min: usize,
}

/// The character behind `SRS0` or `SRS1`. (Those between the other parts are always `=`.)
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Separator {
    /// `=`, what everybody uses.
    #[default]
    Equals,
    /// `-`, for hosts that deliver `user-extension` to `user`.
    Minus,
    /// `+`, for hosts that deliver `user+extension` to `user`.
    Plus,
}

/// What stands for the values 62 and 63 in a tag's base 64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Alphabet {
    /// `-` and `_`: `/` in a local part is refused at some sites.
    #[default]
    UrlSafe,
    /// `+` and `/`, for a set of hosts some of which can read only that, as postsrsd 1.10 does.
    Standard,
}

impl Settings {
    /// Tag lengths that make sense: under 4 can be guessed, over 27 is more than HMAC-SHA1 has.
    pub const TAG_OCTETS: RangeInclusive<usize> = 4..=27;
    pub(crate) const MAX_AGE_DAYS_MAX: u16 = 500;
    pub(crate) const SKEW_DAYS_MAX: u16 = 10;

    /// The usual settings with these secrets.
    pub fn new<S: Into<Vec<u8>>>(secrets: impl IntoIterator<Item = S>) -> Self {
        Self {
            secrets: secrets.into_iter().map(Into::into).collect(),
            separator: Separator::default(),
            alphabet: Alphabet::default(),
            max_age_days: 21,
            skew_days: 1,
            tag_octets: 4,
            tag_octets_min: 4,
        }
    }
}

/// Tells how many secrets there are, not what they are.
impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("secrets", &self.secrets.len())
            .field("separator", &self.separator)
            .field("alphabet", &self.alphabet)
            .field("max_age_days", &self.max_age_days)
            .field("skew_days", &self.skew_days)
            .field("tag_octets", &self.tag_octets)
            .field("tag_octets_min", &self.tag_octets_min)
            .finish()
    }
}

impl Separator {
    /// The character.
    pub const fn as_char(self) -> char {
        match self {
            Self::Equals => '=',
            Self::Minus => '-',
            Self::Plus => '+',
        }
    }

    /// The separator that this character is.
    pub const fn from_char(c: char) -> Option<Self> {
        match c {
            '=' => Some(Self::Equals),
            '-' => Some(Self::Minus),
            '+' => Some(Self::Plus),
            _ => None,
        }
    }
}
