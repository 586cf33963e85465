//! rspamd over HTTP: `POST /checkv2` (<https://docs.rspamd.com/developers/protocol>).

use std::collections::BTreeMap;

use envelope::Recipient;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Url};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};

use crate::address::Address;
use crate::clean;
use crate::facts::{Body, Facts};
use crate::filter::NoSuchFilter;
use crate::http::{self, causes};
use crate::opinion::{Failed, Opinion, Verdict};

/// How one is reached.
pub(crate) struct Rspamd {
    client: Client,
    url: Url,
    password: Option<HeaderValue>,
}

/// Of its answer what we understand. Whatever is missing, or not of the form that we know, is as if it said nothing: what it wants
/// done with the message counts all the same.
#[derive(Debug, Deserialize)]
struct Answer {
    action: String,
    #[serde(default, deserialize_with = "if_known")]
    score: f64,
    #[serde(default, deserialize_with = "if_known")]
    required_score: f64,
    #[serde(default, deserialize_with = "if_known")]
    symbols: BTreeMap<String, Symbol>,
    #[serde(default, deserialize_with = "if_known")]
    messages: Messages,
    #[serde(default, deserialize_with = "if_known")]
    milter: Milter,
}

#[derive(Debug, Deserialize)]
struct Symbol {
    #[serde(default)]
    score: f64,
}

#[derive(Debug, Default, Deserialize)]
struct Messages {
    #[serde(default)]
    smtp_message: String,
}

/// What it would have a milter do.
#[derive(Debug, Default, Deserialize)]
struct Milter {
    #[serde(default)]
    add_headers: BTreeMap<String, Values>,
    #[serde(default)]
    remove_headers: BTreeMap<String, serde::de::IgnoredAny>,
}

/// Of one field's name.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Values {
    One(Value),
    Several(Vec<Value>),
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Value {
    Plain(String),
    Ordered { value: String },
}

impl Rspamd {
    pub(crate) fn new(address: &Address, password: &str) -> Result<Self, NoSuchFilter> {
        let wrong = |error: &dyn std::fmt::Display| NoSuchFilter::Http(error.to_string());
        // A connection a message: no call can fail because the one before has left something behind.
        let builder = http::client().pool_max_idle_per_host(0);
        let (builder, base) = match address {
            Address::Http(url) => (builder, url.clone()),
            Address::Inet(host) => (builder, format!("http://{host}")),
            Address::Unix(path) => (
                builder.unix_socket(path.clone()),
                "http://localhost".to_owned(),
            ),
        };
        let url = Url::parse(&base).and_then(|base| base.join("checkv2"));
        let password = (!password.is_empty()).then(|| HeaderValue::from_str(password));
        Ok(Self {
            client: builder.build().map_err(|error| wrong(&error))?,
            url: url.map_err(|error| wrong(&error))?,
            password: password.transpose().map_err(|error| wrong(&error))?,
        })
    }

    pub(crate) async fn ask(&self, facts: &Facts<'_>, body: Body) -> Result<Opinion, Failed> {
        let mut headers = told(facts);
        headers.extend(self.password.clone().map(|password| (PASSWORD, password)));
        let request = self.client.post(self.url.clone()).headers(headers);
        let request = request.body(reqwest::Body::wrap_stream(body));
        let mut response = request.send().await.map_err(failed)?;
        if response.status() != 200 {
            return Err(Failed(format!("answers {}", response.status())));
        }
        let mut answer = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            answer.extend_from_slice(&chunk);
            if answer.len() > ANSWER_OCTETS_MAX {
                return Err(Failed(format!(
                    "its answer is over {ANSWER_OCTETS_MAX} octets"
                )));
            }
        }
        judge(&answer)
    }
}

