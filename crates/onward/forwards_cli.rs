//! `onward forwards …` and `onward domain …`: asks the running daemon for forwards, and has it change those of its own store.

use std::collections::BTreeMap;
use std::path::Path;

use control::{Changed, Client, Forward, PAGE_ROWS_MAX, ask};

use crate::cli::{Forwards, Hosted};
use crate::config::Config;
use crate::history_cli::{self, History};
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
        Forwards::Failing(args) => {
            return Ok(history_cli::failing(&History::of(config), args, print).await?);
        }
        Forwards::List { domain } => {
            let ask = |cursor| ask::ForwardList {
                domain: domain.clone(),
                cursor,
                limit: PAGE_ROWS_MAX,
            };
            let mut client = client().await?;
            let all = client.all(ask, |page| (page.forwards, page.next)).await?;
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
            let limit = PAGE_ROWS_MAX;
            let ask = |cursor| ask::DomainList { cursor, limit };
            let all = client.all(ask, |page| (page.domains, page.next)).await?;
            print.value(&all, |print, all| {
                print.lines(all.iter().map(|row| &row.domain));
            });
        }
        Hosted::Show { domain } => {
            let domain = domain.clone();
            let shown = client.ask(ask::DomainShow { domain }).await?;
            print.value(&shown, |print, shown| {
                let options = typed(&shown.options);
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
            return Ok(doctor_cli::tell(print, findings));
        }
    }
    Ok(Exit::Fine)
}

/// Options as a line has them.
fn typed(options: &BTreeMap<String, String>) -> impl Iterator<Item = String> {
    options
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
}

fn table(print: Printer, forwards: &[Forward]) {
    let rows = forwards.iter().map(|row| {
        let mut options: Vec<_> = typed(&row.options).collect();
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
