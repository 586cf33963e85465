//! A reload: what may change while the relay runs (forwards, lists, secrets, relay domains, trusted clients, certificates,
//! passwords of smarthosts) is read again.
//!
//! All of it is read and checked before any of it is used: after a mistake everything stays as it was. The other settings
//! need a restart (`config/change.rs` says which). What a connection was told when it opened holds until it closes: a client
//! that becomes trusted, or is no longer, is treated so from its next transaction on, and counted so from its next connection on.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use control::Reloaded;
use delivery::Login;
use forwarder::table::{Difference, Table, TableError};
use http_door::Tokens;
use journal::{Event, Journal};
use parking_lot::Mutex;
use relay::store::{self, Store};
use relay::{Routing, routing::Shared};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use smtp_in::tls;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use crate::Failure;
use crate::config::{self, Acme, Config};
use crate::files::{self, FileError};
use crate::forwards;
use crate::logins;
use crate::print::plural;
use crate::routing;
use crate::sources;
use crate::tokens;

/// What can be read again, and where it goes.
pub(crate) struct Reload {
    config: PathBuf,
    spool: PathBuf,
    routing: Shared,
    store: Arc<Store>,
    tls: Option<tls::Holder>,
    /// Of the HTTP API, if there is one.
    tokens: Option<Tokens>,
    token_file: PathBuf,
    acme: Option<Acme>,
    /// At smarthosts.
    logins: Vec<Login>,
    shaping: delivery::Shaping,
    journal: Journal,
    at_start: toml::Table,
    /// As it was last read. Locked during a reload, so that reloads run one after the other.
    last: Mutex<toml::Table>,
    /// No reload waits for anything any more.
    stopped: CancellationToken,
    /// The same, as it holds, and what snapshots of forwards said at that time.
    used: ArcSwap<Config>,
}

impl Reload {
    pub(crate) fn new(
        config: &Config,
        path: &Path,
        routing: Shared,
        (tls, tokens): (Option<tls::Holder>, Option<Tokens>),
        logins: Vec<Login>,
        shaping: delivery::Shaping,
        journal: Journal,
    ) -> Self {
        Self {
            config: path.to_owned(),
            spool: config.spool.clone(),
            routing,
            store: Arc::new(Store::new(&config.spool)),
            tls,
            tokens,
            token_file: config.http.token.clone(),
            acme: config.acme.clone(),
            logins,
            shaping,
            journal,
            at_start: config.typed.clone(),
            last: Mutex::new(config.typed.clone()),
            stopped: CancellationToken::new(),
            used: ArcSwap::from_pointee(config.clone()),
        }
    }

    /// Reads everything again, and says what came of it. `force` takes forwards that look cut; `dry_run` changes nothing.
    pub(crate) fn run(&self, force: bool, dry_run: bool) -> Result<Reloaded, Failure> {
        let result = self.try_run(force, dry_run);
        if let (Err(error), false) = (&result, dry_run) {
            let error = error.to_string();
            self.journal.record(Event::ReloadFailed { error });
        }
        result
    }

    /// The forwards that operators change.
    pub(crate) fn store(&self) -> Arc<Store> {
        Arc::clone(&self.store)
    }

    /// The routing of now.
    pub(crate) fn routing(&self) -> Arc<Routing> {
        self.routing.load_full()
    }

    /// The configuration of now.
    pub(crate) fn config(&self) -> Arc<Config> {
        self.used.load_full()
    }

    /// No reload is waited for any more.
    pub(crate) fn stop(&self) {
        self.stopped.cancel();
    }

    /// Replaces what one source of forwards says; all else stays as it is in use.
    pub(crate) fn replace(&self, source: &str, text: &str) -> Result<(), forwards::Error> {
        let _one_after_the_other = self.last.lock();
        let _changes_wait = self.store.lock();
        let (old, config) = (self.routing(), self.config());
        // A reload has taken it out meanwhile.
        if !old.table.files().any(|(name, _)| name == source) {
            return Ok(());
        }
        let check = |name: &str, value: &str| store::check(&old.profiles, name, value);
        let table = old.table.with(source, Some(text), "", &check)?;
        let changes = forwards::judge(&config, &table, &old.table)?;
        forwards::keep(&config, &table);
        captured(&table, &old.table, true).for_each(drop);
        let lines = table.stats().lines as u64;
        self.routing.store(Arc::new(Routing {
            table: Arc::new(table),
            ..Routing::clone(&old)
        }));
        self.journal.record(reloaded(
            lines,
            &changes,
            vec!["forwards.source".to_owned()],
            Vec::new(),
        ));
        Ok(())
    }

