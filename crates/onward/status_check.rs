//! `onward status --check`: conditions on numbers of the running daemon, with the output and the exit codes of a Nagios plugin.

use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use bytesize::ByteSize;
use control::{Client, Status, ask};
use serde::Serialize;

use crate::Exit;
use crate::config::Config;
use crate::print::{Printer, span};

/// What must hold, as it is typed: `queue<5000,oldest<1h`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Conditions(Vec<Condition>);

#[derive(Debug, Clone)]
struct Condition {
    name: &'static str,
    below: bool,
    limit: u64,
}

/// The answer, as `--json` prints it.
#[derive(Debug, Serialize)]
struct Checked {
    /// The worst that was found.
    state: &'static str,
    text: String,
    /// `queue=12;;5000`: value, limits of warning and critical.
    performance: String,
}

impl FromStr for Conditions {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let conditions: Result<_, _> = text.split(',').map(condition).collect();
        conditions.map(Self)
    }
}

fn condition(text: &str) -> Result<Condition, String> {
    let at = text.find(['<', '>']);
    let at = at.ok_or_else(|| format!("`{text}` is no condition, as `queue<5000` is"))?;
    let (typed, limit) = (text[..at].trim(), text[at + 1..].trim());
    let name = MEASURES.into_iter().find(|name| *name == typed);
    let name = name.ok_or_else(|| format!("there is no `{typed}`: {}", MEASURES.join(", ")))?;
    let (read, kind) = match unit(name) {
        "s" => (
            humantime::parse_duration(limit).ok().map(millis),
            "span, as `1h` is",
        ),
        "B" => (
            limit.parse().ok().map(|size: ByteSize| size.as_u64()),
            "size, as `1GiB` is",
        ),
        _ => (limit.parse().ok(), "number"),
    };
    Ok(Condition {
        name,
        below: text[at..].starts_with('<'),
        limit: read.ok_or_else(|| format!("`{limit}` is no {kind}, for `{name}`"))?,
    })
}

/// Asks, prints one line, and says by the exit code how things stand.
pub(crate) async fn run(
    config: &Path,
    critical: &Conditions,
    warn: &Conditions,
    print: Printer,
) -> Exit {
    let checked = match status(config).await {
        Ok(status) => check(&status, &critical.0, &warn.0),
        Err(error) => Checked {
            state: UNKNOWN,
            // What is on further lines would not be taken for a part of it.
            text: error.lines().next().unwrap_or_default().to_owned(),
            performance: String::new(),
        },
    };
    print.value(
        &checked,
        |print,
         Checked {
             state,
             text,
             performance,
         }| {
            let bar = if performance.is_empty() { "" } else { " | " };
            print.line(format_args!("{state} - {text}{bar}{performance}"));
        },
    );
    match checked.state {
        OK => Exit::Fine,
        WARNING => Exit::Problem,
        CRITICAL => Exit::Critical,
        _ => Exit::NothingMatched,
    }
}

async fn status(config: &Path) -> Result<Status, String> {
    let config = Config::load(config).map_err(|error| error.to_string())?;
    let socket = &config.control.socket;
    let ask = async { Client::connect(socket).await?.ask(ask::Status {}).await };
    ask.await.map_err(|error| error.to_string())
}

fn check(status: &Status, critical: &[Condition], warn: &[Condition]) -> Checked {
    let mut states = Vec::new();
    let (mut words, mut performance) = (Vec::new(), Vec::new());
    for (conditions, otherwise) in [(critical, CRITICAL), (warn, WARNING)] {
        for condition in conditions {
            let (state, text) = condition.look(status, otherwise);
            states.push(state);
            words.push(text);
            let limit = |of: &[Condition]| {
                let same = of.iter().find(|other| other.name == condition.name);
                same.map(|other| bare(other.name, other.limit))
                    .unwrap_or_default()
            };
            if let Some(value) = value(condition.name, status) {
                let (name, unit) = (condition.name, unit(condition.name));
                let (value, warn, critical) = (bare(name, value), limit(warn), limit(critical));
                performance.push(format!("{name}={value}{unit};{warn};{critical}"));
            }
        }
    }
    words.dedup();
    performance.dedup();
    let worst = [UNKNOWN, CRITICAL, WARNING]
        .into_iter()
        .find(|state| states.contains(state));
    Checked {
        state: worst.unwrap_or(OK),
        text: words.join(", "),
        performance: performance.join(" "),
    }
}

impl Condition {
    fn look(&self, status: &Status, otherwise: &'static str) -> (&'static str, String) {
        let Self { name, below, limit } = *self;
        let Some(value) = value(name, status) else {
            return (UNKNOWN, format!("{name} is not known"));
        };
        let said = format!("{name} {}", shown(name, value));
        match (below, value < limit, value > limit) {
            (true, true, _) | (false, _, true) => (OK, said),
            (true, ..) => (otherwise, format!("{said} is not < {}", shown(name, limit))),
            (false, ..) => (otherwise, format!("{said} is not > {}", shown(name, limit))),
        }
    }
}

