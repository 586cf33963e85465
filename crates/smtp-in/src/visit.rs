//! What a server session needs from the rest of the relay: somebody who decides and takes the mail, and the client as
//! they see it.
//!
//! A visit that waits (for DNS, for the disk) bounds its own waiting: it knows what a late answer is worth.
//! Meanwhile nothing is read from the client, which waits 5 minutes at least for each reply (RFC 5321 §4.5.3.2).

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use envelope::{Envelope, Recipient, Reply, Tls, Verdict};
use smtp::server::{Credentials, Hello, Refusal};
use smtp::xclient::Xclient;

use crate::caps::Cap;
use crate::proxy::ProxyError;
use crate::replies;

/// What stands behind the listeners.
pub trait Service: Send + Sync + 'static {
    /// What one connection is served by.
    type Visit: Visit;

    /// Begins a visit: one for each connection.
    fn visit(self: &Arc<Self>) -> Self::Visit;

    /// Whether a client is one of our own: it may hold any number of connections, and send paths without brackets. Asked as
    /// each connection begins.
    fn trusts(&self, client: IpAddr) -> bool {
        let _ = client;
        false
    }

    /// Whether users can log in where mail is submitted, under TLS. Asked as each connection begins.
    fn authenticates(&self) -> bool {
        false
    }

    /// How long a stranger must wait in silence for the greeting. Asked once for each connection to a [`Role::Mx`] listener
    /// without implicit TLS, where the client would have to talk first.
    fn greet_wait(&self, client: IpAddr) -> Duration {
        let _ = client;
        Duration::ZERO
    }
}

/// One connection as the relay sees it, from its acceptance to its end. It is asked at each stage of the session, in
/// its order, and the session waits for the answer; so it can remember what it learnt and what it said.
pub trait Visit: Send + 'static {
    /// Before the greeting.
    fn connect(&mut self, client: &Client) -> impl Future<Output = Verdict> + Send {
        let _ = client;
        async { Verdict::Accept }
    }

    /// At EHLO or HELO. `client.hello` is still that of before.
    fn hello(&mut self, client: &Client, hello: &Hello) -> impl Future<Output = Verdict> + Send {
        let _ = (client, hello);
        async { Verdict::Accept }
    }

    /// At XCLIENT: `client` is another now, and so is its `user`; what was known of the one before is to be forgotten.
    fn xclient(&mut self, client: &Client) -> impl Future<Output = Verdict> + Send {
        self.connect(client)
    }

    /// At AUTH: are they right? Asked only where the service [`authenticates`](Service::authenticates).
    fn auth(
        &mut self,
        client: &Client,
        credentials: &Credentials,
    ) -> impl Future<Output = Verdict> + Send {
        let _ = (client, credentials);
        async { Verdict::Refuse(replies::no_logins()) }
    }

    /// At MAIL. The envelope has no recipients yet. Accepting it begins a transaction.
    fn mail(
        &mut self,
        client: &Client,
        envelope: &Envelope,
    ) -> impl Future<Output = Verdict> + Send {
        let _ = (client, envelope);
        async { Verdict::Accept }
    }

    /// At RCPT. The envelope holds the recipients accepted so far; accepting this one adds it.
    fn rcpt(
        &mut self,
        client: &Client,
        envelope: &Envelope,
        recipient: &Recipient,
    ) -> impl Future<Output = Verdict> + Send;

    /// At DATA or the first BDAT. Accepting it begins a body.
    fn data(
        &mut self,
        client: &Client,
        envelope: &Envelope,
    ) -> impl Future<Output = Verdict> + Send;

    /// Takes the next bytes of the body. Until it returns, nothing more is read from the client. After an error
    /// [`Visit::reset`] follows, the rest of the body is read and thrown away, and the error is the reply to it.
    fn write(
        &mut self,
        client: &Client,
        chunk: Vec<u8>,
    ) -> impl Future<Output = Result<(), Reply>> + Send;

    /// The client goes on: it has all our answers so far. Not told of a client that is gone.
    fn heard(&mut self) {}

    /// So many bare CR or LF became CRLF, as the settings of the session say. Told before [`Visit::commit`].
    fn normalized(&mut self, newlines: u64) {
        let _ = newlines;
    }

    /// The body is complete. A reply of 250 means that the message is durable for every recipient. The transaction is
    /// over, whatever the reply.
    fn commit(
        &mut self,
        client: &Client,
        envelope: &Envelope,
    ) -> impl Future<Output = Reply> + Send;

    /// The transaction is over without a commit; what was written of its body is to be dropped. Not told of a client
    /// that is gone: [`Visit::observe`] then finds the transaction as it was left.
    fn reset(&mut self);

    /// The client has sent so many commands since this was told last. A reply ends the session.
    fn commands(&mut self, client: &Client, commands: u64) -> Option<Reply> {
        let _ = (client, commands);
        None
    }

    /// How late the next replies are to be. Asked whenever some are about to be written, however many go out together; a shutdown
    /// cuts the delay short.
    fn delay(&mut self) -> Duration {
        Duration::ZERO
    }

    /// For the operators' log: the session refused something by itself.
    fn refused(&mut self, client: &Client, refusal: Refusal) {
        let _ = (client, refusal);
    }

    /// For the operators' log: told what happens to the connection, outside of the mail itself. Must not block.
    fn observe(&mut self, client: &Client, incident: Incident) {
        let _ = (client, incident);
    }
}

