//! `onward spool import`: brings back what `spool export` wrote, into a spool that no daemon has open.
//!
//! Nothing is delivered while it runs, so nothing can come twice: what is queued already is left as it is, legs that the spool
//! knows to have ended do not come back, and each `ID.json` whose message is durable is called `ID.imported`, for another day. What
//! is damaged, or of no export, is named and skipped.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use envelope::LegId;
use queue::LogSpool;
use queue::verify::{ended, merge_tokens};
use serde::Serialize;
use spool::{BodyWriter, Entry, Spool};

use crate::Failure;
use crate::config::Config;
use crate::print::{Printer, plural};
use crate::spool_cli::progress;
use crate::spool_export::Envelope;
use crate::spool_mail;

/// What came of it.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Summary {
    folder: PathBuf,
    messages: u64,
    legs: u64,
    /// Messages that were queued already.
    queued: u64,
    /// Messages of which every leg has ended here.
    ended: u64,
    /// Messages that an earlier import has taken.
    earlier: u64,
    skipped: Vec<Skipped>,
}

#[derive(Debug, Serialize)]
struct Skipped {
    file: PathBuf,
    text: String,
}

impl Summary {
    /// Says what came of it; false when something was skipped.
    pub(crate) fn print(&self, print: Printer) -> bool {
        print.value(self, print_summary);
        self.skipped.is_empty()
    }

    fn count(&mut self, came: &Came) {
        match came {
            Came::Back(legs) => {
                self.messages += 1;
                self.legs += legs;
            }
            Came::Queued => self.queued += 1,
            Came::Ended => self.ended += 1,
            Came::Skipped(_) => {}
        }
    }
}

/// What became of one message.
enum Came {
    Back(u64),
    Queued,
    Ended,
    Skipped(String),
}

/// Brings every message back; false when something was skipped.
pub(crate) async fn run(config: &Config, folder: &Path, print: Printer) -> Result<bool, Failure> {
    let (mut summary, mails) = look(folder)?;
    let known = match config.spool.join("log").is_dir() {
        true => ended(&config.spool, &mut progress("reading the spool"))?,
        false => HashSet::new(),
    };
    for file in merge_tokens(folder, &config.spool)? {
        let text = "tokens that this spool has given out stand at the same places".to_owned();
        summary.skipped.push(Skipped { file, text });
    }
    let settings = config.spool();
    let spool = tokio::task::spawn_blocking(|| LogSpool::open(settings)).await??;
    let spool = Arc::new(spool);
    let brought = bring_all(&spool, &mails, &Arc::new(known), &mut summary).await;
    spool.close();
    brought?;
    Ok(summary.print(print))
}

/// What is in a folder.
pub(crate) fn look(folder: &Path) -> Result<(Summary, Vec<PathBuf>), Failure> {
    let mut summary = Summary {
        folder: folder.to_owned(),
        ..Summary::default()
    };
    let mails = sort(folder, &mut summary);
    let mails = mails.map_err(|error| {
        let (folder, hint) = (
            folder.display(),
            "name a folder that `onward spool export` wrote",
        );
        format!("cannot read {folder}: {error}\n\nhint: {hint}")
    })?;
    Ok((summary, mails))
}

/// The envelopes in a folder; what else is in it is counted, or named.
fn sort(folder: &Path, summary: &mut Summary) -> io::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path()));
    let mut paths: Vec<PathBuf> = entries.collect::<Result<_, _>>()?;
    paths.sort();
    let mut mails = Vec::new();
    for path in paths {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let id = name.split('.').next().unwrap_or_default();
        let beside = |extension| folder.join(format!("{id}.{extension}")).exists();
        let text = match path.extension().and_then(|extension| extension.to_str()) {
            Some("json") => {
                mails.push(path);
                continue;
            }
            Some(TAKEN) => {
                summary.earlier += 1;
                continue;
            }
            Some("eml") if beside("json") || beside(TAKEN) => continue,
            Some("eml") => "has no envelope beside it",
            None if name == "tokens" => continue,
            _ => "is not of an export",
        };
        let text = text.to_owned();
        summary.skipped.push(Skipped { file: path, text });
    }
    Ok(mails)
}

