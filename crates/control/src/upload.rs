//! A message on its way from the command line to the daemon, in the lines in which `queue_cat` sends one the other way.

use std::io;
use std::time::Duration;

use data_encoding::BASE64;
use tokio::io::AsyncBufRead;

use crate::line;
use crate::operator::Body;
use crate::protocol::{CHUNK_OCTETS, Fault, Response};

/// What the client sends behind its request.
pub(crate) struct Upload<'a, R> {
    reader: &'a mut R,
    /// Nothing more is to come.
    is_over: bool,
    octets: u64,
}

impl<'a, R: AsyncBufRead + Unpin + Send> Upload<'a, R> {
    /// Of a request that has a message behind it.
    pub(crate) fn new(reader: &'a mut R) -> Self {
        Self {
            reader,
            is_over: false,
            octets: 0,
        }
    }

    /// Reads what nobody wanted: the next request comes behind it.
    pub(crate) async fn skip_rest(&mut self) -> io::Result<()> {
        while !self.is_over {
            self.next().await?;
        }
        Ok(())
    }

    async fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        let unclear = || io::Error::from(io::ErrorKind::InvalidData);
        if self.is_over {
            return Ok(None);
        }
        let text = line::read(self.reader, LINE_MAX, PATIENCE).await?;
        let text = text.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?;
        match serde_json::from_slice(&text) {
            Ok(Response::Chunk(text)) => {
                let piece = BASE64.decode(text.as_bytes()).map_err(|_| unclear())?;
                self.octets += piece.len() as u64;
                let fits = self.octets <= OCTETS_MAX;
                fits.then_some(Some(piece)).ok_or_else(unclear)
            }
            Ok(Response::End) => {
                self.is_over = true;
                Ok(None)
            }
            _ => Err(unclear()),
        }
    }
}

impl<R: AsyncBufRead + Unpin + Send> Body for Upload<'_, R> {
    async fn chunk(&mut self) -> Result<Option<Vec<u8>>, Fault> {
        let piece = self.next().await;
        piece.map_err(|error| Fault::new(format!("the message did not come whole: {error}")))
    }
}

/// A chunk in base64 with what is around it.
const LINE_MAX: usize = CHUNK_OCTETS / 3 * 4 + 64;
/// Larger than any relay takes; nothing of it is kept.
const OCTETS_MAX: u64 = 1 << 30;
const PATIENCE: Duration = Duration::from_secs(30);
