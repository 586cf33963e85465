//! A way to a server that can be made to stand still: connections stay open, and nothing comes through.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// It listens at a port of its own. What is under way when it is stopped arrives when it is opened again.
pub struct Link {
    port: u16,
    open: watch::Sender<bool>,
}

impl Link {
    /// To this port of 127.0.0.1.
    ///
    /// # Panics
    /// When the machine has no port for it.
    pub async fn new(to: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let (open, gate) = watch::channel(true);
        let to = SocketAddr::from(([127, 0, 0, 1], to));
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(connect(client, to, gate.clone()));
            }
        });
        Self { port, open }
    }

    /// Where it listens, at 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Stops it, or opens it again.
    pub fn stop(&self, is_stopped: bool) {
        self.open.send_replace(!is_stopped);
    }
}

async fn connect(client: TcpStream, to: SocketAddr, gate: watch::Receiver<bool>) {
    let Ok(server) = TcpStream::connect(to).await else {
        return;
    };
    let ((ask, answer), (asked, answered)) = (client.into_split(), server.into_split());
    tokio::join!(
        carry(ask, answered, gate.clone()),
        carry(asked, answer, gate)
    );
}

/// One direction, to its end.
async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut gate: watch::Receiver<bool>) {
    let mut octets = vec![0; 64 << 10];
    loop {
        let read = from.read(&mut octets).await.unwrap_or(0);
        if gate.wait_for(|open| *open).await.is_err() || read == 0 {
            return;
        }
        if to.write_all(&octets[..read]).await.is_err() {
            return;
        }
    }
}
