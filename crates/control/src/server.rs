//! The daemon's end: takes connections, checks who is there, and passes each request to the [`Operator`].

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use data_encoding::BASE64;
use envelope::Actor;
use serde::de::DeserializeOwned;
use tokio::io::BufReader;
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::ask::{self, Request};
use crate::door::{self, in_time, take_connections};
use crate::line;
use crate::operator::{Body, Operator};
use crate::protocol::{
    CHUNK_OCTETS, Call, CallVersion, Fault, LINE_OCTETS_MAX, PROTOCOL, Response,
};
use crate::socket::Socket;
use crate::upload::Upload;

impl Socket {
    /// Answers until `shutdown` is done; then waits a moment for the requests at work. No connection outlives it.
    pub async fn serve<O: Operator>(
        self,
        operator: Arc<O>,
        shutdown: impl Future<Output = ()> + Send,
    ) {
        let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let converse = |(stream, uid, slot), stopping| {
            let operator = Arc::clone(&operator);
            async move {
                if let Err(error) = converse(stream, uid, &*operator, stopping).await {
                    tracing::debug!(%error, "control connection ended early");
                }
                drop(slot);
            }
        };
        take_connections(|| self.accept(&slots), converse, shutdown).await;
    }

    /// The next connection that may speak, with its user and its slot; `None` for one that was sent away.
    async fn accept(
        &self,
        slots: &Arc<Semaphore>,
    ) -> io::Result<Option<(UnixStream, u32, OwnedSemaphorePermit)>> {
        let (mut stream, _) = self.listener.accept().await?;
        // The mode keeps others out already; this holds too if somebody changes the mode.
        let peer = stream.peer_cred()?.uid();
        if !may_speak(peer, self.owner) {
            tracing::warn!(uid = peer, "refused a control connection from another user");
            return Ok(None);
        }
        let Ok(slot) = Arc::clone(slots).try_acquire_owned() else {
            let busy =
                Fault::new("too many control connections").with_hint("try again in a moment");
            let _ = line::write(&mut stream, &Response::Error(busy), BUSY).await;
            return Ok(None);
        };
        Ok(Some((stream, peer, slot)))
    }
}

/// The daemon's own user, and root.
const fn may_speak(peer: u32, owner: u32) -> bool {
    peer == owner || peer == ROOT
}

/// All requests of one connection, which is `uid`'s, one after the other.
async fn converse<O: Operator>(
    stream: UnixStream,
    uid: u32,
    operator: &O,
    mut stopping: watch::Receiver<()>,
) -> io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    loop {
        let text = tokio::select! {
            biased;
            text = line::read(&mut reader, LINE_OCTETS_MAX, IDLE) => text,
            _ = stopping.changed() => return Ok(()),
        };
        let text = match text {
            Ok(Some(text)) => text,
            Ok(None) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                let fault = Fault::new(format!("request over {LINE_OCTETS_MAX} octets"))
                    .with_hint("select with conditions instead of ids");
                // The rest of the line cannot be told from a request: the connection ends here.
                return line::write(&mut writer, &Response::Error(fault), WRITE).await;
            }
            Err(error) => return Err(error),
        };
        match parse(&text) {
            Ok(request) => answer(request, uid, operator, &mut reader, &mut writer).await?,
            Err(fault) => line::write(&mut writer, &Response::Error(fault), WRITE).await?,
        }
    }
}

fn parse(text: &[u8]) -> Result<Request, Fault> {
    let CallVersion { v } = from_json(text)?;
    if v != PROTOCOL {
        return Err(Fault::new(format!(
            "the daemon speaks control protocol {PROTOCOL}, the request is of protocol {v}"
        ))
        .with_hint("restart the daemon after an upgrade, so that both are of one version"));
    }
    from_json(text).map(|Call { request, .. }| request)
}

fn from_json<T: DeserializeOwned>(text: &[u8]) -> Result<T, Fault> {
    serde_json::from_slice(text).map_err(|error| Fault::new(format!("not a request: {error}")))
}

async fn answer<O: Operator>(
    request: Request,
    uid: u32,
    operator: &O,
    reader: &mut BufReader<OwnedReadHalf>,
    writer: &mut OwnedWriteHalf,
) -> io::Result<()> {
    let by = Actor::Uid(uid);
    let response = match request {
        Request::QueueCat(asked) => match door::open(operator, asked, &by).await {
            Ok(body) => return cat(body, writer).await,
            Err(fault) => Err(fault),
        },
        Request::Explain(ref asked) if asked.has_message => {
            operator.asked(&request, &by);
            let mut upload = Upload::new(reader);
            let explained = operator.explain(asked.mail.clone(), Some(&mut upload));
            let explained = in_time(explained).await;
            upload.skip_rest().await?;
            explained.and_then(|explanation| ask::value(&explanation))
        }
        request => door::perform(operator, request, by).await,
    };
    let response = response.map_or_else(Response::Error, Response::Answer);
    line::write(writer, &response, WRITE).await
}

/// The pieces of a message, each in lines of bounded length. Reading is paced by the peer: nothing piles up.
async fn cat<B: Body>(mut body: B, writer: &mut OwnedWriteHalf) -> io::Result<()> {
    loop {
        let chunk = match in_time(body.chunk()).await {
            Ok(Some(chunk)) => chunk,
            Ok(None) => return line::write(writer, &Response::End, WRITE).await,
            Err(fault) => return line::write(writer, &Response::Error(fault), WRITE).await,
        };
        for piece in chunk.chunks(CHUNK_OCTETS) {
            line::write(writer, &Response::Chunk(BASE64.encode(piece)), WRITE).await?;
        }
    }
}

const ROOT: u32 = 0;
/// A command line needs one; a monitor and a few shells beside it find room.
const CONNECTIONS_MAX: usize = 16;
/// Between two requests.
const IDLE: Duration = Duration::from_secs(60);
/// For a peer to take one line.
const WRITE: Duration = Duration::from_secs(30);
/// For the line that turns a connection away; the accept loop waits for it.
const BUSY: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_owner_and_root_may_speak() {
        assert!(may_speak(1000, 1000) && may_speak(0, 1000) && may_speak(0, 0));
        assert!(!may_speak(1001, 1000) && !may_speak(1000, 0));
    }
}
