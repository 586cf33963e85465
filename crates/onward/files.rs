//! The files that the configuration names: each is read, or a text says which one cannot be used, why, and what to do.

use std::fmt::Display;
use std::fs;
use std::io;
use std::path::Path;

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct FileError(String);

impl FileError {
    /// What is wrong in it.
    pub(crate) fn wrong(path: &Path, wrong: impl Display) -> Self {
        Self(format!("{}: {wrong}", path.display()))
    }

    /// What is wrong in a line of it: a text that begins with the line's number.
    pub(crate) fn line(path: &Path, wrong: impl Display) -> Self {
        Self(format!("{}:{wrong}", path.display()))
    }

    /// It cannot be read. `what` stands before its path: `the users `, or nothing.
    pub(crate) fn unreadable(what: &str, path: &Path, error: &io::Error, hint: &str) -> Self {
        let path = path.display();
        Self(format!("cannot read {what}{path}: {error}\n\nhint: {hint}"))
    }
}

/// All of it; for the rest see [`FileError::unreadable`].
pub(crate) fn read(what: &str, path: &Path, hint: &str) -> Result<Vec<u8>, FileError> {
    fs::read(path).map_err(|error| FileError::unreadable(what, path, &error, hint))
}

/// The same of a text.
pub(crate) fn text(path: &Path, hint: &str) -> Result<String, FileError> {
    fs::read_to_string(path).map_err(|error| FileError::unreadable("", path, &error, hint))
}
