//! What is wrong with the record of a domain, and the record that would be right.
//!
//! A [`Lint`] is one more [`Question`] of an evaluation: it asks for what it must know, and is answered. It follows every
//! term to its end, as for a client that nothing matches, and is bounded as an evaluation is. It invents nothing: what the
//! right record lets send is what the published ones were meant to, and the senders that the caller names.

mod fault;
mod repair;
mod right;
#[cfg(test)]
mod tests;
mod walk;

use std::net::IpAddr;

use serde::Serialize;

pub use fault::Level;
pub use right::Entry;
pub use walk::Node;

use crate::evaluation::{Answers, Known};
use crate::macros::printable;
use crate::record::{Mechanism, Term, VERSION, is_spf, terms};
use crate::run::{TERMS_MAX, VOIDS_MAX};
use crate::{Lookup, Question, Step, SyntaxError, Verdict};
use fault::Fault;
use repair::repair;
use right::Right;
use walk::Walk;

/// Asks about the record of a domain.
#[derive(Debug, Clone)]
pub struct Lint {
    domain: String,
    senders: Vec<IpAddr>,
}

/// What was found.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// Whose record.
    pub domain: String,
    /// What is published for SPF, or meant to be.
    pub published: Vec<String>,
    /// The terms of all of it.
    pub tree: Vec<Node>,
    /// How many terms ask DNS.
    pub lookups: usize,
    /// How many look-ups find nothing, for a client of IPv4 and of IPv6.
    pub voids: [usize; 2],
    /// In the order of the record, then about all of it.
    pub findings: Vec<Finding>,
    /// What should be published instead; empty if nothing need change.
    pub right: Vec<Entry>,
}

/// Something to know about a record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub level: Level,
    /// What kind of thing it is, as one word.
    pub fault: &'static str,
    /// Where; none: it is about the whole.
    pub place: Option<Place>,
    /// What it is.
    pub text: String,
    /// Why it matters.
    pub why: &'static str,
}

/// A part of a record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Place {
    /// Which of [`Report::published`].
    pub record: usize,
    /// Where it begins, in octets.
    pub at: usize,
    /// Its words.
    pub term: String,
}

impl Lint {
    /// `senders` are addresses that send mail of the domain, and so must be in its record.
    pub fn new(domain: &str, senders: &[IpAddr]) -> Self {
        Self {
            domain: domain.trim_end_matches('.').to_owned(),
            senders: senders.iter().map(IpAddr::to_canonical).collect(),
        }
    }
}

impl Question for Lint {
    type Found = Report;

    fn step(&self, known: &Answers) -> Step<Report> {
        let mut desk = Desk {
            walk: Walk::new(known, &self.domain),
            report: Report {
                domain: self.domain.clone(),
                ..Report::default()
            },
            rights: Vec::new(),
            alls: Vec::new(),
            exp: None,
            unnamed: Vec::new(),
        };
        // What cannot be seen must not be replaced.
        if desk.read_all() {
            desk.count();
            desk.other_families();
            for sender in &self.senders {
                desk.must_pass(*sender, fault::MISSING.of(sender));
            }
            desk.report.right = desk.right();
        }
        match desk.walk.missing.is_empty() {
            true => Step::Done(desk.report),
            false => Step::Ask(desk.walk.missing),
        }
    }
}

impl Report {
    /// Whether mail suffers from it.
    pub fn is_bad(&self) -> bool {
        let mut findings = self.findings.iter();
        findings.any(|finding| finding.level > Level::Note)
    }

    /// Whether there is no record to publish that would do.
    pub fn is_hopeless(&self) -> bool {
        let mut whole = self
            .findings
            .iter()
            .filter(|finding| finding.place.is_none());
        whole.any(|finding| ["no-answer", "still-too-many-lookups"].contains(&finding.fault))
    }
}

/// The work on one domain.
struct Desk<'a> {
    walk: Walk<'a>,
    report: Report,
    rights: Vec<Right>,
    /// Of every `all`, the verdict.
    alls: Vec<Verdict>,
    exp: Option<String>,
    /// Addresses that must pass, and do not yet.
    unnamed: Vec<IpAddr>,
}

