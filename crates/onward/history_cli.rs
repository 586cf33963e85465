//! `onward stats` and `onward forwards failing`: sums over the history; and how all commands reach it.

use std::io;
use std::path::PathBuf;

use control::{Ask, Client, ClientError, FailingForward, StatsBy, StatsRow, not_told};
use envelope::Timestamp;
use history::Desk;

use crate::Exit;
use crate::cli::{Failing, Stats};
use crate::config::Config;
use crate::print::Printer;

/// Why there is nothing to print.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("no onward is running, and its history cannot be read: {0}")]
    File(#[from] history::Error),
    #[error("cannot read standard input: {0}")]
    Input(#[from] io::Error),
    #[error(
        "there is neither a Message-ID nor an id of ours in this\n\nhint: paste the whole header of the mail, as \"show original\" or \"view source\" shows it"
    )]
    NoNames,
}

/// Where the history is: with the daemon, or without one in its file.
pub(crate) struct History {
    socket: PathBuf,
    file: Desk,
}

impl History {
    pub(crate) fn of(config: &Config) -> Self {
        Self {
            socket: config.control.socket.clone(),
            file: Desk::new(&config.history()),
        }
    }

    /// Asks; `alone` is what answers when no daemon is running.
    pub(crate) async fn ask<A: Ask>(
        &self,
        ask: A,
        alone: fn(&Desk, &A) -> Result<A::Answer, history::Error>,
    ) -> Result<A::Answer, Error> {
        match Client::connect(&self.socket).await {
            Ok(mut daemon) => Ok(daemon.ask(ask).await?),
            Err(ClientError::NotRunning { .. }) => Ok(alone(&self.file, &ask)?),
            Err(error) => Err(error.into()),
        }
    }
}

/// Runs `stats`.
pub(crate) async fn stats(history: &History, args: &Stats, print: Printer) -> Result<Exit, Error> {
    let page = history.ask(args.ask(), Desk::stats).await?;
    let heads = [
        args.by.name(),
        ">received",
        ">refused",
        ">delivered",
        ">deferred",
        ">failed",
        ">octets",
        "",
    ];
    print.value(&page, |print, page| {
        let rows = page.rows.iter().map(|row| sums(args.by, row));
        let is_cut = page.is_cut || (page.rows.len() as u64) < page.keys;
        list(print, heads, rows, is_cut);
        reach(print, page.rows.is_empty(), page.oldest, Some(args.since));
        silent(print, &page.silent_nodes);
    });
    Ok(Exit::found(!page.rows.is_empty()))
}

fn sums(by: StatsBy, row: &StatsRow) -> [String; 8] {
    let key = match &row.target {
        Some(site) if by == StatsBy::Reply => format!("{site}: {}", row.key),
        Some(target) => format!("{} → {target}", row.key),
        None => row.key.clone(),
    };
    // A sum by where mail went does not know who brought it.
    let brought = |n: u64| match by {
        StatsBy::Client | StatsBy::SenderDomain => n.to_string(),
        _ => String::new(),
    };
    let mark = if row.is_new { "new" } else { "" };
    [
        key,
        brought(row.received),
        row.refused.to_string(),
        row.delivered.to_string(),
        row.deferred.to_string(),
        row.failed.to_string(),
        brought(row.octets),
        mark.to_owned(),
    ]
}

/// Runs `forwards failing`.
pub(crate) async fn failing(
    history: &History,
    args: &Failing,
    print: Printer,
) -> Result<Exit, Error> {
    let failing = history.ask(args.ask(), Desk::forwards_failing).await?;
    let heads = [
        "forward",
        ">failed",
        ">deferred",
        ">delivered",
        "last failure",
        "last delivery",
        "said",
    ];
    print.value(&failing, |print, failing| {
        let forwards = &failing.forwards;
        list(print, heads, forwards.iter().map(forward), failing.is_cut);
        reach(print, forwards.is_empty(), failing.oldest, Some(args.since));
        silent(print, &failing.silent_nodes);
    });
    Ok(Exit::found(!failing.forwards.is_empty()))
}

fn forward(row: &FailingForward) -> [String; 7] {
    let success = row.last_success.map(|at| at.to_string());
    [
        format!("{} → {}", row.recipient, row.target),
        row.failed.to_string(),
        row.deferred.to_string(),
        row.delivered.to_string(),
        row.last_failure.to_string(),
        success.unwrap_or_else(|| "never".to_owned()),
        row.reply.clone().unwrap_or_else(|| row.code.clone()),
    ]
}

/// Shows rows, and whether there are more.
pub(crate) fn list<const N: usize>(
    print: Printer,
    heads: [&str; N],
    rows: impl ExactSizeIterator<Item = [String; N]>,
    is_cut: bool,
) {
    if rows.len() > 0 {
        print.table(heads, rows);
    }
    if is_cut {
        print.line("… and more: --limit shows them");
    }
}

/// Says which nodes did not.
pub(crate) fn silent(print: Printer, nodes: &[String]) {
    not_told(nodes).iter().for_each(|line| print.line(line));
}

/// Says how far an answer goes that is empty, or goes back beyond what is known.
pub(crate) fn reach(
    print: Printer,
    is_empty: bool,
    oldest: Option<Timestamp>,
    since: Option<Timestamp>,
) {
    if is_empty {
        print.line("nothing in the history matches");
    }
    match oldest {
        None => print.line("the history is empty"),
        Some(oldest) if is_empty || since.is_some_and(|since| since < oldest) => {
            print.line(format_args!("the history begins at {oldest}"));
        }
        Some(_) => {}
    }
}
