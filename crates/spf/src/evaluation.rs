//! An evaluation as the caller sees it: it asks, is answered, and steps on.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;

use crate::record::Record;
use crate::run::Run;
use crate::{Output, Problem, Query};

/// One `check_host()`, or another question whose answer stands in DNS.
///
/// Each step runs the whole evaluation anew, over all that is known by now, until something is missing. So the rules of the RFC
/// stand as plain recursive code, with nothing to suspend; and what a run costs is little beside a look-up.
#[derive(Debug)]
pub struct Evaluation<Q = Query> {
    query: Q,
    known: Answers,
}

/// What an [`Evaluation`] finds out: a [`Query`], or a [`Lint`](crate::Lint).
pub trait Question {
    /// The result.
    type Found;

    /// From the start, as far as the answers reach.
    fn step(&self, known: &Answers) -> Step<Self::Found>;
}

/// What DNS has said so far.
#[derive(Debug, Default)]
pub struct Answers(HashMap<Lookup, Known>);

/// What comes next.
#[derive(Debug)]
pub enum Step<F = Output> {
    /// These must be known. They do not depend on each other.
    Ask(Vec<Lookup>),
    /// The result.
    Done(F),
}

/// A question for DNS. A name has no final dot; its labels may hold any octets, since macros put in what the client said.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Lookup {
    /// TXT records.
    Txt(String),
    /// A records.
    A(String),
    /// AAAA records.
    Aaaa(String),
    /// MX records.
    Mx(String),
    /// The names of an address (PTR).
    Ptr(IpAddr),
}

/// What DNS says.
#[derive(Debug, Clone)]
pub enum Answer {
    /// To [`Lookup::Txt`]: for each record its strings, joined without a gap.
    Txt(Vec<Vec<u8>>),
    /// To [`Lookup::A`] and [`Lookup::Aaaa`].
    Addresses(Vec<IpAddr>),
    /// To [`Lookup::Mx`] the exchanges, to [`Lookup::Ptr`] the names; without a final dot.
    Names(Vec<String>),
    /// The name does not exist, or has no such records.
    Nothing,
    /// Could not find out, and why.
    Failed(String),
}

/// An answer as the evaluation keeps it.
#[derive(Debug)]
pub(crate) enum Known {
    /// The records, and the one of them that is SPF's: parsed once, however often it is evaluated.
    Texts(Vec<Vec<u8>>, Result<Record, Problem>),
    Addresses(Vec<IpAddr>),
    Names(Vec<String>),
    Nothing,
    Failed(String),
}

impl Question for Query {
    type Found = Output;

    fn step(&self, known: &Answers) -> Step {
        Run::new(self, known).finish()
    }
}

impl Answers {
    /// A name that no question can hold does not exist (§4.3, §4.8).
    pub(crate) fn get(&self, lookup: &Lookup) -> Option<&Known> {
        match lookup.fits() {
            true => self.0.get(lookup),
            false => Some(&Known::Nothing),
        }
    }
}

impl<Q: Question> Evaluation<Q> {
    /// Knows nothing yet.
    pub fn new(query: Q) -> Self {
        Self {
            query,
            known: Answers::default(),
        }
    }

    /// Goes on as far as the answers reach. What was asked for and not answered is asked for again.
    pub fn step(&self) -> Step<Q::Found> {
        self.query.step(&self.known)
    }

    /// Hands an answer in. One of the wrong kind is as good as none.
    pub fn answer(&mut self, lookup: Lookup, answer: Answer) {
        let known = match answer {
            Answer::Txt(texts) => {
                let record = Record::select(&texts);
                Known::Texts(texts, record)
            }
            Answer::Addresses(found) if found.is_empty() => Known::Nothing,
            Answer::Addresses(found) => Known::Addresses(found),
            Answer::Names(found) => Known::Names(found),
            Answer::Nothing => Known::Nothing,
            Answer::Failed(why) => Known::Failed(why),
        };
        self.known.0.insert(lookup, known);
    }
}

impl Lookup {
    /// Whether a question can be made of it: labels of 1 to 63 octets, at most 253 in all.
    pub(crate) fn fits(&self) -> bool {
        match self {
            Self::Txt(name) | Self::A(name) | Self::Aaaa(name) | Self::Mx(name) => {
                name.len() <= NAME_OCTETS_MAX
                    && name
                        .split('.')
                        .all(|label| (1..=LABEL_OCTETS_MAX).contains(&label.len()))
            }
            Self::Ptr(_) => true,
        }
    }
}

/// As in `TXT of example.org`.
impl fmt::Display for Lookup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, name) = match self {
            Self::Txt(name) => ("TXT", name),
            Self::A(name) => ("A", name),
            Self::Aaaa(name) => ("AAAA", name),
            Self::Mx(name) => ("MX", name),
            Self::Ptr(address) => return write!(f, "PTR of {address}"),
        };
        write!(f, "{kind} of {}", name.escape_debug())
    }
}

/// RFC 1035 §2.3.4, as text: without the octets for the first length and the root.
pub(crate) const NAME_OCTETS_MAX: usize = 253;
const LABEL_OCTETS_MAX: usize = 63;