impl Desk<'_> {
    /// False: DNS does not say what is published.
    fn read_all(&mut self) -> bool {
        let texts = match self.walk.look_up(Lookup::Txt(self.report.domain.clone())) {
            Some(Known::Texts(texts, _)) => &texts[..],
            Some(Known::Failed(why)) => {
                self.find(fault::NO_ANSWER.of(why), None);
                return false;
            }
            _ => &[],
        };
        for text in texts {
            let record = String::from_utf8_lossy(text);
            let record = record.trim_start_matches(['"', ' ']);
            let head = record.as_bytes().get(..VERSION.len());
            if head.is_some_and(|head| head.eq_ignore_ascii_case(VERSION.as_bytes())) {
                self.report.published.push(record.to_owned());
                self.read(record, text.len(), is_spf(text));
            }
        }
        let octets: usize = texts.iter().map(Vec::len).sum();
        match &self.report.published[..] {
            [] => self.find(fault::NO_RECORD.of(""), None),
            [one] if one.len() <= OCTETS_SAFE && octets > OCTETS_SAFE => {
                self.find(fault::CROWDED.of(octets), None);
            }
            [_] => {}
            several => self.find(fault::SEVERAL.of(several.len()), None),
        }
        true
    }

    fn read(&mut self, record: &str, octets: usize, is_read: bool) {
        if !is_read {
            self.find(fault::NOT_READ.of(""), self.place(0, VERSION));
        }
        if octets > OCTETS_SAFE {
            self.find(fault::TOO_LONG.of(octets), None);
        } else if octets > STRING_OCTETS_MAX {
            self.find(fault::LONG.of(octets), None);
        }
        let mut is_closed = false;
        for (at, term) in terms(record).take(TERMS_READ_MAX) {
            if is_closed && !term.contains('=') {
                self.find(fault::AFTER_ALL.of(""), self.place(at, term));
            }
            is_closed |= self.term(at, term);
        }
    }

    /// True: it is `all`.
    fn term(&mut self, at: usize, word: &str) -> bool {
        let domain = self.report.domain.clone();
        let (words, term) = match printable(word.as_bytes()).and_then(Term::parse) {
            Ok(term) if !matches!(term, Term::Unknown) => (word.to_owned(), term),
            unread => {
                let unknown = || (fault::UNKNOWN_MODIFIER.of(""), 0);
                let (fault, from) = unread
                    .err()
                    .map_or_else(unknown, |error| unreadable(error, word));
                self.find(fault, self.place(at + from, &word[from..]));
                match repair(&mut self.walk, word, &domain) {
                    Some(repaired) => repaired,
                    None => return false,
                }
            }
        };
        let place = self.place(at, word);
        match term {
            Term::Directive(verdict, Mechanism::All) => {
                if verdict == Verdict::Pass {
                    self.find(fault::EVERYBODY.of(""), place);
                }
                self.alls.push(verdict);
                return true;
            }
            Term::Directive(verdict, mechanism) => {
                let node = self.walk.directive(word, verdict, &mechanism, &domain);
                self.keep(place, words, node);
            }
            Term::Redirect(target) => {
                let node = self.walk.redirect(word, &target, &domain);
                self.keep(place, words, node);
            }
            Term::Exp(_) => self.exp = self.exp.take().or(Some(words)),
            Term::Unknown => {}
        }
        false
    }

    /// Puts a term beside the others, unless it does no good.
    fn keep(&mut self, place: Option<Place>, words: String, node: Node) {
        let is_fatal = node.fault.as_ref().is_some_and(Fault::is_fatal);
        let is_same = |right: &Right| right.words.eq_ignore_ascii_case(&words);
        if self.rights.iter().any(is_same) {
            self.find(fault::DUPLICATE.of(""), place.clone());
        } else if !is_fatal {
            self.rights.push(Right {
                words,
                lookups: node.lookups,
                node: self.report.tree.len(),
            });
        }
        if let Some(fault) = &node.fault {
            self.find(fault.clone(), place);
        }
        self.report.tree.push(node);
    }

    /// What can be said of all terms together.
    fn count(&mut self) {
        let tree = &self.report.tree;
        let lookups = tree.iter().map(|node| node.lookups).sum();
        let voids = [0, 1].map(|family: usize| tree.iter().map(|node| node.voids[family]).sum());
        let has_redirect = tree.iter().any(|node| is_redirect(&node.term));
        (self.report.lookups, self.report.voids) = (lookups, voids);
        if lookups > TERMS_MAX {
            self.find(fault::LOOKUPS.of(lookups), None);
        }
        for (voids, family) in voids.into_iter().zip(["IPv4", "IPv6"]) {
            if voids > VOIDS_MAX {
                self.find(fault::VOIDS.of(format_args!("{voids} {family}")), None);
            }
        }
        match (self.alls.is_empty(), has_redirect) {
            (true, false) if !self.report.published.is_empty() => {
                self.find(fault::NO_ALL.of(""), None)
            }
            (false, true) => self.find(fault::REDIRECT_BESIDE_ALL.of(""), None),
            _ => {}
        }
    }

    /// Hosts that are named by their IPv4 address alone, though they have one of IPv6, and will use it.
    fn other_families(&mut self) {
        let tree = &self.report.tree;
        let literals = tree.iter().filter(|node| node.lookups == 0);
        let hosts = literals.flat_map(|node| &node.networks);
        let hosts = hosts.filter(|(host, prefix)| host.is_ipv4() && prefix.is_host(*host));
        let hosts: Vec<IpAddr> = hosts.take(TERMS_MAX).map(|(host, _)| *host).collect();
        let networks = || tree.iter().flat_map(|node| &node.networks);
        let is_ipv4 = networks().count() > 0 && networks().all(|(network, _)| network.is_ipv4());
        let is_known = tree.iter().all(|node| node.is_fixed);
        for (name, others) in hosts
            .iter()
            .filter_map(|host| self.walk.ipv6_of(*host))
            .collect::<Vec<_>>()
        {
            for other in others.iter().take(TERMS_MAX) {
                self.must_pass(
                    *other,
                    fault::OTHER_FAMILY.of(format_args!("{name} also has {other}")),
                );
            }
        }
        if is_ipv4 && is_known && self.unnamed.is_empty() {
            self.find(fault::ONLY_IPV4.of(""), None);
        }
    }

    /// By a term that stays, or one that is added.
    fn must_pass(&mut self, address: IpAddr, fault: Fault) {
        let tree = &self.report.tree;
        let mut kept = self.rights.iter().map(|right| &tree[right.node]);
        if !kept.any(|node| node.covers(address)) && !self.unnamed.contains(&address) {
            self.find(fault, None);
            self.unnamed.push(address);
        }
    }

    fn place(&self, at: usize, term: &str) -> Option<Place> {
        Some(Place {
            record: self.report.published.len() - 1,
            at,
            term: term.to_owned(),
        })
    }

    fn find(&mut self, fault: Fault, place: Option<Place>) {
        self.report.findings.push(Finding {
            level: fault.kind.0,
            fault: fault.kind.1,
            text: fault.to_string(),
            why: fault.kind.3,
            place,
        });
    }
}

