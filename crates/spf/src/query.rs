//! Who wants to send: the arguments of `check_host()` (RFC 7208 §4.1).

use std::net::IpAddr;

/// A client and the identity that it uses.
#[derive(Debug, Clone)]
pub struct Query {
    /// An IPv4 client that came over an IPv6 socket is an IPv4 client (§5).
    pub(crate) ip: IpAddr,
    pub(crate) helo: String,
    pub(crate) local: String,
    pub(crate) domain: String,
    pub(crate) receiver: String,
    pub(crate) now_secs: u64,
}

impl Query {
    /// Asks about the reverse path `local@domain`. The null reverse path has neither: ask about [`helo`](Self::helo).
    pub fn mail_from(ip: IpAddr, helo: &str, local: &str, domain: &str) -> Self {
        // §4.3: without a local part, it is that of the one who is responsible for the host.
        let local = if local.is_empty() {
            "postmaster"
        } else {
            local
        };
        Self {
            ip: ip.to_canonical(),
            helo: helo.to_owned(),
            local: local.to_owned(),
            domain: domain.to_owned(),
            receiver: "unknown".to_owned(),
            now_secs: 0,
        }
    }

    /// Asks about the name in HELO or EHLO (§2.3).
    pub fn helo(ip: IpAddr, helo: &str) -> Self {
        Self::mail_from(ip, helo, "postmaster", helo)
    }

    /// Who asks, and when (seconds since 1970): only explanations use them (`%{r}`, `%{t}`).
    #[must_use]
    pub fn received_by(mut self, receiver: &str, now_secs: u64) -> Self {
        receiver.clone_into(&mut self.receiver);
        self.now_secs = now_secs;
        self
    }
}
