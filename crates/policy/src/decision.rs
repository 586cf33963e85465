//! What rules say, the decision that follows, and the trace that explains it.

use std::fmt;

use envelope::{Reply, Verdict};

use crate::question::Question;

envelope::named! {
    /// A point of the session at which something is decided.
    pub enum Stage {
        /// Before the greeting.
        Connect = "connect",
        /// At EHLO or HELO.
        Hello = "hello",
        /// At AUTH: is the client who it says?
        Auth = "auth",
        /// At MAIL: may a transaction begin?
        Mail = "mail",
        /// At RCPT: do we take mail for this recipient from this client?
        Rcpt = "rcpt",
        /// At DATA or the first BDAT: may the body be sent?
        Data = "data",
        /// At the end of the body: is the message taken?
        Message = "message",
    }
}

/// What a rule says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opinion {
    /// Neither for nor against.
    Pass,
    /// No; the session goes on.
    Object(Reply),
    /// No, and the session ends with this reply.
    Close(Reply),
    /// Yes: no further ground is needed.
    Grant,
    /// No objection, but do this if it is accepted.
    Note(Effect),
}

/// Something to do besides answering. The driver carries it out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Leave out the legs that would loop; send the others.
    LeaveLoopsOut,
    /// Keep legs in the queue until an operator looks at them.
    Hold(Why),
    /// Throw the message away.
    Discard,
    /// Send it as mail of this tier goes.
    Tier(Tier),
}

envelope::named! {
    /// What mail is taken for: each tier may leave from addresses of its own, under an SRS domain of its own.
    pub enum Tier {
        /// From users and trusted clients.
        Authenticated = "authenticated",
        /// Its sender is proved, and no filter suspects it.
        Clean = "clean",
        /// Nothing speaks for or against it.
        Unknown = "unknown",
        /// Its sender is forged, as it seems, or a filter suspects it.
        Suspect = "suspect",
    }
}

/// Why legs are kept, and whose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// Those of recipients whose measures say so (`dmarc = "hold"`).
    Dmarc,
    /// All: a limit of the sender's or the client's says so.
    Limit,
    /// All: a filter says so.
    Filter,
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Answer these, in parallel, then step again.
    Ask(Vec<Question>),
    /// It is decided.
    Decide(Decision),
}

/// What was decided, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The answer for the session.
    pub answer: Verdict,
    /// The name of the rule that decided, for the log: stable, in kebab-case.
    pub rule: &'static str,
    /// What an accepting answer brings with it.
    pub effects: Vec<Effect>,
    /// Every rule that was asked, in order, with what it said.
    pub trace: Trace,
}

/// Rules and what they said, in order.
pub type Trace = Vec<(&'static str, Opinion)>;

impl Opinion {
    pub(crate) fn object_if(wrong: bool, reply: impl FnOnce() -> Reply) -> Self {
        if wrong {
            Self::Object(reply())
        } else {
            Self::Pass
        }
    }

    pub(crate) fn grant_if(right: bool) -> Self {
        if right { Self::Grant } else { Self::Pass }
    }

    /// The answer, when it decides.
    pub(crate) fn verdict(&self) -> Option<Verdict> {
        match self {
            Self::Grant => Some(Verdict::Accept),
            Self::Object(reply) => Some(Verdict::Refuse(reply.clone())),
            Self::Close(reply) => Some(Verdict::Close(reply.clone())),
            Self::Pass | Self::Note(_) => None,
        }
    }
}

impl Decision {
    pub(crate) fn new(rule: &'static str, answer: Verdict, trace: Trace) -> Self {
        let accepted = answer == Verdict::Accept;
        let noted = trace.iter().filter_map(|(_, opinion)| match opinion {
            Opinion::Note(effect) if accepted => Some(*effect),
            _ => None,
        });
        let effects = noted.collect();
        Self {
            answer,
            rule,
            effects,
            trace,
        }
    }
}

/// In words, for a trace.
impl fmt::Display for Opinion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pass => f.write_str("pass"),
            Self::Object(reply) => write!(f, "object: {reply}"),
            Self::Close(reply) => write!(f, "close: {reply}"),
            Self::Grant => f.write_str("grant"),
            Self::Note(effect) => write!(f, "note: {effect}"),
        }
    }
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::LeaveLoopsOut => "leave loops out",
            Self::Hold(Why::Dmarc) => "hold",
            Self::Hold(Why::Limit) => "hold: limit",
            Self::Hold(Why::Filter) => "hold: filter",
            Self::Discard => "discard",
            Self::Tier(tier) => return write!(f, "tier: {}", tier.name()),
        })
    }
}

/// The trace, a line for each rule that was asked.
impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lines = self.trace.iter();
        lines.try_for_each(|(rule, opinion)| writeln!(f, "{rule}: {opinion}"))
    }
}
