//! Where connections are taken: a Unix socket or a TCP address.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use control::Socket;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;

/// Where, as it is typed: `unix:/run/onward/http.sock`, `127.0.0.1:8025`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bind {
    /// The whole path of a socket.
    Unix(PathBuf),
    /// An address of this machine.
    Tcp(SocketAddr),
}

/// A text that is no such place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "neither an address with its port nor a socket\n\nhint: \"127.0.0.1:8025\", or \"unix:/run/onward/http.sock\" with its whole path"
)]
pub struct NotABind;

/// Why nothing can be taken there.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The socket.
    #[error(transparent)]
    Unix(#[from] control::BindError),
    /// The address.
    #[error(
        "cannot listen on {address} for HTTP: {error}\n\nhint: `http.bind` is an address of this machine with a free port"
    )]
    Tcp {
        /// Which.
        address: SocketAddr,
        /// Why.
        error: io::Error,
    },
}

impl Bind {
    /// Whether strangers could read what goes over it.
    pub fn is_exposed(&self) -> bool {
        matches!(self, Self::Tcp(address) if !address.ip().to_canonical().is_loopback())
    }
}

impl FromStr for Bind {
    type Err = NotABind;

    fn from_str(text: &str) -> Result<Self, NotABind> {
        match text.strip_prefix("unix:") {
            Some(path) if path.starts_with('/') => Ok(Self::Unix(path.into())),
            Some(_) => Err(NotABind),
            None => text.parse().map(Self::Tcp).map_err(|_| NotABind),
        }
    }
}

/// What takes connections.
pub(crate) enum Listener {
    Unix(Socket),
    Tcp(TcpListener),
}

/// A connection of either kind.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

impl Listener {
    pub(crate) async fn bind(bind: &Bind) -> Result<Self, BindError> {
        match bind {
            Bind::Unix(path) => Ok(Self::Unix(Socket::bind_for(path, MODE).await?)),
            Bind::Tcp(address) => {
                let address = *address;
                let listener = TcpListener::bind(address).await;
                let listener = listener.map_err(|error| BindError::Tcp { address, error });
                Ok(Self::Tcp(listener?))
            }
        }
    }

    pub(crate) async fn accept(&self) -> io::Result<Box<dyn Stream>> {
        Ok(match self {
            Self::Unix(socket) => Box::new(socket.accept_any().await?),
            Self::Tcp(listener) => Box::new(listener.accept().await?.0),
        })
    }
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(socket) => write!(f, "unix:{}", socket.path().display()),
            Self::Tcp(listener) => match listener.local_addr() {
                Ok(address) => address.fmt(f),
                Err(error) => error.fmt(f),
            },
        }
    }
}

/// A web server or a panel of our group may connect; it needs a token all the same.
const MODE: u32 = 0o660;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_bound() {
        for (text, is_exposed) in [
            ("127.0.0.1:8025", false),
            ("[::1]:8025", false),
            ("[::ffff:127.0.0.1]:8025", false),
            ("unix:/run/onward/http.sock", false),
            ("0.0.0.0:443", true),
            ("192.0.2.1:443", true),
        ] {
            let bind: Bind = text.parse().unwrap();
            assert_eq!(bind.is_exposed(), is_exposed, "{text}");
        }
        for text in [
            "unix:http.sock",
            "unix:",
            "localhost:80",
            "127.0.0.1",
            ":80",
        ] {
            assert_eq!(text.parse::<Bind>(), Err(NotABind), "{text}");
        }
    }
}
