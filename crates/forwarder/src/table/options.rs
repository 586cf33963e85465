//! The options at the end of a line: `srs=`, `srs_domain=`, `answer=`, `tls=`, the measures against unwanted mail; and what says until
//! when an address is there, `enabled=` and `expires=`, and why, `note=`.
//!
//! What a measure is called and which values it has, the caller of [`Table::parse_with`](super::Table::parse_with) knows.

use envelope::{Domain, LegOptions, LocalPart, Timestamp, TlsUse};

use super::line::Mistake;
use super::words::unquoted;

/// Options of a line; what it does not say is `None`, and its domain's line decides, and then the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Options {
    /// `srs=on|off`: whether the reverse path is rewritten; on by default.
    pub srs: Option<bool>,
    /// `srs_domain=`: the domain that the rewritten reverse path is in.
    pub srs_domain: Option<Domain>,
    /// `tls=`: what is asked of connections to the next hop.
    pub tls: Option<TlsUse>,
    /// `answer=destination|queue`: whether the client waits for the destination's verdict; not by default.
    pub online: Option<bool>,
    /// `profile=NAME`, `spf=reject` and the like: names and values as typed, each name once.
    pub measures: Vec<Measure>,
    /// `enabled=yes|no`: whether the address is there; it is by default.
    pub enabled: Option<bool>,
    /// `expires=`: from when on it is not.
    pub expires: Option<Timestamp>,
    /// `note="…"`: for whoever reads the line.
    pub note: Option<()>,
}

/// The name and the value of a measure.
pub type Measure = (Box<str>, Box<str>);

/// Whether there is a measure of this name, and whether it can have this value.
pub type Check<'a> = &'a dyn Fn(&str, &str) -> Result<(), Objection>;

/// Why a line cannot have a measure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Objection {
    /// No measure is called so.
    Unknown,
    /// The value is wrong: how, and what to write instead.
    Value(String, String),
}

impl Options {
    /// Whether the address is not there: it is refused then, and no catch-all gets its mail.
    pub fn is_over(&self, now: Timestamp) -> bool {
        self.enabled == Some(false) || self.expires.is_some_and(|end| end <= now)
    }

    /// These options, and where they say nothing, `other`'s.
    #[must_use]
    pub fn or(self, other: &Self) -> Self {
        Self {
            srs: self.srs.or(other.srs),
            srs_domain: self.srs_domain.or_else(|| other.srs_domain.clone()),
            tls: self.tls.max(other.tls),
            online: self.online.or(other.online),
            measures: either(self.measures, &other.measures),
            enabled: self.enabled,
            expires: self.expires,
            note: self.note,
        }
    }

    /// As they are kept with the legs that are made under them. Measures and `answer` have done their work by then.
    pub fn noun(&self) -> LegOptions {
        let srs = self.srs.map(|on| if on { "srs=on" } else { "srs=off" });
        let domain = self.srs_domain.as_ref();
        let domain = domain.map(|domain| format!("srs_domain={domain}"));
        let tls = self.tls.map(|tls| format!("tls={}", tls.name()));
        let words = [srs, domain.as_deref(), tls.as_deref()];
        let words: Vec<&str> = words.into_iter().flatten().collect();
        let Ok(options) = words.join(" ").parse() else {
            unreachable!("{words:?} have no spaces and are short");
        };
        options
    }

    /// Takes in `name=value`, found at the octet `at` of its line.
    pub(super) fn set(&mut self, word: &str, at: usize, check: Check<'_>) -> Result<(), Mistake> {
        let Some((name, value)) = word.split_once('=') else {
            let hint = if word.contains('@') {
                "targets are separated by commas"
            } else {
                "options are written `name=value`"
            };
            return Err(Mistake::new(at, format!("expected an option, found `{word}`")).hint(hint));
        };
        let value_at = at + name.len() + 1;
        let fresh = match name {
            "srs" => put(&mut self.srs, choose(value, value_at, &SRS)?),
            "tls" => put(&mut self.tls, tls(value, value_at)?),
            "answer" => put(&mut self.online, choose(value, value_at, &ANSWER)?),
            "srs_domain" => put(&mut self.srs_domain, srs_domain(value, value_at)?),
            ENABLED => put(&mut self.enabled, choose(value, value_at, &YES)?),
            EXPIRES => put(&mut self.expires, expires(value, value_at)?),
            NOTE => put(&mut self.note, note(value, value_at)?),
            _ => {
                check(name, value).map_err(|objection| match objection {
                    Objection::Unknown => Mistake::new(at, format!("unknown option `{name}`"))
                        .hint("options are `srs`, `srs_domain`, `answer`, `tls`, `profile`, the measures of a profile, `enabled`, `expires`, and `note`"),
                    Objection::Value(text, hint) => Mistake::new(value_at, text).hint(hint),
                })?;
                let fresh = !self.measures.iter().any(|(known, _)| **known == *name);
                self.measures.push((name.into(), value.into()));
                fresh
            }
        };
        if fresh {
            Ok(())
        } else {
            Err(Mistake::new(at, format!("option `{name}` given twice")).hint("remove one"))
        }
    }
}