/// The headers of the request. A value that HTTP cannot carry is left out.
fn told(facts: &Facts<'_>) -> HeaderMap {
    let recipients = facts.envelope.recipients.iter();
    let recipients =
        recipients.map(|Recipient { forward_path, .. }| ("rcpt", forward_path.to_string()));
    let always = [
        ("content-length", facts.size.to_string()),
        ("ip", facts.client.ip().to_string()),
        ("helo", facts.hello.to_owned()),
        ("from", facts.envelope.reverse_path.to_string()),
        ("queue-id", facts.id.to_string()),
        ("mta-name", facts.hostname.to_string()),
    ];
    let sometimes = [
        ("hostname", facts.client_name.map(ToString::to_string)),
        ("user", facts.user.map(str::to_owned)),
        ("tls-version", facts.tls.map(|tls| tls.version.to_owned())),
        ("tls-cipher", facts.tls.map(|tls| tls.cipher.to_owned())),
    ];
    let sometimes = sometimes
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)));
    let mut headers = HeaderMap::new();
    for (name, value) in always.into_iter().chain(sometimes).chain(recipients) {
        if let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) {
            headers.append(HeaderName::from_static(name), value);
        }
    }
    headers
}

fn judge(answer: &[u8]) -> Result<Opinion, Failed> {
    let wrong = |error| Failed(clean::text(&format!("its answer is not rspamd's: {error}")));
    let answer: Answer = serde_json::from_slice(answer).map_err(wrong)?;
    let mut opinion = Opinion::of(Verdict::Accept);
    let words = &answer.messages.smtp_message;
    match answer.action.as_str() {
        "no action" => {}
        "reject" => opinion.verdict = Verdict::reject(words),
        "soft reject" | "greylist" => opinion.verdict = Verdict::defer(words),
        "add header" => opinion.fields.push_str(SPAM),
        "rewrite subject" => {
            opinion.fields.push_str(SPAM);
            opinion.remark("not done: rewrite subject");
        }
        "quarantine" => opinion.verdict = Verdict::Hold(clean::text(words)),
        "discard" => opinion.verdict = Verdict::Discard,
        other => opinion.remark(&format!("not done: {other}")),
    }
    opinion.score = format!("{:.2}/{:.2}", answer.score, answer.required_score);
    opinion.symbols = symbols(&answer.symbols);
    for (name, values) in &answer.milter.add_headers {
        let values = match values {
            Values::One(value) => std::slice::from_ref(value),
            Values::Several(values) => values,
        };
        for Value::Plain(value) | Value::Ordered { value } in values {
            opinion.add(false, name, &format!(" {value}"));
        }
    }
    for name in answer.milter.remove_headers.keys() {
        opinion.remark(&format!("not removed: {name}"));
    }
    Ok(opinion)
}

fn if_known<'a, D: Deserializer<'a>, T: DeserializeOwned + Default>(
    part: D,
) -> Result<T, D::Error> {
    let part = serde_json::Value::deserialize(part)?;
    Ok(serde_json::from_value(part).unwrap_or_default())
}

/// The heaviest first, whichever way they weigh: the log takes only so many.
fn symbols(found: &BTreeMap<String, Symbol>) -> String {
    let mut found: Vec<_> = found.iter().collect();
    found.sort_by(|(_, one), (_, other)| other.score.abs().total_cmp(&one.score.abs()));
    let named = found.iter().take(SYMBOLS_MAX);
    let named = named.map(|(name, symbol)| format!("{name}({:.2})", symbol.score));
    clean::text(&named.collect::<Vec<_>>().join(", "))
}

fn failed(error: reqwest::Error) -> Failed {
    Failed(clean::text(&causes(error)))
}

