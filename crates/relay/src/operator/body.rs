//! A queued message for the operator: whole, its header, or the rest.

use control::{Fault, Part};
use spool::BodyReader;

/// A queued message on its way to the operator, or a part of it.
pub struct Body<R> {
    reader: R,
    part: Part,
    /// The header, until its end is seen.
    header: Option<Vec<u8>>,
}

impl<R> Body<R> {
    /// The whole message, or a part of it.
    pub fn new(reader: R, part: Part) -> Self {
        Self {
            reader,
            part,
            header: (part != Part::Whole).then(Vec::new),
        }
    }
}

impl<R: BodyReader> control::Body for Body<R> {
    async fn chunk(&mut self) -> Result<Option<Vec<u8>>, Fault> {
        loop {
            let chunk = self.reader.chunk().await.map_err(Fault::of)?;
            let Some(mut header) = self.header.take() else {
                // The header is over. If only that was wanted, this is the end.
                let rest = chunk.filter(|_| self.part != Part::Header);
                return Ok(rest.map(|bytes| bytes.to_vec()));
            };
            let Some(chunk) = chunk else {
                return Ok((self.part == Part::Header && !header.is_empty()).then_some(header));
            };
            header.extend_from_slice(&chunk);
            match header_end(&header) {
                None => self.header = Some(header),
                Some(end) if self.part == Part::Header => {
                    header.truncate(end);
                    return Ok(Some(header));
                }
                Some(end) => return Ok(Some(header.split_off(end))),
            }
        }
    }
}

/// Behind the empty line; also where a header is too long to be one.
fn header_end(bytes: &[u8]) -> Option<usize> {
    let end = bytes
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .map(|at| at + 4);
    end.or_else(|| (bytes.len() >= HEADER_OCTETS_MAX).then_some(bytes.len()))
}

const HEADER_OCTETS_MAX: usize = 256 << 10;
