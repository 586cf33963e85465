//! The tree of a record's terms: what each asks DNS for, and what it comes down to for a client that nothing matches.

use std::net::IpAddr;

use serde::Serialize;

use super::fault::{self, Fault};
use crate::evaluation::{Answers, Known};
use crate::macros::{MacroString, Part};
use crate::record::{Mechanism, Prefix, Record};
use crate::run::NAMES_MAX;
use crate::{Lookup, Problem, Verdict};

/// A term, and those of the record that it leads to.
#[derive(Debug, Serialize)]
pub struct Node {
    /// As the record has it.
    pub term: String,
    /// How many terms ask DNS: itself, and all below.
    pub lookups: usize,
    /// How many look-ups find nothing, for a client of IPv4 and of IPv6.
    pub voids: [usize; 2],
    pub(super) fault: Option<Fault>,
    /// The terms of an included record.
    pub below: Vec<Self>,
    /// Whose mail passes by it.
    #[serde(skip)]
    pub(super) networks: Vec<(IpAddr, Prefix)>,
    /// Nothing but these networks passes, whatever the client says.
    #[serde(skip)]
    pub(super) is_fixed: bool,
}

/// On the way through a record.
pub(super) struct Walk<'a> {
    known: &'a Answers,
    /// What must be known to go on.
    pub(super) missing: Vec<Lookup>,
    /// The records that lead here.
    way: Vec<String>,
    terms: usize,
}

impl<'a> Walk<'a> {
    pub(super) fn new(known: &'a Answers, domain: &str) -> Self {
        Self {
            known,
            missing: Vec::new(),
            way: vec![domain.to_owned()],
            terms: 0,
        }
    }

    pub(super) fn look_up(&mut self, lookup: Lookup) -> Option<&'a Known> {
        let known = self.known.get(&lookup);
        if known.is_none() && !self.missing.contains(&lookup) {
            self.missing.push(lookup);
        }
        known
    }

    /// The host behind an IPv4 address, and its addresses of IPv6.
    pub(super) fn ipv6_of(&mut self, address: IpAddr) -> Option<(&'a str, &'a [IpAddr])> {
        let Known::Names(names) = self.look_up(Lookup::Ptr(address))? else {
            return None;
        };
        let host = names.first()?;
        let leads_back = self.look_up(Lookup::A(host.clone()))?;
        let leads_back = matches!(leads_back, Known::Addresses(found) if found.contains(&address));
        match self.look_up(Lookup::Aaaa(host.clone()))? {
            Known::Addresses(found) if leads_back => Some((host, found)),
            _ => None,
        }
    }

    /// A directive of the record of `domain`.
    pub(super) fn directive(
        &mut self,
        term: &str,
        verdict: Verdict,
        mechanism: &Mechanism,
        domain: &str,
    ) -> Node {
        let mut node = Node::new(term);
        if mechanism.asks() && !self.count(&mut node) {
            return node;
        }
        let name = match mechanism {
            Mechanism::A(None, _) | Mechanism::Mx(None, _) => Some(domain.to_owned()),
            Mechanism::Include(target)
            | Mechanism::Exists(target)
            | Mechanism::A(Some(target), _)
            | Mechanism::Mx(Some(target), _) => node.name(target, domain),
            _ => None,
        };
        match (mechanism, name) {
            (Mechanism::All, _) if verdict == Verdict::Pass => {
                node.fault = Some(fault::EVERYBODY.of(""))
            }
            (Mechanism::Network(address, prefix), _) => node.passes(*address, *prefix),
            (Mechanism::Include(_), Some(name)) => self.record(&mut node, &name),
            (Mechanism::A(_, prefix), Some(name)) => {
                let lacking = self.hosts(&mut node, std::slice::from_ref(&name), *prefix);
                node.voids = lacking.map(|lacking| lacking.len());
                if node.voids == [1, 1] {
                    node.fault = Some(fault::VOID.of(""));
                }
            }
            (Mechanism::Mx(_, prefix), Some(name)) => self.exchanges(&mut node, &name, *prefix),
            (Mechanism::Exists(_), Some(_)) => node.fault = Some(fault::CONSTANT_EXISTS.of("")),
            (Mechanism::Ptr(_), _) => node.fault = Some(fault::PTR.of("")),
            _ => {}
        }
        let is_fixed = !matches!(mechanism, Mechanism::Ptr(_) | Mechanism::Exists(_));
        let is_all = matches!(mechanism, Mechanism::All);
        node.is_fixed &= is_fixed && (is_all || verdict == Verdict::Pass);
        if verdict != Verdict::Pass {
            node.networks.clear();
        }
        node
    }

    /// `redirect=`: as an include, but for the place where it stands.
    pub(super) fn redirect(&mut self, term: &str, target: &MacroString, domain: &str) -> Node {
        let mut node = Node::new(term);
        if self.count(&mut node)
            && let Some(name) = node.name(target, domain)
        {
            self.record(&mut node, &name);
        }
        node
    }

    fn count(&mut self, node: &mut Node) -> bool {
        node.lookups = 1;
        self.terms += 1;
        node.is_fixed = self.terms <= TERMS_WALKED_MAX;
        node.is_fixed
    }

    fn record(&mut self, node: &mut Node, name: &str) {
        if self
            .way
            .iter()
            .any(|domain| domain.eq_ignore_ascii_case(name))
        {
            node.fault = Some(fault::UNUSABLE.of(format!("{name} includes itself")));
            return;
        }
        let problem = match self.look_up(Lookup::Txt(name.to_owned())) {
            None => return,
            Some(Known::Texts(_, Ok(record))) => return self.terms(node, record, name),
            Some(Known::Texts(_, Err(Problem::NoRecord)) | Known::Nothing) => {
                Problem::NoRecordAt(name.to_owned()).to_string()
            }
            Some(Known::Failed(why)) => return node.fault = Some(fault::NO_ANSWER.of(why)),
            Some(Known::Texts(_, Err(problem))) => format!("{name}: {problem}"),
            Some(_) => return,
        };
        node.fault = Some(fault::UNUSABLE.of(problem));
    }

    fn terms(&mut self, node: &mut Node, record: &Record, domain: &str) {
        self.way.push(domain.to_owned());
        let is_all = |mechanism: &Mechanism| matches!(mechanism, Mechanism::All);
        for directive in &record.directives {
            let term = record.directive(directive);
            node.add(self.directive(term, directive.verdict, &directive.mechanism, domain));
            if is_all(&directive.mechanism) {
                break;
            }
        }
        let mut mechanisms = record
            .directives
            .iter()
            .map(|directive| &directive.mechanism);
        if let Some(redirect) = &record.redirect
            && !mechanisms.any(is_all)
        {
            node.add(self.redirect(record.modifier(redirect), &redirect.target, domain));
        }
        self.way.pop();
    }

    fn exchanges(&mut self, node: &mut Node, name: &str, prefix: Prefix) {
        match self.look_up(Lookup::Mx(name.to_owned())) {
            Some(Known::Names(names)) if names.len() > NAMES_MAX => {
                let problem = format!("{name}: {}", Problem::TooManyExchanges);
                node.fault = Some(fault::UNUSABLE.of(problem));
            }
            Some(Known::Names(names)) => {
                let [_, no_ipv6] = self.hosts(node, names, prefix);
                if !no_ipv6.is_empty() && node.fault.is_none() {
                    node.fault = Some(fault::NO_AAAA.of(no_ipv6.join(", ")));
                }
            }
            Some(Known::Failed(why)) => node.fault = Some(fault::NO_ANSWER.of(why)),
            Some(_) => (node.voids, node.fault) = ([1, 1], Some(fault::VOID.of(""))),
            None => {}
        }
    }

    /// The hosts without an address, of IPv4 and of IPv6.
    fn hosts(&mut self, node: &mut Node, names: &[String], prefix: Prefix) -> [Vec<String>; 2] {
        let mut lacking = [Vec::new(), Vec::new()];
        for name in names {
            let lookups = [Lookup::A(name.clone()), Lookup::Aaaa(name.clone())];
            for (lookup, lacking) in lookups.into_iter().zip(&mut lacking) {
                match self.look_up(lookup) {
                    Some(Known::Addresses(found)) => {
                        found
                            .iter()
                            .for_each(|address| node.passes(*address, prefix));
                    }
                    Some(Known::Failed(why)) => node.fault = Some(fault::NO_ANSWER.of(why)),
                    Some(_) => lacking.push(name.clone()),
                    None => {}
                }
            }
        }
        lacking
    }
}

