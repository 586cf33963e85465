//! From rows to lines of the forwards file.
//!
//! A panel's table is nobody's forwards file: addresses stand in it twice, targets are parted by anything, a catch-all is written
//! in three ways, and a customer may have typed nonsense into any of it. Whatever is no line is left out, counted and named; it
//! never costs the others theirs.
//!
//! A target that is the address itself means a mailbox in that place, which a forwarding relay has not: beside other targets it
//! is dropped, and alone it refuses, since the domain's catch-all must not get a mailbox owner's mail.

use std::collections::{BTreeMap, BTreeSet};

/// What the parser says of a line: its key as it would be typed, or what is wrong with it.
pub type Check<'a> = &'a (dyn Fn(&str) -> Result<String, String> + Send + Sync);

/// Up to three columns: address, targets, options; or domain, options. NULL is `None`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Row(pub [Option<String>; 3]);

/// What rows have become.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rendered {
    /// The lines, sorted, whatever the order of the rows was.
    pub text: String,
    /// How many.
    pub lines: usize,
    /// Rows and targets that made no line.
    pub left_out: usize,
    /// The first few of them, and why.
    pub examples: Vec<String>,
}

/// Rows, as far as they were understood.
#[derive(Debug, Default)]
pub struct Rows {
    domains: BTreeMap<String, Words>,
    aliases: BTreeMap<String, String>,
    addresses: BTreeMap<String, Entry>,
    rendered: Rendered,
}

#[derive(Debug, Default)]
struct Entry {
    targets: Words,
    /// `:discard:`, or `:reject:` with its text.
    action: Option<String>,
    options: Words,
}

/// Each once, in their order.
#[derive(Debug, Default)]
struct Words(Vec<String>);

impl Rows {
    /// A row of forwards.
    pub(crate) fn add(&mut self, Row([address, targets, options]): Row) {
        let (Some(address), Some(targets)) = (&address, &targets) else {
            return self.leave_out(&address.or(targets).unwrap_or_default(), "NULL");
        };
        match key(address) {
            Some(key) => self.add_targets(key, targets, options.as_deref()),
            None => self.leave_out(address, "not an address"),
        }
    }

    /// A row of the address that was asked for, however it is written there.
    pub(crate) fn add_at(&mut self, key: &str, Row([_, targets, options]): Row) {
        match targets {
            Some(targets) => self.add_targets(key.to_owned(), &targets, options.as_deref()),
            None => self.leave_out(key, "NULL"),
        }
    }

    /// Likewise, of a domain.
    pub(crate) fn add_domain_at(&mut self, domain: &str, Row([_, options, _]): Row) {
        self.add_domain(Row([Some(domain.to_owned()), options, None]));
    }

    /// A row of hosted domains.
    pub(crate) fn add_domain(&mut self, Row([domain, options, _]): Row) {
        match domain.as_deref().and_then(plain) {
            Some(domain) => {
                let options = options.unwrap_or_default();
                self.domains
                    .entry(domain)
                    .or_default()
                    .add(options.split_whitespace());
            }
            None => self.leave_out(&domain.unwrap_or_default(), "not a domain"),
        }
    }

    /// A row of domains whose addresses are those of others.
    pub(crate) fn add_alias(&mut self, Row([alias, target, _]): Row) {
        match (
            alias.as_deref().and_then(plain),
            target.as_deref().and_then(plain),
        ) {
            (Some(alias), Some(target)) if alias != target => {
                self.aliases.entry(alias).or_insert(target);
            }
            _ => self.leave_out(&alias.unwrap_or_default(), "no domain, or the same one"),
        }
    }

    /// `targets` of one key, which others may have given some already.
    fn add_targets(&mut self, key: String, targets: &str, options: Option<&str>) {
        let targets = targets.trim();
        if targets.is_empty() {
            return self.leave_out(&key, "no target");
        }
        let entry = self.addresses.entry(key).or_default();
        entry
            .options
            .add(options.unwrap_or_default().split_whitespace());
        if targets.starts_with(':') {
            let action = targets.split_whitespace().collect::<Vec<_>>();
            entry.action.get_or_insert_with(|| action.join(" "));
        } else {
            entry.targets.add(split(targets));
        }
    }

