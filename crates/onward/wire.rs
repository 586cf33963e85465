//! The wiring of the daemon: what the configuration names is opened, and handed to the relay.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use control::Socket;
use journal::{Event, Journal};
use queue::LogSpool;
use relay::Routing;
use relay::operator::Operator;
use spool::{Clock, IdSource, Spool};
use tokio_util::sync::CancellationToken;

use crate::config::{BareNewline, Config, Role, TlsMode};
use crate::descriptors;
use crate::forwards;
use crate::reload::{Reload, TlsError, load_tls};
use crate::routing;

/// A relay that is ready to run: sockets are bound, the spool is open.
pub(crate) struct Relay {
    pub(crate) addresses: Vec<SocketAddr>,
    pub(crate) reload: Arc<Reload>,
    listeners: Vec<smtp_in::Listener>,
    limits: smtp_in::Limits,
    relay: relay::Relay<LogSpool>,
    socket: Socket,
    operator: Operator<LogSpool>,
    spool: Arc<LogSpool>,
    journal: Journal,
}

/// Why the relay cannot run. Each text says where and what to do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n\nerror: "))]
    Several(Vec<Self>),
    #[error("`hostname`: {0}")]
    Hostname(#[from] envelope::AddressError),
    #[error(transparent)]
    Routing(#[from] routing::Error),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error(transparent)]
    Bind(#[from] smtp_in::BindError),
    #[error(
        "cannot make the spool folder {path}: {source}\n\nhint: make it, owned by the user that runs onward"
    )]
    SpoolFolder {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error(transparent)]
    Spool(#[from] queue::StartError),
    #[error(transparent)]
    Control(#[from] control::BindError),
    #[error("`resolver.servers`: {0}")]
    Dns(#[from] dns::SetupError),
    #[error("`delivery.route`: {0}")]
    Route(#[from] delivery::RouteError),
}

impl Error {
    /// What `check` files it under.
    pub(crate) fn about(&self) -> &'static str {
        match self {
            Self::Routing(error) => error.about(),
            Self::Tls(_) => "certificate",
            Self::Route(_) => "delivery",
            Self::Dns(_) => "resolver",
            _ => "config",
        }
    }
}

/// What a configuration means, as far as it can be told without starting anything: `serve` begins with it, and `check`
/// with nothing else.
pub(crate) struct Resolved {
    pub(crate) routing: Routing,
    /// Why the last good forwards are used, and not the file.
    pub(crate) instead: Option<forwards::Error>,
    tls: Option<smtp_in::tls::Holder>,
    delivery: delivery::Settings,
}

impl Resolved {
    /// All that stands in the way, or what to start with.
    pub(crate) fn of(config: &Config) -> Result<Self, Vec<Error>> {
        let routing = forwards::read_at_start(config)
            .map_err(routing::Error::from)
            .and_then(|(table, instead)| Ok((routing::with_table(config, table)?, instead)))
            .map_err(Error::from);
        let tls = tls_holder(config).map_err(Error::from);
        let hostname = config
            .hostname
            .parse()
            .map_err(envelope::AddressError::from);
        let delivery = hostname
            .map_err(Error::from)
            .and_then(|hostname| delivery_settings(config, &hostname));
        match (routing, tls, delivery) {
            (Ok((routing, instead)), Ok(tls), Ok(delivery)) => Ok(Self {
                routing,
                instead,
                tls,
                delivery,
            }),
            (routing, tls, delivery) => Err([routing.err(), tls.err(), delivery.err()]
                .into_iter()
                .flatten()
                .collect()),
        }
    }
}

impl Relay {
    /// Opens everything that the configuration names. `path` is where it came from, for reloads.
    pub(crate) async fn open(
        config: &Config,
        path: &Path,
        resolver: dns::Backend,
        journal: Journal,
    ) -> Result<Self, Error> {
        let resolved = Resolved::of(config).map_err(Error::Several)?;
        let (routing, tls, instead) = (resolved.routing, resolved.tls, resolved.instead);
        let routing = Arc::new(ArcSwap::from_pointee(routing));
        let listeners = smtp_in::bind(listener_settings(config, tls.as_ref()))?;
        let addresses: Vec<_> = listeners
            .iter()
            .filter_map(|listener| listener.local_addr().ok())
            .collect();
        let spool = Arc::new(open_spool(config)?);
        match instead {
            None => forwards::keep(config, &routing.load().table),
            Some(error) => journal.record(forwards::kept_out(&error, &routing.load().table)),
        }
        let socket = Socket::bind(&config.control.socket).await?;

        let reload = Reload::new(config, path, Arc::clone(&routing), tls, journal.clone());
        let reload = Arc::new(reload);
        let core = relay::Core {
            spool: Arc::clone(&spool),
            routing,
            ids: Arc::new(IdSource::new()),
            clock: Clock::real(),
            journal: journal.clone(),
        };
        let delivery = delivery::Settings {
            listeners: addresses.clone(),
            ..resolved.delivery
        };
        let relay = relay::Relay::new(core, relay_settings(config, delivery)?, resolver);
        let reloads = Arc::clone(&reload);
        let operator = relay.operator(
            Arc::new(move |force| reloads.run(force).map_err(|error| error.to_string())),
            env!("CARGO_PKG_VERSION"),
            addresses.iter().map(ToString::to_string).collect(),
        );
        Ok(Self {
            addresses,
            reload,
            listeners,
            limits: limits(config),
            relay,
            socket,
            operator,
            spool,
            journal,
        })
    }

    /// Runs until `shutdown`, sees running transactions out, and closes the spool.
    pub(crate) async fn run(self, shutdown: CancellationToken) -> Result<(), Error> {
        let counts = self.spool.counts().await;
        let counts = counts.unwrap_or_default();
        let queued = counts.ready + counts.deferred + counts.active + counts.held;
        self.journal.record(Event::Ready {
            listeners: self.addresses,
            queued,
        });
        let operator = (self.socket, self.operator);
        let run = self
            .relay
            .run(self.listeners, self.limits, operator, shutdown);
        run.await;
        self.spool.close();
        Ok(())
    }
}

fn tls_holder(config: &Config) -> Result<Option<smtp_in::tls::Holder>, TlsError> {
    let certificates = load_tls(config)?;
    Ok((!certificates.is_empty()).then(|| smtp_in::tls::Holder::new(certificates)))
}

fn relay_settings(config: &Config, delivery: delivery::Settings) -> Result<relay::Settings, Error> {
    Ok(relay::Settings {
        accept_nonnull: config.srs.accept_nonnull,
        bounces_per_day: config.srs.bounces_per_day,
        schedule: schedule(config),
        postmaster: config.postmaster()?,
        bounce_octets_max: usize::try_from(config.limits.bounce_size.0).unwrap_or(usize::MAX),
        delivery,
    })
}

/// The resolver of the configuration.
pub(crate) fn resolver(config: &Config) -> Result<dns::Backend, Error> {
    let settings = dns::Settings {
        servers: config.resolver.servers.clone(),
        ..dns::Settings::default()
    };
    Ok(dns::Backend::Hickory(dns::Hickory::new(&settings)?))
}

/// Opens the spool: reads what the last run left.
pub(crate) fn open_spool(config: &Config) -> Result<LogSpool, Error> {
    let path = &config.spool;
    std::fs::create_dir_all(path).map_err(|source| Error::SpoolFolder {
        path: path.clone(),
        source,
    })?;
    Ok(LogSpool::open(spool_settings(config))?)
}

pub(crate) fn spool_settings(config: &Config) -> queue::Settings {
    queue::Settings {
        warn_after: config.queue.warn_after.0,
        expire: config.queue.expire.0,
        min_free_bytes: config.queue.min_free.0,
        ..queue::Settings::new(&config.spool)
    }
}

fn schedule(config: &Config) -> spool::Schedule {
    spool::Schedule {
        retry: config.queue.retry.iter().map(|span| span.0).collect(),
        warn_after: config.queue.warn_after.0,
        expire: config.queue.expire.0,
        ..spool::Schedule::default()
    }
}

fn listener_settings(
    config: &Config,
    tls: Option<&smtp_in::tls::Holder>,
) -> Vec<smtp_in::Settings> {
    let session = smtp::server::Settings {
        hostname: config.hostname.clone(),
        size_max: config.limits.message_size.0,
        recipients_max: config.limits.recipients,
        normalize_newlines: config.limits.bare_newline == BareNewline::Normalize,
        timeouts: smtp::server::Timeouts {
            command: config.limits.command_timeout.0,
            session: config.limits.session_timeout.0,
            ..smtp::server::Timeouts::default()
        },
        ..smtp::server::Settings::default()
    };
    let listener = |listener: &crate::config::Listener| smtp_in::Settings {
        bind: listener.bind,
        role: match listener.role {
            Role::Mx => smtp_in::Role::Mx,
            Role::Submission => smtp_in::Role::Submission,
        },
        tls: match (listener.tls, tls) {
            (TlsMode::StartTls, Some(holder)) => smtp_in::TlsMode::StartTls(holder.clone()),
            (TlsMode::Implicit, Some(holder)) => smtp_in::TlsMode::Implicit(holder.clone()),
            _ => smtp_in::TlsMode::Off,
        },
        proxy_from: listener
            .proxy_protocol_from
            .iter()
            .map(|net| net.0)
            .collect(),
        session: session.clone(),
    };
    config.listeners.iter().map(listener).collect()
}

fn limits(config: &Config) -> smtp_in::Limits {
    smtp_in::Limits {
        connections_max: descriptors::shares(config).incoming,
        connections_per_address_max: config.limits.connections_per_address,
        drain: config.limits.drain.0,
        ..smtp_in::Limits::default()
    }
}

fn delivery_settings(
    config: &Config,
    hostname: &envelope::Domain,
) -> Result<delivery::Settings, Error> {
    let routes = config
        .delivery
        .routes
        .iter()
        .map(|route| delivery::Route::parse(&route.domain, &route.host));
    Ok(delivery::Settings {
        port: config.delivery.port,
        bind: config.delivery.bind.clone(),
        allow_loopback: config.delivery.allow_loopback,
        allow_private: config.delivery.allow_private,
        routes: delivery::Routes::new(routes.collect::<Result<_, _>>()?),
        concurrency: config.delivery.concurrency,
        connections_per_address: config.delivery.connections_per_address,
        connections: descriptors::shares(config).outgoing,
        connect_timeout: config.delivery.connect_timeout.0,
        probe_first: config.delivery.probe_first.0,
        probe_longest: config.delivery.probe_longest.0,
        drain: config.limits.drain.0,
        ..delivery::Settings::new(hostname.clone())
    })
}
