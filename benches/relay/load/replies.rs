//! Replies as they come: many in one read, or one in many.

use std::io;
use std::ops::Range;

use tokio::io::{AsyncRead, AsyncReadExt as _};

/// What was read, and how far it was looked at.
#[derive(Debug, Default)]
pub(super) struct Replies {
    buffer: Vec<u8>,
    /// Where the next reply begins.
    at: usize,
    last: Range<usize>,
}

impl Replies {
    /// The next reply's code; reads when it must.
    ///
    /// # Errors
    /// At the end of the stream, and for what is no reply.
    pub(super) async fn next(&mut self, stream: &mut (impl AsyncRead + Unpin)) -> io::Result<u16> {
        loop {
            if let Some((code, length)) = reply(&self.buffer[self.at..])? {
                self.last = self.at..self.at + length;
                self.at += length;
                return Ok(code);
            }
            if self.at == self.buffer.len() {
                self.buffer.clear();
            } else {
                self.buffer.drain(..self.at);
            }
            self.at = 0;
            self.last = 0..0;
            if self.buffer.len() > REPLY_MAX {
                return Err(io::Error::other("a reply without an end"));
            }
            self.buffer.reserve(READ);
            if stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// The last reply, for people to read.
    pub(super) fn text(&self) -> String {
        let text = String::from_utf8_lossy(&self.buffer[self.last.clone()]);
        text.trim_end().replace("\r\n", " / ")
    }

    /// What stands behind the codes of the last reply, line by line.
    pub(super) fn lines(&self) -> impl Iterator<Item = &str> {
        let text = std::str::from_utf8(&self.buffer[self.last.clone()]);
        let lines = text.unwrap_or_default().lines();
        lines.map(|line| line.get(4..).unwrap_or_default())
    }
}

/// The code and the length of the reply that `text` begins with; `None` when it is not complete.
fn reply(text: &[u8]) -> io::Result<Option<(u16, usize)>> {
    let mut length = 0;
    while let Some(end) = memchr::memchr(b'\n', &text[length..]) {
        let line = &text[length..length + end];
        length += end + 1;
        let digits = line
            .get(..3)
            .and_then(|code| std::str::from_utf8(code).ok());
        let Some(code) = digits.and_then(|code| code.parse().ok()) else {
            let line = String::from_utf8_lossy(line);
            return Err(io::Error::other(format!("not a reply: {line:?}")));
        };
        if line.get(3) != Some(&b'-') {
            return Ok(Some((code, length)));
        }
    }
    Ok(None)
}

/// Octets that are read at a time.
const READ: usize = 4 << 10;
/// Octets of one reply.
const REPLY_MAX: usize = 64 << 10;
