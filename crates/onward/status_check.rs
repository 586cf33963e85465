//! `onward status --check`: conditions on numbers of the running daemon, with the output and the exit codes of a Nagios plugin.

use std::path::Path;
use std::str::FromStr;

use bytesize::ByteSize;
use control::{Client, LastReload, Status, ask};
use envelope::millis;
use serde::Serialize;

use crate::Exit;
use crate::config::Config;
use crate::print::{Printer, span};

/// What must hold, as it is typed: `queue<5000,oldest<1h`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Conditions(Vec<Condition>);

#[derive(Debug, Clone)]
struct Condition {
    of: &'static Measure,
    below: bool,
    limit: u64,
}

/// A number of the daemon: its name, its unit as performance data has it (a span is in milliseconds here), and how it is read.
#[derive(Debug)]
struct Measure(&'static str, &'static str, fn(&Status) -> Option<u64>);

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
    let of = MEASURES.iter().find(|Measure(name, ..)| *name == typed);
    let of = of.ok_or_else(|| format!("there is no `{typed}`: {}", names().join(", ")))?;
    let (read, kind) = match of.1 {
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
        of,
        below: text[at..].starts_with('<'),
        limit: read.ok_or_else(|| format!("`{limit}` is no {kind}, for `{typed}`"))?,
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
    print.value(&checked, |print, checked| {
        let (state, text, numbers) = (checked.state, &checked.text, &checked.performance);
        let bar = if numbers.is_empty() { "" } else { " | " };
        print.line(format_args!("{state} - {text}{bar}{numbers}"));
    });
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
            let of @ Measure(name, unit, value) = condition.of;
            let limit = |all: &[Condition]| {
                let same = all.iter().find(|other| other.of.0 == *name);
                same.map(|other| of.bare(other.limit)).unwrap_or_default()
            };
            if let Some(value) = value(status) {
                let (value, warn, critical) = (of.bare(value), limit(warn), limit(critical));
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
        let Self { of, below, limit } = *self;
        let Measure(name, _, value) = of;
        let Some(value) = value(status) else {
            return (UNKNOWN, format!("{name} is not known"));
        };
        let (said, limited) = (format!("{name} {}", of.shown(value)), of.shown(limit));
        match (below, value < limit, value > limit) {
            (true, true, _) | (false, _, true) => (OK, said),
            (true, ..) => (otherwise, format!("{said} is not < {limited}")),
            (false, ..) => (otherwise, format!("{said} is not > {limited}")),
        }
    }
}

impl Measure {
    /// For people.
    fn shown(&self, value: u64) -> String {
        match self.1 {
            "s" => span(value),
            "B" => ByteSize(value).display().iec().to_string(),
            _ => value.to_string(),
        }
    }

    /// For machines.
    fn bare(&self, value: u64) -> String {
        match self.1 {
            "s" => (value as f64 / 1000.0).to_string(),
            _ => value.to_string(),
        }
    }
}

/// How long each is still valid.
fn certificates(status: &Status) -> impl Iterator<Item = u64> {
    let ends = status.certificates.iter().map(|end| end.expires);
    ends.map(|end| millis(end.since(status.now)))
}

/// Events of the last minute.
fn minute(status: &Status, event: &str) -> Option<u64> {
    Some(status.minute.get(event).copied().unwrap_or_default())
}

fn filters_down(status: &Status) -> u64 {
    let filters = status.filters.values();
    filters.filter(|filter| filter.failing > 0).count() as u64
}

fn has_failed(last: &LastReload) -> bool {
    last.error.is_some()
}

fn names() -> Vec<&'static str> {
    MEASURES.iter().map(|Measure(name, ..)| *name).collect()
}

/// Explained in the help of `--check`.
const MEASURES: &[Measure] = &[
    Measure("queue", "", |s| {
        Some(s.queue.waiting + s.queue.active + s.queue.held)
    }),
    Measure("held", "", |s| Some(s.queue.held)),
    // Nothing there is nothing late.
    Measure("oldest", "s", |s| {
        Some(s.queue.oldest.map_or(0, |at| millis(s.now.since(at))))
    }),
    Measure("delay", "s", |s| Some(s.delays.p99_ms.unwrap_or_default())),
    Measure("commit", "s", |s| {
        Some(s.commits.p99_ms.unwrap_or_default())
    }),
    Measure("free", "B", |s| s.disk.free),
    // Without any, none expires.
    Measure("certificate", "s", |s| {
        Some(certificates(s).min().unwrap_or(u64::MAX))
    }),
    Measure("acme-failed", "", |s| {
        let failed = s.issuing.as_ref().and_then(|now| now.error.as_ref());
        Some(failed.is_some().into())
    }),
    Measure("sites", "", |s| Some(s.sites_in_trouble)),
    Measure("frozen", "", |s| Some(s.frozen)),
    Measure("connections", "", |s| Some(s.connections.incoming)),
    Measure("log-lost", "", |s| Some(s.log_lines_lost)),
    Measure("filters-down", "", |s| Some(filters_down(s))),
    Measure("reload-failed", "", |s| {
        Some(s.reload.as_ref().is_some_and(has_failed).into())
    }),
    Measure("received", "", |s| minute(s, "received")),
    Measure("delivered", "", |s| minute(s, "delivered")),
    Measure("deferred", "", |s| minute(s, "deferred")),
    Measure("failed", "", |s| minute(s, "failed")),
    Measure("refused", "", |s| minute(s, "refused")),
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
        for name in names() {
            assert!(help.contains(&format!("`{name}`")), "{name}");
        }
    }
}
