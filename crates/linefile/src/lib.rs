//! A small file of facts that outlive a restart: a line for each change, appended and synced; written anew at start, with what
//! still holds.
//!
//! ```text
//! CRC32 TEXT
//! ```
//!
//! The checksum is of what follows it; the text is the caller's, on one line. A line that is torn or damaged is lost alone: it is
//! logged, and the file as it was is kept beside as `NAME.broken`. The file never keeps a relay from starting.

mod folder;

use std::ffi::OsString;
use std::fmt::Display;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::marker::PhantomData;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

pub use folder::Folder;

/// The open file.
#[derive(Debug)]
pub struct LineFile<L> {
    path: PathBuf,
    /// None until it could be opened.
    open: Option<fs::File>,
    /// It can be read, so it may be written anew.
    is_read: bool,
    lines: PhantomData<fn(L) -> L>,
}

/// Puts a file of this content in the place of another, durably: whole, or not at all. Only its owner may read it: it is about
/// users and their mail.
pub fn replace(path: &Path, content: &[&[u8]]) -> io::Result<fs::File> {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".new");
    let new = path.with_file_name(name);
    // What was left there, or put there by others, is not written into.
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&new)?;
    for piece in content {
        file.write_all(piece)?;
    }
    file.sync_all()?;
    fs::rename(&new, path)?;
    if let Some(dir) = path.parent() {
        fs::File::open(dir)?.sync_all()?;
    }
    Ok(file)
}

impl<L: Display + FromStr> LineFile<L> {
    /// The file with what it says; what cannot be read is logged, and what follows from that (`so nobody is frozen`).
    pub fn open(path: &Path, without: &str) -> (Self, Vec<L>) {
        let mut file = Self {
            path: path.to_owned(),
            open: None,
            is_read: true,
            lines: PhantomData,
        };
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => {
                file.is_read = false;
                tracing::error!(
                    "{}: cannot be read, {without}: {error}\n\nhint: make it readable for the relay and restart it",
                    path.display()
                );
                return (file, Vec::new());
            }
        };
        let broken_name = path.with_extension("broken");
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
                            "{}: line {number} is damaged and left out\n\nhint: `{}` keeps the file as it was",
                            path.display(),
                            broken_name.display()
                        );
                    }
                }
            }
        }
        if broken > 0 {
            tracing::error!("{}: {broken} damaged lines in all", path.display());
            if let Err(error) = fs::copy(path, &broken_name) {
                tracing::error!("{}: cannot be copied: {error}", path.display());
            }
        }
        (file, lines)
    }

    /// Holds these lines alone.
    pub fn compacted(mut self, lines: &[L]) -> Self {
        if self.is_read
            && let Err(error) = self.compact(lines)
        {
            let path = self.path.display();
            tracing::error!("{path}: cannot be written, and will be tried again: {error}");
        }
        self
    }

    /// Holds these lines alone: they are on disk when it returns.
    pub fn compact(&mut self, lines: &[L]) -> io::Result<()> {
        let file = replace(&self.path, &[text(lines).as_bytes()])?;
        self.open = Some(file);
        Ok(())
    }

    /// Writes these too: they are on disk when it returns.
    pub fn append(&mut self, lines: &[L]) -> io::Result<()> {
        let written = self.write(lines);
        if written.is_err() {
            // Opened anew next time, on a line of its own.
            self.open = None;
        }
        written
    }

    fn write(&mut self, lines: &[L]) -> io::Result<()> {
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

fn text<L: Display>(lines: &[L]) -> String {
    let line = |line: &L| {
        let text = line.to_string();
        format!("{:08x} {text}\n", crc32fast::hash(text.as_bytes()))
    };
    lines.iter().map(line).collect()
}

fn parse<L: FromStr>(line: &[u8]) -> Option<L> {
    let (checksum, text) = std::str::from_utf8(line).ok()?.split_once(' ')?;
    let is_right = u32::from_str_radix(checksum, 16) == Ok(crc32fast::hash(text.as_bytes()));
    is_right.then(|| text.parse().ok()).flatten()
}

/// Damaged lines with a line of their own in the log.
const BROKEN_LOGGED_MAX: usize = 10;
