//! What can be wrong with a record: how bad it is, what it is, and what receivers make of it.

use std::fmt;

use serde::{Serialize, Serializer};

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

/// A kind of fault: how bad; its name, for machines; its words, with `{}` for what it is about; why it matters.
#[derive(Debug)]
pub(super) struct Kind(
    pub(super) Level,
    pub(super) &'static str,
    &'static str,
    pub(super) &'static str,
);

/// What is wrong.
#[derive(Debug, Clone)]
pub(super) struct Fault {
    pub(super) kind: &'static Kind,
    about: String,
}

impl Kind {
    pub(super) fn of(&'static self, about: impl ToString) -> Fault {
        Fault {
            kind: self,
            about: about.to_string(),
        }
    }
}

impl Fault {
    fn is_one_of(&self, kinds: &[&Kind]) -> bool {
        kinds.iter().any(|kind| kind.1 == self.kind.1)
    }

    /// Whether a record that includes one with this fault has it too.
    pub(super) fn is_inherited(&self) -> bool {
        self.is_one_of(&[&UNUSABLE, &NO_ANSWER, &EVERYBODY])
    }

    /// Whether a term with it does no good, and can only go.
    pub(super) fn is_fatal(&self) -> bool {
        self.is_one_of(&[&UNUSABLE, &VOID, &PTR, &CONSTANT_EXISTS, &EVERYBODY])
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.kind.2.replacen("{}", &self.about, 1))
    }
}

impl Serialize for Fault {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

pub(super) use table::*;

#[rustfmt::skip] // A line for each.
mod table {
    use super::Kind;
    use super::Level::{Error, Note, Warning};

    pub(crate) static NO_RECORD: Kind = Kind(Error, "no-record", "there is no SPF record", "mail of the domain cannot be told from forged mail");
    pub(crate) static NOT_READ: Kind = Kind(Error, "not-read", "this is not read as SPF: `v=spf1` and a space must come first", "for receivers it is not there");
    pub(crate) static SEVERAL: Kind = Kind(Error, "several-records", "there are {} SPF records", "with several, receivers use none (permerror, RFC 7208 §4.5)");
    pub(crate) static SYNTAX: Kind = Kind(Error, "syntax", "{}", SPOILT);
    pub(crate) static RELATIVE: Kind = Kind(Error, "relative-name", "`{}` is not a full domain name", "SPF completes no names, and one such name spoils the whole record (permerror)");
    pub(crate) static NO_ALL: Kind = Kind(Error, "no-all", "the record does not end in `all` or `redirect=`", "forgers get `neutral`, as if nothing had been published");
    pub(crate) static EVERYBODY: Kind = Kind(Error, "everybody", "every address of the Internet may send", "forgers pass as well");
    pub(crate) static AFTER_ALL: Kind = Kind(Error, "after-all", "this stands behind `all`", "receivers stop at `all`: they never see it");
    pub(crate) static REDIRECT_BESIDE_ALL: Kind = Kind(Error, "redirect-beside-all", "`redirect=` stands beside `all`", "receivers ignore `redirect=` where there is `all` (RFC 7208 §6.1)");
    pub(crate) static PTR: Kind = Kind(Warning, "ptr", "`ptr` should not be used", "it is slow and unreliable, and some receivers skip it (RFC 7208 §5.5): name the hosts instead");
    pub(crate) static UNKNOWN_MODIFIER: Kind = Kind(Warning, "unknown-modifier", "no receiver knows this modifier", "receivers ignore it");
    pub(crate) static DUPLICATE: Kind = Kind(Note, "duplicate", "this is there already", "it may cost a look-up, and room");
    pub(crate) static LOOKUPS: Kind = Kind(Error, "too-many-lookups", "{} terms ask DNS; 10 may", "receivers give up after 10 (permerror, RFC 7208 §4.6.4)");
    pub(crate) static VOIDS: Kind = Kind(Error, "too-many-voids", "{} look-ups find nothing for a client; 2 may", "receivers give up at the third (permerror, RFC 7208 §4.6.4)");
    pub(crate) static VOID: Kind = Kind(Warning, "void", "DNS has nothing for this name", "it matches nobody, and receivers give up at the third of that kind");
    pub(crate) static UNUSABLE: Kind = Kind(Error, "unusable", "{}", SPOILT);
    pub(crate) static NO_ANSWER: Kind = Kind(Warning, "no-answer", "no answer: {}", "receivers that get none either put mail off or judge it without SPF (temperror)");
    pub(crate) static CONSTANT_EXISTS: Kind = Kind(Warning, "constant-exists", "`exists` without a macro is the same for every client", "it lets everybody send, or nobody");
    pub(crate) static MACRO_P: Kind = Kind(Warning, "macro-p", "the macro `%{p}` should not be used", "it is slow and unreliable (RFC 7208 §7.2)");
    pub(crate) static LONG: Kind = Kind(Note, "long", "the record has {} octets: more than one string of 255 holds", "it must be published as several strings of one record");
    pub(crate) static TOO_LONG: Kind = Kind(Warning, "too-long", "the record has {} octets; up to 450 are safe", TOO_LARGE);
    pub(crate) static CROWDED: Kind = Kind(Note, "crowded", "all TXT records of the name together have {} octets; up to 450 are safe", TOO_LARGE);
    pub(crate) static NO_AAAA: Kind = Kind(Note, "no-aaaa", "no IPv6 address here: {}", "the term is for IPv4 only: from an IPv6 address of the host mail fails");
    pub(crate) static ONLY_IPV4: Kind = Kind(Note, "only-ipv4", "no IPv6 address may send", "if a host that sends gets an IPv6 address, it uses it, and its mail fails: add `ip6:` then");
    pub(crate) static OTHER_FAMILY: Kind = Kind(Warning, "other-family", "{}, which may not send", "a host with IPv6 uses it wherever the receiver has it too, and its mail fails there");
    pub(crate) static MISSING: Kind = Kind(Error, "sender-missing", "{}, from which mail is sent, may not send", "its mail fails SPF");
    pub(crate) static FLATTENED: Kind = Kind(Note, "flattened", "to save look-ups, `{}` is replaced by its addresses of today", "when these addresses change, the record must change");
    pub(crate) static STILL_TOO_MANY: Kind = Kind(Error, "still-too-many-lookups", "what is left still needs {} look-ups: take out what no longer sends", "receivers give up after 10 (permerror)");

    const SPOILT: &str = "it spoils the whole record: receivers answer permerror to all mail of the domain";
    const TOO_LARGE: &str = "the answer may not fit into one UDP packet of 512 octets, and some receivers never see it (RFC 7208 §3.4)";
}
