//! `onward queue …` and `onward reload`: asks the running daemon over the control socket and prints what it says.

use std::fmt::Display;
use std::path::Path;

use control::ask::{QueueAct, QueueList, QueueShow, Reload};
use control::{
    Client, ClientError, Count, LegRow, MessageDetails, Part, QueueAction, Reloaded, Selector,
};
use envelope::MessageId;
use journal::shown;

use crate::Exit;
use crate::cli::{Queue, Which};
use crate::print::{Printer, plural};

/// Why the command did not work.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("{0}{hint}", hint = hint(.0))]
    Client(#[from] ClientError),
    #[error("say which legs: message ids, --to, --from, --state, --older-than, or --all")]
    NothingSelected,
}

/// Runs one `queue` command.
pub(crate) async fn queue(socket: &Path, command: &Queue, print: Printer) -> Result<Exit, Error> {
    let act = async |action, which: &Which, done: &str| {
        let selector = which.selector();
        if selector.is_empty() {
            return Err(Error::NothingSelected);
        }
        let count = Client::connect(socket)
            .await?
            .ask(QueueAct { action, selector })
            .await?;
        print.value(&count, |print, count| {
            print_count(print, action, *count, done)
        });
        Ok(match count.matched {
            0 => Exit::NothingMatched,
            _ => Exit::Fine,
        })
    };
    match command {
        Queue::List { which, limit } => list(socket, which.selector(), *limit, print).await?,
        Queue::Show { id } => show(socket, *id, print).await?,
        Queue::Cat { id } => cat(socket, *id, print).await?,
        Queue::Retry(which) => return act(QueueAction::Retry, which, "due now").await,
        Queue::Hold(which) => return act(QueueAction::Hold, which, "held").await,
        Queue::Release(which) => return act(QueueAction::Release, which, "released").await,
        Queue::Remove(which) => return act(QueueAction::Remove, which, "removed").await,
        Queue::Bounce(which) => return act(QueueAction::Bounce, which, "bounced").await,
    }
    Ok(Exit::Fine)
}

/// Runs `reload`.
pub(crate) async fn reload(socket: &Path, force: bool, print: Printer) -> Result<(), Error> {
    let reloaded = Client::connect(socket)
        .await?
        .ask(Reload {
            force,
            dry_run: false,
        })
        .await?;
    print.value(&reloaded, |print, reloaded| {
        reloaded_lines(reloaded).for_each(|line| print.line(line));
    });
    Ok(())
}

/// What a reload did, or would do.
pub(crate) fn reloaded_lines(reloaded: &Reloaded) -> impl Iterator<Item = String> {
    let keys = [
        ("applied", &reloaded.applied),
        ("needs a restart", &reloaded.needs_restart),
    ];
    let some = keys.into_iter().filter(|(_, keys)| !keys.is_empty());
    let keys = some.map(|(what, keys)| format!("{what}: {}", keys.join(", ")));
    reloaded.lines.iter().cloned().chain(keys)
}

/// `done` says what has happened to the legs that were changed.
fn print_count(print: Printer, action: QueueAction, count: Count, done: &str) {
    print.line(format_args!("{} {done}", plural(count.done, "leg")));
    match (count.pending, action) {
        (0, _) => {}
        (legs, QueueAction::Remove) => print.line(format_args!(
            "{} {done} while being tried: that attempt goes on, and may deliver them",
            plural(legs, "leg")
        )),
        (legs, _) => print.line(format_args!(
            "{} being tried: {done} after that attempt, unless it delivers them or fails for good",
            plural(legs, "leg")
        )),
    }
    let rest = count.matched - count.done - count.pending;
    if rest > 0 {
        print.line(format_args!("{} left as they were", plural(rest, "leg")));
    }
}

