//! The files that a table is made of: their texts joined, and where in them a line stands.

use super::error::{TableError, TableErrors};
use super::line::{Key, Mistake};
use super::{NO_LINE, Table};

/// One file, as it is read.
#[derive(Debug, PartialEq, Eq)]
pub struct File {
    /// What errors call it.
    pub name: String,
    /// What it says.
    pub content: Vec<u8>,
}

/// Where a file stands in a table's text.
#[derive(Debug, Clone)]
pub(super) struct Part {
    pub(super) name: Box<str>,
    pub(super) at: usize,
    pub(super) octets: usize,
}

/// One text of all: each file begins on a line of its own. A single one is not copied.
pub(super) fn join(files: Vec<File>) -> Result<(Box<str>, Vec<Part>), TableErrors> {
    let octets: usize = files.iter().map(|file| file.content.len() + 1).sum();
    let mut errors = TableErrors::default();
    let (mut all, mut parts) = (String::new(), Vec::new());
    let several = files.len() > 1;
    for File { name, content } in files {
        if octets >= NO_LINE as usize {
            errors.push(|| error(&name, "", 0, Mistake::new(0, "over 4 GiB")));
            break;
        }
        match String::from_utf8(content) {
            Ok(text) => {
                if !all.is_empty() && !all.ends_with('\n') {
                    all.push('\n');
                }
                let (name, at, octets) = (name.into(), all.len(), text.len());
                parts.push(Part { name, at, octets });
                match several {
                    true => all.push_str(&text),
                    false => all = text,
                }
            }
            Err(wrong) => {
                let at = wrong.utf8_error().valid_up_to();
                // What stands before it is UTF-8.
                let valid = std::str::from_utf8(&wrong.as_bytes()[..at]).unwrap_or_default();
                let mistake = Mistake::new(0, "not UTF-8").hint("save the file as UTF-8");
                errors.push(|| error(&name, valid, at, mistake));
            }
        }
    }
    match errors.count {
        0 => Ok((all.into_boxed_str(), parts)),
        _ => Err(errors),
    }
}

impl Table {
    /// The files that it was made of: their names and texts, in their order.
    pub fn files(&self) -> impl Iterator<Item = (&str, &str)> {
        let text = |part: &Part| &self.text[part.at..part.at + part.octets];
        self.parts.iter().map(move |part| (&*part.name, text(part)))
    }

    /// The last line of each file, if it says something and no line feed ends it: then the file may have been cut within it.
    pub fn open_ends(&self) -> impl Iterator<Item = (&str, &str)> {
        let last = |text: &'_ str| memchr::memrchr(b'\n', text.as_bytes()).map_or(0, |end| end + 1);
        let lines = self
            .files()
            .map(move |(name, text)| (name, &text[last(text)..]));
        lines.filter(|(_, line)| Key::of_line(line).is_some())
    }

    /// Lines that count for nothing, because a file before theirs has one about the same. Up to [`TableErrors::SHOWN_MAX`] are told.
    pub fn left_out(&self) -> &TableErrors {
        &self.left_out
    }

    pub(super) fn part_of(&self, at: usize) -> &Part {
        let after = self.parts.partition_point(|part| part.at <= at);
        // Of files without a text and the next one, the last begins there.
        &self.parts[after.max(1) - 1]
    }

    /// `file:line` of an octet of the text.
    pub(super) fn place_of(&self, at: usize) -> String {
        let part = self.part_of(at);
        let (line, _) = position(&self.text[part.at..], at - part.at);
        format!("{}:{line}", part.name)
    }

    /// A mistake in the line that begins there.
    pub(super) fn locate(&self, line_at: usize, mistake: Mistake) -> TableError {
        let part = self.part_of(line_at);
        let hint = mistake.repeats.map(|first| {
            let first = first as usize;
            match first < part.at {
                true => format!("{} goes before it", self.place_of(first)),
                false => {
                    let (number, _) = position(&self.text[part.at..], first - part.at);
                    format!("the first is line {number}; put all targets on one")
                }
            }
        });
        let hint = hint.or(mistake.hint);
        let mistake = Mistake { hint, ..mistake };
        error(
            &part.name,
            &self.text[part.at..],
            line_at - part.at,
            mistake,
        )
    }
}

fn error(file: &str, text: &str, line_at: usize, mistake: Mistake) -> TableError {
    let (line, column) = position(text, line_at + mistake.at);
    TableError {
        file: file.to_owned(),
        line,
        column,
        text: mistake.text,
        hint: mistake.hint,
    }
}

/// Line and column (in characters) of an octet of the text, both from 1.
fn position(text: &str, at: usize) -> (usize, usize) {
    let before = &text.as_bytes()[..at];
    let line = memchr::memchr_iter(b'\n', before).count() + 1;
    let start = memchr::memrchr(b'\n', before).map_or(0, |end| end + 1);
    let column = text.get(start..at).map_or(0, |head| head.chars().count());
    (line, column + 1)
}
