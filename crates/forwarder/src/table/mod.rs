//! The forwards table: which addresses are hosted, and where their mail goes.
//!
//! The file has one line an address (see `etc/forwards.example`):
//!
//! ```text
//! alice@example.org    alice@mail.example.com           one address
//! sales@example.org    bob@a.example, carol@b.example   several targets
//! paul-*@example.org   paul@d.example                   a pattern: `*` is any text, even none
//! @example.org         catchall@c.example               catch-all
//! @old.example         @new.example                     every local part kept
//! shop@example.org     x@e.example                      srs=off
//! x7@example.org       ann@e.example                    expires=2026-12-31T23:59:59Z note="for the shop"
//! junk@example.org     :discard:
//! old@example.org      :reject: 550 5.1.6 moved, write to new@example.org
//! example.net          :domain:                         srs_domain=srs.example.net
//! ```
//!
//! An address is looked up in this order; the first line found decides:
//! 1. the whole address;
//! 2. without its plus-suffix: `alice+tag@` as `alice@` (the suffix is *not* carried over to the targets: they are
//!    somebody else's mailboxes, and not every mailbox knows suffixes);
//! 3. patterns: the longest text before the `*` first, then the longest behind it;
//! 4. the catch-all.
//!
//! Where that line has expired, or is not enabled, the address is refused.
//!
//! Local parts are compared without regard to case, and composed (NFC). A target in a hosted domain is looked up in turn, up to
//! [`CHAIN_MAX`] lines deep.
//!
//! The table is the text of its files and an index into it: about 21 octets a line beyond the text. A line is parsed
//! twice, when it is loaded (all mistakes are found then) and when it is used.
//!
//! It does *not* change once it is made: a reload makes another, and the old one serves until that is whole.

mod captured;
mod difference;
mod digest;
mod error;
mod expand;
mod index;
mod layer;
mod line;
mod load;
mod options;
mod parts;
mod row;
mod trace;
mod words;

use std::hash::{BuildHasher, RandomState};
use std::sync::OnceLock;

use envelope::{Domain, LocalPart};

use index::Index;
use layer::Beneath;
use line::{Form, Key, Line};
use parts::Part;

use crate::fold::fold;

pub use captured::Captured;
pub use difference::Difference;
pub use error::{TableError, TableErrors};
pub use expand::{Broken, CHAIN_MAX, Expansion, Fault, Resolution, TARGETS_MAX, Target};
pub(crate) use options::SRS_DOMAIN_OCTETS_MAX;
pub use options::{Check, Measure, Objection, Options};
pub use parts::File;
pub use row::{About, DOMAIN as DOMAIN_ACTION, NotALine, Row, digest_of, key};
pub use trace::Step;

/// Loaded forwards, of one file or several.
#[derive(Debug)]
pub struct Table {
    /// The files, in their order.
    parts: Vec<Part>,
    /// Of all of them.
    text: Box<str>,
    /// Lines by key; a number is where the line begins in the text.
    lines: Index,
    /// Entries of `domains` by name.
    domain_index: Index,
    domains: Vec<DomainEntry>,
    /// Where the lines about each domain begin in the text, one domain behind the other.
    by_domain: Box<[u32]>,
    /// Every domain that an option names as SRS domain, sorted.
    srs_domains: Vec<Domain>,
    left_out: TableErrors,
    hasher: RandomState,
    stats: Stats,
    digest: OnceLock<u64>,
    /// What this one only adds to.
    beneath: Option<Box<Beneath>>,
}

/// What a table holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// Lines that say something.
    pub lines: usize,
    /// Lines of one address.
    pub addresses: usize,
    /// Lines with a `*`.
    pub patterns: usize,
    /// Lines `@domain`.
    pub catch_alls: usize,
    /// Lines `domain :domain:`.
    pub domain_lines: usize,
    /// Hosted domains.
    pub domains: usize,
    /// What the table takes up, in octets.
    pub memory_octets: usize,
}

#[derive(Debug, Clone, Copy)]
struct DomainEntry {
    /// Where its name stands in the text.
    name_at: u32,
    name_octets: u16,
    patterns: bool,
    /// Where its `:domain:` line begins, or [`NO_LINE`].
    line: u32,
    /// Where its lines end in `by_domain`; they begin where those of the domain before end.
    lines_end: u32,
}

