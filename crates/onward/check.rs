//! `onward check`: reads everything that `serve` would, and says what it found and what is wrong. It starts nothing.
//!
//! `serve` goes through the same list at its start ([`examine`]): what is bad keeps it from starting, of risks it warns.

use std::fs;
use std::net::UdpSocket;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use control::ask::{Ping, Reload};
use control::{Client, Health, Reloaded};
use http_door::Bind;
use relay::Routing;
use rustix::fs::{Access, access};
use rustix::io::Errno;
use serde::Serialize;
use smtp_in::tls::Holder;
use smtp_in::{BindError, tls};
use spool::Clock;

use crate::Failure;
use crate::config::{self, Config, Errors, Resolved};
use crate::doctor_cli;
use crate::forwards;
use crate::logs;
use crate::print::{Printer, plural};
use crate::queue_cli::reloaded_lines;
use crate::risks;
use crate::shared;
use crate::sources;
use crate::spool_cli;
use crate::wire;

/// One thing that was looked at.
#[derive(Debug, Serialize)]
pub(crate) struct Finding {
    pub(crate) what: String,
    ok: bool,
    /// It is not well, but nothing that would keep `serve` from starting; with `ok`, it need not even be wrong.
    pub(crate) is_risk: bool,
    pub(crate) text: String,
    /// What would make it right, ready to be pasted.
    #[serde(skip_serializing_if = "Option::is_none")]
    publish: Option<String>,
    /// What a reload of the running daemon would do.
    #[serde(skip_serializing_if = "Option::is_none")]
    reload: Option<Reloaded>,
}

/// Checks; false when anything is wrong.
pub(crate) async fn run(path: &Path, dns: bool, print: Printer) -> bool {
    let mut findings = Vec::new();
    match Config::load(path) {
        Err(error) => findings.push(Finding::bad("config", error)),
        Ok(mut config) => {
            sources::fetch(&mut config, false, std::time::Duration::MAX).await;
            findings.push(Finding::good("config", path.display()));
            let (found, resolved) = examine(&config);
            findings.extend(found);
            findings.extend(check_spool(&config).await);
            if let Some(resolved) = &resolved {
                // Notes, for which no start is to wait.
                let captured = resolved.routing.table.captured();
                findings.extend(sources::captured(captured).map(shown));
                let asked = sources::look_ups(&resolved.routing).await;
                findings.extend(asked.map(shown));
            }
            if let Some(resolved) = resolved.filter(|_| dns) {
                findings.extend(check_dns(&config, resolved).await);
            }
        }
    }
    print.value(&findings, |print, findings| {
        for finding in findings {
            let mark = match (finding.ok, finding.is_risk) {
                (true, false) => "ok",
                (true, true) => "note",
                (false, true) => "risk",
                (false, false) => "BAD",
            };
            let text = finding.text.replace("\n\n", "\n    ");
            print.line(format_args!("{mark:<4} {:<12} {text}", finding.what));
            if let Some(line) = &finding.publish {
                print.line(format_args!("    publish: {line}"));
            }
        }
    });
    findings.iter().all(|finding| finding.ok)
}

/// All that is looked at before a start; `check` looks at the spool itself, too, which `serve` reads when it opens it.
fn examine(config: &Config) -> (Vec<Finding>, Option<Resolved>) {
    let mut findings = Vec::new();
    let resolved = check_resolved(config, &mut findings);
    findings.extend(check_listeners(config));
    let socket = check_socket(&config.control.socket, &config.spool);
    findings.extend(socket.map(|error| Finding::bad("control", error)));
    findings.extend(check_http(config));
    findings.extend(check_log(config));
    findings.extend(unusable(&config.spool).map(|why| Finding::bad("spool", why)));
    (findings, resolved)
}

/// What `serve` starts with and what it warns of; or everything that is bad.
pub(crate) fn before_start(config: &Config) -> Result<(Resolved, Vec<Finding>), Failure> {
    let (mut findings, resolved) = examine(config);
    findings.retain(|finding| !finding.ok);
    let bad = findings.iter().filter(|finding| !finding.is_risk);
    let bad: Vec<_> = bad.map(|finding| &*finding.text).collect();
    match resolved {
        Some(resolved) if bad.is_empty() => Ok((resolved, findings)),
        _ => Err(bad.join("\n\nerror: ").into()),
    }
}

impl Finding {
    pub(crate) fn good(what: &str, text: impl ToString) -> Self {
        Self {
            what: what.to_owned(),
            ok: true,
            is_risk: false,
            text: text.to_string(),
            publish: None,
            reload: None,
        }
    }

    pub(crate) fn bad(what: &str, text: impl ToString) -> Self {
        Self {
            ok: false,
            ..Self::good(what, text)
        }
    }

    pub(crate) fn risk(what: &str, text: impl ToString) -> Self {
        Self {
            is_risk: true,
            ..Self::bad(what, text)
        }
    }
}

