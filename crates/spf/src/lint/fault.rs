//! What can be wrong with a record, in words: what it is, how bad, and what receivers make of it.

use serde::{Serialize, Serializer};

use crate::SyntaxError;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Good to know.
    Note,
    /// Some mail suffers, or some receivers object.
    Warning,
    /// Receivers cannot use the record, or it protects nobody.
    Error,
}

/// What is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
    #[error("there is no SPF record")]
    NoRecord,
    #[error("this is not read as SPF: `v=spf1` and a space must come first")]
    NotRead,
    #[error("there are {0} SPF records")]
    Several(usize),
    #[error("{0}")]
    Syntax(SyntaxError),
    #[error("`{0}` is not a full domain name")]
    Relative(String),
    #[error("the record does not end in `all` or `redirect=`")]
    NoAll,
    #[error("every address of the Internet may send")]
    Everybody,
    #[error("this stands behind `all`")]
    AfterAll,
    #[error("`redirect=` stands beside `all`")]
    RedirectBesideAll,
    #[error("`ptr` should not be used")]
    Ptr,
    #[error("no receiver knows this modifier")]
    UnknownModifier,
    #[error("this is there already")]
    Duplicate,
    #[error("{0} terms ask DNS; 10 may")]
    Lookups(usize),
    #[error("{0} look-ups find nothing for an {1} client; 2 may")]
    Voids(usize, &'static str),
    #[error("DNS has nothing for this name")]
    Void,
    #[error("{0}")]
    Unusable(String),
    #[error("no answer: {0}")]
    NoAnswer(String),
    #[error("`exists` without a macro is the same for every client")]
    ConstantExists,
    #[error("the macro `%{{p}}` should not be used")]
    MacroP,
    #[error("the record has {0} octets: more than one string of 255 holds")]
    Long(usize),
    #[error("the record has {0} octets; up to 450 are safe")]
    TooLong(usize),
    #[error("all TXT records of the name together have {0} octets; up to 450 are safe")]
    Crowded(usize),
    #[error("no IPv6 address here: {0}")]
    NoAaaa(String),
    #[error("no IPv6 address may send")]
    OnlyIpv4,
    #[error("{host} also has {address}, which may not send")]
    OtherFamily { host: String, address: String },
    #[error("{0}, from which mail is sent, may not send")]
    Missing(String),
    #[error("to save look-ups, `{0}` is replaced by its addresses of today")]
    Flattened(String),
    #[error("what is left still needs {0} look-ups: take out what no longer sends")]
    StillTooMany(usize),
}

impl Fault {
    /// How bad; its name, for machines; why it matters.
    #[rustfmt::skip] // A table: a line for each.
    pub(crate) fn about(&self) -> (Level, &'static str, &'static str) {
        use Level::{Error, Note, Warning};
        match self {
            Self::NoRecord => (Error, "no-record", "mail of the domain cannot be told from forged mail"),
            Self::NotRead => (Error, "not-read", "for receivers it is not there"),
            Self::Several(_) => (Error, "several-records", "with several, receivers use none (permerror, RFC 7208 §4.5)"),
            Self::Syntax(_) => (Error, "syntax", SPOILT),
            Self::Relative(_) => (Error, "relative-name", "SPF completes no names, and one such name spoils the whole record (permerror)"),
            Self::NoAll => (Error, "no-all", "forgers get `neutral`, as if nothing had been published"),
            Self::Everybody => (Error, "everybody", "forgers pass as well"),
            Self::AfterAll => (Error, "after-all", "receivers stop at `all`: they never see it"),
            Self::RedirectBesideAll => (Error, "redirect-beside-all", "receivers ignore `redirect=` where there is `all` (RFC 7208 §6.1)"),
            Self::Ptr => (Warning, "ptr", "it is slow and unreliable, and some receivers skip it (RFC 7208 §5.5): name the hosts instead"),
            Self::UnknownModifier => (Warning, "unknown-modifier", "receivers ignore it"),
            Self::Duplicate => (Note, "duplicate", "it may cost a look-up, and room"),
            Self::Lookups(_) => (Error, "too-many-lookups", "receivers give up after 10 (permerror, RFC 7208 §4.6.4)"),
            Self::Voids(..) => (Error, "too-many-voids", "receivers give up at the third (permerror, RFC 7208 §4.6.4)"),
            Self::Void => (Warning, "void", "it matches nobody, and receivers give up at the third of that kind"),
            Self::Unusable(_) => (Error, "unusable-include", SPOILT),
            Self::NoAnswer(_) => (Warning, "no-answer", "receivers that get none either put mail off or judge it without SPF (temperror)"),
            Self::ConstantExists => (Warning, "constant-exists", "it lets everybody send, or nobody"),
            Self::MacroP => (Warning, "macro-p", "it is slow and unreliable (RFC 7208 §7.2)"),
            Self::Long(_) => (Note, "long", "it must be published as several strings of one record"),
            Self::TooLong(_) => (Warning, "too-long", TOO_LARGE),
            Self::Crowded(_) => (Note, "crowded", TOO_LARGE),
            Self::NoAaaa(_) => (Note, "no-aaaa", "the term is for IPv4 only: from an IPv6 address of the host mail fails"),
            Self::OnlyIpv4 => (Note, "only-ipv4", "if a host that sends gets an IPv6 address, it uses it, and its mail fails: add `ip6:` then"),
            Self::OtherFamily { .. } => (Warning, "other-family", "a host with IPv6 uses it wherever the receiver has it too, and its mail fails there"),
            Self::Missing(_) => (Error, "sender-missing", "its mail fails SPF"),
            Self::Flattened(_) => (Note, "flattened", "when these addresses change, the record must change"),
            Self::StillTooMany(_) => (Error, "still-too-many-lookups", "receivers give up after 10 (permerror)"),
        }
    }

    /// Whether a record that includes one with this fault has it too.
    pub(super) fn is_inherited(&self) -> bool {
        matches!(
            self,
            Self::Unusable(_) | Self::NoAnswer(_) | Self::Everybody
        )
    }

    /// Whether a term with it does no good, and can only go.
    pub(super) fn is_fatal(&self) -> bool {
        matches!(
            self,
            Self::Unusable(_) | Self::Void | Self::Ptr | Self::ConstantExists | Self::Everybody
        )
    }
}

impl Serialize for Fault {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

const SPOILT: &str =
    "it spoils the whole record: receivers answer permerror to all mail of the domain";
const TOO_LARGE: &str = "the answer may not fit into one UDP packet of 512 octets, and some receivers never see it (RFC 7208 §3.4)";
