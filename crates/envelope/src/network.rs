//! What counts as one client.

use std::net::{IpAddr, Ipv6Addr};

/// An IPv4 address as it is, also one that came through an IPv6 socket; the /64 of an IPv6 address, since that is what one
/// customer is given.
pub fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64).into(),
        v4 @ IpAddr::V4(_) => v4,
    }
}
