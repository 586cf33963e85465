//! `onward queue …` and `onward reload`: asks the running daemon over the control socket and prints what it says.

use std::io::{self, BufRead, IsTerminal, Read, Write};
use std::path::Path;

use control::ask::{QueueAct, QueueList, QueueShow, QueueSummary, Reload};
use control::{
    Client, ClientError, PAGE_ROWS_MAX, Part, QueueAction, Reloaded, Selector, SummaryBy,
};
use envelope::IdPart;

use crate::at_rest::Source;
use crate::cli::{Act, Queue};
use crate::config::Config;
use crate::print::{Printer, plural};
use crate::queue_rows::{print_count, print_dry_run, print_message, print_page, print_summary};
use crate::{Exit, Failure};

/// Why the command did not work.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("say which legs: ids, --to, --from, --state, --error, --older-than, or --all")]
    NothingSelected,
    #[error(
        "this would {0} every leg that matches\n\nhint: look with `--dry-run`, then say `--yes`"
    )]
    NotSure(&'static str),
    #[error(
        "no relay is running: only a running one can {0} what is queued\n\nhint: start it with `onward serve`; `onward queue list` reads its spool meanwhile"
    )]
    AtRest(&'static str),
}

/// Runs one `queue` command.
pub(crate) async fn queue(
    config: &Config,
    command: &Queue,
    print: Printer,
) -> Result<Exit, Failure> {
    let (action, what, done) = match command {
        Queue::List {
            which,
            limit,
            after,
        } => return list(config, which.selector(), *limit, after.clone(), print).await,
        Queue::Summary { by, which, limit } => {
            return summary(config, *by, which.selector(), *limit, print).await;
        }
        Queue::Show { id } => return show(config, id, print).await,
        Queue::Cat { id } => return cat(config, id, print).await,
        Queue::Retry(what) => (QueueAction::Retry, what, "due now"),
        Queue::Hold(what) => (QueueAction::Hold, what, "held"),
        Queue::Release(what) => (QueueAction::Release, what, "released"),
        Queue::Remove(what) => (QueueAction::Remove, what, "removed"),
        Queue::Bounce(what) => (QueueAction::Bounce, what, "bounced"),
    };
    act(&config.control.socket, action, what, done, print).await
}

/// `done` says what has happened to the legs that were changed.
async fn act(
    socket: &Path,
    action: QueueAction,
    what: &Act,
    done: &str,
    print: Printer,
) -> Result<Exit, Failure> {
    let selector = what.which.selector();
    if selector.is_empty() {
        return Err(Error::NothingSelected.into());
    }
    let client = Client::connect(socket).await;
    let mut client = client.map_err(|error| match error {
        ClientError::NotRunning { .. } => Error::AtRest(action.name()).into(),
        error => Failure::from(error),
    })?;
    let ask = |dry_run, limit| QueueAct {
        action,
        selector: selector.clone(),
        dry_run,
        reason: what.reason.clone(),
        limit,
        glance: false,
    };
    let is_final = matches!(action, QueueAction::Remove | QueueAction::Bounce);
    if is_final && what.which.all && !what.yes && !what.dry_run {
        if !io::stdin().is_terminal() {
            return Err(Error::NotSure(action.name()).into());
        }
        let legs = client.ask(ask(true, 0)).await?.matched;
        if !is_meant(action, legs)? {
            print.line("nothing was changed");
            return Ok(Exit::Problem);
        }
    }
    let limit = match (print.json, what.dry_run) {
        (true, _) => PAGE_ROWS_MAX,
        (false, true) => LEGS_SHOWN,
        (false, false) => 0,
    };
    let count = client.ask(ask(what.dry_run, limit)).await?;
    print.value(&count, |print, count| match what.dry_run {
        true => print_dry_run(print, action, count, done),
        false => print_count(print, action, count, done),
    });
    Ok(Exit::found(count.matched > 0))
}

/// Asks on the terminal.
fn is_meant(action: QueueAction, legs: u64) -> io::Result<bool> {
    let question = format!("{} {}? [y/N] ", action.name(), plural(legs, "leg"));
    let mut terminal = io::stderr().lock();
    terminal.write_all(question.as_bytes())?;
    terminal.flush()?;
    let mut answer = String::new();
    io::stdin()
        .lock()
        .take(ANSWER_OCTETS_MAX)
        .read_line(&mut answer)?;
    Ok(["y", "yes"].contains(&answer.trim().to_lowercase().as_str()))
}

async fn summary(
    config: &Config,
    by: SummaryBy,
    filter: Selector,
    limit: u32,
    print: Printer,
) -> Result<Exit, Failure> {
    let is_all = filter.is_empty();
    let mut client = Source::open(config, print).await?;
    let summary = client.ask(QueueSummary { by, filter, limit }).await?;
    print.value(&summary, |print, summary| print_summary(print, by, summary));
    // Who asked for nothing in particular missed nothing.
    Ok(Exit::found(summary.total.legs > 0 || is_all))
}

/// Runs `reload`.
pub(crate) async fn reload(socket: &Path, force: bool, print: Printer) -> Result<Exit, Failure> {
    let dry_run = false;
    let mut client = Client::connect(socket).await?;
    let reloaded = client.ask(Reload { force, dry_run }).await?;
    print.value(&reloaded, |print, reloaded| {
        print.lines(reloaded_lines(reloaded));
    });
    Ok(Exit::Fine)
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

async fn list(
    config: &Config,
    filter: Selector,
    limit: u32,
    after: Option<String>,
    print: Printer,
) -> Result<Exit, Failure> {
    let mut client = Source::open(config, print).await?;
    let ask = |cursor, limit| QueueList {
        filter: filter.clone(),
        cursor,
        limit,
    };
    let mut page = client.ask(ask(after, limit)).await?;
    // A page that is not full need not be the last.
    while page.legs.len() < limit as usize && page.next.is_some() {
        let wanted = limit - u32::try_from(page.legs.len()).unwrap_or(limit);
        let more = client.ask(ask(page.next.take(), wanted)).await?;
        page.legs.extend(more.legs);
        page.next = more.next;
    }
    print.value(&page, print_page);
    Ok(Exit::found(!page.legs.is_empty() || filter.is_empty()))
}

async fn show(config: &Config, id: &IdPart, print: Printer) -> Result<Exit, Failure> {
    let mut client = Source::open(config, print).await?;
    let message = client.ask(QueueShow { id: id.clone() }).await?;
    if print.json {
        print.value(&message, |_, _| {});
        return Ok(Exit::Fine);
    }
    let mut header = Vec::new();
    let keep = |piece: &[u8]| {
        header.extend_from_slice(piece);
        Ok(())
    };
    client.queue_cat(message.id, Part::Header, keep).await?;
    print_message(print, &message, &header);
    Ok(Exit::Fine)
}

async fn cat(config: &Config, id: &IdPart, print: Printer) -> Result<Exit, Failure> {
    let mut client = Source::open(config, print).await?;
    let id = match id.whole() {
        Some(id) => id.message(),
        None => client.ask(QueueShow { id: id.clone() }).await?.id,
    };
    client
        .queue_cat(id, Part::Whole, |piece| print.bytes(piece))
        .await?;
    Ok(Exit::Fine)
}

/// Legs that a dry run shows.
const LEGS_SHOWN: u32 = 10;
const ANSWER_OCTETS_MAX: u64 = 100;
