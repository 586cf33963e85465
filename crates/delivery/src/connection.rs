//! One connection to one host: the loop that drives a `smtp::client::Session` over a socket.
//!
//! The session says what to write and how long to wait; this reads, writes and keeps time. A pipelined group of commands
//! is one write; so are the header lines and a small body. Memory is bounded by [`WRITE_AT`] and one piece of the body.
//!
//! It does *not* choose hosts, and knows no legs.

mod login;
mod starttls;

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use envelope::{Diagnosis, EnhancedStatus, Outcome, PeerTls, TlsProof};
use rustls::pki_types::CertificateDer;
use smtp::Capabilities;
use smtp::client::{Event, Session, Transaction};
use tokio::time::{timeout, timeout_at};

use crate::egress::Taken;
use crate::opening::{OpenError, Opening};
use crate::patience::Patience;
use crate::peer::{Endpoint, Peer};
use crate::tls::Stream;
use crate::work::Body;

/// An open connection whose session is ready for a transaction.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: Option<Stream>,
    session: Session,
    peer: Peer,
    /// What it comes from, of an egress.
    source: Option<Arc<Taken>>,
    input: Box<[u8]>,
    patience: Patience,
    write_timeout: Duration,
    quit_timeout: Duration,
    /// Octets read so far: tells whether the peer answered at all.
    octets_read: u64,
    /// Reading and writing are over.
    ended: bool,
    transactions: u64,
    /// By what the peer has proved who it is.
    proof: TlsProof,
}

/// The end of a transaction.
#[derive(Debug)]
pub(crate) enum Delivery {
    /// One outcome a recipient, in order. [`Connection::ready`] tells whether the connection can be used again.
    Done(Vec<Outcome>),
    /// The connection had died of age: the peer said nothing at all to this transaction.
    Stale,
    /// The peer refused it for now, maybe because it wants no more on this connection, which took this many before.
    TurnedAway(u64),
}

impl Connection {
    /// Connects and says hello; begins TLS if it is offered and wanted; logs in if that is wanted.
    pub(crate) async fn open(peer: Peer, opening: &Opening) -> Result<Self, OpenError> {
        let stream = peer.connect(opening.bind, opening.connect_timeout).await?;
        let begin = match peer.lmtp {
            true => Session::lmtp,
            false => Session::new,
        };
        let mut connection = Self {
            stream: Some(stream),
            session: begin(Arc::clone(&opening.session), Instant::now()),
            peer,
            source: opening.source.clone(),
            patience: opening.patience.clone(),
            input: vec![0; READ_OCTETS].into(),
            write_timeout: opening.session.timeouts.body,
            quit_timeout: opening.session.timeouts.quit,
            octets_read: 0,
            ended: false,
            transactions: 0,
            proof: TlsProof::None,
        };
        connection.hello().await.map_err(OpenError::NoService)?;
        if let Some(config) = &opening.tls {
            if connection.session.capabilities().starttls {
                connection.start_tls(config, opening).await?;
            } else if !opening.security.may_be_clear() {
                return Err(connection.no_starttls("not offered"));
            }
        }
        if let Some(login) = &opening.login {
            connection.log_in(login).await?;
        }
        Ok(connection)
    }

    /// What the peer can do.
    pub(crate) fn capabilities(&self) -> &Capabilities {
        self.session.capabilities()
    }

    /// The certificates that the host has shown.
    pub(crate) fn chain(&self) -> &[CertificateDer<'static>] {
        self.stream.as_ref().map_or(&[], Stream::chain)
    }

    /// How it is encrypted.
    pub(crate) fn tls(&self) -> Option<PeerTls> {
        let stream = self.stream.as_ref()?;
        Some(PeerTls {
            tls: stream.tls()?,
            proof: self.proof,
        })
    }

    /// The address that is talked to.
    pub(crate) fn address(&self) -> &Endpoint {
        &self.peer.address
    }

    /// Done when another one waits for the address that it comes from.
    pub(crate) fn source_wanted(&self) -> impl Future<Output = ()> + use<> {
        let taken = self.source.clone();
        async move {
            match taken {
                Some(taken) => taken.wanted.notified().await,
                None => std::future::pending().await,
            }
        }
    }

