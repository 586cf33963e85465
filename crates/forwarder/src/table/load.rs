//! Loading: every line is parsed once, its key and its domain go into the indexes, every mistake is told.

use std::hash::{BuildHasher, RandomState};
use std::sync::OnceLock;

use envelope::{Domain, Timestamp};

use super::error::TableErrors;
use super::expand::Fault;
use super::index::Index;
use super::line::{Action, Form, Goal, Key, Line, Mistake};
use super::options::Check;
use super::parts::{self, File, Part};
use super::{DomainEntry, NO_LINE, Stats, Table};

/// See [`Table::parse`].
pub(super) fn load(files: Vec<File>, check: Check<'_>) -> Result<Table, TableErrors> {
    let (text, parts) = parts::join(files)?;
    // Comments and blank lines count too: room for a few too many is cheaper than growing.
    let line_count = memchr::memchr_iter(b'\n', text.as_bytes()).count() + 1;
    let mut table = Table {
        parts: Vec::new(),
        text,
        lines: Index::with_room(line_count),
        domain_index: Index::with_room(0),
        domains: Vec::new(),
        by_domain: Box::default(),
        srs_domains: Vec::new(),
        left_out: TableErrors::default(),
        hasher: RandomState::new(),
        stats: Stats::default(),
        digest: OnceLock::new(),
        beneath: None,
    };
    let mut errors = TableErrors::default();
    // Lines that count, each with the number of its domain.
    let mut lines = Vec::with_capacity(line_count);
    for part in parts {
        table.parts.push(part.clone());
        table.add_all(&part, check, &mut lines, &mut errors);
    }
    if errors.count > 0 {
        return Err(errors);
    }
    table.by_domain = table.sort(&lines);
    table.finish();
    Ok(table)
}

impl Table {
    /// Takes the lines of a file into the indexes.
    fn add_all(
        &mut self,
        part: &Part,
        check: Check<'_>,
        lines: &mut Vec<(u32, u32)>,
        errors: &mut TableErrors,
    ) {
        let (mut at, end) = (part.at, part.at + part.octets);
        // A byte order mark at the beginning is no part of the first address.
        if self.text[at..].starts_with('\u{feff}') {
            at += 3;
        }
        while at < end {
            let line = super::line_text(&self.text, at as u32);
            let octets = line.len();
            let parsed = Line::parse(line, check).and_then(|line| match line {
                Some(line) => self.add(at as u32, line, part, lines),
                None => Ok(()),
            });
            if let Err(mistake) = parsed {
                errors.push(|| self.locate(at, mistake));
            }
            at += octets;
            at += memchr::memchr(b'\n', &self.text.as_bytes()[at..]).map_or(2, |end| end + 1);
        }
    }

    /// Takes a line into the indexes, unless its key is there already: in a file before this one, that line counts.
    fn add(
        &mut self,
        at: u32,
        line: Line,
        part: &Part,
        lines: &mut Vec<(u32, u32)>,
    ) -> Result<(), Mistake> {
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
            let mistake = Mistake {
                repeats: Some(first),
                ..mistake(format!("{} has a line already", line.key.written()))
            };
            if first as usize >= part.at {
                return Err(mistake);
            }
            let mut left_out = std::mem::take(&mut self.left_out);
            left_out.push(|| self.locate(at as usize, mistake));
            self.left_out = left_out;
            return Ok(());
        }
        self.lines.insert(hash, at);
        self.count(&line);
        let number = self.domain_number_or_new(&line.key.domain, at);
        self.domains[number].lines_end += 1;
        lines.push((number as u32, at));
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
            lines_end: 0,
        });
        self.domain_index
            .insert(self.hasher.hash_one(domain), number as u32);
        number
    }

    /// Puts the lines of each domain together, in their order. Its entry has their count until then.
    fn sort(&mut self, lines: &[(u32, u32)]) -> Box<[u32]> {
        let (mut sorted, mut begin) = (vec![0; lines.len()], 0);
        for entry in &mut self.domains {
            (begin, entry.lines_end) = (begin + entry.lines_end, begin);
        }
        for (number, at) in lines {
            let end = &mut self.domains[*number as usize].lines_end;
            sorted[*end as usize] = *at;
            *end += 1;
        }
        sorted.into_boxed_slice()
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
            + size_of_val(&*self.by_domain)
            + size_of_val(&*self.srs_domains);
    }

    /// Chains of the table that lead nowhere: a target in a hosted domain that has no line, is refused, or leads
    /// back. Mail to such an address is refused, or reaches its other targets only. Up to
    /// [`TableErrors::SHOWN_MAX`] are told.
    pub fn dead_ends(&self, now: Timestamp) -> TableErrors {
        let mut found = TableErrors::default();
        for (at, line) in self.all_lines() {
            let Action::Targets(targets) = &line.action else {
                continue;
            };
            if line.options.is_over(now) {
                continue;
            }
            let hosted = targets.iter().any(|target| match target {
                Goal::Address(address) => address.domain().is_some_and(|name| self.hosts(name)),
                Goal::SameLocalPart(domain) => self.hosts(domain),
            });
            if !hosted {
                continue;
            }
            for broken in self.broken_targets(&line, now) {
                let text = match broken.fault {
                    Fault::Loop => LOOP_TEXT.to_owned(),
                    fault => fault.reply().text,
                };
                let text = format!("target {}: {text}", broken.address);
                let column = key_column(&self.text, at);
                found.push(|| self.locate(at as usize, Mistake::new(column, text)));
            }
        }
        found
    }
}

impl Key {
    /// As it would be typed, for messages.
    pub(super) fn written(&self) -> String {
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

const LOOP_TEXT: &str =
    "leads back here; nobody gets the mail through it, only through other targets if there are any";
/// Patterns that begin alike are told apart one by one, at each look-up and when the next is loaded.
const ALIKE_MAX: usize = 100;
