//! A web service that knows addresses: `GET URL?address=alice@example.org`, or `?domain=example.org`.
//!
//! It answers 200 with `{"targets": ["a@b.example"], "options": {"srs": "off"}}`, both of which may be missing for a domain; or
//! 404: there is none. Anything else is no answer.

use std::collections::BTreeMap;

use filter::http::{causes, client};
use reqwest::{Client, StatusCode, Url};
use serde::Deserialize;
use serde_json::Value;

use crate::render::Row;
use crate::{Failed, Settings, SettingsError};

#[derive(Debug)]
pub(crate) struct Http {
    client: Client,
    url: Url,
}

#[derive(Debug, Deserialize)]
struct Answer {
    #[serde(default)]
    targets: Vec<String>,
    #[serde(default)]
    options: BTreeMap<String, Value>,
}

impl Http {
    pub(crate) fn new(settings: &Settings) -> Result<Self, SettingsError> {
        let wrong = |error: &dyn std::fmt::Display| SettingsError::Url(error.to_string());
        let client = client().timeout(settings.timeout);
        let client = client.pool_max_idle_per_host(settings.connections as usize);
        Ok(Self {
            client: client.build().map_err(|error| wrong(&causes(error)))?,
            url: Url::parse(&settings.url).map_err(|error| wrong(&error))?,
        })
    }

    /// `kind` is `address` or `domain`.
    pub(crate) async fn ask(&self, kind: &str, of: &str) -> Result<Option<Row>, Failed> {
        let mut url = self.url.clone();
        url.query_pairs_mut().append_pair(kind, of);
        let failed = |error| Failed(causes(error));
        let mut response = self.client.get(url).send().await.map_err(failed)?;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => return Ok(None),
            status => return Err(Failed(format!("HTTP status {status}"))),
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            body.extend_from_slice(&chunk);
            if body.len() > BODY_OCTETS_MAX {
                return Err(Failed(format!("an answer over {BODY_OCTETS_MAX} octets")));
            }
        }
        let answer: Answer = serde_json::from_slice(&body)
            .map_err(|error| Failed(format!("an answer that is not understood: {error}")))?;
        let options = answer.options.iter().map(|(name, value)| match value {
            Value::String(value) => format!("{name}={value}"),
            value => format!("{name}={value}"),
        });
        let options = options.collect::<Vec<_>>().join(" ");
        let targets = answer.targets.join(",");
        Ok(Some(match kind {
            "domain" => Row([Some(of.to_owned()), Some(options), None]),
            _ => Row([Some(of.to_owned()), Some(targets), Some(options)]),
        }))
    }
}

/// As much as a line may hold, and what JSON adds.
const BODY_OCTETS_MAX: usize = 128 * 1024;