impl Node {
    fn new(term: &str) -> Self {
        Self {
            term: term.to_owned(),
            lookups: 0,
            voids: [0, 0],
            fault: None,
            below: Vec::new(),
            networks: Vec::new(),
            is_fixed: true,
        }
    }

    /// What is wrong with it.
    pub fn problem(&self) -> Option<String> {
        self.fault.as_ref().map(ToString::to_string)
    }

    pub(super) fn covers(&self, address: IpAddr) -> bool {
        let mut networks = self.networks.iter();
        networks.any(|(network, prefix)| prefix.covers(*network, address))
    }

    /// The name that is meant, if it is the same for every client.
    fn name(&mut self, text: &MacroString, domain: &str) -> Option<String> {
        let mut name = String::new();
        for part in text.parts() {
            match part {
                Part::Literal(literal) => name.push_str(literal),
                Part::Macro(wanted) if wanted.is_plain_domain() => name.push_str(domain),
                Part::Macro(wanted) => {
                    self.is_fixed = false;
                    if wanted.letter == b'p' {
                        self.fault = Some(fault::MACRO_P.of(""));
                    }
                }
            }
        }
        self.is_fixed.then(|| name.trim_end_matches('.').to_owned())
    }

    fn passes(&mut self, address: IpAddr, prefix: Prefix) {
        if prefix.is_vast(address) {
            self.fault = Some(fault::EVERYBODY.of(""));
        }
        self.networks.push((address, prefix));
    }

    fn add(&mut self, below: Self) {
        self.lookups += below.lookups;
        self.voids = [0, 1].map(|family| self.voids[family] + below.voids[family]);
        self.is_fixed &= below.is_fixed;
        self.networks.extend(&below.networks);
        if let Some(fault) = below.fault.as_ref().filter(|fault| fault.is_inherited()) {
            self.fault = Some(fault.clone());
        }
        self.below.push(below);
    }
}

/// A record that leads to more terms than these is not followed to its end: it is as wrong as can be.
const TERMS_WALKED_MAX: usize = 50;
