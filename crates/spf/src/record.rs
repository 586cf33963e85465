//! An SPF record, parsed (RFC 7208 §4.5, §4.6, §12). An error anywhere spoils it whole, as §4.6 wants.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Range;

use crate::macros::{MacroString, check_any, printable};
use crate::{Problem, Verdict};

/// The record of a domain.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) text: String,
    pub(crate) directives: Vec<Directive>,
    pub(crate) redirect: Option<Modifier>,
    pub(crate) exp: Option<Modifier>,
}

/// A mechanism, and the result if it matches.
#[derive(Debug)]
pub(crate) struct Directive {
    pub(crate) verdict: Verdict,
    pub(crate) mechanism: Mechanism,
    term: Range<usize>,
}

#[derive(Debug)]
pub(crate) enum Mechanism {
    All,
    Include(MacroString),
    /// Without a name: the domain whose record it is.
    A(Option<MacroString>, Prefix),
    Mx(Option<MacroString>, Prefix),
    Ptr(Option<MacroString>),
    /// `ip4` and `ip6`.
    Network(IpAddr, Prefix),
    Exists(MacroString),
}

/// How many leading bits count, for either family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Prefix {
    v4: u32,
    v6: u32,
}

/// What stands between two spaces.
#[derive(Debug)]
pub(crate) enum Term {
    Directive(Verdict, Mechanism),
    Redirect(MacroString),
    Exp(MacroString),
    /// A modifier that is ignored (§6).
    Unknown,
}

/// `redirect=` or `exp=`.
#[derive(Debug)]
pub(crate) struct Modifier {
    pub(crate) target: MacroString,
    term: Range<usize>,
}

/// What is wrong with a term.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SyntaxError {
    /// Not ASCII, or a control character.
    #[error("octet 0x{0:02x} is not allowed in a record")]
    BadOctet(u8),
    /// No such mechanism.
    #[error("there is no such mechanism")]
    UnknownMechanism,
    /// `redirect:` or `exp:`.
    #[error("a modifier is written with `=`")]
    ModifierAsMechanism,
    /// Nothing where a domain, an address or a network must be.
    #[error("its argument is missing")]
    NoArgument,
    /// An argument where none is allowed.
    #[error("it takes no such argument")]
    UnexpectedArgument,
    /// Not an address of the family.
    #[error("that is no address")]
    BadAddress,
    /// A prefix length that is no number, or too long for the family.
    #[error("bad prefix length")]
    BadPrefix,
    /// No domain-spec.
    #[error("that is no domain name")]
    BadDomain,
    /// An address where a name must be: the most common mistake.
    #[error("that is no domain name: an address is written `ip4:` or `ip6:`")]
    NumericDomain,
    /// `%` with something wrong behind it.
    #[error("bad macro")]
    BadMacro,
    /// More than any name needs.
    #[error("it has too many macros")]
    TooManyMacros,
    /// A name of a modifier must begin with a letter.
    #[error("bad name of a modifier")]
    BadModifierName,
    /// `redirect=` or `exp=` again.
    #[error("it is there twice")]
    Twice,
}

impl Record {
    /// The one record among the TXT records of a domain (§4.5).
    pub(crate) fn select(texts: &[Vec<u8>]) -> Result<Self, Problem> {
        let mut found = texts.iter().filter(|text| is_spf(text));
        match (found.next(), found.next()) {
            (None, _) => Err(Problem::NoRecord),
            (Some(text), None) => Self::parse(text),
            (Some(_), Some(_)) => Err(Problem::SeveralRecords),
        }
    }

    fn parse(text: &[u8]) -> Result<Self, Problem> {
        if text.len() > RECORD_OCTETS_MAX {
            return Err(Problem::RecordTooLong);
        }
        let text = printable(text).map_err(|error| {
            let mut terms = text.split(|b| *b == b' ');
            let term = terms.find(|term| printable(term).is_err());
            let term = String::from_utf8_lossy(term.unwrap_or_default());
            syntax(term.into_owned(), error)
        })?;
        let mut record = Self {
            text: text.to_owned(),
            directives: Vec::new(),
            redirect: None,
            exp: None,
        };
        for (at, term) in terms(text) {
            let read = record.read_term(term, at..at + term.len());
            read.map_err(|error| syntax(term.to_owned(), error))?;
        }
        Ok(record)
    }

    /// The directive's words in the record.
    pub(crate) fn directive(&self, directive: &Directive) -> &str {
        &self.text[directive.term.clone()]
    }

