//! `[[forwards.source]]`: where more forwards come from, and what of them was asked for.

use std::collections::BTreeMap;
use std::time::Duration;

use directory::{Questions, Rendered, Settings};
use serde::Deserialize;

use super::forwards::Source;
use super::units::{Span, more_than_zero};

/// A database: everything at once with `query`, or a question for each recipient with `address` and `domain`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Sql {
    name: String,
    url: String,
    #[serde(deserialize_with = "more_than_zero")]
    every: Span,
    query: String,
    domains: String,
    alias_domains: String,
    address: String,
    domain: String,
    cache: Span,
    /// Zero: what is usual for the questions.
    timeout: Span,
    connections: u32,
}

/// A web service, which is asked about each recipient.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Http {
    name: String,
    url: String,
    cache: Span,
    timeout: Span,
    connections: u32,
}

/// What snapshots have said since the configuration was read, by the names of their sources.
pub(crate) type Fetched = BTreeMap<String, Result<Rendered, String>>;

impl Source {
    /// What tells it from the others, without a secret.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::File { path } => path.display().to_string(),
            Self::Api {} => "api".to_owned(),
            Self::Sql(Sql { name, url, .. }) | Self::Http(Http { name, url, .. }) => {
                name_of(name, url)
            }
        }
    }

    /// How it is asked, and how often; none for a file.
    pub(crate) fn asked(&self) -> Option<(Settings, Duration)> {
        let name = self.name();
        let (url, questions, timeout, connections, every) = match self {
            Self::File { .. } | Self::Api {} => return None,
            Self::Sql(sql) => (
                &sql.url,
                sql.questions(),
                sql.timeout,
                sql.connections,
                sql.every,
            ),
            Self::Http(Http {
                url,
                cache,
                timeout,
                connections,
                ..
            }) => {
                let questions = Questions::Lookup {
                    address: String::new(),
                    domain: String::new(),
                    cache: cache.0,
                };
                (url, questions, *timeout, *connections, Span::default())
            }
        };
        let usual = match questions {
            Questions::Snapshot { .. } => SNAPSHOT_WITHIN,
            Questions::Lookup { .. } => LOOKUP_WITHIN,
        };
        let settings = Settings {
            name,
            url: url.clone(),
            questions,
            timeout: Some(timeout.0)
                .filter(|given| !given.is_zero())
                .unwrap_or(usual),
            connections: connections.max(1),
        };
        Some((settings, every.0))
    }
}

impl Sql {
    fn questions(&self) -> Questions {
        match self.query.is_empty() {
            false => Questions::Snapshot {
                forwards: self.query.clone(),
                domains: self.domains.clone(),
                aliases: self.alias_domains.clone(),
            },
            true => Questions::Lookup {
                address: self.address.clone(),
                domain: self.domain.clone(),
                cache: self.cache.0,
            },
        }
    }

    /// Keys that say different things about what is asked.
    pub(crate) fn is_both(&self) -> bool {
        let looks_up = !self.address.is_empty() || !self.domain.is_empty();
        looks_up && !self.query.is_empty()
    }
}

/// The name, or the URL without what may be a secret in it.
fn name_of(name: &str, url: &str) -> String {
    if !name.is_empty() {
        return name.to_owned();
    }
    let url = url.split(['?', '#']).next().unwrap_or_default();
    match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, place))) => format!("{scheme}://{place}"),
        _ => url.to_owned(),
    }
}

impl Default for Sql {
    fn default() -> Self {
        Self {
            name: String::new(),
            url: String::new(),
            every: Span(Duration::from_secs(60)),
            query: String::new(),
            domains: String::new(),
            alias_domains: String::new(),
            address: String::new(),
            domain: String::new(),
            cache: Span(Duration::from_secs(30)),
            timeout: Span::default(),
            connections: 10,
        }
    }
}

impl Default for Http {
    fn default() -> Self {
        let Sql {
            name,
            url,
            cache,
            timeout,
            connections,
            ..
        } = Sql::default();
        Self {
            name,
            url,
            cache,
            timeout,
            connections,
        }
    }
}

const SNAPSHOT_WITHIN: Duration = Duration::from_secs(60);
const LOOKUP_WITHIN: Duration = Duration::from_secs(5);
