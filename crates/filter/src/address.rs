//! Where a filter listens.

use std::path::PathBuf;
use std::str::FromStr;
use std::{fmt, io};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

/// `http://…`, `inet:HOST:PORT` or `unix:PATH`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// An http or https URL.
    Http(String),
    /// A host, by name or address, and a port.
    Inet(String),
    /// A socket of this machine.
    Unix(PathBuf),
}

/// It is none of these.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("write it as `http://HOST:PORT`, `inet:HOST:PORT` or `unix:/PATH`")]
pub struct BadAddress;

/// A connection, of whichever kind.
pub(crate) trait Connection: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Connection for T {}

impl Address {
    pub(crate) async fn connect(&self) -> io::Result<Box<dyn Connection>> {
        Ok(match self {
            Self::Inet(host) => Box::new(TcpStream::connect(host.as_str()).await?),
            Self::Unix(path) => Box::new(UnixStream::connect(path).await?),
            // A definition holds a URL for rspamd alone.
            Self::Http(_) => return Err(io::ErrorKind::Unsupported.into()),
        })
    }
}

impl FromStr for Address {
    type Err = BadAddress;

    fn from_str(text: &str) -> Result<Self, BadAddress> {
        match text.split_once(':').ok_or(BadAddress)? {
            ("http" | "https", rest) if rest.len() > "//".len() && rest.starts_with("//") => {
                Ok(Self::Http(text.to_owned()))
            }
            ("inet", rest) => {
                let (host, port) = rest.rsplit_once(':').ok_or(BadAddress)?;
                let is_v6_bare = host.contains(':') && !host.starts_with('[');
                match port.parse::<u16>() {
                    Ok(1..) if !host.is_empty() && !is_v6_bare => Ok(Self::Inet(rest.to_owned())),
                    _ => Err(BadAddress),
                }
            }
            ("unix", path) if path.starts_with('/') => Ok(Self::Unix(path.into())),
            _ => Err(BadAddress),
        }
    }
}

/// As it was written.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(url) => f.write_str(url),
            Self::Inet(host) => write!(f, "inet:{host}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, is_one: bool) {
        let read = text.parse::<Address>();
        assert_eq!(read.is_ok(), is_one, "{text}");
        if let Ok(address) = read {
            assert_eq!(address.to_string(), text);
        }
    }

    #[test]
    fn addresses() {
        for good in [
            "http://127.0.0.1:11333",
            "https://rspamd.example/",
            "inet:127.0.0.1:3310",
            "inet:[::1]:3310",
            "inet:localhost:3310",
            "unix:/run/clamav/clamd.ctl",
        ] {
            check(good, true);
        }
        for bad in [
            "",
            "127.0.0.1:11333",
            "http:",
            "http://",
            "ftp://x",
            "inet:",
            "inet:host",
            "inet:host:0",
            "inet::3310",
            "inet:::1:3310",
            "inet:h:99999",
            "unix:",
            "unix:relative",
        ] {
            check(bad, false);
        }
    }
}
