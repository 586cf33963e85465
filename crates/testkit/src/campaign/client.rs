//! A client of the campaign: offers one message after the other over one connection, until the relay is killed.
//!
//! It does what RFC 5321 §4.5.4.1 asks of a client: what it heard no 250 for, it keeps and offers again.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::draw::Draft;
use super::ledger::Offer;
use super::sink::Shared;
use crate::PATIENCE;

/// A connection to the relay, past EHLO.
pub(super) struct Client {
    stream: BufReader<TcpStream>,
    /// What the last reply began with.
    said: u8,
    /// How long the last message waited for its 250, or what came instead.
    pub(super) waited: Duration,
}

impl Client {
    /// # Errors
    /// When the relay is not there, or goes meanwhile.
    pub(super) async fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let mut client = Self {
            stream: BufReader::new(stream),
            said: 0,
            waited: Duration::ZERO,
        };
        client.expect("220").await?;
        client.write(b"EHLO client.test\r\n").await?;
        client.expect("250").await?;
        Ok(client)
    }

    /// Offers a message and books how that ended. After [`Offer::Unheard`] and [`Offer::Cut`] the connection is of no more
    /// use. The relay has no reason to refuse anything here, unless its destinations answer, nor to put anything off, unless its
    /// database is hurt: if it does, that is a finding.
    pub(super) async fn offer(&mut self, shared: &Shared, draft: &Draft) -> Offer {
        let bytes = draft.bytes();
        let places = shared.world.places(&draft.recipients);
        shared.ledger.open(draft.id, &bytes, &places);
        // Until the last octet is out, the relay cannot have the message.
        let handed_over = self.hand_over(shared, draft, &bytes).await;
        let asked = Instant::now();
        let (offer, end) = match handed_over {
            Err(error) => (Offer::Cut, Err(error)),
            Ok(()) => match self.expect("250").await {
                Ok(()) => (Offer::Acknowledged, Ok(())),
                Err(_) if self.said == b'5' && shared.world.online => (Offer::Refused, Ok(())),
                Err(error) => (Offer::Unheard, Err(error)),
            },
        };
        self.waited = asked.elapsed();
        let may_put_off = shared.ledger.books().hurt.is_some();
        if let Err(error) = end
            && !(self.said == b'4' && may_put_off)
            && matches!(error.kind(), io::ErrorKind::Other | io::ErrorKind::TimedOut)
        {
            let finding = format!("m{}: {offer:?}: {error}", draft.id);
            shared.ledger.books().note(finding);
        }
        shared.ledger.offered(draft.id, offer);
        offer
    }

    async fn hand_over(&mut self, shared: &Shared, draft: &Draft, bytes: &[u8]) -> io::Result<()> {
        let mut group = format!(
            "MAIL FROM:<m{}@sender.test> BODY=8BITMIME SIZE={}\r\n",
            draft.id,
            bytes.len()
        );
        for &recipient in &draft.recipients {
            group.push_str(&format!(
                "RCPT TO:<{}>\r\n",
                shared.world.address(recipient)
            ));
        }
        if draft.chunked {
            self.write(group.as_bytes()).await?;
        } else {
            group.push_str("DATA\r\n");
            self.write(group.as_bytes()).await?;
        }
        for _ in 0..=draft.recipients.len() {
            self.expect("250").await?;
        }
        if !draft.chunked {
            self.expect("354").await?;
            return self.write(&stuffed(bytes)).await;
        }
        // Two chunks, cut anywhere.
        let (first, last) = bytes.split_at(bytes.len() / 3);
        self.write(format!("BDAT {}\r\n", first.len()).as_bytes())
            .await?;
        self.write(first).await?;
        self.expect("250").await?;
        self.write(format!("BDAT {} LAST\r\n", last.len()).as_bytes())
            .await?;
        self.write(last).await
    }

    async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        limited(self.stream.get_mut().write_all(bytes)).await
    }

    /// Reads one reply of any number of lines.
    async fn expect(&mut self, code: &str) -> io::Result<()> {
        loop {
            let mut line = String::new();
            limited(self.stream.read_line(&mut line)).await?;
            if !line.ends_with('\n') {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.said = line.as_bytes()[0];
            if !line.starts_with(code) {
                return Err(io::Error::other(format!("wanted {code}, got {line}")));
            }
            if line.as_bytes().get(3) != Some(&b'-') {
                return Ok(());
            }
        }
    }
}

/// A relay that hangs looks like one that is gone: the run goes on, and the drain tells what is missing.
async fn limited<T>(what: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(PATIENCE * 4, what)
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// Dots doubled at line starts, and the end of data.
fn stuffed(mail: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(mail.len() + mail.len() / 16 + 8);
    for line in mail.split_inclusive(|&byte| byte == b'\n') {
        if line.starts_with(b".") {
            out.push(b'.');
        }
        out.extend_from_slice(line);
    }
    out.extend_from_slice(b".\r\n");
    out
}

/// How long a client rests when too much is queued.
pub(super) const REST: Duration = Duration::from_millis(20);
