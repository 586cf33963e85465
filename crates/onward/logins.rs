//! The names and passwords of smarthosts, from the files that `[[delivery.route]]` names.

use std::path::Path;

use delivery::Login;

use crate::files::{self, FileError};

/// Reads one.
pub(crate) fn read(path: &Path) -> Result<Login, FileError> {
    let text = files::text(path, READABLE)?;
    Login::parse(path, &text).map_err(|wrong| FileError::wrong(path, format_args!("{wrong}{HINT}")))
}

const READABLE: &str = "`auth` of a [[delivery.route]] names the file; it must be readable for the user that runs this, and for nobody else";
const HINT: &str = "\n\nhint: these are the name and the password that the smarthost gave you";
