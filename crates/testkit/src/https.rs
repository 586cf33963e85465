//! A web server behind TLS that says one thing to all: the host of an MTA-STS policy.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use crate::tls::Identity;

/// A running server; dropped, it stops listening.
pub struct Https {
    address: SocketAddr,
    says: Arc<Mutex<String>>,
    asked: Arc<AtomicUsize>,
    listening: JoinHandle<()>,
}

impl Https {
    /// Listens, and says these octets to every question.
    ///
    /// # Panics
    /// When the address cannot be bound.
    pub async fn start(address: SocketAddr, identity: &Identity, says: String) -> Self {
        let listener = TcpListener::bind(address).await.expect("a free address");
        let (says, asked) = (Arc::new(Mutex::new(says)), Arc::new(AtomicUsize::new(0)));
        let (acceptor, answer, count) =
            (identity.acceptor(), Arc::clone(&says), Arc::clone(&asked));
        let listening = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                let answer = answer
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .clone();
                tokio::spawn(serve(stream, acceptor.clone(), answer));
            }
        });
        Self {
            address,
            says,
            asked,
            listening,
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Says this from now on.
    pub fn says(&self, octets: String) {
        *self.says.lock().unwrap_or_else(PoisonError::into_inner) = octets;
    }

    /// Connections so far.
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

impl Drop for Https {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

/// An answer with a text.
pub fn text(text: &str) -> String {
    let length = text.len();
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {length}\r\n\r\n{text}"
    )
}

async fn serve(stream: TcpStream, acceptor: TlsAcceptor, answer: String) -> io::Result<()> {
    let mut stream = acceptor.accept(stream).await?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await
}
