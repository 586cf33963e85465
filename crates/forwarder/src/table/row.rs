//! A line as programs read and write it.

use envelope::Domain;

use super::line::{Form, Key};
use super::options::{ENABLED, EXPIRES, NOTE};
use super::words::{Words, quoted, unquoted};
use super::{Table, digest, line_text};

/// The parts of a line, as they are typed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Row {
    /// `ann@example.org`, `@example.org`, `tmp-*@example.org`; of a domain's line its name.
    pub key: String,
    /// Addresses, or one action: `:discard:`, `:reject: 550 text`, `:domain:`.
    pub targets: Vec<String>,
    /// Names and values of its options, without the following.
    pub options: Vec<(String, String)>,
    /// Whether it is not `enabled=no`.
    pub enabled: bool,
    /// The text of `expires=`.
    pub expires: Option<String>,
    /// The text of `note=`, without quotes.
    pub note: String,
}

/// What cannot be written as a line that says the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "it cannot be written as one line\n\nhint: targets are addresses, options words; `:reject:` takes neither options nor a note"
)]
pub struct NotALine;

impl Row {
    /// Of a line; `None` if it says nothing. What is wrong with it, is not looked at.
    pub fn of(line: &str) -> Option<Self> {
        let mut words = Words::of(line);
        let (_, key) = words.next_word()?;
        let mut row = Self {
            key: key.to_owned(),
            enabled: true,
            ..Self::default()
        };
        match words.peek_word() {
            Some((_, ":reject:")) => row.targets.push(words.take_rest().1.to_owned()),
            Some((_, word)) if word.starts_with(':') => {
                words.next_word();
                row.targets.push(word.to_owned());
            }
            _ => loop {
                row.targets.push(words.next_target().1.to_owned());
                if !words.next_comma() {
                    break;
                }
            },
        }
        while let Some((_, word)) = words.next_word() {
            let (name, value) = word.split_once('=').unwrap_or((word, ""));
            match name {
                ENABLED => row.enabled = value != "no",
                EXPIRES => row.expires = Some(value.to_owned()),
                NOTE => row.note = unquoted(value).unwrap_or_default(),
                _ => row.options.push((name.to_owned(), value.to_owned())),
            }
        }
        Some(row)
    }

    /// As a line without its end.
    pub fn line(&self) -> Result<String, NotALine> {
        let mut line = format!("{} {}", self.key, self.targets.join(", "));
        for (name, value) in &self.options {
            line.extend([" ", name, "=", value]);
        }
        if !self.enabled {
            line.push_str(" enabled=no");
        }
        if let Some(expires) = &self.expires {
            line.extend([" expires=", expires]);
        }
        if !self.note.is_empty() {
            line.extend([" note=", &quoted(&self.note)]);
        }
        // Whatever its parts hold, it says what they say and nothing else.
        let is_one = !line.contains(char::is_control) && Self::of(&line).as_ref() == Some(self);
        is_one.then_some(line).ok_or(NotALine)
    }

    /// Whether it is a domain's own line.
    pub fn is_domain(&self) -> bool {
        self.targets == [DOMAIN]
    }
}

/// What a line is about, to be compared: `Ann@example.org` and `ann@EXAMPLE.org` are one.
#[derive(Debug, PartialEq, Eq)]
pub struct About(Key);

impl About {
    /// A line.
    pub fn line(line: &str) -> Option<Self> {
        Key::of_line(line).map(Self)
    }

    /// These addresses of the domain: a local part, a pattern, or `@` for all others.
    pub fn local(local: &str, domain: &Domain) -> Option<Self> {
        let key = key(local, domain);
        let is_word = !local.is_empty() && Words::of(&key).next_word() == Some((0, &*key));
        Self::line(&key).filter(|about| is_word && about.0.domain == *domain)
    }

    /// The domain itself.
    pub fn domain(domain: &Domain) -> Self {
        let (form, domain) = (Form::Domain, domain.clone());
        Self(Key { form, domain })
    }
}

/// As it is written at the beginning of a line.
pub fn key(local: &str, domain: &Domain) -> String {
    match local {
        "@" => format!("@{domain}"),
        _ => format!("{local}@{domain}"),
    }
}

/// The digest of the lines of a text: see [`Table::digest`].
pub fn digest_of(text: &str) -> u64 {
    let lines = text.lines().filter(|line| Key::of_line(line).is_some());
    lines.map(digest::hash).fold(0, u64::wrapping_add)
}

impl Table {
    /// All lines that count, in their order.
    pub fn lines(&self) -> impl Iterator<Item = &str> {
        let mut numbers: Vec<u32> = self.lines.numbers().collect();
        numbers.sort_unstable();
        let text = |at| line_text(&self.text, at);
        numbers.into_iter().map(text)
    }

    /// The line about that address or pattern, and its place as `file:line`.
    pub fn line_about(&self, about: &About) -> Option<(String, &str)> {
        let at = self.find_offset(&about.0)?;
        Some((self.place_of(at as usize), line_text(&self.text, at)))
    }

    /// The lines about a domain that count, with their places as `file:line`, in their order.
    pub fn lines_of(&self, domain: &Domain) -> Vec<(String, &str)> {
        let Some(number) = self.domain_number(domain) else {
            return Vec::new();
        };
        let begin = match number {
            0 => 0,
            number => self.domains[number - 1].lines_end,
        };
        let found = &self.by_domain[begin as usize..self.domains[number].lines_end as usize];
        let (mut before, mut number) = (0, 1);
        let line = |at: &u32| {
            let at = *at as usize;
            let part = self.part_of(at);
            if before < part.at {
                (before, number) = (part.at, 1);
            }
            number += memchr::memchr_iter(b'\n', &self.text.as_bytes()[before..at]).count();
            before = at;
            (
                format!("{}:{number}", part.name),
                line_text(&self.text, at as u32),
            )
        };
        found.iter().map(line).collect()
    }
}

/// The action of a domain's own line.
pub const DOMAIN: &str = ":domain:";
