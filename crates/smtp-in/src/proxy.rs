//! The PROXY protocol header, versions 1 and 2, that a load balancer puts before the client's bytes
//! (<https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>).
//!
//! Read so that never a byte behind the header is taken: those are the session's, or TLS's. A header is bounded in
//! size and in time, and only the complete header is parsed.
//!
//! TLVs of version 2 are read over: what they say about TLS or authorities is not ours to trust.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use ppp::{v1, v2};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::timeout;

/// Who is really talking, as the proxy says. `None`: the proxy itself (LOCAL, UNKNOWN), as in health checks.
pub(crate) type Origin = Option<Addresses>;

/// Source and destination of the client's own connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Addresses {
    pub(crate) source: SocketAddr,
    pub(crate) destination: SocketAddr,
}

/// Why there is no usable PROXY header.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProxyError {
    /// The bytes begin no header of either version. The client speaks SMTP or TLS directly, or another protocol.
    #[error("missing, but this network must send one")]
    Missing,
    /// A header of either version that breaks its rules.
    #[error("malformed: {0}")]
    Malformed(String),
    /// A header of over 107 octets (version 1) or 2 KiB (version 2).
    #[error("too long")]
    TooLong,
    /// It did not come in time.
    #[error("timed out")]
    TimedOut,
    /// The connection ended before the header did.
    #[error("connection closed before its end")]
    Closed,
    /// Reading failed.
    #[error("{0}")]
    Broken(io::ErrorKind),
}

/// Reads a header and nothing behind it, no longer than `limit`.
pub(crate) async fn read(
    stream: &mut (impl AsyncRead + Unpin),
    limit: Duration,
) -> Result<Origin, ProxyError> {
    timeout(limit, read_header(stream))
        .await
        .unwrap_or(Err(ProxyError::TimedOut))
}

async fn read_header(stream: &mut (impl AsyncRead + Unpin)) -> Result<Origin, ProxyError> {
    let mut header = Vec::with_capacity(V1_OCTETS_MAX);
    loop {
        let missing = missing_octets(&header)?;
        if missing == 0 {
            return parse(&header);
        }
        let limit = missing as u64;
        match stream.take(limit).read_buf(&mut header).await {
            Ok(0) => return Err(ProxyError::Closed),
            Ok(_) => {}
            Err(error) => return Err(ProxyError::Broken(error.kind())),
        }
    }
}

/// How many more octets the header has at least; 0 when it is complete.
fn missing_octets(header: &[u8]) -> Result<usize, ProxyError> {
    let begins = |prefix: &[u8]| {
        let common = header.len().min(prefix.len());
        header[..common] == prefix[..common]
    };
    if begins(v2::PROTOCOL_PREFIX) {
        missing_octets_v2(header)
    } else if begins(V1_PREFIX) {
        missing_octets_v1(header)
    } else {
        Err(ProxyError::Missing)
    }
}

fn missing_octets_v1(header: &[u8]) -> Result<usize, ProxyError> {
    if header.ends_with(b"\r\n") {
        Ok(0)
    } else if header.len() >= V1_OCTETS_MAX {
        Err(ProxyError::TooLong)
    } else {
        // Up to the shortest header at once, then octet by octet: where the line ends is not told in advance.
        Ok(V1_OCTETS_MIN.saturating_sub(header.len()).max(1))
    }
}

fn missing_octets_v2(header: &[u8]) -> Result<usize, ProxyError> {
    // The 12 octets of the signature may still become a version 1 header in no way, but be fewer than 15.
    let Some(fixed) = header.first_chunk::<V2_FIXED_OCTETS>() else {
        return Ok(V1_OCTETS_MIN
            .min(V2_FIXED_OCTETS)
            .saturating_sub(header.len())
            .max(1));
    };
    let length = usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    let total = V2_FIXED_OCTETS + length;
    if total > V2_OCTETS_MAX {
        return Err(ProxyError::TooLong);
    }
    Ok(total.saturating_sub(header.len()))
}

/// Parses a complete header.
fn parse(header: &[u8]) -> Result<Origin, ProxyError> {
    if header.starts_with(V1_PREFIX) {
        parse_v1(header)
    } else {
        parse_v2(header)
    }
}

fn parse_v1(header: &[u8]) -> Result<Origin, ProxyError> {
    let parsed = v1::Header::try_from(header).map_err(malformed)?;
    Ok(match parsed.addresses {
        v1::Addresses::Unknown => None,
        v1::Addresses::Tcp4(ip) => Some(Addresses {
            source: (ip.source_address, ip.source_port).into(),
            destination: (ip.destination_address, ip.destination_port).into(),
        }),
        v1::Addresses::Tcp6(ip) => Some(Addresses {
            source: (ip.source_address, ip.source_port).into(),
            destination: (ip.destination_address, ip.destination_port).into(),
        }),
    })
}

fn parse_v2(header: &[u8]) -> Result<Origin, ProxyError> {
    let parsed = v2::Header::try_from(header).map_err(malformed)?;
    if parsed.command == v2::Command::Local {
        return Ok(None);
    }
    if parsed.protocol == v2::Protocol::Datagram {
        return Err(ProxyError::Malformed("not a stream".to_owned()));
    }
    Ok(match parsed.addresses {
        v2::Addresses::Unspecified | v2::Addresses::Unix(_) => None,
        v2::Addresses::IPv4(ip) => Some(Addresses {
            source: (ip.source_address, ip.source_port).into(),
            destination: (ip.destination_address, ip.destination_port).into(),
        }),
        v2::Addresses::IPv6(ip) => Some(Addresses {
            source: (ip.source_address, ip.source_port).into(),
            destination: (ip.destination_address, ip.destination_port).into(),
        }),
    })
}

fn malformed(error: impl std::fmt::Display) -> ProxyError {
    ProxyError::Malformed(error.to_string())
}

const V1_PREFIX: &[u8] = b"PROXY ";
/// `PROXY UNKNOWN\r\n`.
const V1_OCTETS_MIN: usize = 15;
/// Section 2.1 of the protocol: "a 108-byte buffer is always enough", with its final NUL.
const V1_OCTETS_MAX: usize = 107;
/// Signature, version and command, family and protocol, length.
const V2_FIXED_OCTETS: usize = 16;
/// The length field allows 64 KiB; addresses take 216 at most, and TLVs of real proxies some hundred.
const V2_OCTETS_MAX: usize = 2048;