    /// The modifier's words in the record.
    pub(crate) fn modifier(&self, modifier: &Modifier) -> &str {
        &self.text[modifier.term.clone()]
    }

    fn read_term(&mut self, text: &str, term: Range<usize>) -> Result<(), SyntaxError> {
        let (place, target) = match Term::parse(text)? {
            Term::Directive(verdict, mechanism) => {
                self.directives.push(Directive {
                    verdict,
                    mechanism,
                    term,
                });
                return Ok(());
            }
            Term::Redirect(target) => (&mut self.redirect, target),
            Term::Exp(target) => (&mut self.exp, target),
            Term::Unknown => return Ok(()),
        };
        if place.is_some() {
            return Err(SyntaxError::Twice);
        }
        *place = Some(Modifier { target, term });
        Ok(())
    }
}

impl Term {
    pub(crate) fn parse(term: &str) -> Result<Self, SyntaxError> {
        // A modifier has its `=` before any `:` or `/`.
        let name = term.find(['=', ':', '/']).map(|at| term.split_at(at));
        if let Some((name, rest)) = name
            && let Some(value) = rest.strip_prefix('=')
        {
            return Self::modifier(name, value);
        }
        let (verdict, mechanism) = match term.as_bytes().first() {
            Some(b'+') => (Verdict::Pass, &term[1..]),
            Some(b'-') => (Verdict::Fail, &term[1..]),
            Some(b'~') => (Verdict::SoftFail, &term[1..]),
            Some(b'?') => (Verdict::Neutral, &term[1..]),
            _ => (Verdict::Pass, term),
        };
        Ok(Self::Directive(verdict, Mechanism::parse(mechanism)?))
    }

    fn modifier(name: &str, value: &str) -> Result<Self, SyntaxError> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
        if !name.starts_with(|c: char| c.is_ascii_alphabetic()) || !name.bytes().all(allowed) {
            return Err(SyntaxError::BadModifierName);
        }
        match name.to_ascii_lowercase().as_str() {
            "redirect" => domain_spec(value).map(Self::Redirect),
            "exp" => domain_spec(value).map(Self::Exp),
            _ => check_any(value).map(|()| Self::Unknown),
        }
    }
}

impl Mechanism {
    fn parse(text: &str) -> Result<Self, SyntaxError> {
        let at = text.find([':', '/']).unwrap_or(text.len());
        let (name, rest) = text.split_at(at);
        let argument = rest.strip_prefix(':');
        let needed = || argument.ok_or(SyntaxError::NoArgument);
        match name.to_ascii_lowercase().as_str() {
            "all" if rest.is_empty() => Ok(Self::All),
            "all" => Err(SyntaxError::UnexpectedArgument),
            "include" => domain_spec(needed()?).map(Self::Include),
            "exists" => domain_spec(needed()?).map(Self::Exists),
            "ptr" if rest.is_empty() => Ok(Self::Ptr(None)),
            "ptr" => domain_spec(needed()?).map(|target| Self::Ptr(Some(target))),
            "a" => with_prefix(rest).map(|(target, prefix)| Self::A(target, prefix)),
            "mx" => with_prefix(rest).map(|(target, prefix)| Self::Mx(target, prefix)),
            "ip4" => network::<Ipv4Addr>(needed()?, Prefix::V4_MAX),
            "ip6" => network::<Ipv6Addr>(needed()?, Prefix::V6_MAX),
            "redirect" | "exp" => Err(SyntaxError::ModifierAsMechanism),
            _ => Err(SyntaxError::UnknownMechanism),
        }
    }

    /// Whether it counts against the limit of terms that ask DNS (§4.6.4).
    pub(crate) fn asks(&self) -> bool {
        !matches!(self, Self::All | Self::Network(..))
    }
}

impl Prefix {
    /// The whole address.
    pub(crate) const WHOLE: Self = Self {
        v4: Self::V4_MAX,
        v6: Self::V6_MAX,
    };
    const V4_MAX: u32 = 32;
    const V6_MAX: u32 = 128;

