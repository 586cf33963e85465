//! A line of the file of freezes: one change.
//!
//! ```text
//! frozen 2026-11-21T12:34:56.789Z LIMIT KEY
//! mailing MESSAGE-ID KEY
//! mailed KEY
//! posted KEY
//! lifted KEY
//! ```

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use envelope::Timestamp;

use super::Mark;
use crate::key::Key;

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Line {
    Frozen(Timestamp, Arc<str>, Key),
    Lifted(Key),
    Marked(Mark, Key),
}

impl Line {
    /// Whose it is.
    pub(super) fn key(&self) -> &Key {
        let (Self::Frozen(_, _, key) | Self::Lifted(key) | Self::Marked(_, key)) = self;
        key
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Frozen(since, limit, key) => write!(f, "frozen {since} {limit} {key}"),
            Self::Lifted(key) => write!(f, "lifted {key}"),
            Self::Marked(Mark::Mailing(id), key) => write!(f, "mailing {id} {key}"),
            Self::Marked(Mark::Mailed, key) => write!(f, "mailed {key}"),
            Self::Marked(Mark::Posted, key) => write!(f, "posted {key}"),
        }
    }
}

impl FromStr for Line {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        fn part<T: FromStr>(text: &str) -> Result<T, ()> {
            text.parse().map_err(|_| ())
        }
        // The key is last: a user's name may have blanks.
        let (word, rest) = text.split_once(' ').ok_or(())?;
        Ok(match word {
            "frozen" => {
                let mut parts = rest.splitn(3, ' ');
                let mut next = || parts.next().ok_or(());
                Self::Frozen(part(next()?)?, next()?.into(), part(next()?)?)
            }
            "mailing" => {
                let (id, key) = rest.split_once(' ').ok_or(())?;
                Self::Marked(Mark::Mailing(part(id)?), part(key)?)
            }
            "mailed" => Self::Marked(Mark::Mailed, part(rest)?),
            "posted" => Self::Marked(Mark::Posted, part(rest)?),
            "lifted" => Self::Lifted(part(rest)?),
            _ => return Err(()),
        })
    }
}
