//! Who asks something of the daemon.

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// A user of this machine, or whoever holds an API token. As text it is one word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Actor {
    /// By number.
    Uid(u32),
    /// By the token's name, which does not begin with a digit.
    Token(Arc<str>),
}

impl Actor {
    /// `uid 0`, `token panel`.
    pub fn in_words(&self) -> String {
        match self {
            Self::Uid(_) => format!("uid {self}"),
            Self::Token(_) => format!("token {self}"),
        }
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uid(uid) => uid.fmt(f),
            Self::Token(name) => f.write_str(name),
        }
    }
}

impl FromStr for Actor {
    type Err = Infallible;

    fn from_str(word: &str) -> Result<Self, Infallible> {
        let uid = word.parse().map(Self::Uid);
        Ok(uid.unwrap_or_else(|_| Self::Token(word.into())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_and_back() {
        for (word, words) in [("0", "uid 0"), ("panel", "token panel")] {
            let actor: Actor = word.parse().unwrap();
            assert_eq!(actor.to_string(), word);
            assert_eq!(actor.in_words(), words);
        }
    }
}
