//! Lines with a limit and a deadline, both ways.

use std::io;
use std::time::Duration;

use serde::Serialize;
use tokio::io::{
    AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _,
};
use tokio::time::timeout;

/// One line without its end; `None` when the peer closed between two lines. A line over `octets_max`, one cut
/// short, and one that does not come within `patience` are errors.
pub(crate) async fn read<R: AsyncBufRead + Unpin>(
    from: &mut R,
    octets_max: usize,
    patience: Duration,
) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    // One octet more than allowed tells a line that is too long from one that just fits.
    let mut bounded = from.take(octets_max as u64 + 1);
    timeout(patience, bounded.read_until(b'\n', &mut line))
        .await
        .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    match line.pop() {
        None => Ok(None),
        Some(b'\n') => Ok(Some(line)),
        Some(_) if line.len() >= octets_max => Err(io::ErrorKind::InvalidData.into()),
        Some(_) => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// Writes a value as one line of JSON, which has no line end within.
pub(crate) async fn write<W: AsyncWrite + Unpin, T: Serialize>(
    to: &mut W,
    value: &T,
    patience: Duration,
) -> io::Result<()> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    timeout(patience, to.write_all(&line))
        .await
        .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(input: &[u8], expected: Result<Option<&[u8]>, io::ErrorKind>) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        let got = runtime.block_on(read(&mut &input[..], 4, Duration::from_secs(1)));
        let got = got.as_ref().map(Option::as_deref).map_err(io::Error::kind);
        assert_eq!(got, expected);
    }

    #[test]
    fn limits() {
        check(b"", Ok(None));
        check(b"\n", Ok(Some(b"")));
        check(b"abcd\nx", Ok(Some(b"abcd")));
        check(b"abcde\n", Err(io::ErrorKind::InvalidData));
        check(b"abcdefgh", Err(io::ErrorKind::InvalidData));
        check(b"abc", Err(io::ErrorKind::UnexpectedEof));
    }

    #[tokio::test]
    async fn a_silent_peer_is_given_up() {
        let (_silent, mine) = tokio::io::duplex(16);
        let mut mine = tokio::io::BufReader::new(mine);
        let error = read(&mut mine, 4, Duration::from_millis(20))
            .await
            .unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
