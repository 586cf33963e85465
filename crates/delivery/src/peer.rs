//! Who is at the other end: the name and address of a host, and the socket that leads there.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use envelope::{Diagnosis, Domain, EnhancedStatus};
use tokio::net::{TcpSocket, UnixStream};
use tokio::time::timeout;

use crate::opening::OpenError;
use crate::tls::Stream;

/// A host and one of its addresses.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    /// None for an address literal or a route to an address.
    pub(crate) name: Option<Domain>,
    pub(crate) address: Endpoint,
    /// Whether it speaks LMTP.
    pub(crate) lmtp: bool,
}

/// Where a host listens.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// An address and a port.
    Tcp(SocketAddr),
    /// A socket of this machine.
    Unix(Arc<Path>),
}

impl Endpoint {
    /// The address and port, if it has one.
    pub(crate) fn tcp(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(address) => Some(*address),
            Self::Unix(_) => None,
        }
    }
}

impl From<SocketAddr> for Endpoint {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp(address)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl Peer {
    /// Connects from `source`, or from where the system likes, within `limit`.
    pub(crate) async fn connect(
        &self,
        source: Option<IpAddr>,
        limit: Duration,
    ) -> Result<Stream, OpenError> {
        let mut is_absent = false;
        let connected = async {
            let address = match &self.address {
                Endpoint::Tcp(address) => *address,
                Endpoint::Unix(path) => return Ok(Stream::Unix(UnixStream::connect(path).await?)),
            };
            let socket = match address {
                SocketAddr::V4(_) => TcpSocket::new_v4()?,
                SocketAddr::V6(_) => TcpSocket::new_v6()?,
            };
            if let Some(source) = source {
                let bound = socket.bind(SocketAddr::new(source, 0));
                let kind = bound.as_ref().err().map(io::Error::kind);
                is_absent = kind == Some(io::ErrorKind::AddrNotAvailable);
                bound?;
            }
            let stream = socket.connect(address).await?;
            // Each write is a whole group of commands: waiting for more would only cost time.
            stream.set_nodelay(true)?;
            Ok(Stream::Clear(stream))
        };
        let late = |_| Err(io::ErrorKind::TimedOut.into());
        let connected = timeout(limit, connected).await.unwrap_or_else(late);
        connected.map_err(|error| match self.unreachable(&error) {
            why if is_absent => OpenError::Unbound(why),
            why => OpenError::Unreachable(why),
        })
    }

    fn unreachable(&self, error: &io::Error) -> Diagnosis {
        let text = match error.kind() {
            io::ErrorKind::TimedOut => "connection timed out".to_owned(),
            io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
            _ => format!("cannot connect: {error}"),
        };
        let mut diagnosis = Diagnosis::local(NO_ANSWER, text);
        self.sign(&mut diagnosis);
        diagnosis
    }

    /// Writes into the diagnosis who said so.
    pub(crate) fn sign(&self, diagnosis: &mut Diagnosis) {
        diagnosis.host.get_or_insert_with(|| self.to_string());
    }
}

/// `mx.example[192.0.2.1]:25`, or `unix:/run/dovecot/lmtp`.
impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(name) = &self.name {
            write!(f, "{name}")?;
        }
        match &self.address {
            Endpoint::Tcp(address) => write!(f, "[{}]:{}", address.ip(), address.port()),
            Endpoint::Unix(_) => self.address.fmt(f),
        }
    }
}

/// RFC 3463 §3.5: no answer from host.
const NO_ANSWER: EnhancedStatus = EnhancedStatus::transient(4, 1);