    /// On a thread for this, and not on one that serves connections.
    fn fetch(&self, config: &mut Config, force: bool) -> Result<(), Failure> {
        let fetched = sources::fetch(config, force, Duration::MAX);
        let fetched = self.stopped.run_until_cancelled(fetched);
        let fetched = Handle::current().block_on(fetched);
        fetched.ok_or_else(|| "the daemon stops".into())
    }

    fn try_run(&self, force: bool, dry_run: bool) -> Result<Reloaded, Failure> {
        let mut last = self.last.lock();
        let mut config = Config::load(&self.config)?;
        let old = self.routing();
        // Our name is in the greetings, and the spool is open: these two wait for the restart.
        config.hostname = old.hostname().to_string();
        config.spool.clone_from(&self.spool);
        self.fetch(&mut config, force)?;
        // Only now: a database that is slow is no reason for changes to wait.
        let _changes_wait = self.store.lock();
        let old = self.routing();
        let mut routing = routing::load(&config)?;
        routing.lookups = routing.lookups.after(&old.lookups).into();
        let changes = match force {
            true => routing.table.difference(&old.table),
            false => forwards::judge(&config, &routing.table, &old.table)?,
        };
        let certificates = load_tls(&config)?;
        let logins = self.logins.iter().map(|login| logins::read(login.file()));
        let logins = logins.collect::<Result<Vec<_>, _>>()?;
        let shaping = config.shaping.load()?;
        let tokens = self.tokens.as_ref();
        let tokens = tokens.map(|_| tokens::read(&self.token_file)).transpose()?;
        // TLS is neither switched on nor off: without new certificates the old ones stay.
        let holder = self.tls.as_ref().filter(|_| !certificates.is_empty());
        let forwards = routing.table.stats().lines as u64;
        let mut lines = vec![said(forwards, &changes)];
        lines.extend(sources::said(&config));
        lines.extend(not_counted(&routing.table));
        lines.extend(captured(&routing.table, &old.table, !dry_run));
        for (name, list) in routing.lists.iter() {
            lines.push(format!("list {name}: {} entries", list.entries()));
        }
        if config.auth.file().is_some() {
            lines.push(format!("users: {}", routing.users.count()));
        }
        if holder.is_some() {
            lines.push(format!("certificates: {}", certificates.len()));
        }
        if !logins.is_empty() {
            lines.push(format!("logins: {}", logins.len()));
        }
        if let Some(tokens) = &tokens {
            lines.push(format!("tokens: {}", tokens.len()));
        }
        let mut reloaded = self.reloaded(&last, &config.typed, holder.is_some(), lines);
        // Where [[tls]] is there several times, its key says nothing of this.
        let is_told = |key: &String| key.starts_with("tls.acme");
        if config.acme != self.acme && !reloaded.needs_restart.iter().any(is_told) {
            reloaded.needs_restart.push("tls.acme".to_owned());
        }
        if dry_run {
            return Ok(reloaded);
        }
        forwards::keep(&config, &routing.table);
        self.routing.store(Arc::new(routing));
        self.shaping.replace(shaping);
        if let Some(holder) = holder {
            holder.replace(certificates);
        }
        if let (Some(old), Some(new)) = (&self.tokens, tokens) {
            old.replace(new);
        }
        for (login, new) in self.logins.iter().zip(&logins) {
            login.replace(new);
        }
        last.clone_from(&config.typed);
        sources::forget(&mut config);
        self.used.store(Arc::new(config));
        let (applied, restart) = (reloaded.applied.clone(), reloaded.needs_restart.clone());
        self.journal
            .record(self::reloaded(forwards, &changes, applied, restart));
        Ok(reloaded)
    }

