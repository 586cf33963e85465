//! Looking at a spool that no process has open: is it whole, and what is in it. Nothing in it is changed.
//!
//! [`verify`] reads the log as a start would, but keeps what it learns small: where each live message's records are. It
//! then checks the bodies that no record's checksum covers, and compares with the index (a copy of it: sled cannot be
//! opened without being written to). [`export`] goes the same way and hands every message out.
//!
//! It does *not* repair: that is what opening the spool does ([`LogSpool::open`](crate::LogSpool::open)).

mod again;
mod export;
mod findings;
mod mirror;
pub(crate) mod survey;
mod tokens;

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use envelope::{LegId, MessageId};

use crate::completed;
use crate::lock::SpoolLock;
use crate::log::record::Position;
use crate::settings::StartError;

pub use export::{Exported, PieceOfBody, export};
use mirror::Mirror;
use survey::Survey;
pub use tokens::{merge_tokens, tokens_of};

/// How closely to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// The segments' headers and sizes, and whether the index belongs to them. Takes as long as copying the index.
    Files,
    /// Every octet.
    Whole,
}

/// What was found.
#[derive(Debug, Clone)]
pub struct Report {
    /// The segments, in order.
    pub segments: Vec<SegmentReport>,
    /// Messages that are queued; 0 when only files were looked at.
    pub messages: u64,
    /// Their legs that have not ended.
    pub legs: u64,
    /// Octets of their bodies.
    pub octets: u64,
    /// Whether the index can be used as it is.
    pub index: IndexState,
    /// Everything that is not as it was written.
    pub damage: Vec<Damage>,
    /// What is worth knowing and no damage: a write that a crash cut off.
    pub notes: Vec<Damage>,
}

/// One segment of the log.
#[derive(Debug, Clone)]
pub struct SegmentReport {
    /// The file.
    pub file: PathBuf,
    /// Its octets.
    pub octets: u64,
    /// Octets up to the end of its last record.
    pub used: u64,
    /// Whole records, and of these messages.
    pub records: u64,
    /// Commit records.
    pub commits: u64,
}

/// The index's state, as far as it can be told beside the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IndexState {
    /// It is of this log.
    Fits,
    /// There is none; a start makes it from the log.
    Missing,
    /// It is another spool's, or of another layout; a start makes a new one.
    Foreign,
    /// It is older than what the log gave back on the word of a newer one; a start makes a new one.
    Older,
    /// It cannot be read; a start makes a new one.
    Unreadable(String),
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// Where.
    pub file: PathBuf,
    /// Where in the file, if it is not all of it.
    pub offset: Option<u64>,
    /// The message it concerns, if one is known.
    pub message: Option<MessageId>,
    /// What is wrong, and what follows.
    pub text: String,
}

/// Told now and then how many octets of how many are read.
pub type Progress<'a> = &'a mut dyn FnMut(u64, u64);

/// Looks at the spool in `dir`.
///
/// # Errors
/// When a process has the spool, a later Onward wrote it, or its folders cannot be read at all.
pub fn verify(dir: &Path, depth: Depth, progress: Progress<'_>) -> Result<Report, StartError> {
    let lock = SpoolLock::take_to_read(dir)?;
    let (survey, mirror, depth) = look(dir, depth, progress)?;
    let mut report = survey.report(&mirror, depth);
    report
        .damage
        .sort_by(|a, b| (&a.file, a.offset).cmp(&(&b.file, b.offset)));
    drop(lock);
    Ok(report)
}

/// The legs of the spool in `dir` that are known to have ended. An end is forgotten when nothing speaks of the leg any more.
///
/// # Errors
/// As [`verify`].
pub fn ended(dir: &Path, progress: Progress<'_>) -> Result<HashSet<LegId>, StartError> {
    let _lock = SpoolLock::take_to_read(dir)?;
    let mut survey = Survey::begin(dir)?;
    survey.read_log(Position::default(), progress);
    survey.ended.extend(completed::noted(dir));
    Ok(survey.ended)
}

/// Octets of the log in `dir`, for a choice of [`Depth`]; 0 when it cannot be read.
pub fn log_octets(dir: &Path) -> u64 {
    let files = std::fs::read_dir(dir.join("log")).into_iter().flatten();
    let sizes = files.filter_map(|file| file.ok()?.metadata().ok());
    sizes.map(|metadata| metadata.len()).sum()
}

/// Reads log and index, and says how closely: where a segment seems to be missing, all is read.
fn look(
    dir: &Path,
    depth: Depth,
    progress: Progress<'_>,
) -> Result<(Survey, Mirror, Depth), StartError> {
    let mut survey = Survey::begin(dir)?;
    let mirror = Mirror::of(dir, survey.spool_id, survey.vouched);
    let depth = match survey.misses(&mirror.live()) {
        true => Depth::Whole,
        false => depth,
    };
    if depth == Depth::Whole {
        survey.read_log(mirror.position(), progress);
        survey.read_tokens(dir);
    }
    Ok((survey, mirror, depth))
}

impl Damage {
    fn new(file: &Path, offset: Option<u64>, text: impl Into<String>) -> Self {
        Self {
            file: file.to_owned(),
            offset,
            message: None,
            text: text.into(),
        }
    }

    fn of(self, message: MessageId) -> Self {
        Self {
            message: Some(message),
            ..self
        }
    }
}