/// A line's measures, and those of its domain that it does not name. A line that names a profile begins anew.
fn either(mut own: Vec<Measure>, domain: &[Measure]) -> Vec<Measure> {
    if !own.iter().any(|(name, _)| **name == *PROFILE) {
        let is_left = |(name, _): &&Measure| !own.iter().any(|(own, _)| own == name);
        let left: Vec<_> = domain.iter().filter(is_left).cloned().collect();
        own.extend(left);
    }
    own
}

/// Whether there was nothing before.
fn put<T>(place: &mut Option<T>, value: T) -> bool {
    place.replace(value).is_none()
}

fn choose<T: Copy>(value: &str, at: usize, choices: &[(&str, T); 2]) -> Result<T, Mistake> {
    let found = choices.iter().find(|(name, _)| *name == value);
    found.map(|(_, choice)| *choice).ok_or_else(|| {
        let [(one, _), (other, _)] = choices;
        Mistake::new(at, format!("unknown value `{value}`"))
            .hint(format!("write `{one}` or `{other}`"))
    })
}

/// What would be less than the configuration wants is no option.
fn tls(value: &str, at: usize) -> Result<TlsUse, Mistake> {
    let found = value.parse().ok().filter(|tls| *tls > TlsUse::Never);
    found.ok_or_else(|| {
        Mistake::new(at, format!("unknown value `{value}`"))
            .hint("write `opportunistic`, `required` or `verified`")
    })
}

fn expires(value: &str, at: usize) -> Result<Timestamp, Mistake> {
    value.parse().map_err(|error| {
        Mistake::new(at, format!("`{value}`: {error}")).hint("write it as `2026-12-31T23:59:59Z`")
    })
}

fn note(value: &str, at: usize) -> Result<(), Mistake> {
    match unquoted(value) {
        Some(note) if note.len() <= NOTE_OCTETS_MAX => Ok(()),
        Some(_) => Err(Mistake::new(
            at,
            format!("note over {NOTE_OCTETS_MAX} octets"),
        )),
        None => Err(Mistake::new(at, "quotes that do not end").hint("write `note=\"a text\"`")),
    }
}

fn srs_domain(value: &str, at: usize) -> Result<Domain, Mistake> {
    let domain: Domain = value
        .parse()
        .map_err(|error| Mistake::new(at, format!("`{value}`: {error}")))?;
    if domain.as_str().len() > SRS_DOMAIN_OCTETS_MAX {
        let hint = format!("at most {SRS_DOMAIN_OCTETS_MAX} octets");
        return Err(Mistake::new(at, "SRS domain too long").hint(hint));
    }
    Ok(domain)
}

/// With a local part of 64 octets and the `@` before it, it is still within the 254 that every server takes
/// (RFC 5321 §4.5.3.1.3).
pub(crate) const SRS_DOMAIN_OCTETS_MAX: usize = 254 - LocalPart::SAFE_OCTETS_MAX - 1;
pub(super) const ENABLED: &str = "enabled";
pub(super) const EXPIRES: &str = "expires";
pub(super) const NOTE: &str = "note";
const NOTE_OCTETS_MAX: usize = 1000;
const YES: [(&str, bool); 2] = [("yes", true), ("no", false)];
const PROFILE: &str = "profile";
const SRS: [(&str, bool); 2] = [("on", true), ("off", false)];
const ANSWER: [(&str, bool); 2] = [("destination", true), ("queue", false)];
