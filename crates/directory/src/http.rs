//! A web service that knows addresses: `GET URL?address=alice@example.org`, or `?domain=example.org`.
//!
//! It answers 200 with `{"targets": ["a@b.example"], "options": {"srs": "off"}}`; of a domain, with `{"options": {}}` at least; or
//! 404 with JSON of any kind: there is none. Anything else is no answer, such as the pages of a web server whose service is away.

use std::collections::BTreeMap;

use filter::http::{causes, client};
use reqwest::header::CONTENT_TYPE;
use reqwest::{Client, Response, StatusCode, Url};
use serde::Deserialize;
use serde_json::Value;

use crate::render::Row;
use crate::{Failed, Settings, SettingsError, Trouble};

#[derive(Debug)]
pub(crate) struct Http {
    client: Client,
    url: Url,
}

/// Of a domain, that the options are there says that it is hosted: not any JSON does.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Answer {
    targets: Option<Vec<String>>,
    options: Option<BTreeMap<String, Value>>,
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
    pub(crate) async fn ask(&self, kind: &str, of: &str) -> Result<Option<Row>, Trouble> {
        let mut url = self.url.clone();
        url.query_pairs_mut().append_pair(kind, of);
        let failed = |error| Failed(causes(error));
        let mut response = self.client.get(url).send().await.map_err(failed)?;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND if is_json(&response) => return Ok(None),
            status => {
                let failed = Failed(format!("HTTP status {status}"));
                return Err(match status {
                    StatusCode::BAD_REQUEST
                    | StatusCode::URI_TOO_LONG
                    | StatusCode::UNPROCESSABLE_ENTITY => Trouble::Question(failed),
                    _ => Trouble::Source(failed),
                });
            }
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            body.extend_from_slice(&chunk);
            if body.len() > BODY_OCTETS_MAX {
                let failed = Failed(format!("an answer over {BODY_OCTETS_MAX} octets"));
                return Err(Trouble::Question(failed));
            }
        }
        let answer: Answer = serde_json::from_slice(&body)
            .map_err(|error| Failed(format!("an answer that is not understood: {error}")))?;
        let is_domain = kind == "domain";
        let missing = match is_domain {
            true => answer.options.is_none().then_some("options"),
            false => answer.targets.is_none().then_some("targets"),
        };
        if let Some(field) = missing {
            return Err(Failed(format!("an answer without `{field}`")).into());
        }
        let options = answer.options.unwrap_or_default();
        let options = options.iter().map(|(name, value)| match value {
            Value::String(value) => format!("{name}={value}"),
            value => format!("{name}={value}"),
        });
        let options = options.collect::<Vec<_>>().join(" ");
        let targets = answer.targets.unwrap_or_default().join(",");
        Ok(Some(match is_domain {
            true => Row([Some(of.to_owned()), Some(options), None]),
            false => Row([Some(of.to_owned()), Some(targets), Some(options)]),
        }))
    }
}

/// `application/json`, or another kind of it.
fn is_json(response: &Response) -> bool {
    let kind = response.headers().get(CONTENT_TYPE);
    kind.is_some_and(|kind| kind.as_bytes().windows(4).any(|part| part == b"json"))
}

/// As much as a line may hold, and what JSON adds.
const BODY_OCTETS_MAX: usize = 128 * 1024;
