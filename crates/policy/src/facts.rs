//! The facts that rules decide on: what the binary has found out about client, sender and recipient.
//!
//! Plain values, one struct a stage. A fact is what *is*; what follows from it is for the rules.

use std::net::IpAddr;

use envelope::Reply;
use ipnet::IpNet;

/// What a connection's port is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Mail from anyone, for us (port 25).
    Mx,
    /// Mail from our own users, for anyone (ports 587 and 465, RFC 6409).
    Submission,
}

/// What we know of the client beyond its address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Standing {
    /// Nothing: anyone on the Internet.
    Stranger,
    /// Its address is in a network that the operator listed as trusted.
    Trusted,
    /// It has proved who it is in this session.
    Authenticated,
}

/// Before the greeting.
#[derive(Debug, Clone)]
pub struct Connect {
    /// The client's address (behind a proxy: the one that the proxy names).
    pub address: IpAddr,
    /// What the port is for.
    pub role: Role,
    /// Who the client is to us.
    pub standing: Standing,
}

/// At EHLO or HELO.
#[derive(Debug, Clone)]
pub struct Hello {
    /// The argument as given.
    pub name: String,
    /// Who the client is to us.
    pub standing: Standing,
}

/// At MAIL.
#[derive(Debug, Clone)]
pub struct Mail {
    /// What the port is for.
    pub role: Role,
    /// Who the client is to us.
    pub standing: Standing,
}

/// At RCPT.
#[derive(Debug, Clone)]
pub struct Rcpt {
    /// Who the client is to us.
    pub standing: Standing,
    /// Whether MAIL gave `<>`: the mail is a notification.
    pub reverse_path_null: bool,
    /// Who was accepted before it.
    pub accepted: Accepted,
    /// What the forward path is to us.
    pub destination: Destination,
    /// With this recipient's targets the message would go to more of them than one message may.
    pub too_many_targets: bool,
    /// The local part names a further host (`x%host`, `host!x`, `"x@host"`), and goes on as it is.
    pub routed: bool,
    /// The setting `srs.accept_nonnull`: SRS addresses take mail that is no notification, too.
    pub accept_nonnull: bool,
}

/// What a forward path is to us. Whoever fills it in asks in this order, and takes the first that fits:
/// postmaster, an SRS address of a domain of ours, the table of forwards, the relay domains.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// `<postmaster>`, or `postmaster@` a hosted domain or SRS domain of ours, in any case.
    Postmaster,
    /// A domain of ours, and the local part looks like SRS0 or SRS1 there.
    Srs(Srs),
    /// A hosted domain.
    Hosted(Hosted),
    /// A domain that we relay for by explicit configuration (as a higher MX).
    Relay,
    /// None of ours.
    Foreign,
    /// Whose it is could not be found out now.
    Undecided,
}

/// What the table of forwards says of an address in a hosted domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hosted {
    /// It has targets, or is accepted and thrown away.
    Found,
    /// The operator refuses it with this reply.
    Refused(Reply),
    /// No such address, and no catch-all.
    Unknown,
}

/// What an address that looks like one of our SRS addresses turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Srs {
    /// We made it, and it is in time.
    Valid,
    /// So it is, and the sender behind it has got as many messages by its SRS addresses as it may in a day.
    OverBudget,
    /// Its tag is not ours.
    Forged,
    /// It was ours, but its time is over.
    Expired,
    /// Its stamp is of a day to come.
    Future,
    /// It cannot be read: parts are missing or too long.
    Damaged,
    /// Its tag is ours, but what it stood for is not kept any more (short tokens).
    Forgotten,
}

/// The recipients of a transaction so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Accepted {
    /// There is one that is an SRS address of ours.
    pub srs: bool,
    /// There is one that is none.
    pub other: bool,
}

/// Before the body.
#[derive(Debug, Clone)]
pub struct Data {
    /// Whether MAIL gave `<>`.
    pub reverse_path_null: bool,
    /// Who was accepted.
    pub accepted: Accepted,
    /// The setting `srs.accept_nonnull`.
    pub accept_nonnull: bool,
    /// With this message, a sender behind an SRS address would get more in a day than it may.
    pub over_budget: bool,
}

/// A list of networks, such as those whose clients are trusted.
#[derive(Debug, Clone, Default)]
pub struct Networks(Vec<IpNet>);

impl Networks {
    /// Whether `address` is in one of them. An IPv4 address that came through an IPv6 socket (`::ffff:192.0.2.1`)
    /// counts as the IPv4 address that it is.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }
}

impl FromIterator<IpNet> for Networks {
    fn from_iter<I: IntoIterator<Item = IpNet>>(networks: I) -> Self {
        Self(networks.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(networks: &[&str], address: &str, expected: bool) {
        let networks: Networks = networks
            .iter()
            .map(|n| n.parse::<IpNet>().unwrap())
            .collect();
        assert_eq!(
            networks.contains(address.parse().unwrap()),
            expected,
            "{address}"
        );
    }

    #[test]
    fn networks() {
        check(&[], "127.0.0.1", false);
        check(&["192.0.2.0/24"], "192.0.2.255", true);
        check(&["192.0.2.0/24"], "192.0.3.0", false);
        check(&["192.0.2.0/24"], "::ffff:192.0.2.7", true);
        check(&["192.0.2.0/24"], "::192.0.2.7", false);
        check(&["2001:db8::/32", "10.0.0.1/32"], "2001:db8:ffff::1", true);
        check(&["2001:db8::/32", "10.0.0.1/32"], "10.0.0.1", true);
        check(&["2001:db8::/32", "10.0.0.1/32"], "10.0.0.2", false);
        // All of IPv6 is not all of IPv4: `::/0` must not trust the whole v4 Internet through mapped addresses.
        check(&["::/0"], "::ffff:192.0.2.7", false);
    }
}
