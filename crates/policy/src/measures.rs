//! Measures against unwanted mail, as each hosted domain chooses them: from a profile, and from options of its own lines.
//!
//! Names and values are the same in `[[profile]]` and on a line, so they are read in one place.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The name of a profile, a list, a blocklist, a key, a filter or an egress.
pub type Name = Arc<str>;

/// What is done about the senders of mail to a recipient. By default nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Measures {
    /// `spf`.
    pub spf: Spf,
    /// `dmarc`.
    pub dmarc: Dmarc,
    /// `dnsbl`: the blocklists that are asked, each a `[[dnsbl]]`.
    pub dnsbl: Vec<Name>,
    /// `sender_block`: lists of whom nothing is taken, each a `[[list]]`.
    pub sender_block: Vec<Name>,
    /// `sender_exempt`: lists of who passes SPF, blocklists and the callout.
    pub sender_exempt: Vec<Name>,
    /// `spf_force`: lists of who is refused when SPF fails, whatever else is chosen.
    pub spf_force: Vec<Name>,
    /// `verify_sender`: whether the sender's own server is asked if the sender exists.
    pub verify_sender: bool,
    /// `sign`: the key that signs the mail (DKIM), a `[[dkim]]`.
    pub sign: Option<Name>,
    /// `seal`: the key that seals what we found out of it (ARC), a `[[dkim]]`.
    pub seal: Option<Name>,
    /// `filter`: the filters that are asked about the whole message, each a `[[filter]]`.
    pub filter: Vec<Name>,
    /// `egress`: where the mail leaves from, an `[[egress]]`.
    pub egress: Option<Name>,
}

/// `spf = "off" | "mark" | "reject"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Spf {
    /// Not looked at.
    #[default]
    Off,
    /// Told in Authentication-Results.
    Mark,
    /// A fail is refused.
    Reject,
}

/// `dmarc = "off" | "mark" | "reject" | "hold"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Dmarc {
    /// Not looked at.
    #[default]
    Off,
    /// Told in Authentication-Results.
    Mark,
    /// A fail is refused where the owner of the From domain asks for that.
    Reject,
    /// What its owner wants refused or put aside is kept in the queue until an operator decides.
    Hold,
}

/// The profiles, and the names that measures may use.
#[derive(Debug, Clone, Default)]
pub struct Profiles {
    names: Names,
    /// For lines that name no profile.
    default: Arc<Measures>,
    named: BTreeMap<Name, Arc<Measures>>,
}

/// What the configuration defines.
#[derive(Debug, Clone, Default)]
pub struct Names {
    /// Of each `[[list]]`.
    pub lists: BTreeSet<Name>,
    /// Of each `[[dnsbl]]`.
    pub dnsbls: BTreeSet<Name>,
    /// Of each `[[dkim]]`.
    pub keys: BTreeSet<Name>,
    /// Of each of those that can seal.
    pub seals: BTreeSet<Name>,
    /// Of each `[[filter]]`.
    pub filters: BTreeSet<Name>,
    /// Of each `[[egress]]`.
    pub egresses: BTreeSet<Name>,
}

/// Why there is no such measure.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Wrong {
    /// No measure is called so.
    #[error("unknown measure")]
    Unknown,
    /// It has no such value.
    #[error("unknown value `{0}`")]
    Value(String, &'static str),
    /// It names what the configuration does not define.
    #[error("no [[{of}]] is called `{name}`")]
    Name {
        /// The table of the configuration.
        of: &'static str,
        /// The name that is not there.
        name: String,
    },
    /// A key that signs, but cannot seal.
    #[error("the [[dkim]] `{0}` cannot seal")]
    CannotSeal(String),
    /// The name would not stand as one word on a line.
    #[error("`{0}` is not a name")]
    NotAName(String),
    /// Two of a kind are called so.
    #[error("`{0}` is there twice")]
    Twice(String),
}

impl Wrong {
    /// What to write instead.
    pub fn hint(&self) -> String {
        match self {
            Self::Unknown => {
                "the measures are those of `[[profile]]` in etc/onward.toml".to_owned()
            }
            Self::Value(_, values) => format!("write {values}"),
            Self::Name { of, .. } => {
                format!("correct the name, or add a [[{of}]] with it to the configuration")
            }
            Self::CannotSeal(_) => "verifiers of ARC know RSA keys only".to_owned(),
            Self::NotAName(_) => "letters, digits, `-`, `_` and `.`; and not `off`".to_owned(),
            Self::Twice(_) => "give one of them another name".to_owned(),
        }
    }
}

impl Measures {
    /// What a profile has if it says nothing.
    fn of_a_profile() -> Self {
        Self {
            spf: Spf::Mark,
            dmarc: Dmarc::Mark,
            ..Self::default()
        }
    }

    /// Whether results of SPF are wanted in the message.
    pub fn wants_spf(&self) -> bool {
        self.spf != Spf::Off || self.wants_authentic()
    }

    /// Whether DKIM, DMARC and ARC must be verified.
    pub fn wants_authentic(&self) -> bool {
        self.dmarc != Dmarc::Off || self.seal.is_some()
    }

    /// Whether a key of ours is to sign or seal.
    pub fn wants_key(&self) -> bool {
        self.sign.is_some() || self.seal.is_some()
    }

    /// Those that hold for mail of users: of its senders nothing has to be found out.
    fn of_users(&self) -> Self {
        Self {
            sign: self.sign.clone(),
            seal: self.seal.clone(),
            filter: self.filter.clone(),
            egress: self.egress.clone(),
            ..Self::default()
        }
    }

