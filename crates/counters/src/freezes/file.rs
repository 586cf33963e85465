//! The file of freezes: a line for each change, appended and synced; written anew at start, with what still holds.
//!
//! ```text
//! CRC32 frozen 2026-11-21T12:34:56.789Z LIMIT KEY
//! CRC32 mailing MESSAGE-ID KEY
//! CRC32 mailed KEY
//! CRC32 posted KEY
//! CRC32 lifted KEY
//! ```
//!
//! The checksum is of what follows it. A line that is torn or damaged is lost alone: it is logged, and the file as it was is kept
//! beside as `freezes.broken`.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use envelope::Timestamp;

use super::Mark;
use crate::key::Key;

/// The open file.
#[derive(Debug)]
pub(super) struct File {
    path: PathBuf,
    /// None until it could be opened.
    open: Option<fs::File>,
    /// It can be read, so it may be written anew.
    is_read: bool,
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Line {
    Frozen(Timestamp, Arc<str>, Key),
    Lifted(Key),
    Marked(Mark, Key),
}

impl File {
    /// The file with what it says; what cannot be read is logged.
    pub(super) fn open(path: &Path) -> (Self, Vec<Line>) {
        let mut file = Self {
            path: path.to_owned(),
            open: None,
            is_read: true,
        };
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => {
                file.is_read = false;
                tracing::error!(
                    "{}: cannot be read, so nobody is frozen: {error}\n\nhint: make it readable for the relay and restart it",
                    path.display()
                );
                return (file, Vec::new());
            }
        };
        let mut lines = Vec::new();
        let mut broken = 0;
        for (line, number) in bytes.split(|byte| *byte == b'\n').zip(1..) {
            match parse(line) {
                Some(line) => lines.push(line),
                None if line.is_empty() => {}
                None => {
                    broken += 1;
                    if broken <= BROKEN_LOGGED_MAX {
                        tracing::error!(
                            "{}: line {number} is damaged and left out\n\nhint: `freezes.broken` beside it keeps the file as it was",
                            path.display()
                        );
                    }
                }
            }
        }
        if broken > 0 {
            tracing::error!("{}: {broken} damaged lines in all", path.display());
            if let Err(error) = fs::copy(path, path.with_extension("broken")) {
                tracing::error!("{}: cannot be copied: {error}", path.display());
            }
        }
        (file, lines)
    }

    /// Holds these lines alone.
    pub(super) fn compacted(mut self, lines: &[Line]) -> Self {
        if self.is_read
            && let Err(error) = self.compact(lines)
        {
            let path = self.path.display();
            tracing::error!("{path}: cannot be written, and will be tried again: {error}");
        }
        self
    }

    fn compact(&mut self, lines: &[Line]) -> io::Result<()> {
        let new = self.path.with_extension("new");
        // It names users.
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = options.open(&new)?;
        file.write_all(text(lines).as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, &self.path)?;
        if let Some(dir) = self.path.parent() {
            fs::File::open(dir)?.sync_all()?;
        }
        self.open = Some(file);
        Ok(())
    }

    /// Writes these too: they are on disk when it returns.
    pub(super) fn append(&mut self, lines: &[Line]) -> io::Result<()> {
        let written = self.write(lines);
        if written.is_err() {
            // Opened anew next time, on a line of its own.
            self.open = None;
        }
        written
    }

    fn write(&mut self, lines: &[Line]) -> io::Result<()> {
        let mut text = text(lines);
        let file = match &mut self.open {
            Some(file) => file,
            none => {
                text.insert(0, '\n');
                let file = OpenOptions::new()
                    .append(true)
                    .create(true)
                    .mode(0o600)
                    .open(&self.path)?;
                none.insert(file)
            }
        };
        file.write_all(text.as_bytes())?;
        file.sync_data()
    }
}

fn text(lines: &[Line]) -> String {
    let line = |line: &Line| {
        let text = line.to_string();
        format!("{:08x} {text}\n", crc32fast::hash(text.as_bytes()))
    };
    lines.iter().map(line).collect()
}

fn parse(line: &[u8]) -> Option<Line> {
    let (checksum, text) = std::str::from_utf8(line).ok()?.split_once(' ')?;
    let is_right = u32::from_str_radix(checksum, 16) == Ok(crc32fast::hash(text.as_bytes()));
    is_right.then(|| text.parse().ok()).flatten()
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Frozen(since, limit, key) => write!(f, "frozen {since} {limit} {key}"),
            Self::Lifted(key) => write!(f, "lifted {key}"),
            Self::Marked(Mark::Mailing(id), key) => write!(f, "mailing {id} {key}"),
            Self::Marked(Mark::Mailed, key) => write!(f, "mailed {key}"),
            Self::Marked(Mark::Posted, key) => write!(f, "posted {key}"),
        }
    }
}

impl FromStr for Line {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        fn part<T: FromStr>(text: &str) -> Result<T, ()> {
            text.parse().map_err(|_| ())
        }
        // The key is last: a user's name may have blanks.
        let (word, rest) = text.split_once(' ').ok_or(())?;
        Ok(match word {
            "frozen" => {
                let mut parts = rest.splitn(3, ' ');
                let mut next = || parts.next().ok_or(());
                Self::Frozen(part(next()?)?, next()?.into(), part(next()?)?)
            }
            "mailing" => {
                let (id, key) = rest.split_once(' ').ok_or(())?;
                Self::Marked(Mark::Mailing(part(id)?), part(key)?)
            }
            "mailed" => Self::Marked(Mark::Mailed, part(rest)?),
            "posted" => Self::Marked(Mark::Posted, part(rest)?),
            "lifted" => Self::Lifted(part(rest)?),
            _ => return Err(()),
        })
    }
}

/// Damaged lines with a line of their own in the log.
const BROKEN_LOGGED_MAX: usize = 10;
