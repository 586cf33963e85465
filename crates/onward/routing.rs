//! The relay's routing, from the files that the configuration names: forwards, SRS secrets, keys, relay domains, trusted clients.

use std::path::Path;

use directory::{Lookups, Questions};
use envelope::{Domain, Mailbox};
use forwarder::table::Table;
use forwarder::{Forwarder, ReturnPath, ReturnPaths};
use policy::measures::{Names, Wrong};
use policy::{Name, Profiles};
use relay::dnsbl::Dnsbls;
use relay::filters::Filters;
use relay::keys::Keys;
use relay::lists::Lists;
use relay::outbound::{Alerts, Secret, Url};
use relay::users::Users;
use relay::{Connect, Routing, TierWay};
use srs::{Alphabet, Separator, Srs};

use crate::config::{Config, Limit, Measure, Source, TagAlphabet, Tier};
use crate::files::{self, FileError};
use crate::forwards;
use crate::keys;
use crate::lists;
use crate::srs_rotate::NOTE;
use crate::users;

/// Why there is no routing. Each text says where and what to do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Forwards(#[from] forwards::Error),
    #[error(transparent)]
    Keys(#[from] keys::Error),
    #[error(transparent)]
    Lists(#[from] lists::Error),
    #[error(transparent)]
    Users(#[from] users::Error),
    #[error(transparent)]
    Secrets(#[from] FileError),
    #[error("`{key}`: {text}")]
    Value { key: &'static str, text: String },
    #[error("[[profile]] `{profile}`: `{key}`: {wrong}\n\nhint: {}", wrong.hint())]
    Profile {
        profile: String,
        key: String,
        wrong: Wrong,
    },
}

impl Error {
    /// What `check` files it under.
    pub(crate) fn about(&self) -> &'static str {
        match self {
            Self::Forwards(_) => "forwards",
            Self::Keys(_) => "dkim",
            Self::Lists(_) => "lists",
            Self::Users(_) => "users",
            Self::Secrets(_) => "srs",
            Self::Value { .. } | Self::Profile { .. } => "config",
        }
    }
}

/// What measures name, and the measures.
struct Measures {
    lists: Lists,
    dnsbls: Dnsbls,
    filters: Filters,
    keys: Keys,
    profiles: Profiles,
}

/// Reads forwards, lists and secrets.
pub(crate) fn load(config: &Config) -> Result<Routing, Error> {
    let measures = measures(config)?;
    let table = forwards::read(config, &measures.profiles)?;
    with_table(config, measures, table)
}

/// As [`load`]; but where the forwards cannot be used, the last good ones, and why.
pub(crate) fn load_at_start(config: &Config) -> Result<(Routing, Option<forwards::Error>), Error> {
    let measures = measures(config)?;
    let (table, instead) = forwards::read_at_start(config, &measures.profiles)?;
    Ok((with_table(config, measures, table)?, instead))
}

/// Reads the secrets; the table has been read.
fn with_table(config: &Config, measures: Measures, table: Table) -> Result<Routing, Error> {
    let users = users::read(config, &measures.profiles)?;
    Ok(Routing {
        forwarder: forwarder(config, &users)?.into(),
        keys: measures.keys.into(),
        table: table.into(),
        lookups: lookups(config)?.into(),
        relay_domains: relay_domains(config)?,
        connect: connect(config, &measures.lists)?,
        users: users.into(),
        trusted: config.policy.trusted.iter().map(|net| net.0).collect(),
        profiles: measures.profiles,
        lists: measures.lists.into(),
        dnsbls: measures.dnsbls,
        limits: config.rates.iter().map(Limit::meant).collect(),
        hides_users: config.auth.hide_client,
        filters: measures.filters.into(),
        alerts: alerts(config)?,
        received_spf: config.policy.received_spf,
        pressure: config.policy.pressure,
        bounce_to: config.bounce.to,
        tiers: config.tiers.iter().map(tier).collect(),
    })
}

/// What is asked for each recipient that the table does not know.
fn lookups(config: &Config) -> Result<Lookups, forwards::Error> {
    let asked = config.forwards.sources().filter_map(Source::asked);
    let asked = asked.filter(|(of, _)| matches!(of.questions, Questions::Lookup { .. }));
    let mut lookups = Lookups::default();
    for (settings, _) in asked {
        let name = settings.name.clone();
        let added = lookups.add(settings);
        added.map_err(|wrong| forwards::Error::Source {
            name,
            wrong: wrong.to_string(),
        })?;
    }
    Ok(lookups)
}

fn tier(typed: &Tier) -> (policy::Tier, TierWay) {
    let way = TierWay {
        egress: (!typed.egress.is_empty()).then(|| typed.egress.as_str().into()),
        srs_domain: typed.srs_domain.clone(),
    };
    (typed.name, way)
}

/// Who is told what is frozen.
fn alerts(config: &Config) -> Result<Alerts, Error> {
    let (mail, webhook) = (&config.alerts.mail, &config.alerts.webhook);
    let mail = (!mail.is_empty()).then(|| parse("alerts.mail", mail));
    let webhook = (!webhook.is_empty()).then(|| post_url(webhook));
    let file = &config.alerts.webhook_secret;
    let secret = match file.as_os_str().is_empty() {
        true => None,
        false => Some(secret(file)?),
    };
    Ok(Alerts {
        mail: mail.transpose()?,
        webhook: webhook.transpose()?,
        secret,
        queue_max: config.alerts.queue,
    })
}

fn secret(file: &Path) -> Result<Secret, FileError> {
    let hint = "`openssl rand -hex 32` makes one; `alerts.webhook_secret` names its file";
    let text = files::text(file, hint)?;
    match text.trim() {
        key if key.len() >= SECRET_OCTETS_MIN => Ok(Secret::new(key.as_bytes())),
        _ => Err(FileError::wrong(
            file,
            format_args!("shorter than {SECRET_OCTETS_MIN} characters\n\nhint: {hint}"),
        )),
    }
}

fn post_url(text: &str) -> Result<Url, Error> {
    match Url::parse(text) {
        Ok(url) if matches!(url.scheme(), "http" | "https") => Ok(url),
        _ => Err(Error::Value {
            key: "alerts.webhook",
            text: format!(
                "`{text}` is nothing to post to\n\nhint: write a URL that begins with https:// or http://"
            ),
        }),
    }
}

/// Reads the lists; a profile may name nothing that is not defined.
fn measures(config: &Config) -> Result<Measures, Error> {
    let (lists, dnsbls) = (lists::read(config)?, lists::dnsbls(config)?);
    let filters = lists::filters(config)?;
    let keys = keys::load(config)?;
    let seals = keys.named.iter().filter(|(_, key)| key.can_seal());
    let names = Names {
        lists: lists.keys().cloned().collect(),
        dnsbls: dnsbls.keys().cloned().collect(),
        keys: keys.named.keys().cloned().collect(),
        seals: seals.map(|(name, _)| name.clone()).collect(),
        filters: filters.keys().cloned().collect(),
        egresses: config
            .egresses
            .iter()
            .map(|egress| egress.name.as_str().into())
            .collect(),
    };
    Ok(Measures {
        profiles: profiles(config, names)?,
        lists,
        dnsbls,
        filters,
        keys,
    })
}

/// Only these.
pub(crate) fn profiles_of(config: &Config) -> Result<Profiles, Error> {
    measures(config).map(|measures| measures.profiles)
}

fn profiles(config: &Config, names: Names) -> Result<Profiles, Error> {
    let mut profiles = Profiles::new(names);
    for profile in &config.profiles {
        let measures = profile.measures.iter().map(|(name, value)| {
            let value = match value {
                Measure::One(value) => value.clone(),
                Measure::Several(values) => values.join(","),
            };
            (&**name, value)
        });
        let added = profiles.add(&profile.name, measures);
        added.map_err(|(key, wrong)| Error::Profile {
            profile: profile.name.clone(),
            key: key.to_owned(),
            wrong,
        })?;
    }
    Ok(profiles)
}

/// Names of lists, of which each must be there.
fn connect(config: &Config, lists: &Lists) -> Result<Connect, Error> {
    let typed = &config.connect;
    let names = |key: &'static str, names: &[String]| {
        let names = names.iter().map(|name| match lists.get_key_value(&**name) {
            Some((name, _)) => Ok(Name::clone(name)),
            None => {
                let text = format!("there is no list `{name}`\n\nhint: add [[list]] with name = \"{name}\" and file");
                Err(Error::Value { key, text })
            }
        });
        names.collect::<Result<Vec<_>, _>>()
    };
    Ok(Connect {
        block: names("connect.block", &typed.block)?.into(),
        greet_wait: typed.greet_wait.0,
        tarpit: names("connect.tarpit", &typed.tarpit)?,
        tarpit_delay: typed.tarpit_delay.0,
    })
}

fn forwarder(config: &Config, users: &Users) -> Result<Forwarder, Error> {
    let srs_domain = config.srs.domain.as_deref().unwrap_or(&config.hostname);
    let settings = forwarder::Settings {
        hostname: parse("hostname", &config.hostname)?,
        srs_domain: parse("srs.domain", srs_domain)?,
        postmaster: config
            .forwards
            .postmaster
            .as_deref()
            .map(|text| parse::<Mailbox>("forwards.postmaster", text))
            .transpose()?,
        received_max: u32::try_from(config.limits.received_headers).unwrap_or(u32::MAX),
        return_paths: return_paths(config, users)?,
        more_srs_domains: {
            let tiers = config.tiers.iter();
            tiers.filter_map(|tier| tier.srs_domain.clone()).collect()
        },
    };
    Forwarder::new(srs(config)?, settings).map_err(|e| Error::Value {
        key: "srs.domain",
        text: e.to_string(),
    })
}

/// Those of the users, and those of before.
fn return_paths(config: &Config, users: &Users) -> Result<ReturnPaths, Error> {
    let mut paths = ReturnPaths::default();
    paths.extend(users.return_paths().cloned());
    for text in &config.srs.return_paths {
        let path = text.parse::<ReturnPath>().map_err(|e| Error::Value {
            key: "srs.return_paths",
            text: format!("`{text}`: {e}\n\nhint: {}", e.hint()),
        })?;
        paths.extend([path]);
    }
    Ok(paths)
}

fn srs(config: &Config) -> Result<Srs, Error> {
    let path = &config.srs.secrets;
    let days = |span: crate::config::Span| {
        u16::try_from(span.0.as_secs().div_ceil(24 * 3600)).unwrap_or(u16::MAX)
    };
    let settings = srs::Settings {
        separator: Separator::from_char(config.srs.separator).ok_or_else(|| Error::Value {
            key: "srs.separator",
            text: format!("`{}` is not one of = - +", config.srs.separator),
        })?,
        alphabet: match config.srs.tag_alphabet {
            TagAlphabet::Url => Alphabet::UrlSafe,
            TagAlphabet::Base64 => Alphabet::Standard,
        },
        max_age_days: days(config.srs.max_age),
        skew_days: days(config.srs.clock_skew),
        ..srs::Settings::new(secrets(path)?)
    };
    Srs::new(settings).map_err(|wrong| {
        let hint = "hint: one secret a line, the first signs; `[srs]` holds the other settings";
        FileError::wrong(path, format_args!("{wrong}\n\n{hint}")).into()
    })
}

/// One secret a line. Blanks at its ends are part of it, as with postsrsd: its old addresses would not verify otherwise. Blank
/// lines are skipped.
pub(crate) fn secrets(path: &Path) -> Result<Vec<Vec<u8>>, FileError> {
    let bytes = files::read(SECRETS, path, SECRETS_HINT)?;
    Ok(secrets_of(&bytes).map(<[u8]>::to_vec).collect())
}

/// See [`secrets`]; a comment of `srs rotate` is none.
pub(crate) fn secrets_of(file: &[u8]) -> impl Iterator<Item = &[u8]> {
    let lines = file.split(|b| *b == b'\n');
    lines
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
        .filter(|line| !line.trim_ascii().is_empty() && !line.starts_with(NOTE.as_bytes()))
}

fn relay_domains(config: &Config) -> Result<Vec<Domain>, Error> {
    config
        .policy
        .relay_domains
        .iter()
        .map(|text| parse("policy.relay_domains", text))
        .collect()
}

fn parse<T: std::str::FromStr<Err: std::fmt::Display>>(
    key: &'static str,
    text: &str,
) -> Result<T, Error> {
    text.parse().map_err(|e: T::Err| Error::Value {
        key,
        text: format!("`{text}`: {e}"),
    })
}

pub(crate) const SECRETS: &str = "the SRS secrets ";
pub(crate) const SECRETS_HINT: &str = "it must be readable for the user that runs this (`chgrp onward FILE; chmod 640 FILE`); `onward init` makes one where there is none";

/// Whoever guesses it can tell lies in our name.
const SECRET_OCTETS_MIN: usize = 16;
