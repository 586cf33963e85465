//! Postfix's tables: `hash:/etc/postfix/virtual` and the like, read from their texts.

use std::path::{Path, PathBuf};

use super::main_cf::MainCf;
use crate::import::source::{Entry, Place, Row, rows};
use crate::import::targets::unquoted;
use crate::import::{Imported, pattern};

/// One of the tables that a parameter names.
pub(super) struct TableRef {
    pub(super) kind: String,
    pub(super) path: PathBuf,
}

/// The tables of a parameter that can be read.
pub(super) fn tables(config: &MainCf, name: &str, into: &mut Imported) -> Vec<TableRef> {
    let mut tables = Vec::new();
    for word in config.words(name) {
        let typed = word.trim_start_matches("proxy:");
        let (kind, path) = typed.split_once(':').unwrap_or(("hash", typed));
        let table = TableRef::new(kind, config.path(path));
        if table.is_text() || table.is_pattern() {
            tables.push(table);
        } else {
            let why = format!("{name}: tables of this type are not read");
            into.leave(&config.place(name), &word, why, TABLE_HINT);
        }
    }
    tables
}

impl TableRef {
    pub(super) fn new(kind: &str, path: PathBuf) -> Self {
        let kind = kind.to_owned();
        Self { kind, path }
    }

    /// Has a text of keys and values, compiled or not.
    pub(super) fn is_text(&self) -> bool {
        let kinds = ["hash", "btree", "lmdb", "cdb", "dbm", "texthash"];
        kinds.contains(&&*self.kind)
    }

    pub(super) fn is_pattern(&self) -> bool {
        matches!(&*self.kind, "regexp" | "pcre")
    }

    /// Its lines, as `postmap` reads them.
    pub(super) fn entries(&self, into: &mut Imported) -> Vec<Entry> {
        let Self { kind, path } = self;
        let db = ["db", "lmdb", "cdb", "dir"].map(|end| format!("{}.{end}", path.display()));
        let compiled = db.iter().find(|db| Path::new(db).exists());
        if let Some(db) = compiled.filter(|_| !path.exists()) {
            let shown = path.display();
            let hint = format!("write its text by `postmap -s {kind}:{shown} >{shown}`");
            let why = format!("only {db} is there");
            into.leave(&Place::whole(path), "the table", why, &hint);
            return Vec::new();
        }
        let mut entries = Vec::new();
        let mut conditions = 0_usize;
        for row in rows(path, into) {
            if self.is_pattern() {
                let word: String = row
                    .text
                    .chars()
                    .take_while(char::is_ascii_alphabetic)
                    .collect();
                match &*word.to_lowercase() {
                    "if" => conditions += 1,
                    "endif" => {
                        conditions = conditions.saturating_sub(1);
                        continue;
                    }
                    _ => {}
                }
                patterns(row, conditions > 0, &mut entries, into);
                continue;
            }
            let text = row.text.trim();
            let (key, value) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
            let (key, value) = (unquoted(key).to_lowercase(), value.trim().to_owned());
            entries.push(Entry { key, value, row });
        }
        entries
    }
}

/// A line of a table of regular expressions, as the line that says the same. One between `if` and `endif` holds for a part of the
/// addresses only.
fn patterns(row: Row, is_conditional: bool, entries: &mut Vec<Entry>, into: &mut Imported) {
    let found = expression(&row.text).filter(|_| !is_conditional);
    match found.and_then(|(expression, value)| pattern::line(expression, value)) {
        Some((key, value)) => {
            let key = key.to_lowercase();
            entries.push(Entry { key, value, row });
        }
        None => {
            let why = "no line says the same as this expression";
            into.leave(&row.place, &row.text, why, PATTERN_HINT);
        }
    }
}

/// `/expression/flags value`: the flags i (which is how we compare, too), m, s and x change nothing here.
fn expression(text: &str) -> Option<(&str, &str)> {
    let rest = text.strip_prefix('/')?;
    let (expression, rest) = rest.rsplit_once("/i").or_else(|| rest.rsplit_once('/'))?;
    let value = rest.strip_prefix(char::is_whitespace)?;
    Some((expression, value.trim()))
}

const TABLE_HINT: &str =
    "write a line `address target` for each of its addresses into the forwards file";
const PATTERN_HINT: &str =
    "a line of the forwards file has one `*` at most: write the addresses one by one";
