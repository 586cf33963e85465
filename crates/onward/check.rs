//! `onward check`: reads everything that `serve` would, says what is there and what is wrong; starts nothing.

use std::path::Path;

use control::Client;
use serde::Serialize;

use crate::config::{Config, Tls};
use crate::print::Printer;
use crate::reload::load_certificate;
use crate::routing::{self, Routing};
use crate::spool_cli;
use crate::wire;

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Finding {
    what: &'static str,
    ok: bool,
    text: String,
}

/// Checks; false when anything is wrong.
pub(crate) async fn run(path: &Path, print: Printer) -> bool {
    let mut findings = Vec::new();
    match Config::load(path) {
        Err(error) => findings.push(Finding::bad("config", error)),
        Ok(config) => {
            findings.push(Finding::good("config", path.display()));
            findings.push(check_routing(&config));
            findings.push(check_postmaster(&config));
            findings.extend(config.tls.iter().map(check_certificate));
            findings.push(check_resolver(&config));
            findings.push(check_spool(&config).await);
        }
    }
    print.value(&findings, |print, findings| {
        for finding in findings {
            let mark = if finding.ok { "ok " } else { "BAD" };
            print.line(format_args!("{mark} {:<12} {}", finding.what, finding.text));
        }
    });
    findings.iter().all(|finding| finding.ok)
}

impl Finding {
    fn good(what: &'static str, text: impl ToString) -> Self {
        Self {
            what,
            ok: true,
            text: text.to_string(),
        }
    }

    fn bad(what: &'static str, text: impl ToString) -> Self {
        Self {
            what,
            ok: false,
            text: text.to_string(),
        }
    }
}

fn check_routing(config: &Config) -> Finding {
    let routing = match Routing::load(config) {
        Err(error @ (routing::Error::Secrets { .. } | routing::Error::Srs { .. })) => {
            return Finding::bad("srs", error);
        }
        Err(error) => return Finding::bad("forwards", error),
        Ok(routing) => routing,
    };
    // Targets that lead nowhere are no mistake in the file's grammar, but somebody's mail is refused because of them.
    let dead_ends = routing.table.dead_ends();
    if dead_ends.count > 0 {
        return Finding::bad("forwards", dead_ends);
    }
    let stats = routing.table.stats();
    Finding::good(
        "forwards",
        format_args!(
            "{}: {} lines, {} addresses, {} patterns, {} catch-alls in {} domains",
            config.forwards.file.display(),
            stats.lines,
            stats.addresses,
            stats.patterns,
            stats.catch_alls,
            stats.domains
        ),
    )
}

fn check_postmaster(config: &Config) -> Finding {
    match &config.forwards.postmaster {
        Some(address) => Finding::good("postmaster", address),
        None => Finding::bad(
            "postmaster",
            "mail to postmaster may be refused, against RFC 5321 §4.5.1\n\nhint: set `forwards.postmaster` to who looks after this machine",
        ),
    }
}

fn check_certificate(files: &Tls) -> Finding {
    match load_certificate(files) {
        Ok(_) => Finding::good("certificate", files.certificate.display()),
        Err(error) => Finding::bad("certificate", error),
    }
}

fn check_resolver(config: &Config) -> Finding {
    match wire::resolver(config) {
        Ok(_) if config.resolver.servers.is_empty() => Finding::good("resolver", "the system's"),
        Ok(_) => Finding::good("resolver", format!("{:?}", config.resolver.servers)),
        Err(error) => Finding::bad("resolver", error),
    }
}

/// A running daemon has the spool, and knows best; otherwise it is read, and nothing in it is changed.
async fn check_spool(config: &Config) -> Finding {
    if let Ok(mut daemon) = Client::connect(&config.control.socket).await {
        return match daemon.ping().await {
            Ok(version) => Finding::good(
                "spool",
                format_args!("in use by a running onward {version}"),
            ),
            Err(error) => Finding::bad("spool", error),
        };
    }
    let spool = config.spool.display();
    if !config.spool.join("log").exists() {
        return Finding::good("spool", format_args!("{spool}: will be made"));
    }
    match spool_cli::glance(&config.spool) {
        Ok(report) => match report.damage.first() {
            None => Finding::good("spool", spool),
            Some(first) => Finding::bad(
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