/// What the doctor finds without a daemon, but for risks and sources, which are told of before. What cannot be found out is no fault.
async fn check_dns(config: &Config, resolved: Resolved) -> Vec<Finding> {
    let found = match doctor_cli::here(config, resolved, false).await {
        Ok(found) => found
            .into_iter()
            .filter(|found| !["risk", "source"].contains(&&*found.check)),
        Err(error) => return vec![Finding::bad("resolver", error)],
    };
    found.map(shown).collect()
}

/// One of the doctor's.
fn shown(found: control::Finding) -> Finding {
    Finding {
        ok: !found.is_bad(),
        // Nobody else is asked at a start.
        is_risk: found.status != Health::Good,
        what: found.check,
        text: match &*found.of {
            "" => found.text,
            of => format!("{of}: {}", found.text),
        },
        publish: found.publish,
        reload: None,
    }
}

/// What `serve` would start with, or everything that keeps it from starting; then the risks of running it so.
fn check_resolved(config: &Config, findings: &mut Vec<Finding>) -> Option<Resolved> {
    let resolved = match Resolved::of(config) {
        Ok(resolved) => resolved,
        Err(Errors(errors)) => {
            findings.extend(errors.iter().map(|e| Finding::bad(e.about(), e)));
            return None;
        }
    };
    if let Some(error) = &resolved.instead {
        findings.push(Finding::risk("forwards", error));
    }
    findings.push(check_resolver(&resolved.settings.resolver));
    let routing = &resolved.routing;
    findings.push(check_forwards(routing));
    findings.extend(check_sources(config));
    for (name, list) in routing.lists.iter() {
        let text = format_args!("{name}: {} entries", list.entries());
        findings.push(Finding::good("list", text));
    }
    if let Some(path) = config.auth.file() {
        let text = format_args!("{}: {}", path.display(), routing.users.count());
        findings.push(Finding::good("users", text));
    }
    findings.extend(check_certificates(config, &resolved));
    if let Some(asked) = &resolved.settings.acme {
        let kept = acme::kept(asked).unwrap_or_else(|error| {
            findings.push(Finding::risk("acme", error));
            None
        });
        let until = match kept {
            Some((.., expires)) => format!("the last one holds until {expires}"),
            None => "none yet".to_owned(),
        };
        let (domains, server) = (asked.domains.join(", "), &asked.directory);
        let text = format_args!("{domains}: from {server}: {until}");
        findings.push(Finding::good("acme", text));
    }
    for (name, key) in &routing.keys.named {
        let text = format!("{name}: {}, {}", key.record_name(), key.algorithm());
        findings.push(Finding::good("dkim", text));
    }
    if let Some(address) = &config.forwards.postmaster {
        findings.push(Finding::good("postmaster", address));
    }
    let risks = risks::of(config, routing).into_iter();
    findings.extend(risks.map(|risk| Finding::risk(risk.about, risk.text)));
    Some(resolved)
}

/// The files. One that has expired is shown as well as any other, where there is no better one.
fn check_certificates(config: &Config, resolved: &Resolved) -> Vec<Finding> {
    let read = resolved.tls.as_ref().map(Holder::certificates);
    let now = i64::try_from(Clock::real().now().unix_secs()).unwrap_or(i64::MAX);
    let files = config.tls.iter().zip(read.unwrap_or_default());
    let finding = |(files, read): (&config::Tls, tls::Certificate)| {
        let path = files.certificate.display();
        match tls::life(&read).1 <= now {
            true => Finding::risk(
                "certificate",
                format_args!("{path} has expired\n\nhint: renew it, and `onward reload`"),
            ),
            false => Finding::good("certificate", path),
        }
    };
    files.map(finding).collect()
}

fn check_sources(config: &Config) -> impl Iterator<Item = Finding> {
    let fetched = config.forwards.fetched.values();
    fetched
        .zip(sources::said(config))
        .map(|(said, text)| match said {
            Ok(said) if said.left_out == 0 => Finding::good("source", text),
            _ => Finding::risk("source", text),
        })
}

fn check_forwards(routing: &Routing) -> Finding {
    // Targets that lead nowhere are no mistake in the file's grammar, but somebody's mail is refused because of them.
    let dead_ends = routing.table.dead_ends(Clock::real().now());
    if dead_ends.count > 0 {
        return Finding::risk("forwards", dead_ends);
    }
    let stats = routing.table.stats();
    Finding::good(
        "forwards",
        format_args!(
            "{}: {} in {}: {} exact, {}, {}",
            forwards::said(&routing.table),
            plural(stats.lines as u64, "line"),
            plural(stats.domains as u64, "domain"),
            stats.addresses,
            plural(stats.patterns as u64, "pattern"),
            plural(stats.catch_alls as u64, "catch-all"),
        ),
    )
}

fn check_resolver(settings: &dns::Settings) -> Finding {
    match wire::resolver(settings) {
        Ok(_) if settings.servers.is_empty() => Finding::good("resolver", "the system's"),
        Ok(_) => Finding::good("resolver", format!("{:?}", settings.servers)),
        Err(error) => Finding::bad("resolver", error),
    }
}

