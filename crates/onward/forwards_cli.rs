//! `onward forwards …` and `onward domain …`: asks the running daemon for forwards, and has it change those of its own store.

use std::path::Path;

use control::{Changed, Client, Finding, Forward, PAGE_ROWS_MAX, ask};

use crate::cli::{Forwards, Hosted};
use crate::config::Config;
use crate::print::Printer;
use crate::{Exit, Failure, doctor_cli, routing};

/// Runs one `forwards` command.
pub(crate) async fn run(
    config: &Config,
    command: &Forwards,
    print: Printer,
) -> Result<Exit, Failure> {
    let client = || Client::connect(&config.control.socket);
    match command {
        // Asked of the history.
        Forwards::Failing(_) => {}
        Forwards::List { domain } => {
            let (mut client, mut all, mut cursor) = (client().await?, Vec::new(), None);
            loop {
                let page = client.ask(ask::ForwardList {
                    domain: domain.clone(),
                    cursor,
                    limit: PAGE_ROWS_MAX,
                });
                let page = page.await?;
                all.extend(page.forwards);
                cursor = page.next;
                if cursor.is_none() {
                    break;
                }
            }
            print.value(&all, |print, all| table(print, all));
        }
        Forwards::Show { address } => {
            let (local, domain) = address.clone();
            let ask = ask::ForwardShow { domain, local };
            let shown = client().await?.ask(ask).await?;
            let rows = std::slice::from_ref(&shown.forward);
            print.value(&shown, |print, _| table(print, rows));
        }
        Forwards::Set(new) => changed(print, &client().await?.ask(new.ask()).await?),
        Forwards::Remove { address, edit } => {
            let (local, domain) = address.clone();
            let ask = ask::ForwardDelete {
                domain,
                local,
                if_match: None,
                dry_run: edit.dry_run,
            };
            changed(print, &client().await?.ask(ask).await?);
        }
        Forwards::Export { domain: None } => {
            for line in routing::load(config)?.table.lines() {
                print.bytes(line.as_bytes())?;
                print.bytes(b"\n")?;
            }
        }
        Forwards::Export {
            domain: Some(domain),
        } => {
            let domain = domain.clone();
            let text = client().await?.ask(ask::ForwardsExport { domain }).await?;
            print.bytes(text.as_bytes())?;
        }
    }
    Ok(Exit::Fine)
}

/// Runs one `domain` command.
pub(crate) async fn domain(
    socket: &Path,
    command: &Hosted,
    print: Printer,
) -> Result<Exit, Failure> {
    let mut client = Client::connect(socket).await?;
    match command {
        Hosted::List => {
            let (mut all, mut cursor) = (Vec::new(), None);
            loop {
                let limit = PAGE_ROWS_MAX;
                let page = client.ask(ask::DomainList { cursor, limit }).await?;
                all.extend(page.domains);
                cursor = page.next;
                if cursor.is_none() {
                    break;
                }
            }
            print.value(&all, |print, all| {
                print.lines(all.iter().map(|row| &row.domain));
            });
        }
        Hosted::Show { domain } => {
            let domain = domain.clone();
            let shown = client.ask(ask::DomainShow { domain }).await?;
            print.value(&shown, |print, shown| {
                let options = shown
                    .options
                    .iter()
                    .map(|(name, value)| format!("{name}={value}"));
                print.lines(options.chain([format!("forwards: {}", shown.forwards)]));
            });
        }
        Hosted::Set {
            domain,
            options,
            note,
            edit,
        } => {
            let ask = ask::DomainPut {
                domain: domain.clone(),
                options: options.iter().cloned().collect(),
                note: note.clone(),
                if_match: None,
                dry_run: edit.dry_run,
            };
            changed(print, &client.ask(ask).await?);
        }
        Hosted::Remove { domain, edit } => {
            let ask = ask::DomainDelete {
                domain: domain.clone(),
                if_match: None,
                dry_run: edit.dry_run,
            };
            changed(print, &client.ask(ask).await?);
        }
        Hosted::Dns { domain } => {
            let domain = domain.clone();
            let findings = client.ask(ask::DomainDns { domain }).await?;
            print.value(&findings, |print, findings| {
                findings
                    .iter()
                    .for_each(|finding| doctor_cli::show(print, finding))
            });
            return Ok(Exit::problem_unless(!findings.iter().any(Finding::is_bad)));
        }
    }
    Ok(Exit::Fine)
}

fn table(print: Printer, forwards: &[Forward]) {
    let rows = forwards.iter().map(|row| {
        let options = row
            .options
            .iter()
            .map(|(name, value)| format!("{name}={value}"));
        let mut options: Vec<_> = options.collect();
        options.extend((!row.enabled).then(|| "enabled=no".to_owned()));
        options.extend(row.expires_at.map(|end| format!("expires={end}")));
        let targets = row.targets.join(", ");
        [
            row.local.clone(),
            targets,
            options.join(" "),
            row.note.clone(),
        ]
    });
    print.table(["local part", "goes to", "options", "note"], rows);
}

fn changed(print: Printer, changed: &Changed) {
    print.value(changed, |print, changed| {
        for change in &changed.changes {
            print.lines(change.before.iter().map(|line| format!("- {line}")));
            print.lines(change.after.iter().map(|line| format!("+ {line}")));
        }
        if changed.changes.is_empty() {
            print.line("it is so already");
        }
    });
}
