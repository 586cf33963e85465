//! Where commands print: plain lines for people, or one JSON document for machines.

use std::fmt::Display;
use std::io::{self, Write};

use serde::Serialize;

use journal::shown;

/// Standard output in one of two forms.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Printer {
    pub(crate) json: bool,
}

impl Printer {
    /// One line for people, or several. A reader that has gone away (`| head`) is no error.
    pub(crate) fn line(self, text: impl Display) {
        let text = text.to_string();
        let _ = writeln!(io::stdout().lock(), "{}", shown::lines(&text));
    }

    /// `value` as JSON, or as `human` says it.
    pub(crate) fn value<T: Serialize>(self, value: &T, human: impl FnOnce(Self, &T)) {
        if !self.json {
            return human(self, value);
        }
        match serde_json::to_string_pretty(value) {
            Ok(text) => self.line(shown::json(&text)),
            Err(error) => complain(format_args!("cannot write JSON: {error}")),
        }
    }

    /// Bytes as they are.
    pub(crate) fn bytes(self, bytes: &[u8]) -> io::Result<()> {
        io::stdout().lock().write_all(bytes)
    }
}

/// One complaint on standard error, in the form that all commands share.
pub(crate) fn complain(text: impl Display) {
    let text = text.to_string();
    let _ = writeln!(io::stderr().lock(), "error: {}", shown::lines(&text));
}
