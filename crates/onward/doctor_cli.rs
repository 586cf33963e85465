//! `onward doctor`: what the running daemon finds, or without one, what can be found from here.

use std::sync::Arc;

use control::{Client, Finding, Health, ask};
use smtp_in::tls;

use crate::config::{Config, Resolved};
use crate::doctor::doctor;
use crate::print::Printer;
use crate::wire;
use crate::{Exit, Failure};

/// Runs the command.
pub(crate) async fn run(config: &Config, connect: bool, print: Printer) -> Result<Exit, Failure> {
    let findings = match Client::connect(&config.control.socket).await {
        Ok(mut daemon) => daemon.ask(ask::Doctor { connect }).await?,
        Err(error) => {
            tracing::warn!("looking from here: {error}");
            here(config, Resolved::of(config)?, connect).await?
        }
    };
    Ok(tell(print, findings))
}

/// Prints what was found. A problem: something is bad.
pub(crate) fn tell(print: Printer, findings: Vec<Finding>) -> Exit {
    print.value(&findings, |print, findings| {
        findings.iter().for_each(|finding| show(print, finding))
    });
    Exit::problem_unless(!findings.iter().any(Finding::is_bad))
}

/// What can be found without a daemon.
pub(crate) async fn here(
    config: &Config,
    resolved: Resolved,
    connect: bool,
) -> Result<Vec<Finding>, Failure> {
    let resolver = wire::resolver(&resolved.settings.resolver)?;
    // As the daemon would show it.
    if let (Some(asked), Some(holder)) = (&resolved.settings.acme, &resolved.tls)
        && let Ok(Some((chain, key, _))) = acme::kept(asked)
        && let Ok(kept) = tls::load(chain.as_bytes(), key.as_bytes())
    {
        holder.issue(kept);
    }
    let routing = Arc::new(resolved.routing);
    let doctor = doctor(
        config,
        resolved.settings.doctor,
        resolver,
        resolved.tls,
        move || Arc::clone(&routing),
    );
    Ok(doctor.examine(connect).await)
}

fn show(print: Printer, finding: &Finding) {
    let Finding {
        status,
        check,
        of,
        text,
        publish,
    } = finding;
    let mark = match status {
        Health::Bad => "BAD",
        status => status.name(),
    };
    // What continues stands below what it continues.
    let text = text.replace("\n\n", "\n        ");
    let colon = if of.is_empty() { "" } else { ": " };
    print.line(format_args!("{mark:<7} {check:<11} {of}{colon}{text}"));
    if let Some(line) = publish {
        print.line(format_args!("        publish: {line}"));
    }
}
