//! `onward freeze …`: asks the running daemon what is frozen, and ends freezes.

use std::path::Path;

use control::ask::{FreezeLift, FreezeList};
use control::{Client, Lifted, PAGE_ROWS_MAX};

use crate::cli::Freeze;
use crate::print::Printer;
use crate::queue_cli::Error;

/// Runs one `freeze` command.
pub(crate) async fn run(socket: &Path, command: &Freeze, print: Printer) -> Result<(), Error> {
    match command {
        Freeze::List => list(socket, print).await,
        Freeze::Lift(which) => lift(socket, which.lift(), print).await,
    }
}

async fn list(socket: &Path, print: Printer) -> Result<(), Error> {
    let mut client = Client::connect(socket).await?;
    let (mut all, mut cursor) = (Vec::new(), None);
    loop {
        let page = client
            .ask(FreezeList {
                cursor,
                limit: PAGE_ROWS_MAX,
            })
            .await?;
        all.extend(page.freezes);
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    print.value(&all, |print, all| {
        if all.is_empty() {
            return print.line("nothing is frozen");
        }
        print.line(format_args!(
            "{:<24} {:>8} {:<16} key",
            "since", "refused", "limit"
        ));
        for row in all {
            let (since, limit, key) = (row.since.to_string(), &row.limit, &row.key);
            print.line(format_args!(
                "{since:<24} {:>8} {limit:<16} {key}",
                row.hits
            ));
        }
    });
    Ok(())
}

async fn lift(socket: &Path, lift: FreezeLift, print: Printer) -> Result<(), Error> {
    let lifted = Client::connect(socket).await?.ask(lift).await?;
    print.value(&lifted, |print, Lifted { lifted, released }| {
        print.line(format_args!("{lifted} freezes lifted"));
        if *released > 0 {
            print.line(format_args!("{released} legs released"));
        }
    });
    Ok(())
}
