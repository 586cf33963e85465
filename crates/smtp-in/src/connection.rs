//! One connection, from its acceptance to its close: PROXY header, TLS, and the loop that drives the session.
//!
//! The loop does one thing at a time: it answers all events of a group of commands, writes all replies at once,
//! then waits for bytes, the session's timeout, or shutdown. So nothing is read while an answer is outstanding, and
//! a connection holds one read's worth of body at most.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use envelope::Verdict;
use smtp::server::{Event, Session};
use smtp::xclient::Xclient;
use tokio::net::TcpStream;
use tokio::time::{sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use crate::answer::answer;
use crate::caps::{Cap, Slot};
use crate::listener::TlsMode;
use crate::serve::{Port, Server, canonical};
use crate::stream::{Ahead, Stream};
use crate::visit::{Client, Ending, Incident, Role, Service, Visit};
use crate::{proxy, replies, tls};

/// A connection's state. Dropped in whatever way, it reports its end and gives its slot back.
pub(crate) struct Connection<S: Service> {
    server: Arc<Server<S>>,
    port: Arc<Port>,
    client: Client,
    slot: Slot,
    session: Session,
    visit: S::Visit,
    /// Why the session will be over, when it is.
    cause: Ending,
    /// A message is answered, and what comes next was sent before.
    early: bool,
    /// What to report at the end; none while it runs.
    end: Option<Incident>,
}

/// Why the session has no more events for now.
enum Pause {
    Input,
    StartTls,
    Closed,
}

/// What ended a wait.
enum Wake {
    Read(io::Result<usize>),
    Shutdown,
    Timeout,
    /// A newcomer needs the place.
    Needed,
}

impl<S: Service> Connection<S> {
    pub(crate) fn new(server: Arc<Server<S>>, port: Arc<Port>, client: Client, slot: Slot) -> Self {
        let session = Session::new(Arc::clone(&port.session), Instant::now());
        let visit = server.service.visit();
        Self {
            server,
            port,
            client,
            slot,
            session,
            visit,
            cause: Ending::Session,
            early: false,
            end: None,
        }
    }

    /// Runs it to its end.
    pub(crate) async fn run(mut self, stream: TcpStream, proxied: bool) {
        let kill = self.server.kill.clone();
        let end = tokio::select! {
            biased;
            () = kill.cancelled() => Incident::Closed(Ending::Killed),
            end = self.serve(stream, proxied) => end,
        };
        self.end = Some(end);
    }

    async fn serve(&mut self, mut stream: TcpStream, proxied: bool) -> Incident {
        if proxied {
            match self.read_proxy_header(&mut stream).await {
                Ok(Ok(())) => {}
                Ok(Err(cap)) => return Incident::Refused(cap),
                Err(error) => return Incident::Closed(error),
            }
        }
        self.visit.observe(&self.client, Incident::Connected);
        let (Ok(ending) | Err(ending)) = self.converse(stream).await;
        Incident::Closed(ending)
    }

    /// Learns who the client is, and whether the caps have room for it.
    async fn read_proxy_header(
        &mut self,
        stream: &mut TcpStream,
    ) -> Result<Result<(), Cap>, Ending> {
        let reading = proxy::read(stream, self.server.limits.proxy_header);
        let origin = unless(&self.server.shutdown, reading).await?;
        let origin = origin.map_err(Ending::Proxy)?;
        if let Some(origin) = origin {
            self.client.proxy = Some(self.client.peer);
            self.client.peer = canonical(origin.source);
            self.client.local = canonical(origin.destination);
        }
        let address = self.client.peer.ip();
        let trusted = self.server.service.trusts(address);
        let room = self.slot.charge(address, trusted);
        if let Err(cap) = room {
            self.port.turn_away(stream, cap);
        }
        Ok(room)
    }

    /// The session loop.
    async fn converse(&mut self, stream: TcpStream) -> Result<Ending, Ending> {
        let mut stream = match &self.port.settings.tls {
            TlsMode::Implicit(holder) => self.start_tls(stream, holder.clone()).await?,
            TlsMode::Off | TlsMode::StartTls(_) => {
                self.wait_in_silence(&stream).await?;
                Stream::Plain(stream)
            }
        };
        let shutdown = self.server.shutdown.child_token();
        loop {
            let mut pause = self.answer_events().await;
            if matches!(pause, Pause::Input) && self.ends_over_rate() {
                pause = self.answer_events().await;
            }
            self.delay_replies(&shutdown).await;
            // It may have said QUIT behind its message, and gone before it could read what became of that.
            let is_over = matches!(pause, Pause::Closed) && self.cause == Ending::Session;
            if is_over && stream.ahead() == Some(Ahead::End) {
                self.cause = Ending::PeerClosed;
            }
            self.early = self.early && stream.ahead() == Some(Ahead::Bytes);
            self.flush(&mut stream).await?;
            match pause {
                Pause::Input => self.wait(&mut stream, &shutdown).await?,
                Pause::StartTls => stream = self.upgrade(stream).await?,
                Pause::Closed => break,
            }
        }
        // After QUIT there is nothing to wait for; under TLS the client may answer our close_notify.
        let parted = self.session.has_parted() && matches!(stream, Stream::Plain(_));
        if !matches!(self.cause, Ending::PeerClosed | Ending::MadeRoom) && !parted {
            // Whether the client saw the end does not change how it ended.
            let _ = timeout(LINGER, stream.linger()).await;
        }
        Ok(self.cause.clone())
    }

    /// A client must wait for the greeting (RFC 5321 §4.3.1); programs that only spam often do not. What they have sent stays in
    /// the socket, and is read when its refusal has been written.
    async fn wait_in_silence(&mut self, stream: &TcpStream) -> Result<(), Ending> {
        if self.client.role != Role::Mx || self.slot.is_trusted() {
            return Ok(());
        }
        let wait = self.server.service.greet_wait(self.client.peer.ip());
        if wait.is_zero() {
            return Ok(());
        }
        let mut first = [0];
        let talk = timeout(wait, stream.peek(&mut first));
        let talk = self.slot.unless_needed(talk);
        match unless(&self.server.shutdown, talk).await.flatten() {
            Ok(Ok(Ok(0))) => return Err(Ending::PeerClosed),
            Ok(Ok(Ok(_))) => self.client.talked_early = true,
            Ok(Ok(Err(error))) => return Err(Ending::Broken(error.kind())),
            Err(Ending::MadeRoom) => {
                self.port.turn_away(stream, Cap::Total);
                return Err(Ending::MadeRoom);
            }
            // It waited, or the session will tell it that we shut down.
            Ok(Err(_)) | Err(_) => {}
        }
        Ok(())
    }

    /// Tells the visit how many commands there were; it may have had enough.
    fn ends_over_rate(&mut self) -> bool {
        let commands = self.session.take_commands();
        let wanted = (commands > 0).then(|| self.visit.commands(&self.client, commands));
        let reply = wanted.flatten();
        reply.inspect(|reply| self.session.end(reply)).is_some()
    }

    /// Holds back what the session has to say, as long as the visit wants.
    async fn delay_replies(&mut self, shutdown: &CancellationToken) {
        if self.session.output().is_empty() {
            return;
        }
        let delay = self.visit.delay();
        if !delay.is_zero() {
            let _ = unless(shutdown, sleep(delay)).await;
        }
    }

    /// Waits until the session has something new to look at.
    async fn wait(
        &mut self,
        stream: &mut Stream,
        shutdown: &CancellationToken,
    ) -> Result<(), Ending> {
        let read = match self.wake(stream, shutdown).await {
            Wake::Shutdown => {
                self.cause = Ending::Drained;
                self.session.handle_shutdown(Instant::now());
                return Ok(());
            }
            Wake::Timeout => {
                self.cause = Ending::TimedOut;
                self.session.handle_timeout(Instant::now());
                return Ok(());
            }
            Wake::Needed => {
                self.cause = Ending::MadeRoom;
                self.session.end(&replies::over_cap(Cap::Total));
                return Ok(());
            }
            Wake::Read(read) => read,
        };
        match read {
            Ok(0) => self.hang_up(),
            // TLS without its close_notify: the session knows where messages end, so nothing can be cut off unseen.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => self.hang_up(),
            Err(error) => return Err(Ending::Broken(error.kind())),
            Ok(_) if std::mem::take(&mut self.early) => {}
            Ok(_) => self.visit.heard(),
        }
        Ok(())
    }

    async fn wake(&mut self, stream: &mut Stream, shutdown: &CancellationToken) -> Wake {
        let due = self.session.poll_timeout();
        let draining = self.cause == Ending::Drained;
        // Asked here, too: under a steady flow of bytes the branches behind the first are never polled.
        if !draining && shutdown.is_cancelled() {
            return Wake::Shutdown;
        }
        if due <= Instant::now() {
            return Wake::Timeout;
        }
        let wants_input = self.session.wants_input();
        let in_transaction = self.session.envelope().is_some();
        let is_ours = draining || self.client.user.is_some();
        let session = &mut self.session;
        let take = |bytes: &[u8]| session.handle_bytes(Instant::now(), bytes);
        tokio::select! {
            biased;
            read = stream.read(take), if wants_input => Wake::Read(read),
            () = shutdown.cancelled(), if !draining => Wake::Shutdown,
            () = self.slot.is_needed(in_transaction), if !is_ours => Wake::Needed,
            () = sleep_until(due.into()) => Wake::Timeout,
        }
    }

    fn hang_up(&mut self) {
        self.cause = Ending::PeerClosed;
        self.session.handle_closed();
    }

    /// Takes every event that the session has, and answers its questions.
    async fn answer_events(&mut self) -> Pause {
        while let Some(event) = self.session.poll_event() {
            match event {
                Event::StartTls => return Pause::StartTls,
                Event::Closed => return Pause::Closed,
                Event::BodyAbandoned | Event::Reset if self.client_is_gone() => {}
                event => {
                    match &event {
                        Event::Connect => self.allow(),
                        Event::BodyEnd => self.early = true,
                        Event::Xclient(xclient) => {
                            if let Err(cap) = self.charge_another(xclient) {
                                let full = Verdict::Close(replies::over_cap(cap));
                                self.session.answer(Instant::now(), full);
                                continue;
                            }
                        }
                        _ => {}
                    }
                    answer(&mut self.session, &mut self.client, &mut self.visit, event).await;
                }
            }
        }
        Pause::Input
    }

    /// The client that a proxy names is charged in its place, as behind PROXY.
    fn charge_another(&mut self, xclient: &Xclient) -> Result<(), Cap> {
        let address = xclient.address.unwrap_or_else(|| self.client.peer.ip());
        let trusted = self.server.service.trusts(address);
        self.slot.charge(address, trusted)?;
        if trusted || self.client.role == Role::Submission {
            self.session.allow_unbracketed_paths();
        }
        Ok(())
    }

    /// What this client may do that others may not.
    fn allow(&mut self) {
        if self.port.allows_xclient(&self.client) {
            self.session.allow_xclient();
        }
        let submits = self.client.role == Role::Submission;
        if submits || self.slot.is_trusted() {
            self.session.allow_unbracketed_paths();
        }
        if submits && self.server.service.authenticates() {
            self.session.allow_auth();
        }
    }

    fn client_is_gone(&self) -> bool {
        matches!(
            self.cause,
            Ending::PeerClosed | Ending::TimedOut | Ending::MadeRoom
        )
    }

    /// Writes what the session has to say, in one go.
    async fn flush(&mut self, stream: &mut Stream) -> Result<(), Ending> {
        let output = self.session.output();
        if output.is_empty() {
            return Ok(());
        }
        let written = timeout(self.server.limits.write, stream.write(output)).await;
        // An idle connection keeps no buffer that one long group of commands once needed.
        output.clear();
        output.shrink_to(OUTPUT_KEPT_OCTETS);
        match written {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(Ending::Broken(error.kind())),
            Err(_) => Err(Ending::WriteTimedOut),
        }
    }

    /// After the 220 to STARTTLS. What came in clear behind it is gone with the session's buffer.
    async fn upgrade(&mut self, stream: Stream) -> Result<Stream, Ending> {
        let (Stream::Plain(stream), TlsMode::StartTls(holder)) = (stream, &self.port.settings.tls)
        else {
            unreachable!("STARTTLS is offered in clear only, where there is a certificate");
        };
        let stream = self.start_tls(stream, holder.clone()).await?;
        self.session.handle_tls_started(Instant::now());
        Ok(stream)
    }

    /// The handshake. A client that fails it is not served in clear: it said that it would not be.
    async fn start_tls(
        &mut self,
        stream: TcpStream,
        holder: tls::Holder,
    ) -> Result<Stream, Ending> {
        let handshake = tls::accept(stream, &holder, self.server.limits.tls_handshake);
        let handshake = self.slot.unless_needed(handshake);
        let stream = unless(&self.server.shutdown, handshake).await??;
        let stream = stream.map_err(Ending::Tls)?;
        self.client.tls = Some(tls::facts(stream.get_ref().1));
        self.client.hello = None;
        Ok(Stream::Tls(Box::new(stream)))
    }
}

impl<S: Service> Drop for Connection<S> {
    fn drop(&mut self) {
        let unfinished = match std::thread::panicking() {
            true => Ending::Panicked,
            false => Ending::Killed,
        };
        let end = self.end.take().unwrap_or(Incident::Closed(unfinished));
        self.visit.observe(&self.client, end);
    }
}

/// Does `work` unless we shut down meanwhile: outside of a session no transaction can be running, so nothing need wait.
async fn unless<T>(
    shutdown: &CancellationToken,
    work: impl Future<Output = T>,
) -> Result<T, Ending> {
    tokio::select! {
        biased;
        done = work => Ok(done),
        () = shutdown.cancelled() => Err(Ending::Drained),
    }
}

/// How long a client may take to close after us.
const LINGER: Duration = Duration::from_secs(1);
/// Room for the replies to a usual group of commands.
const OUTPUT_KEPT_OCTETS: usize = 1024;
