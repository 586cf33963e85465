//! `onward spool …`: looks at the spool, and rebuilds its index, while no daemon runs.
//!
//! What is read and how is `queue::verify`'s; here is what is printed.

use std::fs;
use std::io::{self, IsTerminal, Write};
use std::os::unix::fs::{MetadataExt, lchown};
use std::path::{Path, PathBuf};
use std::time::Instant;

use bytesize::ByteSize;
use queue::snapshot::snapshot;
use queue::verify::{Damage, Depth, IndexState, Report, log_octets, verify};
use queue::{LogSpool, StartError};
use rustix::process::geteuid;
use serde::{Deserialize, Serialize};
use spool::Spool as _;

use crate::cli::Spool;
use crate::config::Config;
use crate::print::{Printer, plural};
use crate::shared;
use crate::spool_export;
use crate::spool_import;
use crate::{Exit, Failure};

/// What `verify` prints for machines.
#[derive(Debug, Serialize)]
struct Verified {
    spool: PathBuf,
    segments: Vec<Segment>,
    records: u64,
    messages: u64,
    legs: u64,
    body_octets: u64,
    index: String,
    damage: Vec<Finding>,
    notes: Vec<Finding>,
}

#[derive(Debug, Serialize)]
struct Segment {
    file: PathBuf,
    octets: u64,
    used: u64,
    records: u64,
    commits: u64,
}

/// Something that is wrong, and where.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Finding {
    pub(crate) file: PathBuf,
    pub(crate) offset: Option<u64>,
    pub(crate) message: Option<String>,
    pub(crate) text: String,
}

#[derive(Debug, Serialize)]
struct Copied {
    folder: PathBuf,
    segments: u64,
    octets: u64,
    seconds: f64,
}

#[derive(Debug, Serialize)]
struct Rebuilt {
    spool: PathBuf,
    legs: u64,
    damaged: u64,
    from_old_index: u64,
}

/// Runs one `spool` command. A problem: something is damaged, or was skipped.
pub(crate) async fn run(config: &Config, command: &Spool, print: Printer) -> Result<Exit, Failure> {
    if config.queue.is_shared() {
        return shared::spool(config, command, print).await;
    }
    let is_fine = match command {
        Spool::Move { .. } => return shared::spool(config, command, print).await,
        Spool::Verify => verify_spool(&config.spool, print)?,
        Spool::Rebuild => rebuild(config, print).await?,
        Spool::Export { folder } => spool_export::run(&config.spool, folder, print)?,
        Spool::Import { folder } => spool_import::run(config, folder, print).await?,
        Spool::Snapshot { folder } => copy(&config.spool, folder, print)?,
    };
    if matches!(command, Spool::Rebuild | Spool::Import { .. }) && geteuid().is_root() {
        give_to_owner(&config.spool)?;
    }
    Ok(Exit::problem_unless(is_fine))
}

/// What root has written into a folder becomes its owner's: the relay has a user of its own, and must be able to go on with it.
pub(crate) fn give_to_owner(folder: &Path) -> io::Result<()> {
    let owner = fs::metadata(folder)?;
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            lchown(entry.path(), Some(owner.uid()), Some(owner.gid()))?;
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
            }
        }
    }
    Ok(())
}

/// How closely `onward check` looks: at all of a small spool, at the files of a large one.
pub(crate) fn glance(spool: &Path) -> Result<Report, StartError> {
    let depth = match log_octets(spool) <= GLANCE_OCTETS_MAX {
        true => Depth::Whole,
        false => Depth::Files,
    };
    verify(spool, depth, &mut |_, _| {})
}

fn verify_spool(spool: &Path, print: Printer) -> Result<bool, Failure> {
    let report = verify(spool, Depth::Whole, &mut progress("reading the spool"))?;
    let fine = report.damage.is_empty();
    let verified = Verified {
        spool: spool.to_owned(),
        records: report.segments.iter().map(|segment| segment.records).sum(),
        messages: report.messages,
        legs: report.legs,
        body_octets: report.octets,
        index: index_words(&report.index),
        damage: report.damage.iter().map(Finding::from).collect(),
        notes: report.notes.iter().map(Finding::from).collect(),
        segments: report.segments.into_iter().map(Segment::from).collect(),
    };
    print.value(&verified, print_verified);
    Ok(fine)
}

fn print_verified(print: Printer, verified: &Verified) {
    let rows = verified.segments.iter().map(|segment| {
        let name = segment.file.file_name().unwrap_or_default();
        let numbers = [
            segment.octets,
            segment.used,
            segment.records,
            segment.commits,
        ];
        let name = [name.to_string_lossy().into_owned()].into_iter();
        name.chain(numbers.map(|number| number.to_string()))
    });
    let heads = ["segment", ">octets", ">used", ">records", ">messages"];
    print.table(heads, rows);
    print.line("");
    print.line(format_args!("spool     {}", verified.spool.display()));
    print.line(format_args!(
        "queued    {} messages, {} legs, {} octets",
        verified.messages, verified.legs, verified.body_octets
    ));
    print.line(format_args!("index     {}", verified.index));
    print.line(format_args!("damaged   {}", verified.damage.len()));
    print_findings(print, &verified.damage);
    if !verified.notes.is_empty() {
        print.line("no damage, but worth knowing:");
        print_findings(print, &verified.notes);
    }
}

