//! `onward top`: what the running daemon does, looked at again each second on a terminal; else printed once.

#[cfg(feature = "top")]
mod screen;

use std::path::Path;

use control::ask::{self, Stats};
use control::{Client, ClientError, SiteRow, StatsBy, Status};
use serde::Serialize;

use crate::print::Printer;
use crate::status_cli;
use crate::{Exit, Failure};

/// One look at the daemon.
#[derive(Debug, Clone, Serialize)]
struct Look {
    status: Status,
    lists: Vec<List>,
}

/// Something that there is much of, and how much.
#[derive(Debug, Clone, Serialize)]
struct List {
    title: &'static str,
    /// What the two numbers are.
    counts: [&'static str; 2],
    rows: Vec<Row>,
}

#[derive(Debug, Clone, Serialize)]
struct Row {
    name: String,
    counts: [u64; 2],
}

/// Runs `top`.
pub(crate) async fn run(socket: &Path, print: Printer) -> Result<Exit, Failure> {
    let look = look(socket).await?;
    #[cfg(feature = "top")]
    if !print.json && std::io::IsTerminal::is_terminal(&std::io::stdout()) {
        screen::run(socket, look, print).await?;
        return Ok(Exit::Fine);
    }
    print.value(&look, |print, look| {
        print.lines(head(&look.status));
        for List {
            title,
            counts,
            rows,
        } in &look.lists
        {
            print.line("");
            let [one, two] = counts.map(|count| format!(">{count}"));
            let row = |Row { name, counts }: &Row| {
                let [one, two] = counts.map(|count| count.to_string());
                [name.clone(), one, two]
            };
            print.table(
                [title, &*one, &*two],
                rows.iter().take(ROWS_PRINTED).map(row),
            );
        }
    });
    Ok(Exit::Fine)
}

async fn look(socket: &Path) -> Result<Look, ClientError> {
    let mut client = Client::connect(socket).await?;
    let status = client.ask(ask::Status {}).await?;
    let sites = client.ask(ask::SiteList { own: true }).await?.sites;
    let mut lists = lists(&status, &sites);
    let of = Stats {
        by: StatsBy::SenderDomain,
        since: status.now,
        reply: None,
        limit: SENDERS_MAX,
    };
    // Nobody knows without a history.
    if let Ok(senders) = client.ask(of).await {
        let rows = senders.rows.into_iter().map(|row| Row {
            name: row.key,
            counts: [row.received, row.refused],
        });
        lists.push(List {
            title: "senders this hour",
            counts: ["received", "refused"],
            rows: rows.collect(),
        });
    }
    Ok(Look { status, lists })
}

fn lists(status: &Status, sites: &[SiteRow]) -> Vec<List> {
    let sites = sites.iter().map(|row| Row {
        name: format!("{} {}", row.site, row.state),
        counts: [row.queued, row.connections],
    });
    let results = status.results.iter().map(|row| Row {
        name: [&*row.site, &row.result, &row.class]
            .join(" ")
            .trim_end()
            .to_owned(),
        counts: [row.minute, row.total],
    });
    let refused = status.refused.iter().map(|row| Row {
        name: format!("{} ({})", row.rule, row.stage),
        counts: [row.minute, row.total],
    });
    let list = |title, counts, rows| List {
        title,
        counts,
        rows,
    };
    let counts = ["minute", "total"];
    vec![
        list("sites", ["queued", "open"], sites.collect()),
        list("results", counts, results.collect()),
        list("refusals", counts, refused.collect()),
    ]
}

/// The first lines of the screen: what is always worth a look, and what is wrong.
fn head(status: &Status) -> Vec<String> {
    let lines = status_cli::lines(status);
    let count = |name: &str| status.minute.get(name).copied().unwrap_or_default();
    let names = ["received", "delivered", "deferred", "failed", "refused"];
    let rates = names.map(|name| format!("{} {name}", count(name)));
    let rates = format!("  {:<12} {}", "last minute", rates.join(", "));
    let (first, rest) = lines.split_at(lines.len().min(2));
    let wrong = rest.iter().filter(|line| line.starts_with('!'));
    let mut head = first.to_vec();
    head.push(rates);
    head.extend(wrong.cloned());
    head
}

const SENDERS_MAX: u32 = 50;
const ROWS_PRINTED: usize = 10;
