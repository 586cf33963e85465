//! One run of `check_host()` (RFC 7208 §4 to §6) over what is known, to its end or to what must be asked next.

use std::net::IpAddr;
use std::rc::Rc;

use crate::evaluation::{Answers, Known, NAME_OCTETS_MAX};
use crate::macros::MacroString;
use crate::record::{Directive, Mechanism, Modifier, Prefix, Record};
use crate::{Hop, Lookup, Output, Problem, Query, Step, Verdict};

/// The state of a run: where it is, and what it has used of its limits.
pub(crate) struct Run<'a> {
    pub(crate) query: &'a Query,
    known: &'a Answers,
    /// From the first record through redirects and includes to the one that is being evaluated.
    way: Vec<Frame<'a>>,
    terms: usize,
    voids: usize,
}

struct Frame<'a> {
    domain: Rc<str>,
    record: Option<&'a Record>,
    term: &'a str,
}

/// A record's answer.
struct Decided<'a> {
    verdict: Verdict,
    /// The `exp=` that belongs to it, and the domain of its record.
    exp: Option<(&'a Modifier, Rc<str>)>,
}

/// Why a run ends early.
pub(crate) enum Stop {
    Ask(Vec<Lookup>),
    Problem(Problem),
}

impl<'a> Run<'a> {
    pub(crate) fn new(query: &'a Query, known: &'a Answers) -> Self {
        Self {
            query,
            known,
            way: Vec::new(),
            terms: 0,
            voids: 0,
        }
    }

