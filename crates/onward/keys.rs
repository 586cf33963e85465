//! The keys that sign, from the files that `[[dkim]]` names.

use std::fs;
use std::io;
use std::path::PathBuf;

use authentic::{Key, KeyError};
use policy::measures::Wrong;
use relay::keys::Keys;

use crate::config::{Config, Dkim};

/// Why there are no keys. Each text says where and what to do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(
        "cannot read {path}: {source}\n\nhint: `onward dkim key FILE` writes a key, and says what else it needs"
    )]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("{path}: {source}\n\nhint: `onward dkim key FILE` writes one that works")]
    Invalid { path: PathBuf, source: KeyError },
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
    let mut keys = Keys::default();
    for typed in &config.dkim {
        let name = policy::measures::name(&typed.name).map_err(|wrong| Error::Name { wrong })?;
        if keys.named.insert(name, read(typed)?).is_some() {
            let wrong = Wrong::Twice(typed.name.clone());
            return Err(Error::Name { wrong });
        }
    }
    let sign = &*config.bounce.sign;
    if !sign.is_empty() {
        let known = keys.named.get_key_value(sign);
        let (name, _) = known.ok_or_else(|| Error::Unknown(sign.to_owned()))?;
        keys.notices = Some(name.clone());
    }
    Ok(keys)
}

fn read(typed: &Dkim) -> Result<Key, Error> {
    let path = || typed.key.clone();
    let domain = |text: &String| {
        text.parse().map_err(|source| Error::Domain {
            name: typed.name.clone(),
            text: text.clone(),
            source,
        })
    };
    let (domain, selector) = (domain(&typed.domain)?, domain(&typed.selector)?);
    let pem = fs::read(&typed.key).map_err(|source| Error::Unreadable {
        path: path(),
        source,
    })?;
    Key::from_pem(domain, selector, &pem).map_err(|source| Error::Invalid {
        path: path(),
        source,
    })
}