    /// The address of an egress that it comes from.
    pub(crate) fn source(&self) -> Option<IpAddr> {
        self.source.as_ref().map(|taken| taken.source.address)
    }

    /// Transactions so far.
    pub(crate) fn transactions(&self) -> u64 {
        self.transactions
    }

    /// See [`Session::is_turned_away`].
    pub(crate) fn is_turned_away(&self) -> bool {
        self.session.is_turned_away()
    }

    /// Sends one message: `trace` and then `body`. Returns as soon as all outcomes are known, so that they are on record
    /// before anything else that a peer may be slow with.
    pub(crate) async fn deliver(
        &mut self,
        transaction: Transaction,
        trace: &str,
        mut body: impl Body,
    ) -> Delivery {
        let read_before = self.octets_read;
        let recipients = transaction.recipients.len();
        self.session.send(Instant::now(), transaction);
        let mut outcomes = loop {
            match self.poll() {
                Some(Event::BodyWanted) => self.begin_body(trace),
                Some(Event::Done(done)) => break done,
                Some(event) => unreachable!("{event:?} before the end of a transaction"),
                None if self.session.wants_body() => self.send_piece(&mut body).await,
                None => self.turn().await,
            }
        };
        assert_eq!(
            outcomes.len(),
            recipients,
            "every recipient has one outcome"
        );
        let before = self.transactions;
        self.transactions += 1;
        if before > 0 && self.session.is_closed() && self.octets_read == read_before {
            return Delivery::Stale;
        }
        if before > 0 && self.session.is_turned_away() {
            return Delivery::TurnedAway(before);
        }
        outcomes
            .iter_mut()
            .for_each(|outcome| self.peer.sign(outcome.diagnosis_mut()));
        Delivery::Done(outcomes)
    }

    /// Waits, after a transaction, until another one can begin; false: the connection is over.
    pub(crate) async fn ready(&mut self) -> bool {
        matches!(self.event().await, Event::Ready)
    }

    /// Waits, with nothing to do, until the peer ends the connection. To be dropped when there is work.
    pub(crate) async fn closed_by_peer(&mut self) {
        loop {
            let read = match &mut self.stream {
                Some(stream) => stream.read(&mut self.input).await,
                None => return,
            };
            self.take_in(read);
            if let Some(Event::Closed(_)) = self.poll() {
                return;
            }
        }
    }

    /// Says QUIT and closes: within the time for that, even where the peer takes nothing any more.
    pub(crate) async fn quit(mut self) {
        if self.ended {
            return;
        }
        self.session.quit(Instant::now());
        let limit = self.quit_timeout;
        let closed = async { while !matches!(self.event().await, Event::Closed(_)) {} };
        // Whether the peer heard it matters to nobody.
        let _ = timeout(limit, closed).await;
    }

    /// Through greeting and EHLO, or EHLO after TLS.
    async fn hello(&mut self) -> Result<(), Diagnosis> {
        match self.event().await {
            Event::Ready => Ok(()),
            Event::Closed(diagnosis) => Err(diagnosis),
            event => unreachable!("{event:?} before any transaction"),
        }
    }

    /// Drives the session to its next event.
    async fn event(&mut self) -> Event {
        loop {
            if let Some(event) = self.poll() {
                if matches!(event, Event::Closed(_)) {
                    // A QUIT may be left to be written; nobody waits for its reply.
                    self.flush().await;
                }
                return event;
            }
            self.turn().await;
        }
    }

    /// The session's next event, if it has one. After the last one there is always another `Closed`.
    fn poll(&mut self) -> Option<Event> {
        let closed = || Event::Closed(Diagnosis::local(CLOSED, "connection closed"));
        let over = || self.ended.then(closed);
        let mut event = self.session.poll_event().or_else(over)?;
        if let Event::Closed(diagnosis) = &mut event {
            self.ended = true;
            self.peer.sign(diagnosis);
        }
        Some(event)
    }

