//! What the end-to-end tests stand on: work in memory, and an SMTP server on loopback that does what it is told.

pub(crate) mod server;
pub(crate) mod work;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use delivery::{Dispatcher, Settings};
use dns::{Fixed, Resolver};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use server::{Script, Server};
use work::Memory;

/// A dispatcher at work.
pub(crate) struct Relay<R = Fixed> {
    pub(crate) work: Arc<Memory>,
    pub(crate) dispatcher: Arc<Dispatcher<Memory, R>>,
    shutdown: CancellationToken,
    running: JoinHandle<()>,
}

impl<R: Resolver> Relay<R> {
    pub(crate) fn start(settings: Settings, resolver: R) -> Self {
        let work = Arc::new(Memory::default());
        let dispatcher = Dispatcher::new(settings, Arc::clone(&work), resolver, None);
        let shutdown = CancellationToken::new();
        let running = tokio::spawn(Arc::clone(&dispatcher).run(shutdown.clone()));
        Self {
            work,
            dispatcher,
            shutdown,
            running,
        }
    }

    pub(crate) async fn stop(self) -> Arc<Memory> {
        self.shutdown.cancel();
        within(self.running).await.unwrap();
        self.work
    }
}

/// A server, and a dispatcher whose mail all goes there.
pub(crate) async fn start(script: Script) -> (Server, Relay) {
    start_with(script, |_| {}).await
}

/// As [`start`], with other settings.
pub(crate) async fn start_with(
    script: Script,
    change: impl FnOnce(&mut Settings),
) -> (Server, Relay) {
    let server = Server::start(script).await;
    let mut settings = settings(server.address.port());
    change(&mut settings);
    let relay = Relay::start(settings, resolver(&[server.address]));
    (server, relay)
}

/// Settings with times short enough for tests.
pub(crate) fn settings(port: u16) -> Settings {
    let mut settings = Settings::new("us.test".parse().unwrap());
    settings.port = port;
    settings.allow_loopback = true;
    settings.connect_timeout = Duration::from_secs(2);
    settings.timeouts.quit = Duration::from_millis(300);
    settings.idle = Duration::from_millis(500);
    settings.drain = Duration::from_secs(2);
    settings
}

/// `to.test` with one MX for each server, in this order of preference. All servers must have the same port.
pub(crate) fn resolver(servers: &[SocketAddr]) -> Fixed {
    let mut resolver = Fixed::new();
    for (number, server) in servers.iter().enumerate() {
        let host = format!("mx{number}.test")
            .parse::<envelope::Domain>()
            .unwrap();
        resolver = resolver
            .with_mx("to.test".parse().unwrap(), number as u16, host.clone())
            .with_mx("also.test".parse().unwrap(), number as u16, host.clone())
            .with_address(host, server.ip());
    }
    resolver
}

/// Waits, but not for ever.
pub(crate) async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(10), future)
        .await
        .expect("took too long")
}
