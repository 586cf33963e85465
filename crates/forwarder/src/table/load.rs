//! Loading: every line is parsed once, its key and its domain go into the indexes, every mistake is told.

use std::hash::{BuildHasher, RandomState};
use std::sync::OnceLock;

use envelope::Domain;

use super::error::{TableError, TableErrors};
use super::expand::Fault;
use super::index::Index;
use super::line::{Action, Form, Goal, Key, Line, Mistake};
use super::options::Check;
use super::{DomainEntry, NO_LINE, Stats, Table};

/// See [`Table::parse`].
pub(super) fn load(name: &str, content: Vec<u8>, check: Check<'_>) -> Result<Table, TableErrors> {
    let text = decode(name, content)?;
    let mut errors = TableErrors::default();
    // Comments and blank lines count too: room for a few too many is cheaper than growing.
    let line_count = memchr::memchr_iter(b'\n', text.as_bytes()).count() + 1;
    let mut table = Table {
        name: name.to_owned(),
        text,
        lines: Index::with_room(line_count),
        domain_index: Index::with_room(0),
        domains: Vec::new(),
        srs_domains: Vec::new(),
        hasher: RandomState::new(),
        stats: Stats::default(),
        digest: OnceLock::new(),
    };
    // A byte order mark at the beginning is no part of the first address.
    let mut at = if table.text.starts_with('\u{feff}') {
        3
    } else {
        0
    };
    while at < table.text.len() {
        let line = super::line_text(&table.text, at as u32);
        let octets = line.len();
        let parsed = Line::parse(line, check).and_then(|line| match line {
            Some(line) => table.add(at as u32, line),
            None => Ok(()),
        });
        if let Err(mistake) = parsed {
            errors.push(|| locate(name, &table.text, at, mistake));
        }
        at += octets;
        at += memchr::memchr(b'\n', &table.text.as_bytes()[at..]).map_or(2, |end| end + 1);
    }
    if errors.count > 0 {
        return Err(errors);
    }
    table.finish();
    Ok(table)
}

/// The content as text, without copying it.
fn decode(name: &str, content: Vec<u8>) -> Result<Box<str>, TableErrors> {
    let mut errors = TableErrors::default();
    match String::from_utf8(content) {
        Ok(text) if text.len() < NO_LINE as usize => return Ok(text.into_boxed_str()),
        Ok(_) => errors.push(|| locate(name, "", 0, Mistake::new(0, "file over 4 GiB"))),
        Err(error) => {
            let at = error.utf8_error().valid_up_to();
            // What stands before it is UTF-8.
            let valid = std::str::from_utf8(&error.as_bytes()[..at]).unwrap_or_default();
            let mistake = Mistake::new(0, "not UTF-8").hint("save the file as UTF-8");
            errors.push(|| locate(name, valid, at, mistake));
        }
    }
    Err(errors)
}

impl Table {
    /// Takes a line into the indexes, unless its key is there already.
    fn add(&mut self, at: u32, line: Line) -> Result<(), Mistake> {
        let hash = self.hash_key(&line.key);
        let mistake = |text| Mistake::new(key_column(&self.text, at), text);
        if matches!(line.key.form, Form::Pattern { .. })
            && self.lines.find(hash).count() >= ALIKE_MAX
        {
            let text =
                format!("over {ALIKE_MAX} patterns of a domain with the same text before `*`");
            return Err(mistake(text).hint("write the addresses one by one, or use a catch-all"));
        }
        if let Some(first) = self.find_offset(&line.key) {
            return Err(Mistake {
                repeats: Some(first),
                ..mistake(format!("{} has a line already", line.key.written()))
            });
        }
        self.lines.insert(hash, at);
        self.count(&line);
        let number = self.domain_number_or_new(&line.key.domain, at);
        match line.key.form {
            Form::Domain => self.domains[number].line = at,
            Form::Pattern { .. } => self.domains[number].patterns = true,
            Form::Local(_) | Form::CatchAll => {}
        }
        // Most lines name none, and of those that do most name the same.
        self.srs_domains.extend(line.options.srs_domain);
        Ok(())
    }

    fn count(&mut self, line: &Line) {
        let stats = &mut self.stats;
        stats.lines += 1;
        match &line.key.form {
            Form::Domain => stats.domain_lines += 1,
            Form::Local(_) => stats.addresses += 1,
            Form::CatchAll => stats.catch_alls += 1,
            Form::Pattern { .. } => stats.patterns += 1,
        }
    }

