//! The files of another server: their lines, and where each stands.
//!
//! Nothing in them is trusted: a file that is no text, or too large, is left aside whole, a line that is no UTF-8 or endless
//! alone.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Imported;

/// Where something stands.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) file: Arc<str>,
    /// From 1; 0 is the whole file.
    pub(super) line: usize,
}

/// A line, or several that are one.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) place: Place,
    pub(super) text: String,
}

/// A row that is a key and a value.
#[derive(Clone)]
pub(super) struct Entry {
    /// In lower case, as keys are compared.
    pub(super) key: String,
    pub(super) value: String,
    pub(super) row: Row,
}

impl Place {
    pub(super) fn whole(path: &Path) -> Self {
        let file = path.display().to_string().into();
        Self { file, line: 0 }
    }
}

/// Every line that is not blank, without its end.
pub(super) fn lines(path: &Path, into: &mut Imported) -> Vec<Row> {
    let whole = Place::whole(path);
    let content = content(path).unwrap_or_else(|error| {
        let hint = "without it the import is not complete; run it where the file can be read";
        into.leave(&whole, "the file", format!("cannot be read: {error}"), hint);
        Vec::new()
    });
    let mut rows = Vec::new();
    for (line, octets) in (1..).zip(content.split(|b| *b == b'\n')) {
        let file = whole.file.clone();
        let place = Place { file, line };
        match str::from_utf8(octets) {
            _ if octets.trim_ascii().is_empty() => {}
            _ if octets.len() > LINE_OCTETS_MAX => {
                let why = format!("over {LINE_OCTETS_MAX} octets");
                into.leave(&place, "a line", why, "split it");
            }
            Ok(text) => {
                let text = text.trim_end().to_owned();
                rows.push(Row { place, text });
            }
            Err(_) => {
                let what = String::from_utf8_lossy(octets);
                into.leave(&place, &what, "is not UTF-8", "save the file as UTF-8");
            }
        }
    }
    rows
}

/// The same without comments, and lines that begin with a blank joined to the one before them.
pub(super) fn rows(path: &Path, into: &mut Imported) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for row in lines(path, into) {
        let text = row.text.trim_start();
        match rows.last_mut() {
            _ if text.starts_with('#') => {}
            Some(before) if text.len() < row.text.len() => {
                if before.text.len() + text.len() < LINE_OCTETS_MAX {
                    before.text.push(' ');
                    before.text.push_str(text);
                } else {
                    let why = "the lines are too long as one";
                    into.leave(&row.place, text, why, "split them");
                }
            }
            _ => rows.push(row),
        }
    }
    rows
}

/// `name = value` of each row, and where it stands; the last of a name counts.
pub(super) fn settings(path: &Path, into: &mut Imported) -> HashMap<String, (String, Place)> {
    let mut settings = HashMap::new();
    for Row { place, text } in rows(path, into) {
        match text.split_once('=') {
            Some((name, value)) => {
                settings.insert(name.trim().to_owned(), (value.trim().to_owned(), place));
            }
            None => into.leave(&place, &text, "is no `name = value`", ""),
        }
    }
    settings
}

/// The first line of a file that holds a name.
pub(super) fn name_in(path: &Path, into: &mut Imported) -> String {
    let first = lines(path, into).into_iter().next();
    first.map_or_else(String::new, |row| row.text.trim().to_owned())
}

fn content(path: &Path) -> io::Result<Vec<u8>> {
    // Opening a pipe would wait for its other end.
    if !path.metadata()?.is_file() {
        return Err(io::Error::other("it is no file"));
    }
    let mut content = Vec::new();
    let file = File::open(path)?;
    file.take(FILE_OCTETS_MAX + 1).read_to_end(&mut content)?;
    if content.len() as u64 > FILE_OCTETS_MAX {
        return Err(io::Error::other("it has over 256 MiB"));
    }
    match content.contains(&0) {
        true => Err(io::Error::other("it is no text")),
        false => Ok(content),
    }
}

/// A file that another one names. What is in /etc is looked for beside the folder that is imported, which may be a copy.
pub(super) fn beside(etc: &Path, named: &str) -> PathBuf {
    match Path::new(named).strip_prefix("/etc") {
        Ok(rest) => etc.join(rest),
        Err(_) => PathBuf::from(named),
    }
}

/// The folder that a file or a folder of /etc is in.
pub(super) fn parent(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    absolute.parent().unwrap_or(&absolute).to_owned()
}

const FILE_OCTETS_MAX: u64 = 256 << 20;
pub(super) const LINE_OCTETS_MAX: usize = 1 << 20;