    /// The lines that the parser takes.
    pub fn render(mut self, check: Check<'_>) -> Rendered {
        let mut seen = BTreeSet::new();
        for (domain, options) in std::mem::take(&mut self.domains) {
            self.put(&mut seen, &domain, ":domain:", &options, check);
        }
        let addresses = std::mem::take(&mut self.addresses);
        for (key, mut entry) in addresses {
            let before = entry.targets.0.len();
            entry
                .targets
                .0
                .retain(|target| target.to_lowercase() != key);
            if entry.targets.0.is_empty() && before > 0 {
                let refused = || NOT_FORWARDED.to_owned();
                entry.action.get_or_insert_with(refused);
            }
            self.put_entry(&mut seen, &key, entry, check);
        }
        // Its own catch-all comes first.
        for (alias, target) in std::mem::take(&mut self.aliases) {
            let key = format!("@{alias}");
            if !seen.contains(&key) {
                self.put(
                    &mut seen,
                    &key,
                    &format!("@{target}"),
                    &Words::default(),
                    check,
                );
            }
        }
        self.rendered
    }

    fn put_entry(
        &mut self,
        seen: &mut BTreeSet<String>,
        key: &str,
        mut entry: Entry,
        check: Check<'_>,
    ) {
        let is_line = |targets: &str| check(&format!("{key} {targets}")).is_ok();
        if !entry.targets.0.is_empty() && !is_line(&entry.targets.joined()) {
            // One of a customer's targets may be nonsense; mail for the others goes on.
            let targets = std::mem::take(&mut entry.targets.0);
            let (good, bad): (_, Vec<_>) = targets.into_iter().partition(|target| is_line(target));
            entry.targets.0 = good;
            for target in bad {
                self.leave_out(&format!("{key} {target}"), "not a target");
            }
        }
        let Entry {
            targets,
            action,
            options,
        } = entry;
        match action {
            _ if !targets.0.is_empty() => self.put(seen, key, &targets.joined(), &options, check),
            // The text of a refusal goes to the end of the line.
            Some(action) if action.starts_with(":reject:") => {
                self.put(seen, key, &action, &Words::default(), check);
            }
            Some(action) => self.put(seen, key, &action, &options, check),
            None => {}
        }
    }

    fn put(
        &mut self,
        seen: &mut BTreeSet<String>,
        key: &str,
        action: &str,
        options: &Words,
        check: Check<'_>,
    ) {
        let mut line = format!("{key} {action}");
        for option in &options.0 {
            line.push(' ');
            line.push_str(option);
        }
        match check(&line) {
            Err(wrong) => self.leave_out(&line, &wrong),
            Ok(key) if seen.contains(&key) => self.leave_out(&line, "in another spelling already"),
            Ok(key) => {
                seen.insert(key);
                self.rendered.text.push_str(&line);
                self.rendered.text.push('\n');
                self.rendered.lines += 1;
            }
        }
    }

    fn leave_out(&mut self, what: &str, why: &str) {
        self.rendered.left_out += 1;
        if self.rendered.examples.len() < EXAMPLES_MAX {
            let what: String = what.chars().take(EXAMPLE_CHARS_MAX).collect();
            self.rendered.examples.push(format!("{what:?}: {why}"));
        }
    }
}

impl Words {
    fn add<'a>(&mut self, words: impl Iterator<Item = &'a str>) {
        for word in words {
            if !self.0.iter().any(|known| known == word) {
                self.0.push(word.to_owned());
            }
        }
    }

    fn joined(&self) -> String {
        self.0.join(", ")
    }
}

/// An address, a pattern, or a catch-all in any of its forms, as the forwards file has it. A blank within would begin its targets.
fn key(typed: &str) -> Option<String> {
    let key = typed.trim().to_lowercase();
    let is_whole = split(&key).eq([&*key]);
    match key.split_once('@') {
        _ if !is_whole => None,
        None => Some(format!("@{key}")),
        Some(("*", domain)) => Some(format!("@{domain}")),
        Some(_) => Some(key),
    }
}

/// A word without `@`.
fn plain(typed: &str) -> Option<String> {
    let word = typed.trim().to_lowercase();
    (split(&word).eq([&*word]) && !word.contains('@')).then_some(word)
}

/// The words between commas and blanks of all kinds, but for those in quotes.
fn split(text: &str) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    let words = text.split(move |c: char| {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ => return !quoted && (c == ',' || c.is_whitespace()),
        }
        false
    });
    words.filter(|word| !word.is_empty())
}

const NOT_FORWARDED: &str = ":reject: 550 5.1.1 this address is not forwarded";
const EXAMPLES_MAX: usize = 5;
const EXAMPLE_CHARS_MAX: usize = 120;

#[cfg(test)]
mod tests;
