//! Options of a forward that stay with its legs: `name=value name=value`.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// Options of a leg, each name once. They are stored and shown as text, in the order of their names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LegOptions(Box<str>);

/// Why a text is no list of options.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LegOptionsError {
    /// A word is not `name=value`, or has characters that cannot be stored.
    #[error("an option is written `name=value`, without spaces and control characters")]
    NotAnOption,
    /// A name is there twice.
    #[error("an option is given twice")]
    Twice,
    /// They are too long together.
    #[error("options over {} octets", LegOptions::OCTETS_MAX)]
    TooLong,
}

impl LegOptions {
    /// Octets of all options together, as written.
    pub const OCTETS_MAX: usize = 1024;

    /// The value of an option.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter()
            .find_map(|(known, value)| (known == name).then_some(value))
    }

    /// Names and values, in the order of the names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.split(' ').filter_map(|word| word.split_once('='))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The text form: what [`LegOptions::from_str`] reads.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for LegOptions {
    type Err = LegOptionsError;

    fn from_str(text: &str) -> Result<Self, LegOptionsError> {
        if text.len() > Self::OCTETS_MAX {
            return Err(LegOptionsError::TooLong);
        }
        let mut options = BTreeMap::new();
        for word in text.split(' ').filter(|word| !word.is_empty()) {
            let (name, value) = word.split_once('=').ok_or(LegOptionsError::NotAnOption)?;
            if name.is_empty() || word.chars().any(|c| c.is_control() || c.is_whitespace()) {
                return Err(LegOptionsError::NotAnOption);
            }
            if options.insert(name, value).is_some() {
                return Err(LegOptionsError::Twice);
            }
        }
        let words: Vec<String> = options.iter().map(|(n, v)| format!("{n}={v}")).collect();
        Ok(Self(words.join(" ").into()))
    }
}

/// As [`LegOptions::as_str`].
impl fmt::Display for LegOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Result<&str, LegOptionsError>) {
        let options = text.parse::<LegOptions>();
        assert_eq!(
            options.as_ref().map(LegOptions::as_str),
            expected.as_ref().copied()
        );
    }

    #[test]
    fn options_are_sorted_and_bounded() {
        check("", Ok(""));
        check("tls=dane  egress=bulk", Ok("egress=bulk tls=dane"));
        check("a= b=x=y", Ok("a= b=x=y"));
        check("a", Err(LegOptionsError::NotAnOption));
        check("=a", Err(LegOptionsError::NotAnOption));
        check("a=\n", Err(LegOptionsError::NotAnOption));
        check("a=1 a=2", Err(LegOptionsError::Twice));
        check(
            &format!("a={}", "x".repeat(1022)),
            Ok(&format!("a={}", "x".repeat(1022))),
        );
        check(
            &format!("a={}", "x".repeat(1023)),
            Err(LegOptionsError::TooLong),
        );
    }

    #[test]
    fn an_option_is_found_by_its_name() {
        let options: LegOptions = "tls=dane egress=bulk".parse().unwrap();
        assert_eq!(options.get("tls"), Some("dane"));
        assert_eq!(options.get("tl"), None);
        assert_eq!(options.iter().count(), 2);
        assert!(LegOptions::default().is_empty());
    }
}
