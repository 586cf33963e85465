//! The record that would be right: merged, without what does no good, within the limits, in pieces that fit into DNS.

use std::collections::HashSet;
use std::fmt;

use serde::Serialize;

use super::{Desk, OCTETS_SAFE, REDIRECT, STRING_OCTETS_MAX, fault, is_redirect};
use crate::Verdict;
use crate::record::{Prefix, VERSION};
use crate::run::TERMS_MAX;

/// A record to publish. Its text is a line of a zone file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// Of which name.
    pub name: String,
    /// Whole.
    pub record: String,
    /// As the strings of one TXT record.
    pub strings: Vec<String>,
}

/// A term that stays.
pub(super) struct Right {
    pub(super) words: String,
    pub(super) lookups: usize,
    /// Its place in the tree.
    pub(super) node: usize,
}

impl Desk<'_> {
    /// Empty if what is published is right, or nothing is and nobody is known to send.
    pub(super) fn right(&mut self) -> Vec<Entry> {
        let nothing = self.unnamed.is_empty() && self.report.published.is_empty();
        if nothing {
            return Vec::new();
        }
        self.save_lookups();
        let end = self.end();
        let mut words: Vec<String> = self
            .unnamed
            .iter()
            .map(|host| Prefix::WHOLE.term(*host))
            .collect();
        words.extend(self.rights.iter().map(|right| right.words.clone()));
        let entries = entries(&self.report.domain, &words, &end);
        let lookups = self.lookups() + entries.len() - 1;
        if lookups > TERMS_MAX {
            self.find(fault::STILL_TOO_MANY.of(lookups), None);
        }
        match (&self.report.published[..], &entries[..]) {
            ([now], [right]) if now.split_ascii_whitespace().eq(right.record.split(' ')) => {
                Vec::new()
            }
            _ => entries,
        }
    }

    fn lookups(&self) -> usize {
        self.rights.iter().map(|right| right.lookups).sum()
    }

    /// Puts addresses for the terms that need the fewest, until the look-ups are within the limit: own hosts first.
    fn save_lookups(&mut self) {
        while self.lookups() > TERMS_MAX {
            let tree = &self.report.tree;
            let candidates = self.rights.iter_mut().filter(|right| {
                let node = &tree[right.node];
                let is_small = node.is_fixed && node.networks.len() <= FLAT_MAX;
                is_small && right.lookups > 0 && !is_redirect(&right.words)
            });
            let cost = |right: &&mut Right| {
                let node = &tree[right.node];
                (!node.below.is_empty(), node.networks.len())
            };
            let Some(right) = candidates.min_by_key(cost) else {
                return;
            };
            let is_named = |address| {
                tree.iter()
                    .any(|node| node.lookups == 0 && node.covers(address))
            };
            let networks = tree[right.node].networks.iter();
            let networks = networks
                .filter(|(address, prefix)| !(prefix.is_host(*address) && is_named(*address)));
            let networks: Vec<_> = networks
                .map(|(network, prefix)| prefix.term(*network))
                .collect();
            let term = std::mem::replace(&mut right.words, networks.join(" "));
            right.lookups = 0;
            self.find(fault::FLATTENED.of(term), None);
        }
    }

    /// `all` as the mildest of the records has it, or the redirect; which is an include where there is `all` too.
    fn end(&mut self) -> String {
        let redirect = self
            .rights
            .iter()
            .position(|right| is_redirect(&right.words));
        let mildest = [Verdict::SoftFail, Verdict::Fail, Verdict::Neutral];
        let mildest = mildest
            .iter()
            .position(|verdict| self.alls.contains(verdict));
        let is_alone = self.alls.is_empty() && self.report.published.len() == 1;
        let end = match redirect {
            Some(at) if is_alone => self.rights.remove(at).words,
            redirect => {
                if let Some(at) = redirect {
                    let words = &mut self.rights[at].words;
                    *words = format!("include:{}", &words[REDIRECT.len()..]);
                }
                ["~all", "-all", "?all"][mildest.unwrap_or(0)].to_owned()
            }
        };
        let exp = self.exp.iter().map(|exp| format!(" {exp}"));
        end + &exp.collect::<String>()
    }
}

/// One record, or one that includes others, which hold its networks.
fn entries(domain: &str, words: &[String], end: &str) -> Vec<Entry> {
    let mut seen = HashSet::new();
    let words = words.iter().flat_map(|words| words.split(' '));
    let words: Vec<&str> = words
        .filter(|word| !word.is_empty() && seen.insert(*word))
        .collect();
    let record = |words: &[&str], end: &str| [&[VERSION], words, &[end]].concat().join(" ");
    let whole = record(&words, end);
    if whole.len() <= OCTETS_SAFE {
        return vec![Entry::new(domain.to_owned(), whole)];
    }
    let is_network = |words: &&str| words.starts_with("ip4:") || words.starts_with("ip6:");
    let (networks, others): (Vec<_>, Vec<_>) = words.into_iter().partition(is_network);
    let mut entries = Vec::new();
    for part in networks.chunks(PART_NETWORKS) {
        let name = format!("_spf{}.{domain}", entries.len() + 1);
        entries.push(Entry::new(name, record(part, "-all")));
    }
    let includes: Vec<String> = entries
        .iter()
        .map(|part| format!("include:{}", part.name))
        .collect();
    let words: Vec<&str> = includes.iter().map(String::as_str).chain(others).collect();
    entries.insert(0, Entry::new(domain.to_owned(), record(&words, end)));
    entries
}

impl Entry {
    fn new(name: String, record: String) -> Self {
        let strings = record.as_bytes().chunks(STRING_OCTETS_MAX);
        let strings = strings.map(|string| String::from_utf8_lossy(string).into_owned());
        Self {
            name,
            strings: strings.collect(),
            record,
        }
    }
}

/// As in `example.org. IN TXT "v=spf1 …" "…"`.
impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}. IN TXT", self.name)?;
        for string in &self.strings {
            write!(
                f,
                " \"{}\"",
                string.replace('\\', "\\\\").replace('"', "\\\"")
            )?;
        }
        Ok(())
    }
}

/// More addresses than these are not put into a record for one term.
const FLAT_MAX: usize = 20;
/// Networks of one part: the longest is `ip6:` with 39 octets and its length, which is rare; `ip4:` has 22 at most.
const PART_NETWORKS: usize = 9;
