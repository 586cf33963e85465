//! Accepting connections until told to stop, and seeing the last of them out.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ipnet::IpNet;
use smtp::server;
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::caps::{Cap, Caps, Slot};
use crate::connection::Connection;
use crate::listener::{Limits, Listener, Settings, TlsMode};
use crate::replies;
use crate::visit::{Client, Incident, Service, Visit};

/// What all connections share.
pub(crate) struct Server<S> {
    pub(crate) service: Arc<S>,
    pub(crate) limits: Limits,
    /// Asks sessions to end when they can.
    pub(crate) shutdown: CancellationToken,
    /// Ends them whatever they do.
    pub(crate) kill: CancellationToken,
    caps: Arc<Caps>,
    accepted: AtomicU64,
}

/// What the connections of one listener share.
pub(crate) struct Port {
    pub(crate) settings: Settings,
    /// What sessions are made with: `settings.session`, knowing whether STARTTLS is offered.
    pub(crate) session: Arc<server::Settings>,
}

/// Serves all listeners until `shutdown` is cancelled, then sees the running transactions out: sessions without one
/// are told 421 at once, the others after it. Returns when the last connection is gone, [`Limits::drain`] after
/// the cancellation at the latest.
///
/// # Panics
/// Outside of a tokio runtime with I/O and time.
pub async fn serve<S: Service>(
    listeners: Vec<Listener>,
    limits: Limits,
    service: Arc<S>,
    shutdown: CancellationToken,
) {
    let drain = limits.drain;
    let server = Arc::new(Server {
        service,
        caps: Caps::new(limits.connections_max, limits.connections_per_address_max),
        limits,
        shutdown: shutdown.clone(),
        kill: CancellationToken::new(),
        accepted: AtomicU64::new(0),
    });
    let tasks = TaskTracker::new();
    for listener in listeners {
        let accepting = Arc::clone(&server).accept_all(listener, tasks.clone());
        tasks.spawn(accepting);
    }
    shutdown.cancelled().await;
    tasks.close();
    if timeout(drain, tasks.wait()).await.is_err() {
        server.kill.cancel();
        tasks.wait().await;
    }
}

impl<S: Service> Server<S> {
    /// One listener's loop. The socket is closed when it returns, so that others refuse what we do not serve.
    async fn accept_all(self: Arc<Self>, listener: Listener, tasks: TaskTracker) {
        let Listener { socket, settings } = listener;
        let socket = match TcpListener::from_std(socket) {
            Ok(socket) => socket,
            Err(error) => {
                tracing::error!(bind = %settings.bind, %error, "cannot watch a listening socket");
                return;
            }
        };
        let port = Arc::new(Port::new(settings));
        loop {
            let accepted = tokio::select! {
                biased;
                () = self.shutdown.cancelled() => return,
                accepted = socket.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => self.admit(&port, stream, peer, &tasks),
                Err(error) => {
                    // Mostly too many open files: the connection stays in the backlog, so asking at once is a busy loop.
                    tracing::warn!(bind = %port.settings.bind, %error, "cannot accept a connection");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Begins a connection, if the caps have room for it.
    fn admit(
        self: &Arc<Self>,
        port: &Arc<Port>,
        stream: TcpStream,
        peer: SocketAddr,
        tasks: &TaskTracker,
    ) {
        // A client that has gone already leaves no address.
        let Ok(local) = stream.local_addr() else {
            return;
        };
        let client = Client {
            id: self.accepted.fetch_add(1, Ordering::Relaxed) + 1,
            peer: canonical(peer),
            local: canonical(local),
            proxy: None,
            role: port.settings.role,
            talked_early: false,
            hello: None,
            tls: None,
            user: None,
        };
        let proxied = port.expects_proxy(&client);
        match self.room_for(&client, proxied) {
            Ok(slot) => {
                let connection = Connection::new(Arc::clone(self), Arc::clone(port), client, slot);
                tasks.spawn(connection.run(stream, proxied));
            }
            Err(cap) => {
                port.turn_away(&stream, cap);
                self.service
                    .visit()
                    .observe(&client, Incident::Refused(cap));
            }
        }
    }

    /// Behind a proxy the client is not known yet: it is charged when the header has named it.
    fn room_for(&self, client: &Client, proxied: bool) -> Result<Slot, Cap> {
        let mut slot = self.caps.admit()?;
        if !proxied {
            let address = client.peer.ip();
            slot.charge(address, self.service.trusts(address))?;
        }
        Ok(slot)
    }
}

impl Port {
    fn new(settings: Settings) -> Self {
        let session = server::Settings {
            tls_available: matches!(settings.tls, TlsMode::StartTls(_)),
            tls_implicit: matches!(settings.tls, TlsMode::Implicit(_)),
            ..settings.session.clone()
        };
        Self {
            settings,
            session: Arc::new(session),
        }
    }

    fn expects_proxy(&self, client: &Client) -> bool {
        is_in(&self.settings.proxy_from, client)
    }

    pub(crate) fn allows_xclient(&self, client: &Client) -> bool {
        is_in(&self.settings.xclient_from, client)
    }

    /// Says 421 without a task and without waiting: a fresh socket has room for one line. Where TLS is expected first,
    /// there is nothing to say that the client would understand.
    pub(crate) fn turn_away(&self, stream: &TcpStream, cap: Cap) {
        if !matches!(self.settings.tls, TlsMode::Implicit(_))
            && let Err(error) =
                SockRef::from(stream).send(format!("{}\r\n", replies::over_cap(cap)).as_bytes())
        {
            tracing::debug!(%error, "client over a cap has gone before its reply");
        }
    }
}

fn is_in(networks: &[IpNet], client: &Client) -> bool {
    networks.iter().any(|net| net.contains(&client.peer.ip()))
}

/// An IPv4 client of a dual-stack socket is an IPv4 client, for caps, networks and logs alike.
pub(crate) fn canonical(address: SocketAddr) -> SocketAddr {
    (address.ip().to_canonical(), address.port()).into()
}

/// After a failed accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
