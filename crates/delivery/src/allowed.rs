//! Which addresses a stranger may send us to. DNS and address literals are written by strangers: a name that leads to this
//! machine, to its link or into the operator's own network has us talk to what trusts us there. Pure.
//!
//! It does *not* judge routes: those are the operator's own words, and may lead anywhere.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::settings::Settings;

/// The spaces that are allowed besides the public one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Allowed {
    pub(crate) loopback: bool,
    pub(crate) private: bool,
}

/// Where an address lies that is not public.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Space {
    /// No other host's address, ever: unspecified, link-local, multicast.
    Nowhere,
    /// This machine.
    Loopback,
    /// A network of the operator, or one that is reserved, or a way round to one of these.
    Private,
}

impl Allowed {
    pub(crate) const ALL: Self = Self {
        loopback: true,
        private: true,
    };

    pub(crate) fn by(settings: &Settings) -> Self {
        Self {
            loopback: settings.allow_loopback,
            private: settings.allow_private,
        }
    }

    /// Why the address may not be connected to, if so.
    pub(crate) fn refuses(self, address: IpAddr) -> Option<Space> {
        let allowed = |space: &Space| match space {
            Space::Nowhere => false,
            Space::Loopback => self.loopback,
            Space::Private => self.private,
        };
        space(address).filter(|space| !allowed(space))
    }
}

impl Space {
    /// What is said of mail whose host is there.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Nowhere => "the address of the host for its mail is no host's",
            Self::Loopback => {
                "the host for its mail is on loopback, which is refused (delivery.allow_loopback)"
            }
            Self::Private => {
                "the host for its mail is in a private or reserved network, which is refused \
                 (delivery.allow_private)"
            }
        }
    }
}

/// Whether an address in canonical form is one of the Internet: not loopback, private, reserved or no host's at all.
pub fn is_public(address: IpAddr) -> bool {
    space(address).is_none()
}

/// The space of an address in canonical form; none for a public one.
fn space(address: IpAddr) -> Option<Space> {
    match address {
        IpAddr::V4(v4) => space_v4(v4),
        IpAddr::V6(v6) => space_v6(v6),
    }
}

/// The registry of RFC 6890. The networks for documentation are left out: nothing is there.
fn space_v4(address: Ipv4Addr) -> Option<Space> {
    let [a, b, c, _] = address.octets();
    match (a, b, c) {
        (0, ..) | (224..=239, ..) | (169, 254, _) => Some(Space::Nowhere),
        (127, ..) => Some(Space::Loopback),
        _ if address.is_broadcast() => Some(Space::Nowhere),
        (10, ..) | (172, 16..=31, _) | (192, 168, _) => Some(Space::Private),
        // Carrier-grade NAT (RFC 6598), protocol assignments, benchmarks (RFC 2544), the former class E.
        (100, 64..=127, _) | (192, 0, 0) | (198, 18 | 19, _) | (240.., ..) => Some(Space::Private),
        _ => None,
    }
}

fn space_v6(address: Ipv6Addr) -> Option<Space> {
    let embedded = Ipv4Addr::from_bits(address.to_bits() as u32);
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 1] => Some(Space::Loopback),
        // Unspecified, and the IPv4-compatible form that is no more (RFC 4291 §2.5.5.1).
        [0, 0, 0, 0, 0, 0, ..] => Some(Space::Nowhere),
        [0xff00..=0xffff, ..] | [0xfe80..=0xfebf, ..] => Some(Space::Nowhere),
        // Unique local (RFC 4193), and site-local before it.
        [0xfc00..=0xfdff, ..] | [0xfec0..=0xfeff, ..] => Some(Space::Private),
        // NAT64: with DNS64 every host that has IPv4 only is there, so what counts is the address within; it must be a
        // public one (RFC 6052 §3.1). The prefix for local use (RFC 8215) is the operator's own.
        [0x64, 0xff9b, 0, 0, 0, 0, ..] => {
            space_v4(embedded).or_else(|| embedded.is_documentation().then_some(Space::Private))
        }
        [0x64, 0xff9b, 1, ..] => Some(Space::Private),
        // Discard-only; Teredo and 6to4, which lead to any IPv4 address and where no mail host is (RFC 7526).
        [0x100, 0, 0, 0, ..] | [0x2001, 0, ..] | [0x2002, ..] => Some(Space::Private),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(addresses: &str, expected: Option<Space>) {
        for address in addresses.split_whitespace() {
            let ip: IpAddr = address.parse().unwrap();
            assert_eq!(space(ip.to_canonical()), expected, "{address}");
        }
    }

    #[test]
    fn public() {
        check(
            "8.8.8.8 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0",
            None,
        );
        check(
            "172.15.255.255 172.32.0.0 192.0.1.0 192.167.0.1 192.169.0.1",
            None,
        );
        check("198.17.0.1 198.20.0.1 223.255.255.255 203.0.113.1", None);
        check(
            "2001:db8::1 2001:4860:4860::8888 2a00:1450::1 2003::1",
            None,
        );
        check("64:ff9b::8.8.8.8 ::ffff:8.8.8.8", None);
    }

    #[test]
    fn this_machine() {
        check(
            "127.0.0.1 127.255.255.255 ::1 ::ffff:127.0.0.1",
            Some(Space::Loopback),
        );
        check("64:ff9b::127.0.0.1", Some(Space::Loopback));
    }

    #[test]
    fn networks_of_the_operator() {
        check(
            "10.0.0.1 172.16.0.1 172.31.255.255 192.168.1.1",
            Some(Space::Private),
        );
        check(
            "::ffff:10.0.0.1 64:ff9b::10.0.0.1 64:ff9b::192.0.2.1",
            Some(Space::Private),
        );
        check(
            "100.64.0.1 100.127.255.255 192.0.0.8 198.18.0.1 198.19.255.1",
            Some(Space::Private),
        );
        check("240.0.0.1 255.255.255.254", Some(Space::Private));
        check(
            "fc00::1 fdff::1 fec0::1 64:ff9b:1::1 2002:a00:1::1",
            Some(Space::Private),
        );
        check("2002:808:808::1 2001:0:1::1 100::1", Some(Space::Private));
    }

    #[test]
    fn nobody() {
        check(
            "0.0.0.0 0.1.2.3 169.254.169.254 224.0.0.1 255.255.255.255",
            Some(Space::Nowhere),
        );
        check(
            ":: ::10.0.0.1 fe80::1 febf::1 ff02::1 ::ffff:0.0.0.0",
            Some(Space::Nowhere),
        );
        check("64:ff9b::169.254.169.254", Some(Space::Nowhere));
    }

    #[test]
    fn each_space_has_its_switch() {
        let refused = |loopback, private| {
            let allowed = Allowed { loopback, private };
            ["8.8.8.8", "0.0.0.0", "127.0.0.1", "10.0.0.1"]
                .map(|address| allowed.refuses(address.parse().unwrap()).is_some())
        };
        assert_eq!(refused(false, false), [false, true, true, true]);
        assert_eq!(refused(true, false), [false, true, false, true]);
        assert_eq!(refused(false, true), [false, true, true, false]);
    }
}