/// What is wrong with a term, and where in it that begins.
fn unreadable(error: SyntaxError, term: &str) -> (Fault, usize) {
    let argument = term.find([':', '=']).map_or(0, |at| at + 1);
    let at = match error {
        SyntaxError::BadOctet(_) => term.find(|c: char| !matches!(c, ' '..='~')),
        SyntaxError::BadPrefix => term.find('/'),
        SyntaxError::BadMacro => term.find('%'),
        SyntaxError::UnknownMechanism | SyntaxError::BadModifierName => None,
        // What is missing at the end has no place of its own.
        _ => Some(argument).filter(|at| *at < term.len()),
    };
    let name = &term[argument..];
    let is_relative = error == SyntaxError::BadDomain && !name.contains(['.', '%', '/']);
    let fault = match is_relative {
        true => fault::RELATIVE.of(name),
        false => fault::SYNTAX.of(error),
    };
    (fault, at.unwrap_or(0))
}

fn is_redirect(term: &str) -> bool {
    let name = term.get(..REDIRECT.len());
    name.is_some_and(|name| name.eq_ignore_ascii_case(REDIRECT))
}

const REDIRECT: &str = "redirect=";
/// What one string of a TXT record holds (RFC 1035 §3.3).
const STRING_OCTETS_MAX: usize = 255;
/// RFC 7208 §3.4.
const OCTETS_SAFE: usize = 450;
/// More than fit into 16 KiB of a record that makes sense.
const TERMS_READ_MAX: usize = 1000;
