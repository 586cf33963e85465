//! Listening sockets and what their connections have in common.
//!
//! Binding is separate from serving: a port in use is an error before anything else has started, and says what to do.
//!
//! IPv6 wildcards: `[::]:25` takes IPv4 as well (dual stack), whatever `net.ipv6.bindv6only` says, because one line of
//! configuration should mean "everyone". Only when the same list also holds the IPv4 wildcard with the same
//! port, `0.0.0.0:25`, is the former for IPv6 alone; otherwise the two would collide.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use ipnet::IpNet;
use smtp::server;
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::tls;
use crate::visit::Role;

/// One listener as configured.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where to listen; port 0 takes any free one ([`Listener::local_addr`] tells which).
    pub bind: SocketAddr,
    /// What the listener is for.
    pub role: Role,
    /// Whether and when TLS begins.
    pub tls: TlsMode,
    /// Networks whose connections must begin with a PROXY header (v1 or v2). From all others such a header is
    /// nothing but an unknown command.
    pub proxy_from: Vec<IpNet>,
    /// Networks whose clients may name another client by XCLIENT, which is then judged in their place: any client, a trusted
    /// one too.
    pub xclient_from: Vec<IpNet>,
    /// What the sessions say and allow. `tls_available` is overwritten according to `tls`.
    pub session: server::Settings,
}

/// When TLS begins.
#[derive(Debug, Clone)]
pub enum TlsMode {
    /// Never.
    Off,
    /// When the client asks (RFC 3207).
    StartTls(tls::Holder),
    /// At once (RFC 8314).
    Implicit(tls::Holder),
}

/// Limits that all listeners share. The limits of a session are in [`server::Settings`].
#[derive(Debug, Clone)]
pub struct Limits {
    /// Connections at once; one more is answered 421 4.3.2.
    pub connections_max: usize,
    /// Connections at once from one IPv4 address or IPv6 /64; one more is answered 421 4.7.0.
    /// Not for clients that are [`Service::trusts`](crate::Service::trusts).
    pub connections_per_address_max: usize,
    /// For a whole PROXY header.
    pub proxy_header: Duration,
    /// For a whole TLS handshake.
    pub tls_handshake: Duration,
    /// For a client to take our replies.
    pub write: Duration,
    /// For running transactions after shutdown was asked for; then their connections are cut.
    pub drain: Duration,
}

/// An open socket and its settings.
#[derive(Debug)]
pub struct Listener {
    pub(crate) socket: TcpListener,
    pub(crate) settings: Settings,
}

/// A socket that could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on `{address}`: {source}{}", self.hint())]
pub struct BindError {
    /// Where it was to listen.
    pub address: SocketAddr,
    /// The system's reason.
    pub source: io::Error,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 10_000,
            connections_per_address_max: 100,
            proxy_header: Duration::from_secs(10),
            tls_handshake: Duration::from_secs(30),
            write: Duration::from_mins(1),
            drain: Duration::from_secs(30),
        }
    }
}

impl Listener {
    /// Takes over a socket that listens already (handed down by systemd). `settings.bind` is not looked at.
    pub fn from_std(socket: TcpListener, settings: Settings) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        // Replies are written whole; waiting for more to send only adds a delay. Each connection inherits it.
        SockRef::from(&socket).set_tcp_nodelay(true)?;
        Ok(Self { socket, settings })
    }

    /// Where it listens, with the port that the system chose.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }
}

/// Opens every socket, or none. A listener takes the socket with its address that was handed down, listening already, if there is
/// one; none of those may be left, for its clients would wait for ever.
pub fn bind(all: Vec<Settings>, mut handed: Vec<TcpListener>) -> Result<Vec<Listener>, BindError> {
    let addresses: Vec<SocketAddr> = all.iter().map(|settings| settings.bind).collect();
    let open = |settings: Settings| {
        let address = settings.bind;
        let is_there = |socket: &TcpListener| socket.local_addr().is_ok_and(|at| at == address);
        let socket = match handed.iter().position(is_there) {
            Some(at) => Ok(handed.swap_remove(at)),
            None => open(address, only_v6(address, &addresses)),
        };
        socket
            .and_then(|socket| Listener::from_std(socket, settings))
            .map_err(|source| BindError { address, source })
    };
    let listeners = all.into_iter().map(open).collect::<Result<_, _>>()?;
    match handed.iter().find_map(|socket| socket.local_addr().ok()) {
        None => Ok(listeners),
        Some(address) => Err(BindError {
            address,
            source: io::Error::new(io::ErrorKind::InvalidInput, NOT_MEANT),
        }),
    }
}

/// Whether an IPv6 socket must leave IPv4 alone, seeing what else is to be bound.
fn only_v6(address: SocketAddr, all: &[SocketAddr]) -> bool {
    let v4_wildcard = |other: &SocketAddr| {
        other.is_ipv4() && other.ip().is_unspecified() && other.port() == address.port()
    };
    // Port 0 is a different port each time, so it never collides.
    !address.ip().is_unspecified() || (address.port() != 0 && all.iter().any(v4_wildcard))
}