/// The client of one connection, as far as it is known by now.
#[derive(Debug, Clone)]
pub struct Client {
    /// Number of the connection, from 1, in the order of their acceptance.
    pub id: u64,
    /// The client's address; behind a proxy, the one that the PROXY header names. Never an IPv4-mapped one.
    pub peer: SocketAddr,
    /// The address that the client connected to, likewise.
    pub local: SocketAddr,
    /// The proxy's address, when the connection came through one (PROXY, XCLIENT).
    pub proxy: Option<SocketAddr>,
    /// What the listener is for.
    pub role: Role,
    /// It talked before it was greeted, where it was to wait ([`Service::greet_wait`]).
    pub talked_early: bool,
    /// The last accepted EHLO or HELO.
    pub hello: Option<Hello>,
    /// Set once TLS has begun.
    pub tls: Option<Tls<'static>>,
    /// The name that it logged in by, as given.
    pub user: Option<Arc<str>>,
}

impl Client {
    /// What a proxy of ours says by XCLIENT. A port of another address is none of this one.
    pub(crate) fn become_another(&mut self, xclient: Xclient) {
        self.proxy.get_or_insert(self.peer);
        if let Some(address) = xclient.address {
            self.peer = (address, 0).into();
        }
        if let Some(port) = xclient.port {
            self.peer.set_port(port);
        }
        if let Some(address) = xclient.local_address {
            self.local.set_ip(address);
        }
        if let Some(port) = xclient.local_port {
            self.local.set_port(port);
        }
        self.user = xclient.user.map(Into::into);
        self.hello = None;
    }
}

/// What a listener is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Mail from anyone, for us (port 25).
    Mx,
    /// Mail from our own users (RFC 6409).
    Submission,
}

/// What happened to a connection. Each connection that was accepted has either one `Refused`, or a `Connected` and
/// later one `Closed`; when it ends before its client is known (PROXY header), a `Closed` alone.
#[derive(Debug)]
pub enum Incident {
    /// Turned away with 421 before any session.
    Refused(Cap),
    /// The client is known, and a session begins.
    Connected,
    /// The connection is over.
    Closed(Ending),
}

/// Why a connection is over; in words for the log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Ending {
    /// The session ended it: QUIT, a verdict, or a limit.
    #[error("session over")]
    Session,
    /// The session waited too long for its client.
    #[error("timed out")]
    TimedOut,
    /// It kept us waiting when all but a reserve of the connections were taken, and others wanted in.
    #[error("ended to make room for others")]
    MadeRoom,
    /// The client closed first.
    #[error("closed by client")]
    PeerClosed,
    /// Reading or writing failed.
    #[error("connection broken: {0}")]
    Broken(std::io::ErrorKind),
    /// The client did not take our replies.
    #[error("client does not read our replies")]
    WriteTimedOut,
    /// The PROXY header was missing or wrong.
    #[error("PROXY header: {0}")]
    Proxy(ProxyError),
    /// The TLS handshake failed.
    #[error("TLS handshake: {0}")]
    Tls(String),
    /// We are shutting down, and it had no transaction running.
    #[error("shutting down")]
    Drained,
    /// We are shutting down, and it did not finish in time.
    #[error("shutting down, not finished in time")]
    Killed,
    /// A bug ended it; the panic's message is on stderr.
    #[error("internal error")]
    Panicked,
}