/// Brings messages back, some at a time so that they share their syncs. Envelopes that need not come again are marked at once: the
/// spool does not know for ever what has ended, and an import that was cut off is run again.
pub(crate) async fn bring_all<S: Spool>(
    spool: &Arc<S>,
    mails: &[PathBuf],
    known: &Arc<HashSet<LegId>>,
    summary: &mut Summary,
) -> Result<(), Failure> {
    let mut progress = progress("bringing mail back");
    let mut ended = Ok(());
    for (done, some) in (0..).step_by(AT_ONCE).zip(mails.chunks(AT_ONCE)) {
        progress(done, mails.len() as u64);
        let mut begun = Vec::new();
        for path in some {
            let (spool, known, mail) = (Arc::clone(spool), Arc::clone(known), path.clone());
            let task = tokio::spawn(async move { bring(&*spool, &mail, &known).await });
            begun.push((path, task));
        }
        for (path, task) in begun {
            let came = task.await.map_err(|e| spool::Error::Unknown(e.to_string()));
            let came = came.flatten();
            let file = path.clone();
            let text = match came {
                Err(error) => {
                    let hint = "nothing comes twice: run it again when this is mended";
                    let file = file.display();
                    let text = format!("{file} could not be queued: {error}\n\nhint: {hint}");
                    ended = Err(text.into());
                    continue;
                }
                Ok(Came::Skipped(text)) => Some(text),
                Ok(came) => {
                    summary.count(&came);
                    let marked = fs::rename(path, path.with_extension(TAKEN));
                    let failed = |e| format!("is queued, but cannot be marked as imported: {e}");
                    marked.err().map(failed)
                }
            };
            summary
                .skipped
                .extend(text.map(|text| Skipped { file, text }));
        }
        if ended.is_err() {
            break;
        }
    }
    progress(1, 1);
    ended
}

/// Brings one message back.
async fn bring<S: Spool>(
    spool: &S,
    path: &Path,
    known: &HashSet<LegId>,
) -> Result<Came, spool::Error> {
    let (mut legs, mut body) = match open(path) {
        Ok(opened) => opened,
        Err(text) => return Ok(Came::Skipped(text)),
    };
    legs.retain(|leg| !known.contains(&leg.id));
    let Some(first) = legs.first() else {
        return Ok(Came::Ended);
    };
    let (count, size) = (legs.len() as u64, first.message.size);
    let mut writer = spool.begin(first.message.id).await?;
    let mut piece = vec![0; PIECE_OCTETS];
    loop {
        match body.read(&mut piece) {
            Ok(0) => break,
            Ok(octets) => writer.write(piece[..octets].to_vec()).await?,
            Err(error) => return Ok(Came::Skipped(format!("its mail cannot be read: {error}"))),
        }
    }
    if writer.len() != size {
        let octets = writer.len();
        let text = format!("its mail has {octets} octets, not {size}: it was cut or changed");
        return Ok(Came::Skipped(text));
    }
    match spool.bring_back(writer, legs).await? {
        true => Ok(Came::Back(count)),
        false => Ok(Came::Queued),
    }
}

/// Reads an envelope, and opens the mail beside it.
fn open(path: &Path) -> Result<(Vec<Entry>, File), String> {
    let mut text = String::new();
    let file = File::open(path).map_err(|error| error.to_string())?;
    let read = file.take(ENVELOPE_OCTETS_MAX).read_to_string(&mut text);
    read.map_err(|error| error.to_string())?;
    let envelope: Envelope =
        serde_json::from_str(&text).map_err(|error| format!("is no envelope: {error}"))?;
    if path.file_stem().is_none_or(|name| *name != *envelope.id) {
        return Err(format!("is the envelope of {}", envelope.id));
    }
    if let Some(damage) = envelope.damage.first() {
        return Err(format!("its mail is damaged: {}", damage.text));
    }
    let mail = File::open(path.with_extension("eml"));
    let mail = mail.map_err(|error| format!("its mail cannot be read: {error}"))?;
    Ok((spool_mail::legs(&envelope)?, mail))
}

fn print_summary(print: Printer, summary: &Summary) {
    let (messages, legs) = (
        plural(summary.messages, "message"),
        plural(summary.legs, "leg"),
    );
    let from = summary.folder.display();
    print.line(format_args!(
        "{messages} with {legs} brought back from {from}"
    ));
    print.any(
        summary.queued,
        "are queued already, and were left as they are",
    );
    print.any(
        summary.ended,
        "have ended in this spool, and do not come again",
    );
    print.any(summary.earlier, "were taken by an earlier import");
    print.any(summary.skipped.len() as u64, "were skipped:");
    let skipped = summary.skipped.iter();
    print.lines(skipped.map(|Skipped { file, text }| format!("  {}: {text}", file.display())));
}

/// What an envelope is called once its message is queued.
const TAKEN: &str = "imported";
const AT_ONCE: usize = 64;
const PIECE_OCTETS: usize = 256 << 10;
/// The envelope of a message with some ten thousand legs.
const ENVELOPE_OCTETS_MAX: u64 = 64 << 20;
