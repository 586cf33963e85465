//! `onward serve`: the daemon's life: start, signals, drain.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use history::{Desk, History};
use journal::{Event, Journal};
use queue::LogSpool;
use spool::{Clock, Spool};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::Failure;
use crate::check;
use crate::config::{Config, Resolved};
use crate::logs;
use crate::reload::Reload;
use crate::shared;
use crate::sources;
use crate::wire::{self, Relay};

/// Runs the daemon until a signal ends it.
pub(crate) async fn run(mut config: Config, path: &Path) -> Result<(), Failure> {
    // First of all: a signal that comes before this would end the process at once, with sessions still open.
    let mut signals = Signals::listen();
    tokio::select! {
        () = sources::fetch(&mut config, false, START_WITHIN) => {}
        reason = signals.end() => {
            tracing::info!(reason, "stopped while sources of forwards were asked");
            return Ok(());
        }
    }
    let (resolved, risks) = check::before_start(&config)?;
    sources::forget(&mut config);
    let config = &config;
    for risk in risks {
        let text = risk.text.replace("\n\nhint:", ";");
        tracing::warn!(about = risk.what, "{text}");
    }
    // Clients wait for a spool that takes its time to open.
    let listeners = wire::bind(&resolved.settings)?;
    let journal = Journal::default();
    let log = logs::mail_log(&journal, &resolved.settings.log)?;
    let history = History::start(resolved.settings.history.clone(), &journal);
    let start = Start {
        config,
        resolved,
        path,
        journal: journal.clone(),
        history: history.desk(),
        listeners,
        signals,
    };
    let result = match config.queue.is_shared() {
        true => shared::serve(start).await,
        false => serve_embedded(start).await,
    };
    drop(journal);
    finish((log, history)).await;
    result
}

/// Waits until these readers have written the last event: when nobody has a journal any more. Not on a thread of the runtime, which
/// may be the only one: a task that still has a journal could not end.
async fn finish(readers: impl Send + 'static) {
    let waiting = tokio::task::spawn_blocking(move || drop(readers));
    if let Err(error) = waiting.await {
        tracing::error!(%error, "cannot wait for the mail log and the history");
    }
}

/// What a relay starts with, whatever its spool is.
pub(crate) struct Start<'a> {
    pub(crate) config: &'a Config,
    pub(crate) resolved: Resolved,
    path: &'a Path,
    journal: Journal,
    history: Desk,
    listeners: Vec<smtp_in::Listener>,
    signals: Signals,
}

impl Start<'_> {
    /// What comes of opening a spool; none: a signal came first, and this is to be the end.
    pub(crate) async fn unless_stopped<T>(
        &mut self,
        opening: impl Future<Output = T>,
    ) -> Option<T> {
        tokio::select! {
            opened = opening => Some(opened),
            reason = self.signals.end() => {
                tracing::info!(reason, "stopped while the spool was opened");
                None
            }
        }
    }
}

/// On the spool in a folder of this machine.
async fn serve_embedded(mut start: Start<'_>) -> Result<(), Failure> {
    let settings = start.resolved.settings.spool.clone();
    make_folder(&settings.dir)?;
    let opening = tokio::task::spawn_blocking(|| LogSpool::open(settings));
    let Some(opened) = start.unless_stopped(opening).await else {
        return Ok(());
    };
    let spool = opened.map_err(|error| error.to_string())??;
    let spool = Arc::new(spool);
    let clock = spool.clock().clone();
    let result = serve_on(start, Arc::clone(&spool), clock).await;
    spool.close();
    result
}

/// The folder of the spool; what this machine alone knows is in it too.
pub(crate) fn make_folder(folder: &Path) -> Result<(), Failure> {
    std::fs::create_dir_all(folder).map_err(|error| {
        let path = folder.display();
        let hint = "make it, owned by the user that runs onward";
        format!("cannot make the spool folder {path}: {error}\n\nhint: {hint}").into()
    })
}

/// Runs on an open spool until a signal ends it.
pub(crate) async fn serve_on<S: Spool>(
    start: Start<'_>,
    spool: Arc<S>,
    clock: Clock,
) -> Result<(), Failure> {
    let Start {
        config,
        resolved,
        path,
        journal,
        history,
        listeners,
        signals,
    } = start;
    let resolver = wire::resolver(&resolved.settings.resolver)?;
    let opened = (spool, clock);
    let relay = Relay::open(
        config,
        resolved,
        path,
        resolver,
        (journal.clone(), history),
        listeners,
        opened,
    );
    let relay = relay.await?;
    let shutdown = CancellationToken::new();
    let reload = Arc::clone(&relay.reload);
    let watching = signals.watch(Arc::clone(&reload), journal.clone(), shutdown.clone());
    let watching = tokio::spawn(watching);
    tell_systemd(&[sd_notify::NotifyState::Ready]);
    let asking = tokio::spawn(sources::watch(Arc::clone(&relay.reload), journal.clone()));
    let result = relay.run(shutdown).await;
    asking.abort();
    watching.abort();
    reload.stop();
    result
}

/// The signals that mean something to us. From `listen` on they are kept until they are watched.
struct Signals {
    hangup: Option<Signal>,
    terminate: Option<Signal>,
    interrupt: Option<Signal>,
}

impl Signals {
    fn listen() -> Self {
        let listen = |kind| {
            let signal = signal(kind);
            let signal =
                signal.inspect_err(|error| tracing::error!(%error, "cannot listen for signals"));
            signal.ok()
        };
        Self {
            hangup: listen(SignalKind::hangup()),
            terminate: listen(SignalKind::terminate()),
            interrupt: listen(SignalKind::interrupt()),
        }
    }

    /// The signal that is to end us.
    async fn end(&mut self) -> &'static str {
        tokio::select! {
            () = next(&mut self.terminate) => "SIGTERM",
            () = next(&mut self.interrupt) => "SIGINT",
        }
    }

    /// SIGHUP reloads; SIGTERM and SIGINT drain and stop, also while a reload waits for a database.
    async fn watch(mut self, reload: Arc<Reload>, journal: Journal, shutdown: CancellationToken) {
        let mut hangup = self.hangup.take();
        let reloads = async {
            loop {
                next(&mut hangup).await;
                // Reading half a million lines takes its time: not on a thread that serves connections.
                let reload = Arc::clone(&reload);
                let done = tokio::task::spawn_blocking(move || reload.run(false, false).is_ok());
                let done = done.await;
                tracing::debug!(?done, "reload");
            }
        };
        let reason = tokio::select! {
            reason = self.end() => reason,
            () = reloads => unreachable!("they go on for ever"),
        };
        journal.record(Event::Stopping { reason });
        tell_systemd(&[sd_notify::NotifyState::Stopping]);
        reload.stop();
        shutdown.cancel();
    }
}

/// The next one of a kind; never, if that is not listened for.
async fn next(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}

/// Without systemd there is nobody to tell; that is not an error.
fn tell_systemd(states: &[sd_notify::NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "cannot notify systemd");
    }
}

/// How long a start waits for sources whose last answer is known.
const START_WITHIN: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use std::io;

    use journal::MailLog;

    use super::*;

    /// On one thread.
    #[tokio::test]
    async fn a_task_that_still_has_a_journal_gets_its_turn() {
        let journal = Journal::default();
        let log = MailLog::start(&journal, journal::Format::Text, || Ok(io::sink())).unwrap();
        let mut reader = journal.subscribe();
        tokio::spawn(async move {
            tokio::task::yield_now().await;
            journal.record(Event::Stopping { reason: "SIGTERM" });
        });
        finish(log).await;
        assert!(reader.try_next().is_some());
    }
}