const PASSWORD: HeaderName = HeaderName::from_static("password");
/// As rspamd's own milter marks what is probably spam.
const SPAM: &str = "X-Spam: Yes\r\n";
/// Its answers have some thousands.
const ANSWER_OCTETS_MAX: usize = 512 << 10;
/// Symbols of one message in the log.
const SYMBOLS_MAX: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::{Definition, Filter, Kind};
    use crate::opinion::FIELDS_MAX;

    #[track_caller]
    fn check(answer: &str, expected: &str) {
        let said = judge(answer.as_bytes()).map(|opinion| {
            let verdict = match &opinion.verdict {
                Verdict::Reject(reply) | Verdict::Defer(reply) => reply.to_string(),
                other => format!("{other:?}"),
            };
            let Opinion {
                fields,
                score,
                symbols,
                remarks,
                ..
            } = opinion;
            format!("{verdict}; {fields:?}; {score}; {symbols}; {remarks:?}")
        });
        assert_eq!(said.unwrap_or_else(|failed| failed.to_string()), expected);
    }

    #[test]
    fn actions() {
        check(
            r#"{"action":"no action","score":1.5,"required_score":15,"symbols":{"A":{"name":"A","score":0.5},"B":{"score":-3}}}"#,
            r#"Accept; ""; 1.50/15.00; B(-3.00), A(0.50); []"#,
        );
        check(
            r#"{"action":"reject","messages":{"smtp_message":"go\r\n250 away"}}"#,
            r#"550 5.7.1 go 250 away; ""; 0.00/0.00; ; []"#,
        );
        check(
            r#"{"action":"reject"}"#,
            r#"550 5.7.1 message refused by its recipient's content filter; ""; 0.00/0.00; ; []"#,
        );
        check(
            r#"{"action":"soft reject","messages":{"smtp_message":"Ratelimit exceeded"}}"#,
            r#"451 4.7.1 Ratelimit exceeded; ""; 0.00/0.00; ; []"#,
        );
        check(
            r#"{"action":"greylist"}"#,
            r#"451 4.7.1 the recipient's content filter asks to try again later; ""; 0.00/0.00; ; []"#,
        );
        check(
            r#"{"action":"add header","milter":{"add_headers":{"X-A":"1","X-B":{"value":"2","order":1},"X-C":["3",{"value":"4"}]}}}"#,
            r#"Accept; "X-Spam: Yes\r\nX-A: 1\r\nX-B: 2\r\nX-C: 3\r\nX-C: 4\r\n"; 0.00/0.00; ; []"#,
        );
        check(
            r#"{"action":"rewrite subject","subject":"*** SPAM ***","milter":{"remove_headers":{"Subject":0},"add_headers":{"Bad Name":"x"}}}"#,
            r#"Accept; "X-Spam: Yes\r\n"; 0.00/0.00; ; ["not done: rewrite subject", "not added: Bad Name", "not removed: Subject"]"#,
        );
        check(
            r#"{"action":"quarantine","messages":{"smtp_message":"odd"}}"#,
            r#"Hold("odd"); ""; 0.00/0.00; ; []"#,
        );
        check(r#"{"action":"discard"}"#, r#"Discard; ""; 0.00/0.00; ; []"#);
        check(
            r#"{"action":"dance"}"#,
            r#"Accept; ""; 0.00/0.00; ; ["not done: dance"]"#,
        );
    }

    #[test]
    fn what_is_not_understood_undoes_no_verdict() {
        for odd in [
            r#""score":null"#,
            r#""score":"nan","required_score":null"#,
            r#""symbols":[],"messages":[]"#,
            r#""milter":{"add_headers":{"X-A":1}}"#,
        ] {
            check(
                &format!(r#"{{"action":"reject",{odd}}}"#),
                r#"550 5.7.1 message refused by its recipient's content filter; ""; 0.00/0.00; ; []"#,
            );
        }
    }

    #[test]
    fn rubbish() {
        let not = "its answer is not rspamd's: ";
        check(
            "",
            &format!("{not}EOF while parsing a value at line 1 column 0"),
        );
        check(
            "{}",
            &format!("{not}missing field `action` at line 1 column 2"),
        );
        // The parser repeats what it did not expect.
        let long = format!("\"{}\"", "y".repeat(9000));
        let error = judge(long.as_bytes()).unwrap_err().to_string();
        assert!(error.len() < 500, "{error}");
        let deep = format!(r#"{{"action":"reject","x":{}"#, "[".repeat(9000));
        assert!(judge(deep.as_bytes()).is_err());
    }

    #[test]
    fn shows_no_password() {
        let filter = Filter::new(Definition {
            name: "spam".into(),
            kind: Kind::Rspamd,
            address: "http://127.0.0.1:1".parse().unwrap(),
            password: "secret".to_owned(),
            timeout: std::time::Duration::from_secs(1),
            size_max: 1,
        });
        assert_eq!(format!("{:?}", filter.unwrap()), "filter spam");
    }

    #[test]
    fn bounded() {
        let fields: Vec<_> = (0..1000)
            .map(|n| format!(r#""X-{n}":"{}""#, "y".repeat(900)))
            .collect();
        let answer = format!(
            r#"{{"action":"reject","milter":{{"add_headers":{{{}}}}}}}"#,
            fields.join(",")
        );
        let opinion = judge(answer.as_bytes()).unwrap();
        assert!((FIELDS_MAX - 1000..=FIELDS_MAX).contains(&opinion.fields.len()));
        assert!(opinion.remarks.len() < 20);
    }
}
