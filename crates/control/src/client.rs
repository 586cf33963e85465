//! The command line's end of the socket.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use data_encoding::BASE64;
use envelope::MessageId;
use serde::de::DeserializeOwned;
use tokio::io::BufReader;
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

use crate::ask::{Ask, Explain, QueueCat, Request};
use crate::door::OPERATION;
use crate::explanation::{Explanation, Mail};
use crate::line;
use crate::protocol::{CHUNK_OCTETS, Call, Fault, PROTOCOL, Part, Response};

/// A connection to the daemon. Needs a tokio runtime with I/O and time.
#[derive(Debug)]
pub struct Client {
    reader: BufReader<OwnedReadHalf>,
    writer: OwnedWriteHalf,
}

/// Why the daemon did not answer as asked, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens there.
    #[error(
        "no onward is running: nothing answers on {path}\n\nhint: start it with `onward serve`, or name its configuration with `--config`"
    )]
    NotRunning {
        /// The socket.
        path: PathBuf,
        /// Why: no such file, or connection refused.
        error: io::Error,
    },
    /// Somebody does, but not for us.
    #[error(
        "cannot use the control socket {path}: {error}\n\nhint: run this as root or as the user that the daemon runs as"
    )]
    Connect {
        /// The socket.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The daemon refused, and says why.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// The connection broke, or the daemon took too long.
    #[error("the daemon did not answer: {0}")]
    Io(#[from] io::Error),
    /// The answer makes no sense to us.
    #[error(
        "the daemon gave an answer that this program does not understand\n\nhint: restart the daemon after an upgrade, so that both are of one version"
    )]
    Protocol,
}

impl Client {
    /// Connects to the daemon's socket.
    pub async fn connect(path: &Path) -> Result<Self, ClientError> {
        let stream = UnixStream::connect(path).await.map_err(|error| {
            let path = path.to_owned();
            match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                    ClientError::NotRunning { path, error }
                }
                _ => ClientError::Connect { path, error },
            }
        })?;
        let (reader, writer) = stream.into_split();
        Ok(Self {
            reader: BufReader::new(reader),
            writer,
        })
    }

    /// Asks, and takes the answer.
    pub async fn ask<A: Ask>(&mut self, ask: A) -> Result<A::Answer, ClientError> {
        self.send(&ask.into()).await?;
        self.answer().await
    }

    /// The rows of all pages.
    pub async fn all<A: Ask, R>(
        &mut self,
        ask: impl Fn(Option<String>) -> A,
        page: impl Fn(A::Answer) -> (Vec<R>, Option<String>),
    ) -> Result<Vec<R>, ClientError> {
        let (mut all, mut cursor) = (Vec::new(), None);
        loop {
            let (rows, next) = page(self.ask(ask(cursor)).await?);
            all.extend(rows);
            cursor = next;
            if cursor.is_none() {
                return Ok(all);
            }
        }
    }

    /// Reads a message, or a part of it, piece by piece into `sink`.
    pub async fn queue_cat(
        &mut self,
        id: MessageId,
        part: Part,
        mut sink: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> Result<(), ClientError> {
        self.send(&Request::QueueCat(QueueCat { id, part })).await?;
        let mut response = self.receive().await?;
        loop {
            let piece = match response {
                Response::Chunk(text) => BASE64.decode(text.as_bytes()),
                Response::End => return Ok(()),
                _ => return Err(ClientError::Protocol),
            };
            sink(&piece.map_err(|_| ClientError::Protocol)?)?;
            response = self.receive().await?;
        }
    }

    /// What would be decided on a mail; `message` is read to its end.
    pub async fn explain(
        &mut self,
        mail: Mail,
        message: Option<&mut (impl io::Read + ?Sized)>,
    ) -> Result<Explanation, ClientError> {
        let has_message = message.is_some();
        let ask = Explain { mail, has_message };
        self.send(&Request::Explain(ask)).await?;
        if let Some(message) = message {
            let mut piece = vec![0; CHUNK_OCTETS];
            loop {
                let octets = message.read(&mut piece)?;
                let line = match octets {
                    0 => Response::End,
                    _ => Response::Chunk(BASE64.encode(&piece[..octets])),
                };
                line::write(&mut self.writer, &line, WRITE).await?;
                if octets == 0 {
                    break;
                }
            }
        }
        self.answer().await
    }

    async fn answer<T: DeserializeOwned>(&mut self) -> Result<T, ClientError> {
        match self.receive().await? {
            Response::Answer(value) => {
                serde_json::from_str(value.get()).map_err(|_| ClientError::Protocol)
            }
            _ => Err(ClientError::Protocol),
        }
    }

    async fn send(&mut self, request: &Request) -> Result<(), ClientError> {
        let call = Call {
            v: PROTOCOL,
            request,
        };
        match line::write(&mut self.writer, &call, WRITE).await {
            // A daemon that sends us away has said why before it closed: that is to be read below.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
            written => written?,
        }
        Ok(())
    }

    async fn receive(&mut self) -> Result<Response, ClientError> {
        let text = line::read(&mut self.reader, ANSWER_OCTETS_MAX, ANSWER)
            .await?
            .ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?;
        match serde_json::from_slice(&text) {
            Ok(Response::Error(fault)) => Err(fault.into()),
            Ok(response) => Ok(response),
            Err(_) => Err(ClientError::Protocol),
        }
    }
}

/// A full page of rows with the longest addresses and replies stays below.
const ANSWER_OCTETS_MAX: usize = 16 * 1024 * 1024;
const WRITE: Duration = Duration::from_secs(10);
/// Longer than the daemon's own limit, so that its words arrive.
const ANSWER: Duration = OPERATION.saturating_add(Duration::from_secs(10));
