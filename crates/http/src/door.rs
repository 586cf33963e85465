//! Connections over HTTP/1.1: so many at once, each with an end.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use control::{Operator, take_connections};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use journal::Journal;
use tokio::io::AsyncWriteExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

use crate::answer::{REQUEST, router};
use crate::bind::{Bind, BindError, Listener, Stream};
use crate::desk::Desk;
use crate::feed::Feed;
use crate::tokens::Tokens;

/// A bound address or socket, and who may come in.
pub struct Door {
    listener: Listener,
    tls: Option<TlsAcceptor>,
    tokens: Tokens,
    connections_max: usize,
}

impl Door {
    /// Listens. `tls` is used where strangers could read along.
    pub async fn open(
        bind: &Bind,
        tls: Option<Arc<ServerConfig>>,
        tokens: Tokens,
        connections_max: usize,
    ) -> Result<Self, BindError> {
        let listener = Listener::bind(bind).await?;
        tracing::info!(address = %listener, "listening for HTTP");
        Ok(Self {
            listener,
            tls: tls.filter(|_| bind.is_exposed()).map(TlsAcceptor::from),
            tokens,
            connections_max,
        })
    }

    /// Answers until `shutdown` is done; then waits a moment for the requests at work. No connection outlives it.
    pub async fn serve<O: Operator>(
        self,
        operator: Arc<O>,
        journal: Journal,
        shutdown: impl Future<Output = ()> + Send,
    ) {
        let (tokens, is_encrypted) = (self.tokens.clone(), self.tls.is_some());
        let feed = Feed::new(journal, self.connections_max / 2);
        let desk = Arc::new(Desk::new(operator, feed, tokens, is_encrypted));
        let router = router(Arc::clone(&desk));
        let slots = Arc::new(Semaphore::new(self.connections_max));
        let converse = |(stream, slot), stopping| {
            converse(stream, self.tls.clone(), router.clone(), stopping, slot)
        };
        take_connections(|| self.accept(&slots), converse, shutdown).await;
        // A page that was left has questions that go on.
        desk.end();
    }

    /// The next connection, and its slot; `None` for one that was sent away.
    async fn accept(
        &self,
        slots: &Arc<Semaphore>,
    ) -> io::Result<Option<(Box<dyn Stream>, OwnedSemaphorePermit)>> {
        let mut stream = self.listener.accept().await?;
        let slot = Arc::clone(slots).try_acquire_owned().ok();
        if slot.is_none() {
            // In clear, even if TLS is wanted: it is not worth a handshake.
            let _ = timeout(BUSY, stream.write_all(BUSY_TEXT)).await;
        }
        Ok(slot.map(|slot| (stream, slot)))
    }
}

async fn converse(
    stream: Box<dyn Stream>,
    tls: Option<TlsAcceptor>,
    router: Router,
    stopping: watch::Receiver<()>,
    _slot: OwnedSemaphorePermit,
) {
    let Some(tls) = tls else {
        return speak(stream, router, stopping).await;
    };
    match timeout(HEAD, tls.accept(stream)).await {
        Ok(Ok(stream)) => speak(stream, router, stopping).await,
        failed => tracing::debug!(error = ?failed.map(|done| done.err()), "TLS failed"),
    }
}

/// All requests of one connection. One that stalls, or lasts, is ended: clients come again.
async fn speak(stream: impl Stream, router: Router, mut stopping: watch::Receiver<()>) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(HEAD_OCTETS_MAX)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    tokio::pin!(connection);
    tokio::select! {
        ended = connection.as_mut() => {
            tracing::debug!(?ended, "HTTP connection ended");
            return;
        }
        _ = stopping.changed() => {}
        () = sleep(LONGEST) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = timeout(REQUEST, connection).await;
}

const BUSY_TEXT: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
const HEAD_OCTETS_MAX: usize = 64 << 10;
/// For a handshake, and for the head of a request, between two requests too.
const HEAD: Duration = Duration::from_secs(10);
/// For all requests of a connection.
const LONGEST: Duration = Duration::from_mins(10);
/// For the answer that turns a connection away; the accept loop waits for it.
const BUSY: Duration = Duration::from_millis(100);