    /// Whether the leading bits are the same. Addresses of two families never are.
    pub(crate) fn covers(self, network: IpAddr, address: IpAddr) -> bool {
        // A shift by all bits is none at all to the processor.
        match (network, address) {
            (IpAddr::V4(a), IpAddr::V4(b)) => {
                let differing = a.to_bits() ^ b.to_bits();
                differing.checked_shr(Self::V4_MAX - self.v4).unwrap_or(0) == 0
            }
            (IpAddr::V6(a), IpAddr::V6(b)) => {
                let differing = a.to_bits() ^ b.to_bits();
                differing.checked_shr(Self::V6_MAX - self.v6).unwrap_or(0) == 0
            }
            _ => false,
        }
    }

    /// A network as a record has it.
    pub(crate) fn term(self, network: IpAddr) -> String {
        let (name, length, whole) = match network {
            IpAddr::V4(_) => ("ip4", self.v4, Self::V4_MAX),
            IpAddr::V6(_) => ("ip6", self.v6, Self::V6_MAX),
        };
        match length == whole {
            true => format!("{name}:{network}"),
            false => format!("{name}:{network}/{length}"),
        }
    }

    /// Whether it is one address.
    pub(crate) fn is_host(self, network: IpAddr) -> bool {
        !self.term(network).contains('/')
    }

    /// More of the Internet than anyone has.
    pub(crate) fn is_vast(self, network: IpAddr) -> bool {
        match network {
            IpAddr::V4(_) => self.v4 < 8,
            IpAddr::V6(_) => self.v6 < 16,
        }
    }
}

/// Where each term begins, and its words.
pub(crate) fn terms(record: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut at = VERSION.len();
    let terms = record[at..].split(' ').map(move |term| {
        let begins = at;
        at += term.len() + 1;
        (begins, term)
    });
    terms.filter(|(_, term)| !term.is_empty())
}

pub(crate) fn is_spf(text: &[u8]) -> bool {
    let version = text.get(..VERSION.len());
    version.is_some_and(|found| found.eq_ignore_ascii_case(VERSION.as_bytes()))
        && matches!(text.get(VERSION.len()), None | Some(b' '))
}

fn domain_spec(text: &str) -> Result<MacroString, SyntaxError> {
    if text.is_empty() {
        return Err(SyntaxError::NoArgument);
    }
    MacroString::domain_spec(text)
}

/// `[:domain-spec][/n][//n]`. A domain-spec may hold slashes too: the prefix lengths are what is at the end.
fn with_prefix(text: &str) -> Result<(Option<MacroString>, Prefix), SyntaxError> {
    let (text, v6) = take_prefix(text, "//", Prefix::V6_MAX)?;
    let (text, v4) = take_prefix(text, "/", Prefix::V4_MAX)?;
    let target = match text.strip_prefix(':') {
        Some(target) => Some(domain_spec(target)?),
        None if text.is_empty() => None,
        None => return Err(SyntaxError::BadPrefix),
    };
    Ok((target, Prefix { v4, v6 }))
}

fn take_prefix<'a>(text: &'a str, mark: &str, max: u32) -> Result<(&'a str, u32), SyntaxError> {
    let before = text.trim_end_matches(|c: char| c.is_ascii_digit());
    match before.strip_suffix(mark) {
        Some(rest) if before.len() < text.len() => {
            Ok((rest, prefix_length(&text[before.len()..], max)?))
        }
        _ => Ok((text, max)),
    }
}

fn prefix_length(digits: &str, max: u32) -> Result<u32, SyntaxError> {
    let is_plain = digits.bytes().all(|b| b.is_ascii_digit());
    let has_zero = digits.len() > 1 && digits.starts_with('0');
    let length = digits.parse().ok().filter(|length| *length <= max);
    length
        .filter(|_| is_plain && !has_zero)
        .ok_or(SyntaxError::BadPrefix)
}

fn network<T>(text: &str, max: u32) -> Result<Mechanism, SyntaxError>
where
    T: std::str::FromStr + Into<IpAddr>,
{
    let (address, length) = match text.split_once('/') {
        Some((address, digits)) => (address, prefix_length(digits, max)?),
        None => (text, max),
    };
    let address: T = address.parse().map_err(|_| SyntaxError::BadAddress)?;
    let prefix = Prefix {
        v4: length.min(Prefix::V4_MAX),
        v6: length,
    };
    Ok(Mechanism::Network(address.into(), prefix))
}

fn syntax(term: String, error: SyntaxError) -> Problem {
    Problem::Syntax { term, error }
}

pub(crate) const VERSION: &str = "v=spf1";
/// RFC 7208 §3.4 wants a record to fit into 512 octets of DNS. This bounds the work on one.
const RECORD_OCTETS_MAX: usize = 16 * 1024;
