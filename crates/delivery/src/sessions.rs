//! TLS sessions to be resumed: of many servers, few of each.
//!
//! rustls' own store keeps eight tickets a server, and each holds the server's certificates: for ten thousand servers that may be
//! 300 MB. Two are what servers give in one handshake; this holds a quarter of that, and resumes nearly as often.

use std::collections::{HashMap, VecDeque};
use std::fmt;

use parking_lot::Mutex;
use rustls::NamedGroup;
use rustls::client::{ClientSessionStore, Tls12ClientSessionValue, Tls13ClientSessionValue};
use rustls::pki_types::ServerName;

/// The store: what was learned of the server that came first goes first.
#[derive(Default)]
pub(crate) struct Sessions(Mutex<Known>);

#[derive(Default)]
struct Known {
    servers: HashMap<ServerName<'static>, Server>,
    order: VecDeque<ServerName<'static>>,
}

#[derive(Default)]
struct Server {
    group: Option<NamedGroup>,
    tls12: Option<Tls12ClientSessionValue>,
    tls13: VecDeque<Tls13ClientSessionValue>,
}

impl Sessions {
    fn learn(&self, name: ServerName<'static>, learn: impl FnOnce(&mut Server)) {
        let known = &mut *self.0.lock();
        if !known.servers.contains_key(&name) {
            if known.order.len() >= SERVERS_MAX
                && let Some(first) = known.order.pop_front()
            {
                known.servers.remove(&first);
            }
            known.order.push_back(name.clone());
        }
        learn(known.servers.entry(name).or_default());
    }

    fn of<T>(
        &self,
        name: &ServerName<'_>,
        look: impl FnOnce(&mut Server) -> Option<T>,
    ) -> Option<T> {
        look(self.0.lock().servers.get_mut(&name.to_owned())?)
    }
}

impl ClientSessionStore for Sessions {
    fn set_kx_hint(&self, name: ServerName<'static>, group: NamedGroup) {
        self.learn(name, |server| server.group = Some(group));
    }

    fn kx_hint(&self, name: &ServerName<'_>) -> Option<NamedGroup> {
        self.of(name, |server| server.group)
    }

    fn set_tls12_session(&self, name: ServerName<'static>, value: Tls12ClientSessionValue) {
        self.learn(name, |server| server.tls12 = Some(value));
    }

    fn tls12_session(&self, name: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.of(name, |server| server.tls12.clone())
    }

    fn remove_tls12_session(&self, name: &ServerName<'static>) {
        self.of(name, |server| server.tls12.take());
    }

    fn insert_tls13_ticket(&self, name: ServerName<'static>, value: Tls13ClientSessionValue) {
        self.learn(name, |server| {
            if server.tls13.len() >= TICKETS_MAX {
                server.tls13.pop_front();
            }
            server.tls13.push_back(value);
        });
    }

    fn take_tls13_ticket(&self, name: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.of(name, |server| server.tls13.pop_back())
    }
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let servers = self.0.lock().order.len();
        write!(f, "Sessions({servers} servers)")
    }
}

/// Servers that are remembered.
const SERVERS_MAX: usize = 10_000;
/// Tickets of a server (RFC 8446 §4.6.1); each is used once.
const TICKETS_MAX: usize = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_thousand_servers() {
        let sessions = Sessions::default();
        let name = |n: usize| ServerName::try_from(format!("mx{n}.test")).unwrap();
        for n in 0..=SERVERS_MAX {
            sessions.set_kx_hint(name(n), NamedGroup::X25519);
        }
        assert_eq!(sessions.kx_hint(&name(0)), None);
        assert_eq!(sessions.kx_hint(&name(1)), Some(NamedGroup::X25519));
        assert_eq!(sessions.0.lock().servers.len(), SERVERS_MAX);
    }
}