    fn set(&mut self, name: &str, value: &str, known: &Names) -> Result<(), Wrong> {
        match name {
            "spf" => self.spf = choose(value, &SPF, "`off`, `mark` or `reject`")?,
            "dmarc" => self.dmarc = choose(value, &DMARC, "`off`, `mark`, `reject` or `hold`")?,
            "verify_sender" => self.verify_sender = choose(value, &VERIFY, "`off` or `reject`")?,
            "dnsbl" => self.dnsbl = names("dnsbl", value, &known.dnsbls)?,
            "sender_block" => self.sender_block = names("list", value, &known.lists)?,
            "sender_exempt" => self.sender_exempt = names("list", value, &known.lists)?,
            "spf_force" => self.spf_force = names("list", value, &known.lists)?,
            "sign" => self.sign = one("dkim", value, &known.keys)?,
            "egress" => self.egress = one("egress", value, &known.egresses)?,
            "seal" => match one("dkim", value, &known.keys)? {
                Some(name) if !known.seals.contains(&name) => {
                    return Err(Wrong::CannotSeal(name.to_string()));
                }
                name => self.seal = name,
            },
            "filter" => self.filter = names("filter", value, &known.filters)?,
            _ => return Err(Wrong::Unknown),
        }
        Ok(())
    }
}

impl Profiles {
    /// No profile yet; measures may use these names.
    pub fn new(names: Names) -> Self {
        Self {
            names,
            ..Self::default()
        }
    }

    /// Adds a profile with these measures; the others are as in every profile. The error says which measure is wrong.
    pub fn add<'a>(
        &mut self,
        name: &str,
        measures: impl IntoIterator<Item = (&'a str, String)>,
    ) -> Result<(), (&'a str, Wrong)> {
        let name = self::name(name).map_err(|wrong| ("name", wrong))?;
        let mut profile = Measures::of_a_profile();
        for (measure, value) in measures {
            let set = profile.set(measure, &value, &self.names);
            set.map_err(|wrong| (measure, wrong))?;
        }
        let profile = Arc::new(profile);
        if *name == *DEFAULT {
            self.default = Arc::clone(&profile);
        }
        match self.named.insert(Arc::clone(&name), profile) {
            Some(_) => Err(("name", Wrong::Twice(name.to_string()))),
            None => Ok(()),
        }
    }

    /// Whether a line may have this option.
    pub fn check(&self, name: &str, value: &str) -> Result<(), Wrong> {
        match name {
            PROFILE if self.named.contains_key(value) => Ok(()),
            PROFILE => Err(Wrong::Name {
                of: PROFILE,
                name: value.to_owned(),
            }),
            _ => Measures::default().set(name, value, &self.names),
        }
    }

    /// What this profile has for mail of users; none has nothing. `None`: there is no such profile.
    pub fn of_users(&self, profile: &str) -> Option<Arc<Measures>> {
        match profile {
            "" => Some(Arc::default()),
            name => self
                .named
                .get(name)
                .map(|measures| Arc::new(measures.of_users())),
        }
    }

    /// The measures that these options choose, which are known to be right.
    pub fn measures<T: AsRef<str>>(&self, options: &[(T, T)]) -> Arc<Measures> {
        let options = || {
            options
                .iter()
                .map(|(name, value)| (name.as_ref(), value.as_ref()))
        };
        let profile = options().find(|(name, _)| *name == PROFILE);
        let profile = profile.and_then(|(_, name)| self.named.get(name));
        let mut measures = Arc::clone(profile.unwrap_or(&self.default));
        for (name, value) in options().filter(|(name, _)| *name != PROFILE) {
            let set = Arc::make_mut(&mut measures).set(name, value, &self.names);
            debug_assert_eq!(set, Ok(()), "{name}={value}");
        }
        measures
    }
}

/// A name that can stand on a line, alone and among others.
pub fn name(text: &str) -> Result<Name, Wrong> {
    let fits = |c: char| c.is_alphanumeric() || "-_.".contains(c);
    if text.is_empty() || text == NONE || !text.chars().all(fits) {
        return Err(Wrong::NotAName(text.to_owned()));
    }
    Ok(text.into())
}

fn choose<T: Copy>(value: &str, choices: &[(&str, T)], all: &'static str) -> Result<T, Wrong> {
    let found = choices.iter().find(|(name, _)| *name == value);
    let unknown = || Wrong::Value(value.to_owned(), all);
    found.map(|(_, choice)| *choice).ok_or_else(unknown)
}

/// `a,b`, or `off` for none.
fn names(of: &'static str, value: &str, known: &BTreeSet<Name>) -> Result<Vec<Name>, Wrong> {
    if value.is_empty() || value == NONE {
        return Ok(Vec::new());
    }
    value.split(',').map(|name| find(of, name, known)).collect()
}

/// `a`, or `off` for none.
fn one(of: &'static str, value: &str, known: &BTreeSet<Name>) -> Result<Option<Name>, Wrong> {
    let is_one = !value.is_empty() && value != NONE;
    is_one.then(|| find(of, value, known)).transpose()
}

fn find(of: &'static str, name: &str, known: &BTreeSet<Name>) -> Result<Name, Wrong> {
    let unknown = || Wrong::Name {
        of,
        name: name.to_owned(),
    };
    known.get(name).cloned().ok_or_else(unknown)
}

const PROFILE: &str = "profile";
const DEFAULT: &str = "default";
const NONE: &str = "off";
pub(crate) const SPF: [(&str, Spf); 3] = [
    ("off", Spf::Off),
    ("mark", Spf::Mark),
    ("reject", Spf::Reject),
];
pub(crate) const DMARC: [(&str, Dmarc); 4] = [
    ("off", Dmarc::Off),
    ("mark", Dmarc::Mark),
    ("reject", Dmarc::Reject),
    ("hold", Dmarc::Hold),
];
const VERIFY: [(&str, bool); 2] = [("off", false), ("reject", true)];

#[cfg(test)]
mod tests;
