//! One connection to the server: greeting, EHLO, STARTTLS, then one message after the other.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, LazyLock};

use rustls::ClientConfig;
use rustls::client::Resumption;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;

use super::Load;
use super::replies::Replies;

/// A connection on which MAIL may come next.
pub(super) struct Client {
    pub(super) stream: Box<dyn Stream>,
    pub(super) replies: Replies,
    pub(super) offers: Offers,
    /// Commands of one write.
    pub(super) out: Vec<u8>,
    /// The indices of the recipients that were taken so far.
    pub(super) taken: Vec<u16>,
    /// The server said 421: it closes the connection.
    pub(super) is_closing: bool,
}

/// Plain or TLS.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin {}

impl<S: AsyncRead + AsyncWrite + Unpin> Stream for S {}

/// What EHLO said, as far as the load wants it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Offers {
    pub(super) pipelining: bool,
    pub(super) chunking: bool,
    pub(super) size: bool,
    pub(super) starttls: bool,
}

impl Client {
    /// Connects, from the source address that `number` gets, and says hello.
    ///
    /// # Errors
    /// Of the network; and a reply other than 2xx.
    pub(super) async fn connect(load: &Load, number: usize) -> io::Result<Self> {
        let stream = connect(load.to, load.sources, number).await?;
        let mut client = Self {
            stream: Box::new(stream),
            replies: Replies::default(),
            offers: Offers::default(),
            out: Vec::new(),
            taken: Vec::new(),
            is_closing: false,
        };
        client.expect(220).await?;
        client.hello().await?;
        if load.starttls {
            client = client.start_tls(load.resume).await?;
        }
        client.offers.pipelining &= load.pipelining;
        client.offers.chunking &= load.chunking;
        Ok(client)
    }

    /// Takes leave, without waiting for an answer.
    pub(super) async fn quit(mut self) {
        // The connection is done with, whatever becomes of this.
        let _ = self.stream.write_all(b"QUIT\r\n").await;
        let _ = self.stream.shutdown().await;
    }

    async fn hello(&mut self) -> io::Result<()> {
        self.stream.write_all(b"EHLO load.example\r\n").await?;
        self.expect(250).await?;
        let mut offers = Offers::default();
        for line in self.replies.lines() {
            match line.split(' ').next().unwrap_or_default() {
                "PIPELINING" => offers.pipelining = true,
                "CHUNKING" => offers.chunking = true,
                "SIZE" => offers.size = true,
                "STARTTLS" => offers.starttls = true,
                _ => {}
            }
        }
        self.offers = offers;
        Ok(())
    }

    async fn start_tls(mut self, resume: bool) -> io::Result<Self> {
        if !self.offers.starttls {
            return Err(io::Error::other("the server does not offer STARTTLS"));
        }
        self.stream.write_all(b"STARTTLS\r\n").await?;
        self.expect(220).await?;
        let name = testkit::tls::any_name();
        let connector = if resume { &RESUMING } else { &FULL };
        let stream = connector.connect(name, self.stream).await?;
        let mut client = Self {
            stream: Box::new(stream),
            replies: Replies::default(),
            ..self
        };
        client.hello().await?;
        Ok(client)
    }

    async fn expect(&mut self, code: u16) -> io::Result<()> {
        if self.reply().await? == code {
            return Ok(());
        }
        Err(io::Error::other(self.replies.text()))
    }

    /// The next reply's code; 421 is an error, because no other follows.
    pub(super) async fn reply(&mut self) -> io::Result<u16> {
        let code = self.replies.next(&mut self.stream).await?;
        if code == 421 {
            self.is_closing = true;
            return Err(io::Error::other(self.replies.text()));
        }
        Ok(code)
    }
}

/// A connection from the source address that `number` gets.
pub(super) async fn connect(to: SocketAddr, sources: u16, number: usize) -> io::Result<TcpStream> {
    let socket = match to {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    if sources > 0 && to.is_ipv4() {
        let source = FIRST_SOURCE.to_bits() + (number % usize::from(sources)) as u32;
        socket.bind((Ipv4Addr::from_bits(source), 0).into())?;
    }
    let stream = socket.connect(to).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Remembers sessions.
static RESUMING: LazyLock<TlsConnector> = LazyLock::new(testkit::tls::connector);
/// Remembers none.
static FULL: LazyLock<TlsConnector> = LazyLock::new(|| {
    let mut config = ClientConfig::clone(RESUMING.config());
    config.resumption = Resumption::disabled();
    TlsConnector::from(Arc::new(config))
});

const FIRST_SOURCE: Ipv4Addr = Ipv4Addr::new(127, 1, 0, 1);