    /// Writes what there is to write, then waits.
    async fn turn(&mut self) {
        self.flush().await;
        // A write that failed is the end: there is nothing to wait for.
        if self.stream.is_some() {
            self.wait().await;
        }
    }

    /// Waits for bytes, the end of the connection, the session's timeout, or for as long as patience lasts.
    async fn wait(&mut self) {
        let Some(stream) = &mut self.stream else {
            self.close();
            return;
        };
        let patience = Instant::now() + self.patience.limit;
        let due = self.session.poll_timeout();
        let until = due.map_or(patience, |due| due.min(patience));
        match timeout_at(until.into(), stream.read(&mut self.input)).await {
            Ok(read) => self.take_in(read),
            Err(_) if due.is_none_or(|due| due > patience) => {
                if self.patience.is_wanted() {
                    self.session.give_up();
                }
            }
            Err(_) => self.session.handle_timeout(Instant::now()),
        }
    }

    fn take_in(&mut self, read: io::Result<usize>) {
        match read {
            Ok(octets @ 1..) => {
                self.octets_read += octets as u64;
                let now = Instant::now();
                self.session.handle_bytes(now, &self.input[..octets]);
            }
            Ok(0) | Err(_) => self.close(),
        }
    }

    fn close(&mut self) {
        self.ended = true;
        self.stream = None;
        self.session.handle_closed(Instant::now());
    }

    fn begin_body(&mut self, trace: &str) {
        if !trace.is_empty() {
            self.session.send_body(Instant::now(), trace.as_bytes());
        }
    }

    /// Gives the session the next piece of the body; writes when enough has gathered.
    async fn send_piece(&mut self, body: &mut impl Body) {
        match body.chunk().await {
            Ok(Some(chunk)) => {
                // A large piece is not copied whole.
                for part in chunk.chunks(WRITE_AT) {
                    self.session.send_body(Instant::now(), part);
                    self.flush_if_full().await;
                }
            }
            Ok(None) => self.session.finish_body(Instant::now()),
            Err(error) => {
                tracing::error!(%error, "cannot read a message's body; its connection is given up");
                self.session.abort_body(Instant::now());
            }
        }
        self.flush_if_full().await;
    }

    async fn flush_if_full(&mut self) {
        if self.session.output().len() >= WRITE_AT {
            self.flush().await;
        }
    }

    /// Writes what the session has to say. When that fails, what the peer said before may still be there to be read:
    /// often the reason.
    async fn flush(&mut self) {
        let output = self.session.output();
        if output.is_empty() {
            return;
        }
        let Some(stream) = &mut self.stream else {
            output.clear();
            return;
        };
        let written = write_all(stream, output, self.write_timeout).await;
        output.clear();
        // A buffer that grew for a large piece is not kept for the rest of the connection.
        output.shrink_to(4 * WRITE_AT);
        if written.is_err() {
            self.read_last_words().await;
        }
    }

    async fn read_last_words(&mut self) {
        let Some(stream) = &mut self.stream else {
            return;
        };
        if let Ok(Ok(octets @ 1..)) = timeout(LAST_WORDS, stream.read(&mut self.input)).await {
            self.take_in(Ok(octets));
        }
        self.close();
    }
}

/// Writes all of it; each piece that the system takes may last `limit`.
async fn write_all(stream: &mut Stream, mut bytes: &[u8], limit: Duration) -> io::Result<()> {
    let late = |_| io::Error::from(io::ErrorKind::TimedOut);
    while !bytes.is_empty() {
        let written = timeout(limit, stream.write(bytes)).await.map_err(late)??;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        bytes = &bytes[written..];
    }
    timeout(limit, stream.flush()).await.map_err(late)?
}

/// RFC 3463 §3.5: bad connection.
const CLOSED: EnhancedStatus = EnhancedStatus::transient(4, 2);
/// Replies are short.
const READ_OCTETS: usize = 4096;
/// The body is written when this much has gathered.
const WRITE_AT: usize = 64 << 10;
/// How long to wait for what the peer said before it closed.
const LAST_WORDS: Duration = Duration::from_secs(2);
