//! A limit: what may happen how often, and what happens beyond.

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

envelope::named! {
    /// What is counted.
    pub enum Of {
        /// Messages that were accepted.
        Messages = "messages",
        /// Their recipients.
        Recipients = "recipients",
        /// What was refused while the client was connected.
        Refusals = "refusals",
        /// What failed for good after it was accepted.
        Failures = "failures",
        /// Octets of the messages that were accepted.
        Octets = "octets",
        /// Connections of a client.
        Connections = "connections",
        /// Commands of a client.
        Commands = "commands",
    }
}

envelope::named! {
    /// What happens beyond a limit.
    pub enum Then {
        /// The client is to come again later.
        Defer = "defer",
        /// It is refused for good.
        Refuse = "refuse",
        /// The key is shut out until an operator lifts it.
        Freeze = "freeze",
        /// It is accepted, and waits for an operator.
        Hold = "hold",
    }
}

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
            let keys: Vec<_> = keys.iter().map(|kind| kind.name()).collect();
            return Some(format!(
                "`{}` are not counted by `{}`\n\nhint: `key` can be {}",
                self.of,
                self.key,
                keys.join(", ")
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
        for key in Kind::ALL {
            for of in ["messages", "recipients", "octets"] {
                check(key.name(), of, "freeze", "");
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
        assert_eq!(
            wrong.to_string(),
            "expected one of: defer, refuse, freeze, hold"
        );
    }
}
