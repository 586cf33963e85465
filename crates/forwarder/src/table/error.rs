//! What is wrong with a file of lines, forwards or a list: file, line, column, what, and what to do about it.

use std::fmt;

/// One mistake in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableError {
    /// The file's name as given to its parser.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// The column, from 1, in characters.
    pub column: usize,
    /// What is wrong.
    pub text: String,
    /// What to write instead, if that can be said.
    pub hint: Option<String>,
}

/// All mistakes of a file, up to [`TableErrors::SHOWN_MAX`], in the order of the file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TableErrors {
    /// The first ones.
    pub errors: Vec<TableError>,
    /// How many there are altogether.
    pub count: usize,
}

impl TableErrors {
    /// How many are kept: enough to see what is going on.
    pub const SHOWN_MAX: usize = 20;

    /// Counts a mistake, and keeps it if it is one of the first.
    pub fn push(&mut self, error: impl FnOnce() -> TableError) {
        self.count += 1;
        if self.errors.len() < Self::SHOWN_MAX {
            self.errors.push(error());
        }
    }
}

impl fmt::Display for TableError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            file,
            line,
            column,
            text,
            hint,
        } = self;
        write!(f, "{file}:{line}:{column}: {text}")?;
        hint.iter()
            .try_for_each(|hint| write!(f, "\n\nhint: {hint}"))
    }
}

impl fmt::Display for TableErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, error) in self.errors.iter().enumerate() {
            if number > 0 {
                f.write_str("\n")?;
            }
            error.fmt(f)?;
        }
        match self.count - self.errors.len() {
            0 => Ok(()),
            more => write!(f, "\nand {more} more"),
        }
    }
}

impl std::error::Error for TableError {}
impl std::error::Error for TableErrors {}
