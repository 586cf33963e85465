//! What waits in a system: counted, and made due.

use std::fs;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The queue of a running system.
pub(super) struct Queue {
    /// Where its messages are counted.
    pub(super) messages: Messages,
    /// The program that makes all of them due, with its arguments; empty where there is none.
    pub(super) retry_all: Vec<String>,
}

/// Where the messages of a system are counted.
pub(super) enum Messages {
    /// Nothing is kept.
    None,
    /// Onward's control socket.
    Socket(PathBuf),
    /// Files below these folders, at any depth, one a message where `counts` takes the name.
    Files {
        /// Where to look; what is not there holds nothing.
        folders: Vec<PathBuf>,
        /// Is a file of this name a message?
        counts: fn(&str) -> bool,
    },
}

impl Messages {
    /// Messages that wait or are at work; for Onward their legs.
    ///
    /// # Errors
    /// When the socket does not answer or a folder cannot be read.
    pub(super) fn count(&self) -> io::Result<u64> {
        match self {
            Self::None => Ok(0),
            Self::Socket(path) => ask(path),
            Self::Files { folders, counts } => {
                folders.iter().map(|folder| files(folder, *counts)).sum()
            }
        }
    }
}

/// Asks for the status in the protocol of `crates/control`: one line of JSON each way.
fn ask(path: &Path) -> io::Result<u64> {
    let mut stream = UnixStream::connect(path)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.write_all(b"{\"v\":2,\"do\":\"status\"}\n")?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    let answer: serde_json::Value = serde_json::from_str(&line)?;
    let counts = &answer["answer"]["queue"];
    ["waiting", "active", "held"]
        .into_iter()
        .map(|state| counts[state].as_u64())
        .sum::<Option<u64>>()
        .ok_or_else(|| io::Error::other(format!("no status: {line}")))
}

fn files(folder: &Path, counts: fn(&str) -> bool) -> io::Result<u64> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(error),
    };
    let mut found = 0;
    for entry in entries {
        let entry = entry?;
        // Messages come and go meanwhile.
        let Ok(kind) = entry.file_type() else {
            continue;
        };
        if kind.is_dir() {
            found += files(&entry.path(), counts)?;
        } else if entry.file_name().to_str().is_some_and(counts) {
            found += 1;
        }
    }
    Ok(found)
}