/// For people.
fn shown(name: &str, value: u64) -> String {
    match unit(name) {
        "s" => span(value),
        "B" => ByteSize(value).display().iec().to_string(),
        _ => value.to_string(),
    }
}

/// For machines.
fn bare(name: &str, value: u64) -> String {
    match unit(name) {
        "s" => (value as f64 / 1000.0).to_string(),
        _ => value.to_string(),
    }
}

/// As performance data has it; spans are in milliseconds here.
fn unit(name: &str) -> &'static str {
    match name {
        "oldest" | "delay" | "commit" | "certificate" => "s",
        "free" => "B",
        _ => "",
    }
}

fn value(name: &str, status: &Status) -> Option<u64> {
    let queue = &status.queue;
    Some(match name {
        "queue" => queue.waiting + queue.active + queue.held,
        "held" => queue.held,
        // Nothing there is nothing late.
        "oldest" => queue.oldest.map_or(0, |at| millis(status.now.since(at))),
        "delay" => status.delays.p99_ms.unwrap_or_default(),
        "commit" => status.commits.p99_ms.unwrap_or_default(),
        "free" => return status.disk.free,
        // Without any, none expires.
        "certificate" => certificates(status).min().unwrap_or(u64::MAX),
        "sites" => status.sites_in_trouble,
        "frozen" => status.frozen,
        "connections" => status.connections.incoming,
        "log-lost" => status.log_lines_lost,
        "filters-down" => status
            .filters
            .values()
            .filter(|filter| filter.failing > 0)
            .count() as u64,
        "reload-failed" => status
            .reload
            .as_ref()
            .is_some_and(|last| last.error.is_some())
            .into(),
        event => status.minute.get(event).copied().unwrap_or_default(),
    })
}

/// How long each is still valid.
fn certificates(status: &Status) -> impl Iterator<Item = u64> {
    let ends = status.certificates.iter().map(|end| end.expires);
    ends.map(|end| millis(end.since(status.now)))
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// Explained in the help of `--check`.
const MEASURES: [&str; 18] = [
    "queue",
    "held",
    "oldest",
    "delay",
    "commit",
    "free",
    "certificate",
    "sites",
    "frozen",
    "connections",
    "log-lost",
    "filters-down",
    "reload-failed",
    "received",
    "delivered",
    "deferred",
    "failed",
    "refused",
];
const OK: &str = "OK";
const WARNING: &str = "WARNING";
const CRITICAL: &str = "CRITICAL";
const UNKNOWN: &str = "UNKNOWN";

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::status_cli::tests::status;

    fn conditions(text: &str) -> Vec<Condition> {
        text.parse::<Conditions>().unwrap().0
    }

    #[track_caller]
    fn is(critical: &str, warn: &str, expected: &str) {
        let read = |text: &str| match text {
            "" => Vec::new(),
            text => conditions(text),
        };
        let Checked {
            state,
            text,
            performance,
        } = check(&status(), &read(critical), &read(warn));
        assert_eq!(format!("{state} - {text} | {performance}"), expected);
    }

    #[test]
    fn states_and_performance() {
        is(
            "queue<5000,oldest<1h",
            "",
            "OK - queue 13, oldest 3m 5s | queue=13;;5000 oldest=185s;;3600",
        );
        is(
            "queue<13",
            "",
            "CRITICAL - queue 13 is not < 13 | queue=13;;13",
        );
        is(
            "queue<20",
            "queue<10, commit < 20ms",
            "WARNING - queue 13, queue 13 is not < 10, commit 12ms | queue=13;10;20 commit=0.012s;0.02;",
        );
        is(
            "free>1GiB",
            "",
            "CRITICAL - free 512.0 MiB is not > 1.0 GiB | free=536870912B;;1073741824",
        );
        let mut unknown = status();
        unknown.disk.free = None;
        let checked = check(&unknown, &conditions("free>1GiB,queue<1"), &[]);
        assert_eq!(checked.state, UNKNOWN);
    }

    #[test]
    fn what_is_no_condition() {
        for (text, expected) in [
            ("queue", "`queue` is no condition"),
            ("quue<1", "there is no `quue`: queue, held"),
            ("oldest<5", "`5` is no span"),
            ("queue<1h", "`1h` is no number"),
            ("", "no condition"),
        ] {
            let error = text.parse::<Conditions>().unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn the_help_names_every_measure() {
        let mut command = crate::cli::Cli::command();
        let status = command.find_subcommand_mut("status").unwrap();
        let help = status.render_long_help().to_string();
        for name in MEASURES {
            assert!(help.contains(&format!("`{name}`")), "{name}");
        }
    }
}