async fn list(socket: &Path, filter: Selector, limit: u32, print: Printer) -> Result<(), Error> {
    let mut client = Client::connect(socket).await?;
    let ask = |cursor, limit| QueueList {
        filter: filter.clone(),
        cursor,
        limit,
    };
    let mut page = client.ask(ask(None, limit)).await?;
    // A page that is not full need not be the last.
    while page.legs.len() < limit as usize && page.next.is_some() {
        let wanted = limit - u32::try_from(page.legs.len()).unwrap_or(limit);
        let more = client.ask(ask(page.next.take(), wanted)).await?;
        page.legs.extend(more.legs);
        page.next = more.next;
    }
    print.value(&page, |print, page| {
        if page.legs.is_empty() {
            return print.line("nothing is queued that matches");
        }
        print.line(format_args!(
            "{:<28} {:<8} {:>8} {:<24} {:>4}  from → to (target)",
            "leg", "state", "size", "next try", "try"
        ));
        page.legs.iter().for_each(|row| print_row(print, row));
        if page.next.is_some() {
            print.line("… and more: --limit shows them");
        }
    });
    Ok(())
}

fn print_row(print: Printer, row: &LegRow) {
    let next = row.next_try.map(|t| t.to_string()).unwrap_or_default();
    print.line(format_args!(
        "{:<28} {:<8} {:>8} {next:<24} {:>4}  {} → {} ({})",
        row.leg.to_string(),
        row.state.name(),
        row.size,
        row.attempts,
        row.reverse_path,
        row.recipient,
        row.target
    ));
    if !row.last.is_empty() {
        print.line(format_args!("    last: {}", shown::line(&row.last)));
    }
    if let Some(pending) = row.pending {
        print.line(format_args!("    pending: {}", pending.name()));
    }
}

async fn show(socket: &Path, id: MessageId, print: Printer) -> Result<(), Error> {
    let mut client = Client::connect(socket).await?;
    let message = client.ask(QueueShow { id }).await?;
    if print.json {
        print.value(&message, |_, _| {});
        return Ok(());
    }
    let mut header = Vec::new();
    let keep = |piece: &[u8]| {
        header.extend_from_slice(piece);
        Ok(())
    };
    client.queue_cat(id, Part::Header, keep).await?;
    print_message(print, &message, &header);
    Ok(())
}

fn print_message(print: Printer, message: &MessageDetails, header: &[u8]) {
    let field = |name, value: &dyn Display| print.line(format_args!("{name:<8} {value}"));
    field("message", &message.id);
    field("arrived", &message.arrived);
    let (from, origin) = (&message.reverse_path, &message.origin);
    field("from", &format_args!("{from} ({origin})"));
    field("size", &format_args!("{} octets", message.size));
    if let Some(parsed) = mail_parser::MessageParser::default().parse_headers(header) {
        // What the message itself claims.
        let subject = parsed.subject().unwrap_or("(none)");
        field("subject", &shown::line(subject));
        let author = parsed
            .from()
            .and_then(|from| from.first())
            .and_then(|address| address.address());
        field("author", &shown::line(author.unwrap_or("(none)")));
    }
    message.legs.iter().for_each(|row| {
        print.line("");
        print.line(format_args!("leg {} {}", row.leg.number, row.state.name()));
        print.line(format_args!("  to      {} → {}", row.recipient, row.target));
        if let Some(next) = row.next_try {
            print.line(format_args!("  next    {next}"));
        }
        print.line(format_args!("  tried   {} times", row.attempts));
        if !row.last.is_empty() {
            print.line(format_args!("  last    {}", shown::line(&row.last)));
        }
        if let Some(pending) = row.pending {
            print.line(format_args!("  pending {}", pending.name()));
        }
    });
}

async fn cat(socket: &Path, id: MessageId, print: Printer) -> Result<(), Error> {
    let mut client = Client::connect(socket).await?;
    client
        .queue_cat(id, Part::Whole, |piece| print.bytes(piece))
        .await?;
    Ok(())
}

pub(crate) fn hint(error: &ClientError) -> String {
    error
        .hint()
        .map(|hint| format!("\n\nhint: {hint}"))
        .unwrap_or_default()
}
