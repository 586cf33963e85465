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

/// As [`read`], however long it takes.
pub(crate) async fn read_header(
    stream: &mut (impl AsyncRead + Unpin),
) -> Result<Origin, ProxyError> {
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
    if header.is_empty() {
        // Which version it is shows with the first octet; no header of either is shorter than this.
        Ok(V1_OCTETS_MIN)
    } else if begins(v2::PROTOCOL_PREFIX) {
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
    let Some(fixed) = header.first_chunk::<V2_FIXED_OCTETS>() else {
        return Ok(V2_FIXED_OCTETS - header.len());
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
    let addresses = if header.starts_with(V1_PREFIX) {
        parse_v1(header)?
    } else {
        parse_v2(header)?
    };
    Ok(match addresses {
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

fn parse_v1(header: &[u8]) -> Result<v2::Addresses, ProxyError> {
    // "The receiver must ignore anything presented before the CRLF": ppp takes no more than four words of it.
    if header.starts_with(b"PROXY UNKNOWN ") {
        return Ok(v2::Addresses::Unspecified);
    }
    let parsed = v1::Header::try_from(header).map_err(malformed)?;
    Ok(match parsed.addresses {
        v1::Addresses::Unknown => v2::Addresses::Unspecified,
        v1::Addresses::Tcp4(ip) => v2::Addresses::IPv4(ip),
        v1::Addresses::Tcp6(ip) => v2::Addresses::IPv6(ip),
    })
}

fn parse_v2(header: &[u8]) -> Result<v2::Addresses, ProxyError> {
    let parsed = v2::Header::try_from(header).map_err(malformed)?;
    match (parsed.command, parsed.protocol) {
        (v2::Command::Local, _) => Ok(v2::Addresses::Unspecified),
        (_, v2::Protocol::Datagram) => Err(ProxyError::Malformed("not a stream".to_owned())),
        _ => Ok(parsed.addresses),
    }
}

/// Some of ppp's texts hold what was wrong, line ends too: nothing for a log.
fn malformed(error: impl std::fmt::Display) -> ProxyError {
    let shown = |c: char| match c {
        c if c.is_control() => c.escape_debug().to_string(),
        c => c.to_string(),
    };
    ProxyError::Malformed(error.to_string().chars().map(shown).collect())
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds `input` in pieces of `piece` octets and checks the outcome; after a success, also that exactly the
    /// bytes behind the header were left alone.
    #[track_caller]
    fn check_in_pieces(
        input: &[u8],
        piece: usize,
        expected: &Result<Origin, ProxyError>,
        rest: &[u8],
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        let (mut ours, mut theirs) = tokio::io::duplex(piece);
        let input = input.to_vec();
        let (got, left) = runtime.block_on(async move {
            let feed = tokio::spawn(async move {
                use tokio::io::AsyncWriteExt as _;
                // Fails when the header was refused before its end.
                let _ = theirs.write_all(&input).await;
            });
            let got = read(&mut ours, Duration::from_secs(60)).await;
            let mut left = Vec::new();
            if got.is_ok() {
                ours.read_to_end(&mut left).await.unwrap();
            }
            drop(ours);
            feed.await.unwrap();
            (got, left)
        });
        assert_eq!(&got, expected, "in pieces of {piece}");
        assert_eq!(
            left,
            if got.is_ok() { rest } else { b"" },
            "in pieces of {piece}"
        );
    }

    #[track_caller]
    fn check(header: &[u8], rest: &[u8], expected: Result<Origin, ProxyError>) {
        let input = [header, rest].concat();
        for piece in [1, 2, 7, 4096] {
            check_in_pieces(&input, piece, &expected, rest);
        }
    }

    fn origin(source: &str, destination: &str) -> Result<Origin, ProxyError> {
        Ok(Some(Addresses {
            source: source.parse().unwrap(),
            destination: destination.parse().unwrap(),
        }))
    }

    /// Version 2: version and command, family and protocol, payload.
    fn v2(command: u8, family: u8, payload: &[u8]) -> Vec<u8> {
        let length = u16::try_from(payload.len()).unwrap().to_be_bytes();
        [v2::PROTOCOL_PREFIX, &[command, family], &length, payload].concat()
    }

    #[test]
    fn version_1() {
        check(
            b"PROXY TCP4 192.0.2.1 198.51.100.2 50000 25\r\n",
            b"EHLO x\r\n",
            origin("192.0.2.1:50000", "198.51.100.2:25"),
        );
        check(
            b"PROXY TCP6 2001:db8::1 2001:db8::2 50000 25\r\n",
            b"",
            origin("[2001:db8::1]:50000", "[2001:db8::2]:25"),
        );
        check(b"PROXY UNKNOWN\r\n", b"QUIT\r\n", Ok(None));
        check(b"PROXY UNKNOWN ff 1 2 3 4\r\n", b"QUIT\r\n", Ok(None));
    }

    #[test]
    fn version_2() {
        let v4 = [192, 0, 2, 1, 198, 51, 100, 2, 0xc3, 0x50, 0, 25];
        let v4_origin = || origin("192.0.2.1:50000", "198.51.100.2:25");
        check(&v2(0x21, 0x11, &v4), b"EHLO x\r\n", v4_origin());
        let with_tlv = [&v4[..], &[4, 0, 3, 1, 2, 3]].concat();
        check(&v2(0x21, 0x11, &with_tlv), b"EHLO x\r\n", v4_origin());
        let mut v6 = [0; 36];
        v6[..4].copy_from_slice(&[0x20, 1, 0xd, 0xb8]);
        v6[15] = 1;
        v6[31] = 1;
        v6[35] = 25;
        let expected = origin("[2001:db8::1]:0", "[::1]:25");
        check(&v2(0x21, 0x21, &v6), b"", expected);
        // LOCAL: whatever addresses are in it are not to be used.
        check(&v2(0x20, 0x11, &v4), b"QUIT\r\n", Ok(None));
        check(&v2(0x20, 0x00, b""), b"QUIT\r\n", Ok(None));
        check(&v2(0x21, 0x00, b""), b"QUIT\r\n", Ok(None));
        check(&v2(0x21, 0x31, &[0; 216]), b"QUIT\r\n", Ok(None));
    }

    #[track_caller]
    fn check_malformed(header: &[u8]) {
        let input = header.to_vec();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        let got = runtime.block_on(read(&mut &input[..], Duration::from_secs(60)));
        assert!(matches!(got, Err(ProxyError::Malformed(_))), "{got:?}");
    }

    #[test]
    fn refused() {
        check(b"EHLO client.example\r\n", b"", Err(ProxyError::Missing));
        check(
            b"\x16\x03\x01\x02\x00\x01\x00",
            b"",
            Err(ProxyError::Missing),
        );
        check(b"PROXX TCP4", b"", Err(ProxyError::Missing));
        check(b"", b"", Err(ProxyError::Closed));
        check(b"PROXY TCP4 192.0.2.1", b"", Err(ProxyError::Closed));
        check(
            &v2(0x21, 0x11, &[0; 12])[..20],
            b"",
            Err(ProxyError::Closed),
        );
        let long = [b"PROXY UNKNOWN ".as_slice(), &[b'x'; 200]].concat();
        check(&long, b"\r\n", Err(ProxyError::TooLong));
        check(&v2(0x21, 0x11, &[0; 2033]), b"", Err(ProxyError::TooLong));
        check_malformed(b"PROXY TCP4 192.0.2.1 198.51.100.2 50000\r\n");
        check_malformed(b"PROXY TCP4 2001:db8::1 2001:db8::2 1 2\r\n");
        check_malformed(b"PROXY TCP4 192.0.2.1 198.51.100.2 99999 25\r\n");
        check_malformed(b"PROXY TCP4 192.0.2.1 198.51.100.2 \xff\xff 25\r\n");
        check_malformed(&v2(0x11, 0x11, &[0; 12]));
        check_malformed(&v2(0x22, 0x11, &[0; 12]));
        check_malformed(&v2(0x21, 0x12, &[0; 12]));
        check_malformed(&v2(0x21, 0x11, &[0; 11]));
    }

    /// Found by fuzzing: ppp says which line end it misses by writing it.
    #[test]
    fn a_malformed_header_writes_no_lines() {
        let header = b"PROXY TCP4 192.0.2.1 198.51.100.1 202 50000 25\r\n";
        let error = parse(header).unwrap_err().to_string();
        assert!(!error.contains(char::is_control), "{error:?}");
        assert!(error.contains(r"\r\n"), "{error}");
    }

    #[test]
    fn longest_headers_fit() {
        let line = format!("PROXY UNKNOWN {}\r\n", "x".repeat(91));
        assert_eq!(line.len(), V1_OCTETS_MAX);
        check(line.as_bytes(), b"QUIT\r\n", Ok(None));
        check(&v2(0x20, 0, &[0; 2032]), b"QUIT\r\n", Ok(None));
    }

    #[tokio::test(start_paused = true)]
    async fn silence_times_out() {
        let (mut ours, _theirs) = tokio::io::duplex(64);
        let got = read(&mut ours, Duration::from_secs(10)).await;
        assert_eq!(got, Err(ProxyError::TimedOut));
    }
}
