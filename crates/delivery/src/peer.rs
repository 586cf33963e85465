//! Who is at the other end: the name and address of a host, and the socket that leads there.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use envelope::{Diagnosis, Domain, EnhancedStatus};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

/// A host and one of its addresses.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    /// None for an address literal or a route to an address.
    pub(crate) name: Option<Domain>,
    pub(crate) address: SocketAddr,
}

impl Peer {
    /// Connects from `source`, or from where the system likes, within `limit`.
    pub(crate) async fn connect(
        &self,
        source: Option<IpAddr>,
        limit: Duration,
    ) -> Result<TcpStream, Diagnosis> {
        let connected = async {
            let socket = match self.address {
                SocketAddr::V4(_) => TcpSocket::new_v4()?,
                SocketAddr::V6(_) => TcpSocket::new_v6()?,
            };
            if let Some(source) = source {
                socket.bind(SocketAddr::new(source, 0))?;
            }
            let stream = timeout(limit, socket.connect(self.address))
                .await
                .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
            // Each write is a whole group of commands: waiting for more would only cost time.
            stream.set_nodelay(true)?;
            Ok(stream)
        };
        connected.await.map_err(|error| self.unreachable(&error))
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

/// `mx.example[192.0.2.1]:25`.
impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(name) = &self.name {
            write!(f, "{name}")?;
        }
        write!(f, "[{}]:{}", self.address.ip(), self.address.port())
    }
}

/// RFC 3463 §3.5: no answer from host.
const NO_ANSWER: EnhancedStatus = EnhancedStatus::transient(4, 1);
