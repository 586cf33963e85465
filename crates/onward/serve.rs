//! `onward serve`: the daemon's life: start, signals, drain.

use std::io;
use std::path::Path;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::log::{Event, Log};
use crate::reload::Reload;
use crate::wire::{self, Relay};

/// Runs the daemon until a signal ends it.
pub(crate) async fn run(config: &Config, path: &Path) -> Result<(), wire::Error> {
    let (log, writer) = Log::start(config.log.format, io::stdout());
    let result = run_logged(config, path, &log).await;
    drop(log);
    drop(writer);
    result
}

async fn run_logged(config: &Config, path: &Path, log: &Log) -> Result<(), wire::Error> {
    let relay = Relay::open(config, path, wire::resolver(config)?, log.clone()).await?;
    let shutdown = CancellationToken::new();
    let signals = tokio::spawn(watch_signals(
        std::sync::Arc::clone(&relay.reload),
        log.clone(),
        shutdown.clone(),
    ));
    tell_systemd(&[sd_notify::NotifyState::Ready]);
    let result = relay.run(shutdown).await;
    signals.abort();
    result
}

/// SIGHUP reloads; SIGTERM and SIGINT drain and stop.
async fn watch_signals(reload: std::sync::Arc<Reload>, log: Log, shutdown: CancellationToken) {
    let listen = |kind| {
        signal(kind).inspect_err(|error| tracing::error!(%error, "cannot listen for a signal"))
    };
    let (Ok(mut hangup), Ok(mut terminate), Ok(mut interrupt)) = (
        listen(SignalKind::hangup()),
        listen(SignalKind::terminate()),
        listen(SignalKind::interrupt()),
    ) else {
        return;
    };
    let reason = loop {
        tokio::select! {
            _ = hangup.recv() => {
                // Reading half a million lines takes its time: not on a thread that serves connections.
                let reload = std::sync::Arc::clone(&reload);
                let done = tokio::task::spawn_blocking(move || reload.run().is_ok()).await;
                tracing::debug!(?done, "reload");
            }
            _ = terminate.recv() => break "SIGTERM",
            _ = interrupt.recv() => break "SIGINT",
        }
    };
    log.write(Event::Stopping { reason });
    tell_systemd(&[sd_notify::NotifyState::Stopping]);
    shutdown.cancel();
}

/// Without systemd there is nobody to tell, and that is no error.
fn tell_systemd(states: &[sd_notify::NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "cannot notify systemd");
    }
}