impl Table {
    /// Loads a file's content; `name` is what errors call it. At most 4 GiB of UTF-8. There are no measures.
    ///
    /// Either the whole file is right, or all that is wrong with it is told.
    pub fn parse(name: &str, content: Vec<u8>) -> Result<Self, TableErrors> {
        Self::parse_with(name, content, &|_, _| Err(Objection::Unknown))
    }

    /// As [`Table::parse`], with the measures that `check` knows.
    pub fn parse_with(name: &str, content: Vec<u8>, check: Check<'_>) -> Result<Self, TableErrors> {
        let name = name.to_owned();
        Self::join(vec![File { name, content }], check)
    }

    /// The same of several files. Where two have a line about the same address, pattern or domain, that of the first counts, and the
    /// other [is left out](Table::left_out).
    pub fn join(files: Vec<File>, check: Check<'_>) -> Result<Self, TableErrors> {
        load::load(files, check)
    }

    /// This table with another text for one of its files, or with a new file of that name behind those whose names begin with
    /// `beside`; with `None` without it.
    pub fn with(
        &self,
        name: &str,
        text: Option<&str>,
        beside: &str,
        check: Check<'_>,
    ) -> Result<Self, TableErrors> {
        let file = |name: &str, text: &str| File {
            name: name.to_owned(),
            content: text.as_bytes().to_owned(),
        };
        let (mut files, mut place) = (Vec::with_capacity(self.parts.len() + 1), 0);
        let mut text = text;
        for (of, old) in self.files() {
            if of != name {
                files.push(file(of, old));
            } else if let Some(text) = text.take() {
                files.push(file(name, text));
            }
            if of.starts_with(beside) {
                place = files.len();
            }
        }
        if let Some(text) = text {
            files.insert(place, file(name, text));
        }
        Self::join(files, check)
    }

    /// What it holds.
    pub fn stats(&self) -> Stats {
        self.stats
    }

    /// Whether any line is about this domain.
    pub fn hosts(&self, domain: &Domain) -> bool {
        self.domain_entry(domain).is_some() || self.base().is_some_and(|base| base.hosts(domain))
    }

    /// Whether an option of any line names this as an SRS domain.
    pub fn names_srs_domain(&self, domain: &Domain) -> bool {
        self.srs_domains.binary_search(domain).is_ok()
            || self
                .base()
                .is_some_and(|base| base.names_srs_domain(domain))
    }

    /// Every domain that an option of some line names as an SRS domain.
    pub fn srs_domains(&self) -> &[Domain] {
        &self.srs_domains
    }

    /// The options of the domain's own line; `None` if it is not hosted.
    pub fn domain_options(&self, domain: &Domain) -> Option<Options> {
        let own = self.domain_entry(domain);
        let own = own.map(|entry| self.entry_options(entry));
        match self.base().and_then(|base| base.domain_options(domain)) {
            Some(options) => Some(options.or(&own.unwrap_or_default())),
            None => own,
        }
    }

    fn entry_options(&self, entry: &DomainEntry) -> Options {
        match entry.line {
            NO_LINE => Options::default(),
            at => self
                .line_at(at)
                .map_or_else(Options::default, |line| line.options),
        }
    }

    /// The line that decides on a hosted address.
    fn find(&self, local: &LocalPart, domain: &Domain) -> Option<Line> {
        self.find_beneath(|base| base.find(local, domain))
            .or_else(|| self.find_here(local, domain))
    }

    fn find_here(&self, local: &LocalPart, domain: &Domain) -> Option<Line> {
        let entry = self.domain_entry(domain)?;
        let local = fold(local.as_str());
        self.find_local(&local, domain)
            .or_else(|| {
                let plus = local.find('+').filter(|at| *at > 0)?;
                self.find_local(&local[..plus], domain)
            })
            .or_else(|| {
                entry
                    .patterns
                    .then(|| self.find_pattern(&local, domain))
                    .flatten()
            })
            .or_else(|| self.find_form(Form::CatchAll, domain))
    }

    /// The line of this very address; `local` is folded.
    fn find_local(&self, local: &str, domain: &Domain) -> Option<Line> {
        self.find_form(Form::Local(local.to_owned()), domain)
    }

