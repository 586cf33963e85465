//! Bodies: small ones stand in the row of their message, large ones go into the database in pieces as they come.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use envelope::MessageId;
use spool::{BodyReader, BodyWriter, Error, OpenError, Token};

use crate::commit::{Body, crc, drop_draft, enter_piece};
use crate::connect::Database;
use crate::engine::Shared;
use crate::rows::Id;

/// Takes a body in.
pub struct PgWriter {
    pub(crate) shared: Arc<Shared>,
    pub(crate) id: MessageId,
    gathered: BytesMut,
    pieces: i32,
    octets: u64,
    pub(crate) tokens: Vec<Token>,
    /// It is a message now, or the statement that makes it one is under way: the pieces stay.
    pub(crate) kept: bool,
}

/// Gives a body out.
#[derive(Clone)]
pub struct PgReader {
    database: Database,
    id: MessageId,
    /// What comes first.
    ready: Vec<Bytes>,
    /// Octets that are still to come.
    left: u64,
    /// The pieces that follow.
    pieces: std::ops::Range<i32>,
}

impl PgWriter {
    pub(crate) fn new(shared: Arc<Shared>, id: MessageId) -> Self {
        Self {
            shared,
            id,
            gathered: BytesMut::new(),
            pieces: 0,
            octets: 0,
            tokens: Vec::new(),
            kept: false,
        }
    }

    /// The body, if it is small; else all of it is in the database then.
    pub(crate) async fn finish(&mut self) -> Result<Body, Error> {
        if self.pieces == 0 {
            return Ok(Body::Whole(self.gathered.clone().freeze()));
        }
        self.send().await?;
        Ok(Body::Pieces(self.pieces))
    }

    async fn send(&mut self) -> Result<(), Error> {
        if self.gathered.is_empty() {
            return Ok(());
        }
        let shared = &self.shared;
        let of = (shared.run(), shared.time.now());
        enter_piece(&shared.database, (self.id, self.pieces), &self.gathered, of).await?;
        self.pieces += 1;
        self.gathered.clear();
        Ok(())
    }
}

impl BodyWriter for PgWriter {
    type Reader = PgReader;

    async fn write(&mut self, chunk: impl Into<Bytes> + Send) -> Result<(), Error> {
        let mut chunk: Bytes = chunk.into();
        self.octets += chunk.len() as u64;
        while self.gathered.len() + chunk.len() > PIECE {
            let room = PIECE.saturating_sub(self.gathered.len()).min(chunk.len());
            self.gathered.extend_from_slice(&chunk.split_to(room));
            self.send().await?;
        }
        self.gathered.extend_from_slice(&chunk);
        Ok(())
    }

    async fn read_back(&mut self) -> Result<PgReader, Error> {
        let ready = match self.finish().await? {
            Body::Whole(octets) if !octets.is_empty() => vec![octets],
            _ => Vec::new(),
        };
        Ok(PgReader {
            database: self.shared.database.clone(),
            id: self.id,
            ready,
            left: self.octets,
            pieces: 0..self.pieces,
        })
    }

    fn is_in_memory(&self) -> bool {
        self.pieces == 0
    }

    fn keep(&mut self, token: Token) {
        self.tokens.push(token);
    }

    fn len(&self) -> u64 {
        self.octets
    }
}

impl Drop for PgWriter {
    fn drop(&mut self) {
        if self.pieces == 0 || self.kept {
            return;
        }
        // Without a runtime, the next node that starts clears them away.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let (database, id) = (self.shared.database.clone(), self.id);
            runtime.spawn(async move {
                if let Err(error) = drop_draft(&database, id).await {
                    tracing::debug!(%id, %error, "an abandoned body stays for now");
                }
            });
        }
    }
}

impl PgReader {
    /// The trace of a message, then its body.
    pub(crate) async fn open(database: &Database, id: MessageId) -> Result<Self, OpenError> {
        let rows = database.ask(OPEN, &[&Id(id)]).await.map_err(unavailable)?;
        let row = rows.first().ok_or(OpenError::NotFound)?;
        let (trace, sum): (&str, Option<i64>) = (row.get(0), row.get(1));
        let (body, pieces): (Option<&[u8]>, i64) = (row.get(2), row.get(3));
        let size: i64 = row.get(4);
        if let Some(body) = body.filter(|body| Some(crc(body)) != sum) {
            let octets = body.len();
            return Err(OpenError::Damaged(format!(
                "{octets} octets fail their checksum"
            )));
        }
        let ready = [trace.as_bytes(), body.unwrap_or_default()];
        let ready = ready.into_iter().filter(|it| !it.is_empty());
        Ok(Self {
            database: database.clone(),
            id,
            ready: ready.map(Bytes::copy_from_slice).rev().collect(),
            pieces: 0..i32::try_from(pieces).unwrap_or(0),
            left: size.unsigned_abs(),
        })
    }
}

impl BodyReader for PgReader {
    async fn chunk(&mut self) -> Result<Option<Bytes>, OpenError> {
        if let Some(ready) = self.ready.pop() {
            self.left = self.left.saturating_sub(ready.len() as u64);
            return Ok(Some(ready));
        }
        let Some(piece) = self.pieces.next() else {
            return match self.left {
                0 => Ok(None),
                left => Err(OpenError::Damaged(format!("{left} octets are missing"))),
            };
        };
        let rows = self.database.ask(PIECE_OF, &[&Id(self.id), &piece]).await;
        let rows = rows.map_err(unavailable)?;
        let missing = || OpenError::Damaged(format!("piece {piece} is missing"));
        let row = rows.first().ok_or_else(missing)?;
        let (octets, sum): (&[u8], i64) = (row.get(0), row.get(1));
        if crc(octets) != sum {
            return Err(OpenError::Damaged(format!(
                "piece {piece} fails its checksum"
            )));
        }
        self.left = self.left.saturating_sub(octets.len() as u64);
        Ok(Some(Bytes::copy_from_slice(octets)))
    }
}

fn unavailable(error: Error) -> OpenError {
    OpenError::Unavailable(error.to_string())
}

const OPEN: &str = "SELECT trace, crc, body, (SELECT count(*) FROM bodies WHERE message = id AND body IS NULL), size FROM messages WHERE id = $1";
const PIECE_OF: &str = "SELECT octets, crc FROM bodies WHERE message = $1 AND piece = $2";
/// Octets of a piece. What is no larger stands in its message's row: most do.
const PIECE: usize = 256 << 10;
