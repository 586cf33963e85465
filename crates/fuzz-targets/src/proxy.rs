//! The PROXY header: it reads the same in any pieces, and no octet after it is consumed.

use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use arbitrary::Arbitrary;
use tokio::io::{AsyncRead, ReadBuf};

use crate::input::{assert_clean, plan};

#[derive(Debug, Arbitrary)]
struct Plan {
    /// The most octets that come at once, less one.
    piece: u8,
}

/// `data` is the size of pieces, and what a connection begins with.
pub(crate) fn check(data: &[u8]) {
    let Some((Plan { piece }, bytes)) = plan(data) else {
        return;
    };
    let (read, used) = read(bytes, usize::from(piece) + 1);
    let (whole, whole_used) = self::read(bytes, usize::MAX);
    // The reason of an error may differ: a header is looked at only once 15 octets are there.
    assert_eq!(
        read.as_ref().ok(),
        whole.as_ref().ok(),
        "the pieces change it"
    );
    if read.is_ok() {
        assert_eq!(used, whole_used);
        let header = &bytes[..used];
        let is_text = header.starts_with(b"PROXY ") && header.ends_with(b"\r\n");
        let is_binary = header.starts_with(b"\r\n\r\n\0\r\nQUIT\n");
        assert!(is_text || is_binary, "{header:?}");
        if is_text {
            assert_eq!(crate::input::find(header, b"\r\n"), Some(used - 2));
        } else {
            let length = usize::from(u16::from_be_bytes([header[14], header[15]]));
            assert_eq!(used, 16 + length);
        }
    }
    assert!(used <= 2048, "{used} octets of a header");
}

type Origin = Option<(std::net::SocketAddr, std::net::SocketAddr)>;

/// What was read, and how many octets it took. Errors are compared as the text for the log.
fn read(bytes: &[u8], piece: usize) -> (Result<Origin, String>, usize) {
    let mut connection = Connection { rest: bytes, piece };
    let read = {
        let reading = pin!(smtp_in::fuzzing::read_proxy_header(&mut connection));
        reading.poll(&mut Context::from_waker(Waker::noop()))
    };
    let Poll::Ready(read) = read else {
        panic!("waits for what never comes")
    };
    let read = read.map_err(|error| error.to_string());
    if let Err(text) = &read {
        assert_clean(text);
    }
    (read, bytes.len() - connection.rest.len())
}

/// Gives its bytes in pieces, then ends.
struct Connection<'a> {
    rest: &'a [u8],
    piece: usize,
}

impl AsyncRead for Connection<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let octets = self.rest.len().min(self.piece).min(buffer.remaining());
        let (piece, rest) = self.rest.split_at(octets);
        buffer.put_slice(piece);
        self.rest = rest;
        Poll::Ready(Ok(()))
    }
}
