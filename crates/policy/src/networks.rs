//! Networks that the operator has listed.

use std::net::IpAddr;

use ipnet::IpNet;

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
