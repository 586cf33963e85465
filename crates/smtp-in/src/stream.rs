//! A connection's bytes, in clear or under TLS, for one and the same loop.
//!
//! Reading uses a buffer that exists only while bytes are there to be handed on: an idle connection holds none.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

/// The stream of one connection.
#[derive(Debug)]
pub(crate) enum Stream {
    Plain(TcpStream),
    /// Boxed, for a TLS connection is some kilobytes, and most of them begin without.
    Tls(Box<TlsStream<TcpStream>>),
}

/// See [`Stream::ahead`].
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ahead {
    Bytes,
    End,
}

impl Stream {
    /// Waits for bytes and gives them to `take`; returns how many there were, 0 for the end. Losing the future
    /// loses no bytes.
    pub(crate) async fn read(&mut self, mut take: impl FnMut(&[u8])) -> io::Result<usize> {
        poll_fn(|context| {
            let mut space = [const { MaybeUninit::uninit() }; READ_OCTETS];
            let mut buffer = ReadBuf::uninit(&mut space);
            ready!(self.poll_read(context, &mut buffer))?;
            if !buffer.filled().is_empty() {
                take(buffer.filled());
            }
            Poll::Ready(Ok(buffer.filled().len()))
        })
        .await
    }

    /// What the client has sent and nobody has read: something, or its end; that is not seen behind such bytes.
    pub(crate) fn ahead(&self) -> Option<Ahead> {
        let socket = match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => stream.get_ref().0,
        };
        match SockRef::from(socket).peek(&mut [MaybeUninit::uninit()]) {
            Ok(1..) => Some(Ahead::Bytes),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            Ok(0) | Err(_) => Some(Ahead::End),
        }
    }

    /// Writes all of it, through TLS to the socket.
    pub(crate) async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.write_all(bytes).await,
            Self::Tls(stream) => {
                stream.write_all(bytes).await?;
                stream.flush().await
            }
        }
    }

    /// Ends our side and waits for the client to end its own. Closing at once, with bytes of the client unread, would make
    /// the kernel reset the connection, and the client might never see the last reply.
    pub(crate) async fn linger(&mut self) -> io::Result<()> {
        self.finish().await?;
        let mut octets = 0;
        while octets < LINGER_OCTETS_MAX {
            match self.read(|_| {}).await? {
                0 => break,
                n => octets += n,
            }
        }
        Ok(())
    }

    /// Says that no more will come from us (TLS: close_notify, then FIN).
    async fn finish(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.shutdown().await,
            Self::Tls(stream) => stream.shutdown().await,
        }
    }

    fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_read(context, buffer),
        }
    }
}

/// What a client may still send after our end.
const LINGER_OCTETS_MAX: usize = 256 * 1024;

/// How much is read at once: a TLS record, and some eleven Ethernet frames. On the stack of a worker, never kept.
const READ_OCTETS: usize = 16 * 1024;