fn open(address: SocketAddr, only_v6: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    if address.is_ipv6() {
        socket.set_only_v6(only_v6)?;
    }
    // A restart must not wait until old connections have left TIME_WAIT. (On Linux this never steals a live port.)
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

impl BindError {
    fn hint(&self) -> &'static str {
        match self.source.kind() {
            io::ErrorKind::AddrInUse => {
                "\n\nhint: another program (or another listener of this configuration) has this port; \
                 `ss -ltnp` shows which. `[::]` takes IPv4 too"
            }
            io::ErrorKind::PermissionDenied => {
                "\n\nhint: ports below 1024 need CAP_NET_BIND_SERVICE (systemd: AmbientCapabilities=)"
            }
            io::ErrorKind::AddrNotAvailable => {
                "\n\nhint: no interface of this host has this address"
            }
            io::ErrorKind::InvalidInput => {
                "\n\nhint: give a listener this address, or take it out of onward.socket"
            }
            // EAFNOSUPPORT has no kind of its own.
            _ if self.address.is_ipv6() => {
                "\n\nhint: does this host have IPv6? `0.0.0.0` is IPv4 alone"
            }
            _ => "",
        }
    }
}

const NOT_MEANT: &str = "systemd hands this socket down, but no listener is configured there";

/// Connections that the kernel may hold for us; it cuts this to `net.core.somaxconn`.
const BACKLOG: i32 = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(bind: &str) -> Settings {
        Settings {
            bind: bind.parse().unwrap(),
            role: Role::Mx,
            tls: TlsMode::Off,
            proxy_from: Vec::new(),
            xclient_from: Vec::new(),
            session: server::Settings::default(),
        }
    }

    #[track_caller]
    fn check_only_v6(address: &str, others: &[&str], expected: bool) {
        let all: Vec<SocketAddr> = others.iter().map(|other| other.parse().unwrap()).collect();
        assert_eq!(only_v6(address.parse().unwrap(), &all), expected);
    }

    #[test]
    fn wildcards() {
        check_only_v6("[::]:25", &["[::]:25"], false);
        check_only_v6("[::]:25", &["[::]:25", "0.0.0.0:25"], true);
        check_only_v6("[::]:25", &["[::]:25", "0.0.0.0:587"], false);
        check_only_v6("[::]:25", &["[::]:25", "127.0.0.1:25"], false);
        check_only_v6("[::]:0", &["[::]:0", "0.0.0.0:0"], false);
        check_only_v6("[::1]:25", &["[::1]:25"], true);
    }

    #[test]
    fn dual_stack_takes_both() {
        let listeners = bind(vec![settings("[::]:0")], vec![]).unwrap();
        let port = listeners[0].local_addr().unwrap().port();
        for client in ["127.0.0.1", "::1"] {
            let ip: std::net::IpAddr = client.parse().unwrap();
            std::net::TcpStream::connect((ip, port)).unwrap();
        }
    }

    #[test]
    fn both_wildcards_stand_side_by_side() {
        // A port that was free a moment ago.
        let port = bind(vec![settings("[::]:0")], vec![]).unwrap()[0]
            .local_addr()
            .unwrap()
            .port();
        let both = [format!("[::]:{port}"), format!("0.0.0.0:{port}")];
        let both = both.iter().map(|bind| settings(bind)).collect();
        assert_eq!(bind(both, vec![]).unwrap().len(), 2);
    }

    #[test]
    fn sockets_handed_down_are_taken_by_address() {
        let handed = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = handed.local_addr().unwrap();
        let both = |handed| {
            let listeners = [settings("127.0.0.1:0"), settings(&address.to_string())];
            bind(listeners.into(), handed)
        };
        let error = both(vec![]).unwrap_err();
        assert_eq!(error.source.kind(), io::ErrorKind::AddrInUse);
        let listeners = both(vec![handed.try_clone().unwrap()]).unwrap();
        assert_eq!(listeners[1].local_addr().unwrap(), address);
        let error = bind(vec![settings("127.0.0.1:0")], vec![handed]).unwrap_err();
        let text = error.to_string();
        assert!(
            text.starts_with(&format!("cannot listen on `{address}`: systemd")),
            "{text}"
        );
    }

    #[test]
    fn port_in_use_says_where_and_what_to_do() {
        let first = bind(vec![settings("127.0.0.1:0")], vec![]).unwrap();
        let address = first[0].local_addr().unwrap();
        let error = bind(vec![settings(&address.to_string())], vec![]).unwrap_err();
        let text = error.to_string();
        assert!(
            text.starts_with(&format!("cannot listen on `{address}`: ")),
            "{text}"
        );
        assert!(text.contains("\n\nhint: another program"), "{text}");
    }

    #[test]
    fn address_of_another_host() {
        let error = bind(vec![settings("192.0.2.1:0")], vec![]).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("hint: no interface of this host"), "{text}");
    }
}
