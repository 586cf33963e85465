//! The options at the end of a line: `srs=`, `srs_domain=`, `answer=`, `spf=`.

use envelope::{Domain, Mailbox};

use super::line::Mistake;

/// Options of a line; what it does not say is `None`, and its domain's line decides, and then the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Options {
    /// `srs=on|off`: whether the reverse path is rewritten; on by default.
    pub srs: Option<bool>,
    /// `srs_domain=`: the domain that the rewritten reverse path is in.
    pub srs_domain: Option<Domain>,
    /// `answer=queue|destination`: who answers the end of data.
    pub answer: Option<Answer>,
    /// `spf=off|reject`: what becomes of mail that fails SPF.
    pub spf: Option<Spf>,
}

/// `answer=`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// We do, when the message is on disk.
    Queue,
    /// The destination does, while the client waits.
    Destination,
}

/// `spf=`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spf {
    /// Nothing is done about it.
    Off,
    /// It is refused.
    Reject,
}

impl Options {
    /// These options, and where they say nothing, `other`'s.
    #[must_use]
    pub fn or(self, other: &Self) -> Self {
        Self {
            srs: self.srs.or(other.srs),
            srs_domain: self.srs_domain.or_else(|| other.srs_domain.clone()),
            answer: self.answer.or(other.answer),
            spf: self.spf.or(other.spf),
        }
    }

    /// Takes in `name=value`, found at the octet `at` of its line.
    pub(super) fn set(&mut self, word: &str, at: usize) -> Result<(), Mistake> {
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
            "answer" => put(&mut self.answer, choose(value, value_at, &ANSWER)?),
            "spf" => put(&mut self.spf, choose(value, value_at, &SPF)?),
            "srs_domain" => put(&mut self.srs_domain, srs_domain(value, value_at)?),
            _ => {
                let hint = "options are `srs`, `srs_domain`, `answer` and `spf`";
                return Err(Mistake::new(at, format!("unknown option `{name}`")).hint(hint));
            }
        };
        if fresh {
            Ok(())
        } else {
            Err(Mistake::new(at, format!("option `{name}` given twice")).hint("remove one"))
        }
    }
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

/// With a full local part and the `@` before it, it is still an address.
pub(crate) const SRS_DOMAIN_OCTETS_MAX: usize =
    Mailbox::OCTETS_MAX - envelope::LocalPart::OCTETS_MAX - 1;
const SRS: [(&str, bool); 2] = [("on", true), ("off", false)];
const ANSWER: [(&str, Answer); 2] = [
    ("queue", Answer::Queue),
    ("destination", Answer::Destination),
];
const SPF: [(&str, Spf); 2] = [("off", Spf::Off), ("reject", Spf::Reject)];
