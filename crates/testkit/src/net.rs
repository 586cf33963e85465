//! A small internet for one test: a fake DNS, addresses of its own in 127.0.0.0/8, one port for all destinations.
//!
//! `[delivery] port` is one number, so all sinks of a test listen on it, each on an address of its own. The addresses are taken
//! from 127.64.0.0/10 by process and test, so tests that run side by side never meet.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::dns::Dns;
use crate::sink::Sink;
use crate::tls::Identity;

/// DNS and addresses of one test.
pub struct Net {
    /// The name server.
    pub dns: Dns,
    port: u16,
    block: u32,
    taken: AtomicU32,
}

impl Net {
    /// A net with nothing in it but DNS.
    pub async fn new() -> Self {
        let dns = Dns::start("").await;
        // The port that DNS got on 127.0.0.1 is free on all other addresses: nothing else binds there.
        let port = dns.address().port();
        Self {
            dns,
            port,
            block: block(),
            taken: AtomicU32::new(1),
        }
    }

    /// The port of all destinations, for `[delivery] port`.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// An unused address, on the common port. Nothing listens there.
    pub fn address(&self) -> SocketAddr {
        let host = self.taken.fetch_add(1, Ordering::Relaxed);
        assert!(host < HOSTS_MAX, "a test has at most {HOSTS_MAX} hosts");
        let ip = Ipv4Addr::from_bits(self.block | host);
        SocketAddr::new(IpAddr::V4(ip), self.port)
    }

    /// A destination for mail to `domain`, with `MX 10 mx.domain` and its address in DNS.
    pub async fn sink(&self, domain: &str, script: &str) -> Sink {
        let sink = Sink::start(self.address(), script).await;
        self.publish(domain, sink.address());
        sink
    }

    /// As [`Net::sink`], with STARTTLS.
    pub async fn sink_with_tls(&self, domain: &str, script: &str) -> Sink {
        let identity = Identity::new(&format!("mx.{domain}"));
        let sink = Sink::with_tls(self.address(), script, Some(&identity)).await;
        self.publish(domain, sink.address());
        sink
    }

    /// Puts `MX 10 mx.domain` and its address into DNS.
    pub fn publish(&self, domain: &str, address: SocketAddr) {
        let ip = address.ip();
        let kind = if ip.is_ipv4() { "A" } else { "AAAA" };
        self.dns.add(&format!(
            "{domain} MX 10 mx.{domain}\nmx.{domain} {kind} {ip}"
        ));
    }
}

/// The first address of a block of 64 that no other test of this machine uses at the same time: by process id
/// and a count of the tests in the process.
fn block() -> u32 {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed) % 256;
    let process = std::process::id() % 256;
    Ipv4Addr::new(127, 64, 0, 0).to_bits() | process << 14 | count << 6
}

/// Hosts in a block, the first address left out.
const HOSTS_MAX: u32 = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn nets_do_not_meet() {
        let (a, b) = (Net::new().await, Net::new().await);
        let (first, second) = (a.address(), b.address());
        assert_ne!(first.ip(), second.ip());
        assert!(first.ip().is_loopback() && second.ip().is_loopback());
        let sink = a.sink("a.test", "").await;
        assert_eq!(sink.address().port(), a.port());
        assert_ne!(sink.address(), first);
    }
}