    /// Tries every prefix, the longest first. All patterns of one prefix are under one hash.
    fn find_pattern(&self, local: &str, domain: &Domain) -> Option<Line> {
        let ends = (1..=local.len()).rev().chain([0]);
        ends.filter(|end| local.is_char_boundary(*end))
            .find_map(|end| {
                let (prefix, rest) = local.split_at(end);
                let hash = self.hash(PATTERN, prefix, domain);
                let fitting = self.lines.find(hash).filter_map(|at| {
                    let key = self.key_at(at).filter(|key| key.domain == *domain)?;
                    match key.form {
                        Form::Pattern { prefix: p, suffix }
                            if p == prefix && rest.ends_with(&suffix) =>
                        {
                            Some((suffix.len(), at))
                        }
                        _ => None,
                    }
                });
                fitting.max().and_then(|(_, at)| self.line_at(at))
            })
    }

    fn find_form(&self, form: Form, domain: &Domain) -> Option<Line> {
        let domain = domain.clone();
        let at = self.find_offset(&Key { form, domain })?;
        self.line_at(at)
    }

    fn find_offset(&self, key: &Key) -> Option<u32> {
        self.lines
            .find(self.hash_key(key))
            .find(|at| self.key_at(*at).is_some_and(|found| found == *key))
    }

    fn domain_entry(&self, domain: &Domain) -> Option<&DomainEntry> {
        self.domain_number(domain)
            .map(|number| &self.domains[number])
    }

    fn domain_number(&self, domain: &Domain) -> Option<usize> {
        let mut numbers = self.domain_index.find(self.hasher.hash_one(domain));
        numbers
            .find(|number| self.domain_name_is(&self.domains[*number as usize], domain))
            .map(|number| number as usize)
    }

    /// The name stands as typed: in any case, perhaps with U-labels or a final dot.
    fn domain_name_is(&self, entry: &DomainEntry, domain: &Domain) -> bool {
        let at = entry.name_at as usize;
        let name = &self.text[at..at + usize::from(entry.name_octets)];
        name.eq_ignore_ascii_case(domain.as_str())
            || ((!name.is_ascii() || name.ends_with('.'))
                && name.parse::<Domain>().as_ref() == Ok(domain))
    }

    fn hash_key(&self, key: &Key) -> u64 {
        match &key.form {
            Form::Local(local) => self.hash(LOCAL, local, &key.domain),
            Form::Pattern { prefix, .. } => self.hash(PATTERN, prefix, &key.domain),
            Form::CatchAll => self.hash(CATCH_ALL, "", &key.domain),
            Form::Domain => self.hash(DOMAIN, "", &key.domain),
        }
    }

    fn hash(&self, kind: u8, text: &str, domain: &Domain) -> u64 {
        self.hasher.hash_one((kind, text, domain))
    }

    /// Parses a line again that loading has found right.
    fn line_at(&self, at: u32) -> Option<Line> {
        let line = Line::parse(line_text(&self.text, at), &|_, _| Ok(()));
        line.ok().flatten().map(|line| Line { at, ..line })
    }

    fn key_at(&self, at: u32) -> Option<Key> {
        Key::of_line(line_text(&self.text, at))
    }

    /// All lines and where they begin, in the order of the file.
    fn all_lines(&self) -> impl Iterator<Item = (u32, Line)> {
        let mut numbers: Vec<u32> = self.lines.numbers().collect();
        numbers.sort_unstable();
        numbers
            .into_iter()
            .filter_map(|at| self.line_at(at).map(|line| (at, line)))
    }
}

/// The line that begins there, without its end.
fn line_text(text: &str, at: u32) -> &str {
    let rest = &text[at as usize..];
    let end = memchr::memchr(b'\n', rest.as_bytes()).unwrap_or(rest.len());
    rest[..end].strip_suffix('\r').unwrap_or(&rest[..end])
}

const NO_LINE: u32 = u32::MAX;
// Kinds of key, so that a pattern's prefix is not taken for a local part.
const LOCAL: u8 = 0;
const PATTERN: u8 = 1;
const CATCH_ALL: u8 = 2;
const DOMAIN: u8 = 3;

#[cfg(test)]
mod tests;
