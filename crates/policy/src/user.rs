//! A user who has logged in: which senders they may name, and what is done with their mail.

use std::sync::Arc;

use envelope::{AddressPattern, Domain, HostPattern, Mailbox, NotAPattern, ReversePath};

use crate::case::{Client, Standing};
use crate::measures::{Measures, Name};

/// One of our own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// By which logs and limits know them.
    pub name: Name,
    /// Whom they may send as.
    pub senders: Senders,
    /// What is done with their mail; see [`Profiles::of_users`](crate::Profiles::of_users).
    pub measures: Arc<Measures>,
}

/// Senders that a user may name. The null sender is everybody's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Senders {
    /// All.
    Any,
    /// Those that one of these names.
    These(Vec<SenderOf>),
}

/// An address or a domain; or all domains below one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SenderOf {
    /// This one.
    Is(AddressPattern),
    /// `*.example.org`.
    Below(HostPattern),
}

impl Senders {
    /// The senders of a user whose line has no `senders`: a name that is an address may use its domain, any
    /// other name any sender.
    pub fn by_default(name: &str) -> Self {
        let address = name.parse::<Mailbox>().ok();
        let domain = address.and_then(|address| address.domain().cloned());
        domain.map_or(Self::Any, |domain| {
            Self::These(vec![SenderOf::Is(AddressPattern::Domain(domain))])
        })
    }

    /// `any`, or `example.org,*.example.org,ann@x.test`.
    pub fn parse(text: &str) -> Result<Self, NotAPattern> {
        if text == ANY {
            return Ok(Self::Any);
        }
        let parse = |one: &str| match one.starts_with("*.") {
            true => one.parse().map(SenderOf::Below),
            false => one.parse().map(SenderOf::Is),
        };
        let all = text.split(',').map(parse);
        all.collect::<Result<_, _>>().map(Self::These)
    }

    /// Whether they may write in the name of this domain.
    pub fn allow_domain(&self, domain: &Domain) -> bool {
        match self {
            Self::Any => true,
            Self::These(all) => all.iter().any(|one| match one {
                SenderOf::Is(AddressPattern::Domain(own)) => own == domain,
                SenderOf::Is(AddressPattern::Address(own)) => own.domain() == Some(domain),
                SenderOf::Below(pattern) => pattern.matches(domain),
            }),
        }
    }

    pub(crate) fn allow(&self, sender: &ReversePath) -> bool {
        match (self, sender.mailbox()) {
            (Self::Any, _) | (_, None) => true,
            (Self::These(all), Some(sender)) => all.iter().any(|one| one.names(sender)),
        }
    }
}

impl Client {
    /// It has proved to be this user.
    pub fn log_in(&mut self, user: Arc<User>) {
        self.standing = Standing::Authenticated;
        self.user = Some(user);
    }
}

impl SenderOf {
    fn names(&self, sender: &Mailbox) -> bool {
        match self {
            Self::Is(pattern) => pattern.matches(sender),
            Self::Below(pattern) => sender
                .domain()
                .is_some_and(|domain| pattern.matches(domain)),
        }
    }
}

const ANY: &str = "any";

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(senders: &Senders, sender: &str, allowed: bool) {
        let path = match sender {
            "" => ReversePath::Null,
            mailbox => ReversePath::Mailbox(mailbox.parse().unwrap()),
        };
        assert_eq!(senders.allow(&path), allowed, "{senders:?}: {sender:?}");
    }

    #[test]
    fn whom_a_user_may_send_as() {
        let listed = Senders::parse("example.org,*.example.org,ann@x.test").unwrap();
        for allowed in [
            "",
            "a@example.org",
            "A@EXAMPLE.org",
            "a@b.c.example.org",
            "ann@x.test",
            "ANN@X.test",
        ] {
            check(&listed, allowed, true);
        }
        for denied in [
            "bob@x.test",
            "ann@y.x.test",
            "a@notexample.org",
            "a@[192.0.2.1]",
        ] {
            check(&listed, denied, false);
        }
        check(
            &Senders::parse("*.example.org").unwrap(),
            "a@example.org",
            false,
        );
        check(&Senders::parse("any").unwrap(), "a@b.test", true);
        for wrong in ["", "a b", "example.org,", "@"] {
            assert!(Senders::parse(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn whom_by_default() {
        let own = Senders::by_default("ann@example.org");
        check(&own, "sales@example.org", true);
        check(&own, "ann@www.example.org", false);
        check(&own, "ann@x.test", false);
        check(&own, "", true);
        check(&Senders::by_default("printer"), "ann@x.test", true);
        check(&Senders::by_default("ann@[192.0.2.1]"), "ann@x.test", true);
    }
}
