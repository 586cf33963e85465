//! The command line's end of the socket.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use data_encoding::BASE64;
use envelope::MessageId;
use tokio::io::BufReader;
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

use crate::data::{Count, FreezePage, Lifted, MessageDetails, Page, Reloaded, SrsAnswer, Status};
use crate::explanation::{Explanation, Mail};
use crate::line;
use crate::protocol::{CHUNK_OCTETS, Call, Fault, PROTOCOL, Part, QueueAction, Request, Response};
use crate::selector::{Lift, Selector};
use crate::server::OPERATION;

/// A connection to the daemon. Needs a tokio runtime with I/O and time.
#[derive(Debug)]
pub struct Client {
    reader: BufReader<OwnedReadHalf>,
    writer: OwnedWriteHalf,
}

/// Why the daemon did not answer as asked.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens there.
    #[error("no onward is running: nothing answers on {}", .path.display())]
    NotRunning {
        /// The socket.
        path: PathBuf,
        /// Why: no such file, or connection refused.
        error: io::Error,
    },
    /// Somebody does, but not for us.
    #[error("cannot use the control socket {}: {error}", .path.display())]
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
    #[error("the daemon gave an answer that this program does not understand")]
    Protocol,
}

impl ClientError {
    /// What to do about it.
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::NotRunning { .. } => {
                Some("start it with `onward serve`, or name its configuration with `--config`")
            }
            Self::Connect { .. } => Some("run this as root or as the user that the daemon runs as"),
            Self::Fault(fault) => fault.hint.as_deref(),
            Self::Io(_) => None,
            Self::Protocol => {
                Some("restart the daemon after an upgrade, so that both are of one version")
            }
        }
    }
}

/// Asks, and takes from the answer what it should hold.
macro_rules! ask {
    ($client:ident, $request:expr, $answer:pat => $value:expr) => {
        match $client.call(&$request).await? {
            $answer => Ok($value),
            _ => Err(ClientError::Protocol),
        }
    };
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

    /// The daemon's program version.
    pub async fn ping(&mut self) -> Result<String, ClientError> {
        ask!(self, Request::Ping, Response::Pong { version } => version)
    }

    /// The daemon at a glance.
    pub async fn status(&mut self) -> Result<Status, ClientError> {
        ask!(self, Request::Status, Response::Status(status) => status)
    }

    /// Lets the daemon read its configuration again.
    pub async fn reload(&mut self, force: bool) -> Result<Reloaded, ClientError> {
        ask!(self, Request::Reload { force }, Response::Reloaded(reloaded) => reloaded)
    }

    /// What a reload would do.
    pub async fn reload_check(&mut self) -> Result<Reloaded, ClientError> {
        ask!(self, Request::ReloadCheck, Response::Reloaded(reloaded) => reloaded)
    }

    /// One page of the queue; at most [`crate::PAGE_ROWS_MAX`] rows.
    pub async fn queue_list(
        &mut self,
        filter: Selector,
        cursor: Option<String>,
        limit: u32,
    ) -> Result<Page, ClientError> {
        let request = Request::QueueList {
            filter,
            cursor,
            limit,
        };
        ask!(self, request, Response::Page(page) => page)
    }

    /// One message.
    pub async fn queue_show(&mut self, id: MessageId) -> Result<MessageDetails, ClientError> {
        ask!(self, Request::QueueShow { id }, Response::Message(details) => details)
    }

    /// Reads a message, or a part of it, piece by piece into `sink`.
    pub async fn queue_cat(
        &mut self,
        id: MessageId,
        part: Part,
        mut sink: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> Result<(), ClientError> {
        let mut response = self.call(&Request::QueueCat { id, part }).await?;
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

    /// Does something to legs. An empty selector is refused.
    pub async fn queue_action(
        &mut self,
        action: QueueAction,
        selector: Selector,
    ) -> Result<Count, ClientError> {
        ask!(self, Request::QueueAction { action, selector }, Response::Count(count) => count)
    }

    /// One page of what is frozen; at most [`crate::PAGE_ROWS_MAX`] rows.
    pub async fn freeze_list(
        &mut self,
        cursor: Option<String>,
        limit: u32,
    ) -> Result<FreezePage, ClientError> {
        ask!(self, Request::FreezeList { cursor, limit }, Response::Freezes(page) => page)
    }

    /// Ends freezes. A lift that names none is refused.
    pub async fn freeze_lift(&mut self, lift: Lift) -> Result<Lifted, ClientError> {
        ask!(self, Request::FreezeLift(lift), Response::Lifted(lifted) => lifted)
    }

    /// Rewrites a sender's address as the daemon would.
    pub async fn srs_encode(&mut self, address: String) -> Result<SrsAnswer, ClientError> {
        ask!(self, Request::SrsEncode { address }, Response::Srs(answer) => answer)
    }

    /// Takes an SRS address back.
    pub async fn srs_decode(&mut self, address: String) -> Result<SrsAnswer, ClientError> {
        ask!(self, Request::SrsDecode { address }, Response::Srs(answer) => answer)
    }

    /// What would be decided on a mail; `message` is read to its end.
    pub async fn explain(
        &mut self,
        mail: Mail,
        message: Option<&mut (impl io::Read + ?Sized)>,
    ) -> Result<Explanation, ClientError> {
        let has_message = message.is_some();
        self.send(&Request::Explain { mail, has_message }).await?;
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
        match self.receive().await? {
            Response::Explanation(explanation) => Ok(explanation),
            _ => Err(ClientError::Protocol),
        }
    }

    /// One request and the first line of its answer; [`Response::Error`] comes as an error.
    pub async fn call(&mut self, request: &Request) -> Result<Response, ClientError> {
        self.send(request).await?;
        self.receive().await
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