    pub(crate) fn finish(mut self) -> Step {
        let (verdict, explanation, problem) = match self.decide() {
            Ok((verdict, explanation)) => (verdict, explanation, None),
            Err(Stop::Ask(lookups)) => return Step::Ask(lookups),
            Err(Stop::Problem(problem)) => (problem.verdict(), None, Some(problem)),
        };
        let record = self.way.last().and_then(|frame| frame.record);
        let hop = |frame: &Frame<'_>| Hop {
            domain: (*frame.domain).to_owned(),
            term: frame.term.to_owned(),
        };
        Step::Done(Output {
            verdict,
            client: self.query.ip,
            record: record.map(|record| record.text.clone()),
            way: self.way.iter().map(hop).collect(),
            explanation,
            problem,
        })
    }

    fn decide(&mut self) -> Result<(Verdict, Option<String>), Stop> {
        let decided = self.check_host(self.query.domain.trim_end_matches('.').into())?;
        let explanation = match decided.exp {
            Some((exp, domain)) if decided.verdict == Verdict::Fail => {
                match self.explain(&exp.target, &domain) {
                    Err(Stop::Ask(lookups)) => return Err(Stop::Ask(lookups)),
                    // §6.2: whatever is wrong with an explanation, the result stands.
                    Err(Stop::Problem(_)) => None,
                    Ok(text) => text,
                }
            }
            _ => None,
        };
        Ok((decided.verdict, explanation))
    }

    fn check_host(&mut self, domain: Rc<str>) -> Result<Decided<'a>, Stop> {
        self.way.push(Frame {
            domain: Rc::clone(&domain),
            record: None,
            term: "",
        });
        let record = self.record(&domain)?;
        self.here().record = Some(record);
        for directive in &record.directives {
            self.here().term = record.directive(directive);
            if self.matches(directive, &domain)? {
                return Ok(Decided {
                    verdict: directive.verdict,
                    exp: record.exp.as_ref().map(|exp| (exp, domain)),
                });
            }
        }
        let Some(redirect) = &record.redirect else {
            self.here().term = "";
            return Ok(Decided {
                verdict: Verdict::Neutral,
                exp: None,
            });
        };
        self.here().term = record.modifier(redirect);
        self.count_term()?;
        let target = self.expand_domain(&redirect.target, &domain)?;
        self.check_other(target)
    }

    /// The record of another domain. There must be one (§5.2, §6.1).
    fn check_other(&mut self, domain: String) -> Result<Decided<'a>, Stop> {
        let depth = self.way.len();
        let decided = self.check_host(domain.into());
        if let Err(Stop::Problem(Problem::NoRecord | Problem::NotADomain)) = decided {
            let domain = (*self.way[depth].domain).to_owned();
            self.way.truncate(depth);
            return Err(Stop::Problem(Problem::NoRecordAt(domain)));
        }
        decided
    }

    fn record(&self, domain: &str) -> Result<&'a Record, Stop> {
        let lookup = Lookup::Txt(domain.to_owned());
        // §4.3; a domain literal is none.
        if !domain.contains('.') || domain.starts_with('[') || !lookup.fits() {
            return Err(Stop::Problem(Problem::NotADomain));
        }
        match self.look_up(lookup)? {
            Known::Texts(_, Ok(record)) => Ok(record),
            Known::Texts(_, Err(problem)) => Err(Stop::Problem(problem.clone())),
            _ => Err(Stop::Problem(Problem::NoRecord)),
        }
    }

    fn matches(&mut self, directive: &'a Directive, domain: &str) -> Result<bool, Stop> {
        let ip = self.query.ip;
        if directive.mechanism.asks() {
            self.count_term()?;
        }
        match &directive.mechanism {
            Mechanism::All => Ok(true),
            Mechanism::Network(network, prefix) => Ok(prefix.covers(*network, ip)),
            Mechanism::Include(target) => {
                let depth = self.way.len();
                let target = self.expand_domain(target, domain)?;
                let decided = self.check_other(target)?;
                let is_match = decided.verdict == Verdict::Pass;
                if !is_match {
                    self.way.truncate(depth);
                }
                Ok(is_match)
            }
            Mechanism::A(target, prefix) => {
                let name = self.target(target.as_ref(), domain)?;
                let found = self.counted(self.address_lookup(&name))?;
                Ok(has_address(found, *prefix, ip))
            }
            Mechanism::Mx(target, prefix) => {
                let name = self.target(target.as_ref(), domain)?;
                self.mx(name, *prefix)
            }
            Mechanism::Ptr(target) => {
                let name = self.target(target.as_ref(), domain)?;
                if let Ok(Known::Nothing) = self.look_up(Lookup::Ptr(ip)) {
                    self.count_void()?;
                }
                let validated = self.validated_names(|found| is_within(found, &name))?;
                Ok(!validated.is_empty())
            }
            // Always A, whatever the client is (§5.7).
            Mechanism::Exists(target) => {
                let name = self.expand_domain(target, domain)?;
                let found = self.counted(Lookup::A(name))?;
                Ok(matches!(found, Known::Addresses(_)))
            }
        }
    }

    fn mx(&mut self, name: String, prefix: Prefix) -> Result<bool, Stop> {
        let Known::Names(exchanges) = self.counted(Lookup::Mx(name))? else {
            return Ok(false);
        };
        if exchanges.len() > NAMES_MAX {
            return Err(Stop::Problem(Problem::TooManyExchanges));
        }
        let lookups = exchanges.iter().map(|name| self.address_lookup(name));
        let found = self.look_up_all(lookups)?;
        if found
            .iter()
            .any(|(_, known)| has_address(known, prefix, self.query.ip))
        {
            return Ok(true);
        }
        for (lookup, known) in found {
            answered(&lookup, known)?;
        }
        Ok(false)
    }

    /// Names that the client's address points to and that point back (§5.5), of those that `wanted` wants. What cannot be
    /// found out about them is skipped.
    pub(crate) fn validated_names(
        &self,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<Vec<&'a str>, Stop> {
        let Known::Names(names) = self.look_up_or_fail(Lookup::Ptr(self.query.ip))? else {
            return Ok(Vec::new());
        };
        let names = names.iter().take(NAMES_MAX).map(String::as_str);
        let names: Vec<_> = names.filter(|name| wanted(name)).collect();
        let lookups = names.iter().map(|name| self.address_lookup(name));
        let found = self.look_up_all(lookups)?;
        let pairs = names.into_iter().zip(found);
        let points_back = |(_, (_, known)): &(&str, (_, &Known))| {
            has_address(known, Prefix::WHOLE, self.query.ip)
        };
        Ok(pairs.filter(points_back).map(|(name, _)| name).collect())
    }

    fn explain(&self, target: &MacroString, domain: &str) -> Result<Option<String>, Stop> {
        let name = self.expand_domain(target, domain)?;
        match self.look_up(Lookup::Txt(name))? {
            Known::Texts(texts, _) if texts.len() == 1 => {
                let Ok(text) = MacroString::explanation(&texts[0]) else {
                    return Ok(None);
                };
                let mut text = self.expand(&text, domain)?;
                // A macro may have put in what the client said, whatever that was.
                text.retain(|c| !c.is_control());
                Ok(Some(text).filter(|text| text.len() <= EXPLANATION_OCTETS_MAX))
            }
            _ => Ok(None),
        }
    }

    /// A name to ask for: without the final dot, and cut from the left by whole labels if it is too long (§7.3).
    fn expand_domain(&self, text: &MacroString, domain: &str) -> Result<String, Stop> {
        let mut name = self.expand(text, domain)?;
        if name.ends_with('.') {
            name.pop();
        }
        while name.len() > NAME_OCTETS_MAX {
            match name.find('.') {
                Some(dot) => name.drain(..=dot),
                None => break,
            };
        }
        Ok(name)
    }

    fn target(&self, target: Option<&MacroString>, domain: &str) -> Result<String, Stop> {
        match target {
            Some(target) => self.expand_domain(target, domain),
            None => Ok(domain.to_owned()),
        }
    }

    /// For addresses of the client's family.
    fn address_lookup(&self, name: &str) -> Lookup {
        match self.query.ip {
            IpAddr::V4(_) => Lookup::A(name.to_owned()),
            IpAddr::V6(_) => Lookup::Aaaa(name.to_owned()),
        }
    }

    /// The look-up that a term is about: an empty answer counts (§4.6.4).
    fn counted(&mut self, lookup: Lookup) -> Result<&'a Known, Stop> {
        let known = self.look_up(lookup)?;
        if matches!(known, Known::Nothing) {
            self.count_void()?;
        }
        Ok(known)
    }

    fn look_up(&self, lookup: Lookup) -> Result<&'a Known, Stop> {
        let known = self.look_up_or_fail(lookup.clone())?;
        answered(&lookup, known)
    }

    /// With a failure as one of the answers.
    fn look_up_or_fail(&self, lookup: Lookup) -> Result<&'a Known, Stop> {
        let known = self.known.get(&lookup);
        known.ok_or_else(|| Stop::Ask(vec![lookup]))
    }

    /// Several at once, failures among them.
    fn look_up_all(
        &self,
        lookups: impl Iterator<Item = Lookup>,
    ) -> Result<Vec<(Lookup, &'a Known)>, Stop> {
        let (mut found, mut missing) = (Vec::new(), Vec::new());
        for lookup in lookups {
            match self.look_up_or_fail(lookup.clone()) {
                Ok(known) => found.push((lookup, known)),
                Err(_) => missing.push(lookup),
            }
        }
        if missing.is_empty() {
            return Ok(found);
        }
        Err(Stop::Ask(missing))
    }

    fn count_term(&mut self) -> Result<(), Stop> {
        self.terms += 1;
        if self.terms > TERMS_MAX {
            return Err(Stop::Problem(Problem::TooManyTerms));
        }
        Ok(())
    }

    fn count_void(&mut self) -> Result<(), Stop> {
        self.voids += 1;
        if self.voids > VOIDS_MAX {
            return Err(Stop::Problem(Problem::TooManyVoids));
        }
        Ok(())
    }

    fn here(&mut self) -> &mut Frame<'a> {
        let last = self.way.len() - 1;
        &mut self.way[last]
    }
}

