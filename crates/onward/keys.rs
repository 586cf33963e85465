//! The keys that sign, from the files that `[[dkim]]` names.

use authentic::Key;
use policy::measures::Wrong;
use relay::keys::Keys;

use crate::config::{Config, Dkim};
use crate::files::{self, FileError};
use crate::lists::by_name;

/// Why there are no keys. Each text says where and what to do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    File(#[from] FileError),
    #[error(
        "[[dkim]] `{name}`: `{text}`: {source}\n\nhint: `domain` is who signs, `selector` which of the domain's keys it is, as in the record `selector._domainkey.domain`"
    )]
    Domain {
        name: String,
        text: String,
        source: envelope::DomainError,
    },
    #[error("[[dkim]]: {wrong}\n\nhint: {}", wrong.hint())]
    Name { wrong: Wrong },
    #[error(
        "`bounce.sign`: no [[dkim]] is called `{0}`\n\nhint: correct the name, or add a [[dkim]] with it"
    )]
    Unknown(String),
}

/// Reads all of them.
pub(crate) fn load(config: &Config) -> Result<Keys, Error> {
    let named = config.dkim.iter();
    let named = named.map(|typed| Ok((&*typed.name, read(typed)?)));
    let named = by_name(named, |wrong| Error::Name { wrong })?;
    let mut notices = None;
    let sign = &*config.bounce.sign;
    if !sign.is_empty() {
        let known = named.get_key_value(sign);
        let (name, _) = known.ok_or_else(|| Error::Unknown(sign.to_owned()))?;
        notices = Some(name.clone());
    }
    Ok(Keys { named, notices })
}

fn read(typed: &Dkim) -> Result<Key, Error> {
    let path = &typed.key;
    let domain = |text: &String| {
        text.parse().map_err(|source| Error::Domain {
            name: typed.name.clone(),
            text: text.clone(),
            source,
        })
    };
    let (domain, selector) = (domain(&typed.domain)?, domain(&typed.selector)?);
    let hint = "`onward dkim key FILE` writes a key, and says what else it needs";
    let pem = files::read("", path, hint)?;
    Key::from_pem(domain, selector, &pem).map_err(|wrong| {
        let hint = "hint: `onward dkim key FILE` writes one that works";
        FileError::wrong(path, format_args!("{wrong}\n\n{hint}")).into()
    })
}
