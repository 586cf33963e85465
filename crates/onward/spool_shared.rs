//! `onward spool verify | export | import` for the spool in PostgreSQL.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use envelope::MessageId;
use queue::verify::tokens_of;
use queue_pg::{Cluster, PgSpool};
use serde::Serialize;
use spool::{BodyReader as _, OpenError, Spool as _};

use crate::cli::Spool;
use crate::config::Config;
use crate::print::Printer;
use crate::shared::{aside, nobody_works, open_aside};
use crate::spool_carry::Mails;
use crate::spool_cli::{Finding, print_findings, progress};
use crate::spool_export::{Export, Written};
use crate::spool_import;
use crate::spool_move;
use crate::{Exit, Failure};

#[derive(Debug, Serialize)]
struct Verified {
    messages: u64,
    legs: u64,
    octets: u64,
    damage: Vec<Finding>,
}

/// Runs one `spool` command on a shared spool.
pub(crate) async fn run(config: &Config, command: &Spool, print: Printer) -> Result<Exit, Failure> {
    let is_fine = match command {
        Spool::Move { to } => return spool_move::run(config, to, print).await,
        Spool::Verify => verify(config, print).await?,
        Spool::Export { folder } => export(config, folder, print).await?,
        Spool::Import { folder } => import(config, folder, print).await?,
        Spool::Rebuild => return Err(NO_INDEX.into()),
        Spool::Snapshot { .. } => return Err(NO_SNAPSHOT.into()),
    };
    Ok(Exit::problem_unless(is_fine))
}

async fn verify(config: &Config, print: Printer) -> Result<bool, Failure> {
    let cluster = Cluster::new(&aside(config))?;
    let report = cluster.verify(progress("reading the spool")).await?;
    let damage = report.damage.into_iter();
    let verified = Verified {
        messages: report.messages,
        legs: report.legs,
        octets: report.octets,
        damage: damage
            .map(|it| Finding::of(it.table, it.message, it.text))
            .collect(),
    };
    print.value(&verified, |print, it| {
        print.line("spool     in PostgreSQL");
        print.line(format_args!(
            "queued    {} messages, {} legs, {} octets",
            it.messages, it.legs, it.octets
        ));
        print.line(format_args!("damaged   {}", it.damage.len()));
        print_findings(print, &it.damage);
    });
    Ok(verified.damage.is_empty())
}

/// Nodes may be at work: what they end meanwhile may be among it.
async fn export(config: &Config, folder: &Path, print: Printer) -> Result<bool, Failure> {
    let settings = aside(config);
    let exported = open_aside(&settings, async |spool| export_all(spool, folder).await);
    Ok(exported.await?.print(print))
}

async fn export_all(spool: &Arc<PgSpool>, folder: &Path) -> Result<Export, Failure> {
    let mut export = Export::begin(folder)?;
    let mut mails = Mails::of(spool);
    while let Some(some) = mails.some().await? {
        for legs in some {
            let id = legs[0].message.id;
            let finding = |why| Finding::of("messages", id, why);
            let mut reader = match spool.open_body(id).await {
                Err(OpenError::NotFound) => continue,
                Err(OpenError::Damaged(why)) => {
                    Written::begin(folder, id)?.finish(&mut export, &legs, vec![finding(why)])?;
                    continue;
                }
                reader => reader?,
            };
            let mut written = Written::begin(folder, id)?;
            let mut damage: Vec<Finding> = Vec::new();
            loop {
                match reader.chunk().await {
                    Ok(Some(chunk)) => written.write(&chunk)?,
                    // What is behind a damaged piece is written too. The end says the same again.
                    Err(OpenError::Damaged(why)) if !damage.iter().any(|it| it.text == why) => {
                        damage.push(finding(why));
                    }
                    Ok(None) | Err(OpenError::Damaged(_)) => break,
                    Err(error) => return Err(error.into()),
                }
            }
            // A node has ended it meanwhile.
            if !damage.is_empty() && matches!(spool.open_body(id).await, Err(OpenError::NotFound)) {
                for begun in ["json", "partial"] {
                    fs::remove_file(folder.join(format!("{id}.{begun}")))?;
                }
                continue;
            }
            written.finish(&mut export, &legs, damage)?;
        }
    }
    Ok(export)
}

async fn import(config: &Config, folder: &Path, print: Printer) -> Result<bool, Failure> {
    let settings = aside(config);
    let (mut summary, mails) = spool_import::look(folder)?;
    let tokens = tokens_of(folder)?;
    let brought = open_aside(&settings, async |spool| {
        nobody_works(&spool.cluster(), &settings).await?;
        spool.keep_tokens(&tokens).await?;
        spool_import::bring_all(spool, &mails, &Arc::default(), &mut summary).await
    });
    brought.await?;
    Ok(summary.print(print))
}

impl Finding {
    /// In a table of the shared spool.
    fn of(table: &str, message: MessageId, text: String) -> Self {
        Self {
            file: table.into(),
            offset: None,
            message: Some(message.to_string()),
            text,
        }
    }
}

const NO_INDEX: &str = "the shared spool has no index of ours: there is nothing to rebuild\n\nhint: `spool rebuild` is for a spool in a folder; `REINDEX` is PostgreSQL's";
const NO_SNAPSHOT: &str = "a snapshot is of a spool in a folder\n\nhint: back up the database as PostgreSQL does (pg_basebackup with its WAL, or pg_dump)";