/// What could not be found out is a temporary error.
fn answered<'a>(lookup: &Lookup, known: &'a Known) -> Result<&'a Known, Stop> {
    match known {
        Known::Failed(why) => Err(Stop::Problem(Problem::NoAnswer {
            lookup: lookup.to_string(),
            why: why.clone(),
        })),
        known => Ok(known),
    }
}

fn has_address(known: &Known, prefix: Prefix, ip: IpAddr) -> bool {
    matches!(known, Known::Addresses(found) if found.iter().any(|found| prefix.covers(*found, ip)))
}

/// Whether `name` is `parent` or below it.
pub(crate) fn is_within(name: &str, parent: &str) -> bool {
    let start = name.len().checked_sub(parent.len());
    let Some((below, end)) = start.and_then(|at| name.split_at_checked(at)) else {
        return false;
    };
    end.eq_ignore_ascii_case(parent) && (below.is_empty() || below.ends_with('.'))
}

/// §4.6.4: mechanisms and modifiers that ask DNS.
pub(crate) const TERMS_MAX: usize = 10;
/// §4.6.4: of them, those whose answer is empty.
pub(crate) const VOIDS_MAX: usize = 2;
/// §4.6.4: exchanges of an `mx`; names of a client.
pub(crate) const NAMES_MAX: usize = 10;
/// An explanation goes into a reply.
const EXPLANATION_OCTETS_MAX: usize = 1000;
