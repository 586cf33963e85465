//! The shaping file: what sites are sent at most, and what their replies mean. `etc/shaping.toml` is built in, and explains it.

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use delivery::{Layer, ReplyRule, Shape, SiteMatch, Then};
use envelope::TlsUse;
use serde::Deserialize;

use super::units::{Span, parsed, some_parsed};
use crate::files::{self, FileError};

/// `[shaping]` of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Shaping {
    pub(crate) file: PathBuf,
}

impl Shaping {
    /// The layers of the file, if one is named, before those that are built in.
    pub(crate) fn load(&self) -> Result<Vec<Layer>, FileError> {
        let mut layers = Vec::new();
        if !self.file.as_os_str().is_empty() {
            let hint = "`shaping.file` in the configuration names it";
            layers = parse(&self.file, &files::text(&self.file, hint)?)?;
        }
        layers.extend(parse(Path::new("etc/shaping.toml"), BUILT_IN)?);
        Ok(layers)
    }
}

/// The file as typed.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    default: Option<Site<Option<Nothing>>>,
    #[serde(default, rename = "site")]
    sites: Vec<Site<Of>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Site<M> {
    #[serde(rename = "match")]
    of: M,
    connections: Option<NonZeroU32>,
    messages_per_connection: Option<NonZeroU32>,
    recipients: Option<NonZeroU32>,
    messages_per_hour: Option<NonZeroU32>,
    #[serde(default, deserialize_with = "some_parsed")]
    tls: Option<TlsUse>,
    #[serde(default, rename = "reply")]
    replies: Vec<Reply>,
}

#[derive(Debug, Deserialize)]
#[serde(transparent)]
struct Of(#[serde(deserialize_with = "parsed")] SiteMatch);

/// `[default]` is for all.
#[derive(Debug, Deserialize)]
enum Nothing {}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Reply {
    #[serde(rename = "match", deserialize_with = "parsed")]
    words: Words,
    code: Option<u16>,
    #[serde(deserialize_with = "parsed")]
    then: Action,
    after: Option<NonZeroU32>,
    within: Option<Span>,
}

#[derive(Debug)]
struct Words(Box<str>);

#[derive(Debug)]
struct Action(Then);

fn parse(path: &Path, text: &str) -> Result<Vec<Layer>, FileError> {
    let file: File = toml::from_str(text).map_err(|error| {
        let error = error.to_string();
        let hint = "`etc/shaping.toml` of the sources explains every key";
        FileError::wrong(path, format_args!("{}\n\nhint: {hint}", error.trim_end()))
    })?;
    let sites = file.sites.into_iter();
    let sites = sites.map(|site| layer(Some(site.of.0.clone()), site));
    let default = file.default.map(|site| layer(None, site));
    Ok(sites.chain(default).collect())
}

fn layer<M>(of: Option<SiteMatch>, typed: Site<M>) -> Layer {
    let number = |n: Option<NonZeroU32>| n.map(NonZeroU32::get);
    let rule = |typed: Reply| ReplyRule {
        code: typed.code,
        words: typed.words.0,
        then: typed.then.0,
        after: number(typed.after).unwrap_or(1),
        within: typed.within.map_or(WITHIN, |span| span.0),
    };
    Layer {
        of,
        shape: Shape {
            connections: number(typed.connections),
            messages_per_connection: number(typed.messages_per_connection),
            recipients: number(typed.recipients),
            messages_per_hour: number(typed.messages_per_hour),
            tls: typed.tls,
        },
        replies: typed.replies.into_iter().map(rule).collect(),
    }
}

impl FromStr for Words {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let words: Vec<_> = text.split_whitespace().collect();
        match words.is_empty() {
            true => Err("no words: write `*` for any reply"),
            false => Ok(Self(words.join(" ").to_lowercase().into())),
        }
    }
}

impl FromStr for Action {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (word, span) = text.split_once(' ').unwrap_or((text, ""));
        let span = humantime::parse_duration(span).ok();
        let span = span.filter(|span| (PAUSE_MIN..=PAUSE_MAX).contains(span));
        Ok(Self(match (word, span) {
            ("pause", Some(span)) => Then::Pause(span),
            ("rest", Some(span)) => Then::Rest(span),
            _ => match text {
                "slow" => Then::Slow,
                "fail" => Then::Fail,
                "full" => Then::Full,
                "content" => Then::Content,
                _ => return Err(ACTIONS),
            },
        }))
    }
}

/// What is built in.
const BUILT_IN: &str = include_str!("../../../etc/shaping.toml");
const ACTIONS: &str = "none of `pause 10m`, `rest 1h`, `slow`, `fail`, `full`, `content`; a pause is of a second to a day";
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_hours(24);
const WITHIN: Duration = Duration::from_hours(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_built_in_can_be_read() {
        let layers = Shaping::default().load().unwrap();
        let yahoo = layers
            .iter()
            .find(|layer| layer.of == "yahoodns.net".parse().ok())
            .unwrap();
        assert_eq!(yahoo.shape.messages_per_connection, Some(20));
        assert_eq!(
            yahoo.replies[1],
            ReplyRule {
                code: None,
                words: "[tss0".into(),
                then: Then::Pause(Duration::from_mins(10)),
                after: 1,
                within: WITHIN,
            }
        );
        // Each number, and each rule, has its source.
        assert!(BUILT_IN.matches("https://").count() >= layers.len() - 1);
    }

    #[track_caller]
    fn check_error(text: &str, expected: &[&str]) {
        let error = parse(Path::new("shaping.toml"), text).unwrap_err();
        let error = error.to_string();
        for expected in expected.iter().chain(&["shaping.toml: ", "hint: "]) {
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn mistakes_are_shown_with_their_line() {
        let reply = |line: &str| format!("[[site]]\nmatch = 'a.test'\n[[site.reply]]\n{line}");
        check_error("[[site]]\nconections = 3", &["line 2", "conections"]);
        check_error("[[site]]\nconnections = 3", &["line 1", "match"]);
        check_error("[default]\nmatch = 'a.test'", &["line 2"]);
        check_error("[default]\nconnections = 0", &["line 2", "nonzero"]);
        check_error(
            "[[site]]\nmatch = 'a b'",
            &["line 2", "not the name of a site"],
        );
        check_error(
            "[default]\ntls = 'yes'",
            &["line 2", "expected one of: off"],
        );
        check_error(
            &reply("match = 'x'\nthen = 'pause'"),
            &["line 5", "`pause 10m`"],
        );
        check_error(
            &reply("match = 'x'\nthen = 'rest 2d'"),
            &["line 5", "a day"],
        );
        check_error(
            &reply("match = ' '\nthen = 'slow'"),
            &["line 4", "no words"],
        );
        check_error(&reply("then = 'slow'"), &["match"]);
    }
}