    /// The domain's place in `domains`; the name of a new one is remembered where it first stands.
    fn domain_number_or_new(&mut self, domain: &Domain, line_at: u32) -> usize {
        if let Some(number) = self.domain_number(domain) {
            return number;
        }
        let number = self.domains.len();
        let (name_at, name_octets) = domain_span(&self.text, line_at);
        self.domains.push(DomainEntry {
            name_at,
            name_octets,
            patterns: false,
            line: NO_LINE,
        });
        self.domain_index
            .insert(self.hasher.hash_one(domain), number as u32);
        number
    }

    /// Gives back what was room for more, and counts.
    fn finish(&mut self) {
        self.domains.shrink_to_fit();
        self.srs_domains.sort_unstable();
        self.srs_domains.dedup();
        self.srs_domains.shrink_to_fit();
        self.stats.domains = self.domains.len();
        self.stats.memory_octets = self.text.len()
            + self.lines.octets()
            + self.domain_index.octets()
            + size_of_val(&*self.domains)
            + size_of_val(&*self.srs_domains);
    }

    /// Chains of the table that lead nowhere: a target in a hosted domain that has no line, is refused, or leads
    /// back. Mail to such an address is refused, or reaches its other targets only. Up to
    /// [`TableErrors::SHOWN_MAX`] are told.
    pub fn dead_ends(&self) -> TableErrors {
        let mut found = TableErrors::default();
        for (at, line) in self.all_lines() {
            let Action::Targets(targets) = &line.action else {
                continue;
            };
            let hosted = targets.iter().any(|target| match target {
                Goal::Address(address) => address.domain().is_some_and(|name| self.hosts(name)),
                Goal::SameLocalPart(domain) => self.hosts(domain),
            });
            if !hosted {
                continue;
            }
            for broken in self.broken_targets(&line) {
                let text = match broken.fault {
                    Fault::Loop => LOOP_TEXT.to_owned(),
                    fault => fault.reply().text,
                };
                let text = format!("target {}: {text}", broken.address);
                let column = key_column(&self.text, at);
                found.push(|| {
                    locate(
                        &self.name,
                        &self.text,
                        at as usize,
                        Mistake::new(column, text),
                    )
                });
            }
        }
        found
    }
}

impl Key {
    /// As it would be typed, for messages.
    fn written(&self) -> String {
        match &self.form {
            Form::Local(local) => format!("{local}@{}", self.domain),
            Form::Pattern { prefix, suffix } => format!("{prefix}*{suffix}@{}", self.domain),
            Form::CatchAll => format!("@{}", self.domain),
            Form::Domain => self.domain.to_string(),
        }
    }
}

/// Where the domain of the line's key stands in the text.
fn domain_span(text: &str, line_at: u32) -> (u32, u16) {
    let line = super::line_text(text, line_at);
    let start = key_column(text, line_at);
    let end = start + super::words::word_octets(&line[start..], b" \t");
    let domain = line[start..end]
        .rfind('@')
        .map_or(start, |at| start + at + 1);
    // A domain has at most 255 octets in A-labels, and was refused with over four times as many in others.
    (line_at + domain as u32, (end - domain) as u16)
}

/// Octets of blanks before the key.
fn key_column(text: &str, line_at: u32) -> usize {
    let line = super::line_text(text, line_at);
    line.len() - line.trim_start_matches([' ', '\t']).len()
}

fn locate(name: &str, text: &str, line_at: usize, mistake: Mistake) -> TableError {
    let (line, column) = position(text, line_at + mistake.at);
    let repeats = mistake.repeats.map(|first| {
        let (number, _) = position(text, first as usize);
        format!("the first is line {number}; put all targets on one")
    });
    TableError {
        file: name.to_owned(),
        line,
        column,
        text: mistake.text,
        hint: repeats.or(mistake.hint),
    }
}

/// Line and column (in characters) of an octet of the text, both from 1.
pub(super) fn position(text: &str, at: usize) -> (usize, usize) {
    let before = &text.as_bytes()[..at];
    let line = memchr::memchr_iter(b'\n', before).count() + 1;
    let start = memchr::memrchr(b'\n', before).map_or(0, |end| end + 1);
    let column = text.get(start..at).map_or(0, |head| head.chars().count());
    (line, column + 1)
}

const LOOP_TEXT: &str =
    "leads back here; nobody gets the mail through it, only through other targets if there are any";
/// Patterns that begin alike are told apart one by one, at each look-up and when the next is loaded.
const ALIKE_MAX: usize = 100;
