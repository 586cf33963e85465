//! A limit: what may happen how often, and what happens beyond.

use std::str::FromStr;
use std::time::Duration;

use crate::key::Kind;

/// So much of something, in so long, for each key of a kind. A limit that a reload leaves as it is keeps its counts.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Limit {
    /// What the operator calls it.
    pub name: Box<str>,
    /// By what it counts.
    pub key: Kind,
    /// What it counts.
    pub of: Of,
    /// This much at once, and this much in each `per`.
    pub max: u64,
    /// In how long.
    pub per: Duration,
    /// What happens beyond.
    pub then: Then,
    /// Above zero: a recipient may get this many times what it usually gets, where that is more than `max`.
    pub usual: u32,
    /// Senders that the recipient had mail from before are let through.
    pub passes_known: bool,
}

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Of {
    /// Messages that were accepted.
    Messages,
    /// Their recipients.
    Recipients,
    /// What was refused while the client was connected.
    Refusals,
    /// What failed for good after it was accepted.
    Failures,
    /// Octets of the messages that were accepted.
    Octets,
    /// Connections of a client.
    Connections,
    /// Commands of a client.
    Commands,
}

/// What happens beyond a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Then {
    /// The client is to come again later.
    Defer,
    /// It is refused for good.
    Refuse,
    /// The key is shut out until an operator lifts it.
    Freeze,
    /// It is accepted, and waits for an operator.
    Hold,
}

/// A word that is none of those that may stand there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not one of {0}")]
pub struct NotAWord(String);

impl Limit {
    /// What cannot work, with a hint.
    pub fn fault(&self) -> Option<String> {
        use Kind::{Client, Recipient, Sender, SenderDomain, Site, User};
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        let keys: &[Kind] = match self.of {
            Of::Messages | Of::Recipients | Of::Octets => {
                &[User, Client, Sender, SenderDomain, Recipient, Site]
            }
            Of::Refusals => &[User, Client],
            Of::Failures => &[User, Client, Sender, SenderDomain, Site],
            Of::Connections | Of::Commands => &[Client],
        };
        let is_of_recipient = self.key == Recipient;
        let text = if self.name.is_empty() || !self.name.chars().all(is_plain) {
            "its name goes into replies and files\n\nhint: write it with letters, digits, `-` and `_`"
        } else if !keys.contains(&self.key) {
            return Some(format!(
                "`{}` are not counted by `{}`\n\nhint: `key` can be {}",
                self.of.as_str(),
                self.key.as_str(),
                listed(keys.iter().map(|kind| kind.as_str()))
            ));
        } else if self.per > PER_MAX {
            "`per` is over 31 days\n\nhint: counts live in memory, and a restart forgets them"
        } else if !is_of_recipient && (self.usual > 0 || self.passes_known) {
            "`usual` and `known` are about what a recipient gets\n\nhint: leave them out, or set `key` to \"recipient\""
        } else if self.then == Then::Hold
            && (matches!(self.key, Recipient | Site)
                || matches!(self.of, Of::Connections | Of::Commands))
        {
            "`hold` is for the mail of one user, client, sender or sender_domain\n\nhint: set `then` to \"defer\", say"
        } else {
            return None;
        };
        Some(text.to_owned())
    }
}

impl Of {
    /// Each with its word in the configuration.
    pub const ALL: [(&'static str, Self); 7] = [
        ("messages", Self::Messages),
        ("recipients", Self::Recipients),
        ("refusals", Self::Refusals),
        ("failures", Self::Failures),
        ("octets", Self::Octets),
        ("connections", Self::Connections),
        ("commands", Self::Commands),
    ];

    /// Its word.
    pub const fn as_str(self) -> &'static str {
        Self::ALL[self as usize].0
    }
}

impl Then {
    /// Each with its word in the configuration.
    pub const ALL: [(&'static str, Self); 4] = [
        ("defer", Self::Defer),
        ("refuse", Self::Refuse),
        ("freeze", Self::Freeze),
        ("hold", Self::Hold),
    ];
}

impl FromStr for Of {
    type Err = NotAWord;

    fn from_str(text: &str) -> Result<Self, NotAWord> {
        read(&Self::ALL, text)
    }
}

impl FromStr for Then {
    type Err = NotAWord;

    fn from_str(text: &str) -> Result<Self, NotAWord> {
        read(&Self::ALL, text)
    }
}

impl FromStr for Kind {
    type Err = NotAWord;

    fn from_str(text: &str) -> Result<Self, NotAWord> {
        read(&Self::ALL, text)
    }
}

fn read<T: Copy>(all: &[(&'static str, T)], text: &str) -> Result<T, NotAWord> {
    let found = all.iter().find(|(word, _)| *word == text);
    let words = || NotAWord(listed(all.iter().map(|(word, _)| *word)));
    found.map(|(_, meant)| *meant).ok_or_else(words)
}

fn listed<'a>(words: impl Iterator<Item = &'a str>) -> String {
    words.collect::<Vec<_>>().join(", ")
}

const PER_MAX: Duration = Duration::from_hours(31 * 24);

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(key: &str, of: &str, then: &str, expected: &str) {
        let limit = Limit {
            name: "x".into(),
            key: key.parse().unwrap(),
            of: of.parse().unwrap(),
            max: 1,
            per: Duration::from_secs(1),
            then: then.parse().unwrap(),
            usual: 0,
            passes_known: false,
        };
        let fault = limit.fault().unwrap_or_default();
        assert!(fault.starts_with(expected), "{key} {of} {then}: {fault}");
        assert_eq!(
            fault.is_empty(),
            expected.is_empty(),
            "{key} {of} {then}: {fault}"
        );
    }

    #[test]
    fn what_can_be_counted_by_what() {
        for (key, _) in Kind::ALL {
            for of in ["messages", "recipients", "octets"] {
                check(key, of, "freeze", "");
            }
        }
        check("user", "refusals", "freeze", "");
        check("client", "failures", "freeze", "");
        check("client", "connections", "defer", "");
        check("sender", "messages", "hold", "");
        check(
            "sender",
            "refusals",
            "defer",
            "`refusals` are not counted by `sender`",
        );
        check(
            "recipient",
            "failures",
            "defer",
            "`failures` are not counted by",
        );
        check(
            "user",
            "connections",
            "defer",
            "`connections` are not counted by",
        );
        check(
            "recipient",
            "messages",
            "hold",
            "`hold` is for the mail of one",
        );
        check(
            "client",
            "connections",
            "hold",
            "`hold` is for the mail of one",
        );
        let wrong = "bounce".parse::<Then>().unwrap_err();
        assert_eq!(wrong.to_string(), "not one of defer, refuse, freeze, hold");
    }
}
