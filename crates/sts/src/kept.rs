//! A policy as it is kept: with its domain, and for how long it holds. Its text form is one line of a file.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use envelope::{Domain, Timestamp};

use crate::policy::{MX_MAX, Policy, seconds};

/// A policy that was fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Whose it is.
    pub domain: Domain,
    /// What the record called it then.
    pub id: Box<str>,
    /// When that was.
    pub fetched: Timestamp,
    /// How long it holds from then on.
    pub max_age: Duration,
    /// What it wants.
    pub policy: Arc<Policy>,
}

impl Kept {
    /// Until when it holds.
    pub fn until(&self) -> Timestamp {
        self.fetched.plus(self.max_age)
    }
}

/// `DOMAIN ID FETCHED MAX_AGE MODE[ MX]…`.
impl fmt::Display for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (domain, id, mode) = (&self.domain, &self.id, self.policy.mode.name());
        let max_age = self.max_age.as_secs();
        write!(f, "{domain} {id} {} {max_age} {mode}", self.fetched)?;
        self.policy.mx.iter().try_for_each(|mx| write!(f, " {mx}"))
    }
}

impl FromStr for Kept {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let parse = || {
            let mut words = text.split(' ');
            let domain = words.next()?.parse().ok()?;
            let id = words.next().filter(|id| !id.is_empty())?.into();
            let fetched = words.next()?.parse().ok()?;
            let max_age = seconds(words.next()?)?;
            let mode = words.next()?.parse().ok()?;
            let mx: Vec<_> = words
                .take(MX_MAX)
                .map(|mx| mx.parse().ok())
                .collect::<Option<_>>()?;
            let policy = Arc::new(Policy::new(mode, mx));
            Some(Self {
                domain,
                id,
                fetched,
                max_age,
                policy,
            })
        };
        parse().ok_or(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for line in [
            "a.example 2026a 2026-11-29T09:00:00.000Z 604800 enforce mx.a.example *.b.example",
            "a.example 1 2026-11-29T09:00:00.000Z 0 none",
        ] {
            assert_eq!(line.parse::<Kept>().unwrap().to_string(), line);
        }
        for line in [
            "",
            "a.example",
            "a.example 1 now 604800 enforce a.example",
            "a.example  2026-11-29T09:00:00.000Z 1 none",
            "a.example 1 2026-11-29T09:00:00.000Z -1 none",
            "a.example 1 2026-11-29T09:00:00.000Z 1 some",
            "a.example 1 2026-11-29T09:00:00.000Z 1 enforce a.*",
            "a b 1 2026-11-29T09:00:00.000Z 1 none",
        ] {
            assert_eq!(line.parse::<Kept>(), Err(()), "{line}");
        }
    }
}