/// Addresses that no interface has. (Whether a port is free is not looked at: a running daemon has it.)
fn check_listeners(config: &Config) -> impl Iterator<Item = Finding> {
    config.listeners.iter().filter_map(|listener| {
        let address = listener.bind;
        let source = UdpSocket::bind((address.ip(), 0)).err()?;
        let error = BindError { address, source };
        Some(Finding::bad("listener", error))
    })
}

/// What keeps the control socket from being made; the spool's own folder will be made before it.
fn check_socket(path: &Path, spool: &Path) -> Option<control::BindError> {
    let folder = path.parent().filter(|folder| *folder != spool);
    let path = path.to_owned();
    match (fs::symlink_metadata(&path), folder.map(fs::metadata)) {
        (Ok(file), _) if !file.file_type().is_socket() => {
            Some(control::BindError::NotASocket(path))
        }
        (Err(_), Some(Err(error))) => Some(control::BindError::Io { path, error }),
        _ => None,
    }
}

/// What keeps HTTP from being answered; mail goes on all the same.
fn check_http(config: &Config) -> Option<Finding> {
    match config.http.bind()?.ok()? {
        Bind::Unix(path) => {
            let error = check_socket(&path, &config.spool)?;
            Some(Finding::risk("http", error))
        }
        Bind::Tcp(address) => {
            let source = UdpSocket::bind((address.ip(), 0)).err()?;
            Some(Finding::risk("http", BindError { address, source }))
        }
    }
}

/// What keeps the mail log from being written.
fn check_log(config: &Config) -> Option<Finding> {
    let path = &config.log.file;
    let place = match path.exists() {
        true => path,
        false => path.parent()?,
    };
    let source = access(place, Access::WRITE_OK).err()?.into();
    let path = path.clone();
    Some(Finding::bad("log", logs::Error { path, source }))
}

/// A running daemon has the spool, and knows best; otherwise it is read, and nothing in it is changed.
async fn check_spool(config: &Config) -> Vec<Finding> {
    match Client::connect(&config.control.socket).await {
        Ok(daemon) => check_daemon(daemon).await,
        // Then this has been said.
        Err(_) if unusable(&config.spool).is_some() => Vec::new(),
        Err(_) if config.queue.is_shared() => {
            let found = shared::examine(config).await.into_iter();
            let finding = |found: control::Finding| match found.status {
                Health::Good => Finding::good("spool", found.text),
                Health::Bad => Finding::bad("spool", found.text),
                _ => Finding::risk("spool", found.text),
            };
            found.map(finding).collect()
        }
        Err(_) => vec![check_spool_at_rest(config)],
    }
}

/// The daemon that runs, and what of the configuration it would take over by a reload.
async fn check_daemon(mut daemon: Client) -> Vec<Finding> {
    let version = match daemon.ask(Ping {}).await {
        Ok(version) => version,
        Err(error) => return vec![Finding::bad("spool", error)],
    };
    let running = format!("in use by a running onward {version}");
    let running = Finding::good("spool", running);
    // In the middle of an upgrade the daemon may not know the question.
    if version != env!("CARGO_PKG_VERSION") {
        return vec![running];
    }
    let (force, dry_run) = (false, true);
    let reload = match daemon.ask(Reload { force, dry_run }).await {
        Ok(reloaded) => {
            let lines: Vec<_> = reloaded_lines(&reloaded).collect();
            let said = Finding::good("reload", lines.join("; "));
            let reload = Some(reloaded);
            Finding { reload, ..said }
        }
        Err(error) => Finding::bad("reload", error),
    };
    vec![running, reload]
}

fn check_spool_at_rest(config: &Config) -> Finding {
    let spool = config.spool.display();
    if !config.spool.join("log").exists() {
        return Finding::good("spool", format_args!("{spool}: will be made"));
    }
    match spool_cli::glance(&config.spool) {
        Ok(report) => match report.damage.first() {
            None => Finding::good("spool", spool),
            Some(first) => Finding::risk(
                "spool",
                format_args!(
                    "{spool}: damaged in {} places, the first: {}\n\nhint: `onward spool verify` names all, `onward spool export` takes the mail out; `serve` holds what is damaged and goes on with the rest",
                    report.damage.len(),
                    spool_cli::Finding::from(first)
                ),
            ),
        },
        Err(error) => Finding::bad("spool", error),
    }
}

/// Why nothing can be taken there, or written; for a folder that is to be made, into the one that it will be in.
fn unusable(spool: &Path) -> Option<String> {
    let existing = spool.ancestors().find(|path| path.exists())?;
    let why = match access(existing, Access::WRITE_OK | Access::EXEC_OK) {
        Ok(()) => return spool_cli::halved(spool),
        Err(Errno::ROFS) => "is on a read-only file system: no mail could be taken\n\nhint: an error of the disk may have made it so, see `dmesg`".to_owned(),
        Err(error) => format!("cannot be written to: {error}\n\nhint: run this as the user that runs onward, and give the folder to that user"),
    };
    Some(format!("{} {why}", existing.display()))
}
