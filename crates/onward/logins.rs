//! The names and passwords of smarthosts, from the files that `[[delivery.route]]` names.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use delivery::{Login, NotALogin};

/// Why there is none. Each text says where and what to do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(
        "cannot read {path}: {source}\n\nhint: `auth` of a [[delivery.route]] names the file; it must be readable for the user that runs this, and for nobody else"
    )]
    Unreadable { path: PathBuf, source: io::Error },
    #[error(
        "{path}: {source}\n\nhint: these are the name and the password that the smarthost gave you"
    )]
    Invalid { path: PathBuf, source: NotALogin },
}

/// Reads one.
pub(crate) fn read(path: &Path) -> Result<Login, Error> {
    let text = fs::read_to_string(path).map_err(|source| Error::Unreadable {
        path: path.to_owned(),
        source,
    })?;
    Login::parse(path, &text).map_err(|source| Error::Invalid {
        path: path.to_owned(),
        source,
    })
}
