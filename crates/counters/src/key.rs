//! For whom something is counted, and who may be frozen.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use envelope::network_of;

/// Someone or something, in the one form in which it is counted, logged, listed and lifted: `user:ann`, `client:192.0.2.1`,
/// `client:2001:db8::/64`. It is in lower case, without control characters, and of bounded length, whoever chose the name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(Box<str>);

envelope::named! {
    /// What kind of key.
    pub enum Kind {
        /// Who has logged in, or tried to.
        User = "user",
        /// The network of a client: an IPv4 address, or an IPv6 /64.
        Client = "client",
        /// The mailbox of the reverse path.
        Sender = "sender",
        /// Its domain.
        SenderDomain = "sender_domain",
        /// The address of RCPT.
        Recipient = "recipient",
        /// The domain that mail goes on to.
        Site = "site",
    }
}

/// A text that is no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a key: write `user:NAME`, `client:ADDRESS`, `sender:ADDRESS`, `sender_domain:DOMAIN`, `recipient:ADDRESS` or `site:DOMAIN`"
)]
pub struct NotAKey;

impl Key {
    /// The key of a name. A client is better given by [`Key::client`].
    pub fn new(kind: Kind, name: &str) -> Self {
        let clean = |c: char| match c.is_control() {
            true => '?',
            false => c,
        };
        let name = name.chars().take(NAME_MAX).map(clean);
        let name: String = name.flat_map(char::to_lowercase).collect();
        Self(format!("{}:{name}", kind.name()).into())
    }

    /// The key of the network that this address is in.
    pub fn client(address: IpAddr) -> Self {
        let kind = Kind::Client.name();
        let text = match network_of(address) {
            IpAddr::V4(v4) => format!("{kind}:{v4}"),
            IpAddr::V6(v6) => format!("{kind}:{v6}/64"),
        };
        Self(text.into())
    }

    /// What kind of key it is.
    pub fn kind(&self) -> Kind {
        // No kind's word has a colon.
        let word = self.0.split(':').next().unwrap_or_default();
        word.parse().unwrap_or(Kind::User)
    }

    /// The name without the kind.
    pub fn name(&self) -> &str {
        self.0.split_once(':').map_or("", |(_, name)| name)
    }

    /// As it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An address of a client may be written in any form, with or without the length of its network.
impl FromStr for Key {
    type Err = NotAKey;

    fn from_str(text: &str) -> Result<Self, NotAKey> {
        let (kind, name) = text.split_once(':').ok_or(NotAKey)?;
        match kind.parse().map_err(|_| NotAKey)? {
            _ if name.is_empty() => Err(NotAKey),
            Kind::Client => {
                let (address, length) = name.split_once('/').unwrap_or((name, ""));
                let address: IpAddr = address.parse().map_err(|_| NotAKey)?;
                match (address, length) {
                    (_, "") | (IpAddr::V4(_), "32") | (IpAddr::V6(_), "64") => {
                        Ok(Self::client(address))
                    }
                    _ => Err(NotAKey),
                }
            }
            kind => Ok(Self::new(kind, name)),
        }
    }
}

/// Characters of a name: an address of the longest local part and domain that RFC 5321 §4.5.3.1 has.
const NAME_MAX: usize = 320;

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(typed: &str, expected: &str) {
        let key: Key = typed.parse().unwrap();
        assert_eq!(key.as_str(), expected);
        assert_eq!(key.as_str().parse::<Key>().unwrap(), key);
        assert_eq!(key.kind().name(), expected.split(':').next().unwrap());
    }

    #[test]
    fn as_typed() {
        check("user:Ann", "user:ann");
        check("user:a:b\nc d", "user:a:b?c d");
        check("client:192.0.2.1", "client:192.0.2.1");
        check("client:192.0.2.1/32", "client:192.0.2.1");
        check("client:::ffff:192.0.2.1", "client:192.0.2.1");
        check("client:2001:DB8:0:0:1::7", "client:2001:db8::/64");
        check("client:2001:db8::/64", "client:2001:db8::/64");
        check("sender:Ann@X.test", "sender:ann@x.test");
        check("sender_domain:x.test", "sender_domain:x.test");
        check("recipient:b@x.test", "recipient:b@x.test");
        check("site:x.test", "site:x.test");
    }

    #[test]
    fn no_keys() {
        for text in [
            "",
            "ann",
            "user:",
            "users:ann",
            "client:x.test",
            "client:192.0.2.0/24",
            "client:2001:db8::/48",
        ] {
            assert_eq!(text.parse::<Key>(), Err(NotAKey), "{text}");
        }
    }

    #[test]
    fn hostile_names_are_bounded() {
        let key = Key::new(Kind::User, &"\u{130}".repeat(100_000));
        assert!(key.as_str().len() < 4 * NAME_MAX);
        let key = Key::new(Kind::User, "a\r\nfrozen 1 x user:b\0");
        assert!(!key.as_str().contains(char::is_control));
    }

    #[test]
    fn one_client_has_one_key() {
        let client = |address: &str| Key::client(address.parse().unwrap());
        assert_eq!(client("::ffff:192.0.2.1"), client("192.0.2.1"));
        assert_eq!(client("2001:db8::1"), client("2001:db8::ffff:1"));
        assert_ne!(client("2001:db8::1"), client("2001:db8:0:1::1"));
        assert_ne!(client("192.0.2.1"), client("192.0.2.2"));
    }
}