    fn reloaded(
        &self,
        last: &toml::Table,
        new: &toml::Table,
        tls: bool,
        lines: Vec<String>,
    ) -> Reloaded {
        let applies = |key: &String| config::is_reloadable(key) && (tls || !key.starts_with("tls"));
        let changed = config::changed_keys(last, new);
        let mut needs_restart = config::changed_keys(&self.at_start, new);
        needs_restart.retain(|key| !applies(key));
        Reloaded {
            lines,
            applied: changed.iter().filter(|key| applies(key)).cloned().collect(),
            changed,
            needs_restart,
        }
    }
}

fn reloaded(
    forwards: u64,
    changes: &Difference,
    applied: Vec<String>,
    restart: Vec<String>,
) -> Event {
    Event::Reloaded {
        forwards,
        added: changes.added as u64,
        removed: changes.removed as u64,
        changed: changes.changed as u64,
        applied,
        restart,
    }
}

/// `forwards: 1,212 lines, +12 −3 ~2`; of domains only what came and went.
fn said(forwards: u64, changes: &Difference) -> String {
    let Difference {
        added,
        removed,
        changed,
        domains_added,
        domains_removed,
    } = changes;
    let forwards = grouped(forwards);
    let mut text = format!("forwards: {forwards} lines, +{added} −{removed} ~{changed}");
    if domains_added + domains_removed > 0 {
        text.push_str(&format!("; domains: +{domains_added} −{domains_removed}"));
    }
    text
}

/// With a comma between thousands.
fn grouped(number: u64) -> String {
    match number {
        0..1000 => number.to_string(),
        _ => format!("{},{:03}", grouped(number / 1000), number % 1000),
    }
}

/// Reads all certificates and their keys.
pub(crate) fn load_tls(config: &Config) -> Result<Vec<tls::Certificate>, FileError> {
    config.tls.iter().map(load_certificate).collect()
}

/// Reads the certificates of `delivery.ca`, if there is one.
pub(crate) fn load_roots(path: &Path) -> Result<Vec<CertificateDer<'static>>, FileError> {
    if path.as_os_str().is_empty() {
        return Ok(Vec::new());
    }
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&read(path)?).collect();
    let found = found.ok().filter(|roots| !roots.is_empty());
    let hint = "hint: `delivery.ca` is a PEM file";
    let wrong = format_args!("no certificate in it, or a damaged one\n\n{hint}");
    found.ok_or_else(|| FileError::wrong(path, wrong))
}

fn read(path: &Path) -> Result<Vec<u8>, FileError> {
    let hint = "`tls.certificate`, `tls.key` and `delivery.ca` in the configuration name the files";
    files::read("", path, hint)
}

/// Reads one certificate and its key.
fn load_certificate(files: &config::Tls) -> Result<tls::Certificate, FileError> {
    tls::load(&read(&files.certificate)?, &read(&files.key)?).map_err(|wrong| {
        let path = match wrong.input() {
            tls::Input::Certificate => &files.certificate,
            tls::Input::Key => &files.key,
        };
        FileError::wrong(path, wrong)
    })
}

/// Domains that others forward to, and that were elsewhere before; said in the log, too, if it is done.
fn captured(new: &Table, old: &Table, is_done: bool) -> impl Iterator<Item = String> {
    let captured = forwards::captured(new.captured_since(old));
    captured.map(move |(domain, text)| {
        let text = format!("{domain} was not hosted before: it is {text}");
        if is_done {
            tracing::warn!("{text}");
        }
        text
    })
}

/// Lines that an earlier file has, too: whoever wrote them believes that they count.
fn not_counted(table: &Table) -> Option<String> {
    let left_out = table.left_out();
    let first = left_out.errors.first()?;
    let TableError {
        file, line, text, ..
    } = first;
    let count = plural(left_out.count as u64, "line");
    Some(format!(
        "not counted: {count}, as {file}:{line}: {text}; `onward check` has them"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changed_is_said_in_a_line() {
        let mut changes = Difference {
            added: 12,
            removed: 3,
            changed: 2,
            ..Difference::default()
        };
        assert_eq!(said(1212, &changes), "forwards: 1,212 lines, +12 −3 ~2");
        changes.domains_removed = 1;
        assert_eq!(
            said(999, &changes),
            "forwards: 999 lines, +12 −3 ~2; domains: +0 −1"
        );
        assert_eq!(grouped(1_000_005), "1,000,005");
    }
}