pub(crate) fn print_findings(print: Printer, findings: &[Finding]) {
    for finding in findings {
        print.line(format_args!("  {finding}"));
    }
}

/// What keeps a relay from starting on a folder of which a part is elsewhere.
pub(crate) fn halved(spool: &Path) -> Option<String> {
    let is_moving = spool.join(MOVING).exists();
    is_moving.then(|| format!("{}: {HALVED}", spool.display()))
}

/// Rebuilds the index, as `serve` does when it cannot use the old one.
async fn rebuild(config: &Config, print: Printer) -> Result<bool, Failure> {
    let settings = config.spool();
    let work = tokio::task::spawn_blocking(|| LogSpool::rebuild(settings));
    let (spool, inherited) = work.await??;
    let counts = spool.counts().await.unwrap_or_default();
    let rebuilt = Rebuilt {
        spool: config.spool.clone(),
        legs: counts.legs(),
        damaged: spool.damaged(),
        from_old_index: inherited,
    };
    spool.close();
    print.value(&rebuilt, |print, rebuilt| {
        let legs = plural(rebuilt.legs, "leg");
        print.line(format_args!("index rebuilt: {legs} queued"));
        if rebuilt.from_old_index > 0 {
            print.line(format_args!(
                "{} messages that only the old index knew were written to the log",
                rebuilt.from_old_index
            ));
        }
        if rebuilt.damaged > 0 {
            let folder = rebuilt.spool.join("quarantine");
            print.line(format_args!(
                "{} damaged pieces set aside in {}",
                rebuilt.damaged,
                folder.display()
            ));
        }
    });
    Ok(rebuilt.damaged == 0)
}

fn copy(spool: &Path, folder: &Path, print: Printer) -> Result<bool, Failure> {
    let began = Instant::now();
    let copied = snapshot(spool, folder, &mut progress("copying the spool"))?;
    let copied = Copied {
        folder: folder.to_owned(),
        segments: copied.segments,
        octets: copied.octets,
        seconds: began.elapsed().as_secs_f64(),
    };
    print.value(&copied, |print, copied| {
        print.line(format_args!(
            "{} in {} copied to {} in {:.1}s",
            ByteSize(copied.octets).display().iec(),
            plural(copied.segments, "segment"),
            copied.folder.display(),
            copied.seconds
        ));
        print.line("its files belong to the user who ran this: `chown -R onward:` before a relay starts with it");
    });
    Ok(true)
}

impl From<&Damage> for Finding {
    fn from(damage: &Damage) -> Self {
        Self {
            file: damage.file.clone(),
            offset: damage.offset,
            message: damage.message.map(|id| id.to_string()),
            text: damage.text.clone(),
        }
    }
}

impl From<queue::verify::SegmentReport> for Segment {
    fn from(segment: queue::verify::SegmentReport) -> Self {
        Self {
            file: segment.file,
            octets: segment.octets,
            used: segment.used,
            records: segment.records,
            commits: segment.commits,
        }
    }
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(offset) = self.offset {
            write!(f, ":{offset}")?;
        }
        if let Some(message) = &self.message {
            write!(f, ": message {message}")?;
        }
        write!(f, ": {}", self.text)
    }
}

fn index_words(index: &IndexState) -> String {
    match index {
        IndexState::Fits => "fits the log".to_owned(),
        IndexState::Missing => "none yet".to_owned(),
        IndexState::Foreign => "of another spool or version".to_owned(),
        IndexState::Older => "older than the log".to_owned(),
        IndexState::Unreadable(why) => format!("cannot be read: {why}"),
    }
}

/// How far it is, on a terminal.
pub(crate) fn progress(what: &str) -> impl FnMut(u64, u64) {
    let shown = io::stderr().is_terminal();
    move |done, total| {
        if shown && total > 0 {
            let percent = done * 100 / total;
            let end = if done == total { "\r\x1b[K" } else { "" };
            // If nobody reads it any more, nothing is lost.
            let _ = write!(io::stderr(), "\r{what}: {percent} %{end}");
        }
    }
}

/// In the folder of a spool: a move from there, or into it, was begun, and not ended.
pub(crate) const MOVING: &str = "moving";
/// Why nothing is to start on it, nor on a database that is moved away from.
pub(crate) const HALVED: &str = "a part of the queue is elsewhere: a move was cut off, or is under way\n\nhint: run `onward spool move` again, with the configuration that it had: nothing comes twice, and nothing is lost";
/// A log up to this is read whole by `onward check`: it takes a second or two.
const GLANCE_OCTETS_MAX: u64 = 1 << 30;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[ignore = "needs root: ./test.sh runs it"]
    fn what_root_writes_is_the_relays() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("log")).unwrap();
        let file = dir.path().join("log/1");
        fs::write(&file, "x").unwrap();
        lchown(dir.path(), Some(4711), Some(4712)).unwrap();
        give_to_owner(dir.path()).unwrap();
        let found = fs::metadata(file).unwrap();
        assert_eq!((found.uid(), found.gid()), (4711, 4712));
    }
}
