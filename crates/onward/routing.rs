//! The forwarder with its table and secrets: what a reload replaces as one, and what a transaction asks.
//!
//! A transaction takes one snapshot, at MAIL, and keeps it, so that a reload never changes rules midway.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use envelope::{Domain, ForwardPath, Mailbox, Timestamp};
use forwarder::table::{Expansion, Table};
use forwarder::{Forwarder, Route, SrsRefusal};
use policy::Networks;
use spool::Spool;
use srs::{Alphabet, Separator, Srs};

use crate::config::{Config, TagAlphabet};
use crate::forwards;

/// One consistent set of rules.
pub(crate) struct Routing {
    pub(crate) forwarder: Forwarder,
    pub(crate) table: Table,
    pub(crate) relay_domains: Vec<Domain>,
    pub(crate) trusted: Networks,
}

/// The routing of now; a reload stores another.
pub(crate) type Shared = Arc<ArcSwap<Routing>>;

/// Why there is no routing. Each text says where and what to do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Forwards(#[from] forwards::Error),
    #[error(
        "cannot read the SRS secrets {path}: {source}\n\nhint: one secret a line; `onward init` makes the file with a random one"
    )]
    Secrets { path: PathBuf, source: io::Error },
    #[error(
        "{path}: {source}\n\nhint: one secret a line, the first signs; `[srs]` holds the other settings"
    )]
    Srs {
        path: PathBuf,
        source: srs::SettingsError,
    },
    #[error("`{key}`: {text}")]
    Value { key: &'static str, text: String },
}

impl Error {
    /// What `check` files it under.
    pub(crate) fn about(&self) -> &'static str {
        match self {
            Self::Forwards(_) => "forwards",
            Self::Secrets { .. } | Self::Srs { .. } => "srs",
            Self::Value { .. } => "config",
        }
    }
}

impl Routing {
    /// Reads forwards and secrets as the configuration names them.
    pub(crate) fn load(config: &Config) -> Result<Self, Error> {
        Self::with_table(config, forwards::read(config)?)
    }

    /// Reads the secrets; the table has been read.
    pub(crate) fn with_table(config: &Config, table: Table) -> Result<Self, Error> {
        Ok(Self {
            forwarder: forwarder(config)?,
            table,
            relay_domains: relay_domains(config)?,
            trusted: config.policy.trusted.iter().map(|net| net.0).collect(),
        })
    }

    /// Our own name.
    pub(crate) fn hostname(&self) -> &Domain {
        &self.forwarder.settings().hostname
    }

    /// Whether mail for this address, which is not hosted, is carried on for whoever sends it.
    pub(crate) fn relays(&self, address: &Mailbox) -> bool {
        let domain = address.domain();
        domain.is_some_and(|domain| self.relay_domains.contains(domain))
    }

    /// Whether the local part names a further host (`x%host`, `host!x`, `"x@host"`) and goes on as it is, to a relay domain or
    /// from one domain to another: who is there may trust us and pass the mail on. Behind an SRS address, or as the sender
    /// of what bounces, stands whatever a stranger called himself.
    pub(crate) fn is_routed(&self, recipient: &ForwardPath, route: &Route) -> bool {
        let Some(named) = recipient.mailbox() else {
            return false;
        };
        let goes_on = |from: &Mailbox, expansion: &Expansion| {
            let mut targets = expansion.targets.iter().map(|target| &target.mailbox);
            targets.any(|target| {
                let moved = target.host() != from.host() || self.relays(target);
                moved && target.local_part() == from.local_part()
            })
        };
        let (from, kept) = match route {
            Route::Forward(expansion) => (named, goes_on(named, expansion)),
            Route::Return { sender, expansion } => (sender, goes_on(sender, expansion)),
            Route::NotHosted => (named, self.relays(named)),
            _ => return false,
        };
        kept && from.local_part().as_str().contains(['%', '!', '@'])
    }

    /// Where mail to one recipient goes; a token is looked up in the spool. `Err`: it could not be now.
    pub(crate) async fn route<S: Spool>(
        &self,
        spool: &S,
        recipient: &ForwardPath,
        now: Timestamp,
    ) -> Result<Route, spool::Error> {
        #[cfg(test)]
        ROUTED.with(|routed| routed.set(routed.get() + 1));
        let route = self.forwarder.route(&self.table, recipient, now);
        let (Route::Token(token), Some(address)) = (&route, recipient.mailbox()) else {
            return Ok(route);
        };
        // What is no address any more is as good as forgotten.
        let sender = spool.recall(token, now).await?;
        let sender = sender.and_then(|sender| sender.parse::<Mailbox>().ok());
        Ok(match sender {
            Some(sender) => self.forwarder.route_return(&self.table, address, sender),
            None => Route::SrsRefused(SrsRefusal::TokenForgotten),
        })
    }
}

#[cfg(test)]
std::thread_local! {
    /// How many recipients this thread has routed.
    pub(crate) static ROUTED: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// The forwarder alone: enough for `onward srs`.
pub(crate) fn forwarder(config: &Config) -> Result<Forwarder, Error> {
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
    };
    Forwarder::new(srs(config)?, settings).map_err(|e| Error::Value {
        key: "srs.domain",
        text: e.to_string(),
    })
}

fn srs(config: &Config) -> Result<Srs, Error> {
    let path = &config.srs.secrets;
    let days = |span: crate::config::Span| {
        u16::try_from(span.0.as_secs().div_ceil(24 * 3600)).unwrap_or(u16::MAX)
    };
    let settings = srs::Settings {
        separator: Separator::from_char(config.srs.separator).ok_or_else(|| Error::Value {
            key: "srs.separator",
            text: format!("`{}` is none of = - +", config.srs.separator),
        })?,
        alphabet: match config.srs.tag_alphabet {
            TagAlphabet::Url => Alphabet::UrlSafe,
            TagAlphabet::Base64 => Alphabet::Standard,
        },
        max_age_days: days(config.srs.max_age),
        skew_days: days(config.srs.clock_skew),
        ..srs::Settings::new(secrets(path)?)
    };
    Srs::new(settings).map_err(|source| Error::Srs {
        path: path.clone(),
        source,
    })
}

/// One secret a line. Blanks at its ends belong to it, as with postsrsd, or its old addresses would not verify here; a line
/// of nothing but blanks is none.
pub(crate) fn secrets(path: &Path) -> Result<Vec<Vec<u8>>, Error> {
    let bytes = fs::read(path).map_err(|source| Error::Secrets {
        path: path.to_owned(),
        source,
    })?;
    let lines = bytes.split(|b| *b == b'\n');
    Ok(lines
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
        .filter(|line| !line.trim_ascii().is_empty())
        .map(<[u8]>::to_vec)
        .collect())
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
