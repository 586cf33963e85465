//! `onward freeze …`: asks the running daemon what is frozen, and ends freezes.

use std::path::Path;

use control::ask::{FreezeLift, FreezeList};
use control::{Client, Lifted, PAGE_ROWS_MAX};

use crate::cli::Freeze;
use crate::print::{Printer, plural};
use crate::{Exit, Failure};

/// Runs one `freeze` command.
pub(crate) async fn run(socket: &Path, command: &Freeze, print: Printer) -> Result<Exit, Failure> {
    match command {
        Freeze::List => list(socket, print).await,
        Freeze::Lift(which) => lift(socket, which.lift(), print).await,
    }
}

async fn list(socket: &Path, print: Printer) -> Result<Exit, Failure> {
    let mut client = Client::connect(socket).await?;
    let limit = PAGE_ROWS_MAX;
    let ask = |cursor| FreezeList { cursor, limit };
    let all = client.all(ask, |page| (page.freezes, page.next)).await?;
    print.value(&all, |print, all| {
        if all.is_empty() {
            return print.line("nothing is frozen");
        }
        let rows = all.iter().map(|row| {
            let (since, hits) = (row.since.to_string(), row.hits.to_string());
            [since, hits, row.limit.clone(), row.key.clone()]
        });
        print.table(["since", ">refused", "limit", "key"], rows);
    });
    Ok(Exit::Fine)
}

async fn lift(socket: &Path, lift: FreezeLift, print: Printer) -> Result<Exit, Failure> {
    let lifted = Client::connect(socket).await?.ask(lift).await?;
    print.value(&lifted, |print, Lifted { lifted, released }| {
        print.line(format_args!("{} lifted", plural(*lifted, "freeze")));
        if *released > 0 {
            print.line(format_args!("{} released", plural(*released, "leg")));
        }
    });
    Ok(Exit::Fine)
}
