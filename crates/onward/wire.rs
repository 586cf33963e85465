//! The wiring of the daemon: what the configuration names is opened, and handed to the relay.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;

use acme::Issuer;
use arc_swap::ArcSwap;
use control::Socket;
use counters::Freezes;
use history::Desk;
use http_door::{Door, Tokens};
use journal::{Event, Journal};
use listenfd::ListenFd;
use relay::counting::Counting;
use relay::operator::{Operator, OrdersFile};
use relay::sts::Sts;
use relay::tls_reports::TlsReports;
use smtp_in::tls::Holder;
use spool::{Board, Clock, IdSource, Spool};
use tokio_util::sync::CancellationToken;

use crate::Failure;
use crate::config::{Config, Resolved, Settings};
use crate::doctor;
use crate::forwards;
use crate::issuing;
use crate::reload::Reload;

/// A relay that is ready to run: sockets are bound, the spool is open.
pub(crate) struct Relay<S: Spool> {
    pub(crate) addresses: Vec<SocketAddr>,
    pub(crate) reload: Arc<Reload>,
    listeners: Vec<smtp_in::Listener>,
    limits: smtp_in::Limits,
    relay: relay::Relay<S>,
    doors: (Socket, Option<Door>),
    operator: Operator<S>,
    issuer: Option<Issuer>,
    spool: Arc<S>,
    journal: Journal,
}

impl<S: Spool> Relay<S> {
    /// Opens everything that the configuration names but the spool, which goes by `clock`. `path` is where the configuration came
    /// from, for reloads.
    pub(crate) async fn open(
        config: &Config,
        resolved: Resolved,
        path: &Path,
        resolver: dns::Backend,
        (journal, history): (Journal, Desk),
        listeners: Vec<smtp_in::Listener>,
        (spool, clock): (Arc<S>, Clock),
    ) -> Result<Self, Failure> {
        let mut settings = resolved.settings;
        let routing = Arc::new(ArcSwap::from_pointee(resolved.routing));
        let bound = |listener: &smtp_in::Listener| listener.local_addr().ok();
        let addresses: Vec<_> = listeners.iter().filter_map(bound).collect();
        let doors = open_doors(&settings, &resolved.tokens, &resolved.tls).await?;
        let (now, served) = (Arc::clone(&routing), resolved.tls.clone());
        let now = move || now.load_full();
        let (issuer, issuing) = issuing::open(settings.acme, &served, &journal, &clock)?;
        let reload = Arc::new(Reload::new(
            config,
            path,
            Arc::clone(&routing),
            (resolved.tls, resolved.tokens),
            settings.relay.delivery.routes.logins().cloned().collect(),
            settings.relay.delivery.shaping.clone(),
            journal.clone(),
        ));
        let mut doctor = doctor::doctor(config, settings.doctor, resolver.clone(), served, now);
        doctor.issuing = issuing;
        let (live, reloads) = (Arc::clone(&reload), Arc::clone(&reload));
        doctor.asking = doctor::asking(move || live.config());
        let delivery = &settings.relay.delivery;
        let (counting, orders) = remembered(&config.spool, &clock, spool.board());
        let core = relay::Core {
            spool: Arc::clone(&spool),
            routing,
            store: reload.store(),
            ids: Arc::new(IdSource::new()),
            clock: clock.clone(),
            sts: Arc::new(Sts::open(&config.spool, delivery, &resolver, &clock)),
            journal: journal.clone(),
            counting: Arc::new(counting),
            tls_reports: Arc::new(TlsReports::open(&config.spool)),
            history,
        };
        settings.relay.delivery.listeners = addresses.clone();
        let outgoing_max = settings.relay.delivery.connections;
        let relay = relay::Relay::new(core, settings.relay, resolver);
        let operator = relay.operator(
            Arc::new(move |force, dry_run| reloads.run(force, dry_run).map_err(|e| e.to_string())),
            doctor,
            env!("CARGO_PKG_VERSION"),
            addresses.iter().map(ToString::to_string).collect(),
            (settings.limits.connections_max, outgoing_max),
            orders,
        );
        forwards::started(config, &operator.routing, resolved.instead, &journal);
        Ok(Self {
            addresses,
            reload,
            listeners,
            limits: settings.limits,
            relay,
            doors,
            operator,
            issuer,
            spool,
            journal,
        })
    }

    /// Runs until `shutdown`, and sees running transactions out.
    pub(crate) async fn run(self, shutdown: CancellationToken) -> Result<(), Failure> {
        let counts = self.spool.counts().await;
        let queued = counts.unwrap_or_default().legs();
        self.journal.record(Event::Ready {
            listeners: self.addresses,
            queued,
        });
        let (operator, (socket, door)) = (Arc::new(self.operator), self.doors);
        let (asked, stopped) = (Arc::clone(&operator), shutdown.clone());
        let journal = self.journal;
        let answer = async {
            if let Some(door) = door {
                door.serve(asked, journal, stopped.cancelled_owned()).await;
            }
        };
        if let Some(issuer) = self.issuer {
            tokio::spawn(issuer.run(shutdown.clone()));
        }
        let run = self
            .relay
            .run(self.listeners, self.limits, (socket, operator), shutdown);
        tokio::join!(run, answer);
        Ok(())
    }
}

/// Who is frozen, and what is ordered of sites. What several nodes share is on their board, and not in files of one.
fn remembered(
    folder: &Path,
    clock: &Clock,
    board: Option<Arc<dyn Board>>,
) -> (Counting, OrdersFile) {
    let orders = OrdersFile::open(folder, clock.now(), board.is_some());
    let freezes = match board {
        Some(_) => Freezes::in_memory(),
        None => Freezes::open(folder),
    };
    (Counting::new(freezes, board), orders)
}

/// The sockets that systemd has opened for us (`onward.socket`): they go on listening while this program is restarted.
fn handed_down() -> Result<Vec<TcpListener>, Failure> {
    let mut handed = ListenFd::from_env();
    let sockets = (0..handed.len()).map(|at| handed.take_tcp_listener(at));
    let sockets: io::Result<_> = sockets.filter_map(Result::transpose).collect();
    sockets.map_err(|error| format!("cannot take a socket of onward.socket: {error}").into())
}

/// The ports for mail.
pub(crate) fn bind(settings: &Settings) -> Result<Vec<smtp_in::Listener>, Failure> {
    Ok(smtp_in::bind(settings.listeners.clone(), handed_down()?)?)
}

/// A resolver of these settings.
pub(crate) fn resolver(settings: &dns::Settings) -> Result<dns::Backend, Failure> {
    let resolver = dns::Hickory::new(settings);
    let resolver = resolver.map_err(|error| format!("`resolver.servers`: {error}"))?;
    Ok(dns::Backend::Hickory(resolver))
}

/// Makes the control socket, and listens for HTTP, if anywhere.
async fn open_doors(
    settings: &Settings,
    tokens: &Option<Tokens>,
    tls: &Option<Holder>,
) -> Result<(Socket, Option<Door>), Failure> {
    let socket = Socket::bind(&settings.socket).await?;
    let (Some(Ok(bind)), Some(tokens)) = (settings.http.bind(), tokens) else {
        return Ok((socket, None));
    };
    let tls = tls.as_ref().map(Holder::config);
    let door = Door::open(&bind, tls, tokens.clone(), settings.http.connections).await;
    // Mail does not wait for who looks at it.
    let door = door.inspect_err(|error| tracing::error!(%error, "nothing is answered over HTTP"));
    Ok((socket, door.ok()))
}
