//! The result of an evaluation, and how it came to be.

use std::fmt;
use std::net::IpAddr;

use crate::SyntaxError;

/// The results of RFC 7208 §2.6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// No domain to ask about, or it publishes no record.
    None,
    /// The record says nothing about the client.
    Neutral,
    /// The client may send for the domain.
    Pass,
    /// It may not.
    Fail,
    /// It probably may not.
    SoftFail,
    /// DNS gave no answer: later it may.
    TempError,
    /// The record cannot be used as it is.
    PermError,
}

/// What came out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// The result.
    pub verdict: Verdict,
    /// Who was judged: an IPv4 client that came over IPv6 is an IPv4 client.
    pub client: IpAddr,
    /// From the identity's domain through redirects and includes to the record that decided. Never empty.
    pub way: Vec<Hop>,
    /// The record that decided, if it could be read.
    pub record: Option<String>,
    /// What its owner says to a client that fails (`exp=`): a stranger's words, printable, at most 1,000 octets.
    pub explanation: Option<String>,
    /// What is wrong, if the result is none, temperror or permerror.
    pub problem: Option<Problem>,
}

/// One record on the way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hop {
    /// Whose it is.
    pub domain: String,
    /// The term that led on, or decided, or is wrong, as the record has it. Empty: none of them matched, or there is no record.
    pub term: String,
}

/// Why there is no better result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// A HELO name or the like that can have no record.
    #[error("it is no full domain name")]
    NotADomain,
    /// Nothing published.
    #[error("it publishes no SPF record")]
    NoRecord,
    /// §4.5: with two, none counts.
    #[error("it has more than one SPF record")]
    SeveralRecords,
    /// Longer than anyone needs.
    #[error("the record is too long")]
    RecordTooLong,
    /// A term that is not understood.
    #[error("`{term}`: {error}", term = .term.escape_debug())]
    Syntax {
        /// As the record has it.
        term: String,
        /// What is wrong with it.
        error: SyntaxError,
    },
    /// `include:` or `redirect=` of a domain without a record.
    #[error("{} publishes no SPF record", .0.escape_debug())]
    NoRecordAt(String),
    /// §4.6.4.
    #[error("it needs more than 10 DNS look-ups")]
    TooManyTerms,
    /// §4.6.4.
    #[error("more than 2 of its DNS look-ups find nothing")]
    TooManyVoids,
    /// §4.6.4.
    #[error("the domain has more than 10 MX")]
    TooManyExchanges,
    /// A macro makes it so.
    #[error("a name in it becomes too long")]
    TooLong,
    /// DNS did not answer.
    #[error("no answer for {lookup}: {why}", why = .why.escape_debug())]
    NoAnswer {
        /// The question.
        lookup: String,
        /// As the caller said.
        why: String,
    },
}

impl Verdict {
    /// The word of the RFC.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Neutral => "neutral",
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::SoftFail => "softfail",
            Self::TempError => "temperror",
            Self::PermError => "permerror",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Output {
    /// The domain of the record that decided, or that is wrong.
    pub fn domain(&self) -> &str {
        self.way.last().map_or("", |hop| &hop.domain)
    }
}

/// How the result came to be, on one line.
impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((last, before)) = self.way.split_last() else {
            return Ok(());
        };
        let domain = last.domain.escape_debug();
        match &self.problem {
            Some(problem) => write!(f, "{domain}: {problem}")?,
            None if last.term.is_empty() => {
                write!(
                    f,
                    "no term in the record of {domain} matches {}",
                    self.client
                )?;
            }
            None => write!(
                f,
                "`{}` in the record of {domain} matches {}",
                last.term, self.client
            )?,
        }
        for hop in before.iter().rev() {
            write!(f, ", by `{}` of {}", hop.term, hop.domain.escape_debug())?;
        }
        Ok(())
    }
}

impl Problem {
    pub(crate) fn verdict(&self) -> Verdict {
        match self {
            Self::NotADomain | Self::NoRecord => Verdict::None,
            Self::NoAnswer { .. } => Verdict::TempError,
            _ => Verdict::PermError,
        }
    }
}
