//! What TOML's grammar cannot express: values that must be set, and values that contradict each other.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use envelope::Mailbox;

use super::forwards::Source;
use super::schema::{Config, TlsMode};

/// The key and what is wrong with it.
pub(super) type Fault = (&'static str, String);

impl Config {
    /// The first thing that cannot work.
    pub(super) fn check(&self) -> Result<(), Fault> {
        check_hostname(&self.hostname).map_err(|wrong| {
            let hint = "set the name that other mail servers know this machine by, as in its MX record: hostname = \"mx1.example.net\"";
            ("hostname", format!("{wrong}\n\nhint: {hint}"))
        })?;
        if let Some(domain) = &self.srs.domain {
            domain
                .parse::<envelope::Domain>()
                .map_err(|e| ("srs.domain", format!("`{domain}`: {e}")))?;
        }
        if let Some(acme) = &self.acme {
            acme.check(&self.hostname)?;
        }
        self.check_listeners()?;
        self.check_socket()?;
        self.check_http()?;
        self.check_egresses()?;
        self.check_patience()?;
        self.check_rates()?;
        self.check_sources()?;
        let connect = &self.doctor.connect;
        if let (false, Err(error)) = (connect.is_empty(), connect.parse::<envelope::Domain>()) {
            return Err(("doctor.connect", format!("`{connect}`: {error}")));
        }
        let from = &self.tls_report.from;
        if let (false, Err(error)) = (from.is_empty(), from.parse::<Mailbox>()) {
            return Err(("tls_report.from", format!("`{from}`: {error}")));
        }
        if self
            .resolver
            .servers
            .iter()
            .any(|server| server.port() == 0)
        {
            let text = "port 0 is not a port\n\nhint: name servers listen on 53";
            return Err(("resolver.servers", text.to_owned()));
        }
        if self.delivery.dane == Some(true) && !self.resolver.dnssec {
            let text = "TLSA records count only where DNSSEC proves them, and nothing is validated\n\nhint: set resolver.dnssec = true";
            return Err(("delivery.dane", text.to_owned()));
        }
        Ok(())
    }

    fn check_listeners(&self) -> Result<(), Fault> {
        if !self.has_tls() && self.listeners.iter().any(|l| l.tls == TlsMode::Implicit) {
            return Err((
                "listener.tls",
                "`implicit` needs a certificate\n\nhint: add [tls] with certificate and key"
                    .to_owned(),
            ));
        }
        let proofs = self
            .acme
            .iter()
            .flat_map(|acme| acme.http.or(acme.tls_alpn));
        let binds = self.listeners.iter().map(|l| l.bind).chain(proofs);
        let binds: Vec<SocketAddr> = binds.collect();
        for (at, bind) in binds.iter().enumerate() {
            if let Some(other) = binds[..at].iter().find(|other| collide(bind, other)) {
                let text = format!(
                    "`{bind}` and `{other}` are the same port of the same address\n\nhint: leave one out; `[::]` takes IPv4 too"
                );
                return Err(("listener.bind", text));
            }
        }
        Ok(())
    }

    fn check_egresses(&self) -> Result<(), Fault> {
        for (at, egress) in self.egresses.iter().enumerate() {
            let name = &egress.name;
            let sources = egress.meant().sources;
            if sources.is_empty() {
                let text = format!(
                    "`{name}` has none\n\nhint: name addresses of this machine, one for IPv4 and one for IPv6"
                );
                return Err(("egress.addresses", text));
            }
            let addresses: BTreeSet<_> = sources.iter().map(|source| source.address).collect();
            if addresses.len() < sources.len() {
                let text = format!(
                    "`{name}` has one twice\n\nhint: leave it out of `addresses`, or give it a `weight`"
                );
                return Err(("egress.addresses", text));
            }
            let is_taken = self.egresses[..at].iter().any(|other| other.name == *name);
            if is_taken || policy::measures::name(name).is_err() {
                let text = format!(
                    "`{name}`: each [[egress]] needs a name of its own: letters, digits, `-`, `_` and `.`; and not `off`"
                );
                return Err(("egress.name", text));
            }
        }
        for (at, tier) in self.tiers.iter().enumerate() {
            if self.tiers[..at].iter().any(|other| other.name == tier.name) {
                let text = format!("`{}` is there twice", tier.name.name());
                return Err(("tier.name", text));
            }
        }
        let tiers = self.tiers.iter().map(|tier| ("tier.egress", &tier.egress));
        let routes = self.delivery.routes.iter();
        let routes = routes.map(|route| ("delivery.route.egress", &route.egress));
        let wanted = [
            ("verify.egress", &self.verify.egress),
            ("delivery.egress", &self.delivery.egress),
        ];
        let is_there = |wanted: &str| {
            wanted.is_empty() || self.egresses.iter().any(|egress| egress.name == *wanted)
        };
        match wanted
            .into_iter()
            .chain(tiers)
            .chain(routes)
            .find(|(_, wanted)| !is_there(wanted))
        {
            Some((key, wanted)) => Err((
                key,
                format!(
                    "there is no `{wanted}`\n\nhint: add [[egress]] with name = \"{wanted}\", addresses and hello"
                ),
            )),
            None => Ok(()),
        }
    }

    /// What keeps a client waiting on purpose must leave it time to say something, and stay far below the two minutes that it
    /// waits for the reply to DATA (RFC 5321 §4.5.3.2.3).
    fn check_patience(&self) -> Result<(), Fault> {
        let max = PATIENCE.min(self.limits.command_timeout.0 / 2);
        let connect = &self.connect;
        let tarpit_delay = match connect.tarpit.is_empty() {
            true => Duration::ZERO,
            false => connect.tarpit_delay.0,
        };
        let waits = [
            ("connect.greet_wait", connect.greet_wait.0),
            ("connect.tarpit_delay", tarpit_delay),
        ];
        match waits.into_iter().find(|(_, span)| *span > max) {
            Some((key, _)) => {
                let max = max.as_secs_f64();
                let text = format!(
                    "too long: clients would give up\n\nhint: {max} s at most: that is a minute, or half of `limits.command_timeout`"
                );
                Err((key, text))
            }
            None => Ok(()),
        }
    }

    fn check_rates(&self) -> Result<(), Fault> {
        for (at, limit) in self.rates.iter().enumerate() {
            let name = &limit.name;
            if self.rates[..at].iter().any(|other| other.name == *name) {
                let text = format!("`{name}`: each [[limit]] needs a name of its own");
                return Err(("limit.name", text));
            }
            if let Some(fault) = limit.meant().fault() {
                return Err(("limit", format!("`{name}`: {fault}")));
            }
        }
        Ok(())
    }

    fn check_sources(&self) -> Result<(), Fault> {
        let mut names = BTreeSet::new();
        for source in self.forwards.sources() {
            let name = source.name();
            let wrong = match source {
                Source::Sql(sql) if sql.is_both() => {
                    format!(
                        "`{name}` has a `query` for everything, and one for each address\n\nhint: make two sources of it, each with a name"
                    )
                }
                _ if !names.insert(name.clone()) => {
                    format!("two are called `{name}`\n\nhint: give each a name")
                }
                _ => continue,
            };
            return Err(("forwards.source", wrong));
        }
        Ok(())
    }

    fn check_socket(&self) -> Result<(), Fault> {
        let path = &self.control.socket;
        if path.as_os_str().as_bytes().len() <= SOCKET_PATH_OCTETS_MAX {
            return Ok(());
        }
        let text = format!(
            "{} is over {SOCKET_PATH_OCTETS_MAX} octets, the longest path that the system allows for a socket\n\nhint: set it to a short path that only the user who runs onward can write to, as in /run/onward/control.sock",
            path.display()
        );
        Err(("control.socket", text))
    }

    fn check_http(&self) -> Result<(), Fault> {
        let typed = &self.http.bind;
        match self.http.bind() {
            Some(Err(wrong)) => Err(("http.bind", format!("`{typed}` is {wrong}"))),
            Some(Ok(bind)) if bind.is_exposed() && !self.has_tls() => {
                let text = format!(
                    "`{typed}` can be reached from elsewhere, and tokens would go over it in clear\n\nhint: add [tls] with certificate and key, or take 127.0.0.1"
                );
                Err(("http.bind", text))
            }
            _ => Ok(()),
        }
    }
}

/// A mail server's name has a dot, and is no address (RFC 5321 §2.3.5).
pub(crate) fn check_hostname(name: &str) -> Result<(), String> {
    let mailbox = format!("postmaster@{name}").parse::<Mailbox>().ok();
    let domain = mailbox.as_ref().and_then(Mailbox::domain);
    match domain.is_some_and(|domain| domain.as_str().contains('.'))
        && name.parse::<IpAddr>().is_err()
    {
        true => Ok(()),
        false => Err(format!("`{name}` is not a full host name")),
    }
}

/// Whether binding the second of these must fail. `[::]` and `0.0.0.0` do not collide: when both are given, `[::]` is bound
/// for IPv6 only.
fn collide(one: &SocketAddr, other: &SocketAddr) -> bool {
    let any = |address: &SocketAddr| address.ip().is_unspecified();
    let port = one.port();
    // The system picks another port for each 0.
    port != 0
        && port == other.port()
        && match (one.is_ipv6(), other.is_ipv6()) {
            (true, false) => any(one) && !any(other),
            (false, true) => any(other) && !any(one),
            _ => one.ip() == other.ip() || any(one) || any(other),
        }
}

/// The longest that a client is kept waiting on purpose.
const PATIENCE: Duration = Duration::from_mins(1);
/// `sun_path` has 108 octets on Linux, the last of them a NUL (unix(7)).
const SOCKET_PATH_OCTETS_MAX: usize = 107;
