//! `onward status --check`: conditions on numbers of the running daemon, with the output and the exit codes of a Nagios plugin.

use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

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
    measure: &'static Measure,
    below: bool,
    limit: u64,
}

/// A number of the daemon.
#[derive(Debug)]
struct Measure {
    name: &'static str,
    unit: Unit,
    of: fn(&Status) -> Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    Number,
    Millis,
    Octets,
}

/// What came of all conditions; ordered from good to bad, but for the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "UPPERCASE")]
enum State {
    Ok,
    Warning,
    Critical,
    Unknown,
}

/// The answer, as `--json` prints it.
#[derive(Debug, Serialize)]
struct Checked {
    state: State,
    text: String,
    /// `queue=12;;5000`, as monitoring reads it.
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
    let (name, limit) = (text[..at].trim(), text[at + 1..].trim());
    let measure = MEASURES.iter().find(|measure| measure.name == name);
    let measure = measure.ok_or_else(|| {
        let names: Vec<_> = MEASURES.iter().map(|measure| measure.name).collect();
        format!("there is no `{name}`: {}", names.join(", "))
    })?;
    let read = match measure.unit {
        Unit::Number => limit.parse().ok(),
        Unit::Millis => humantime::parse_duration(limit).ok().map(millis),
        Unit::Octets => limit
            .parse()
            .ok()
            .map(|size: bytesize::ByteSize| size.as_u64()),
    };
    Ok(Condition {
        measure,
        below: text[at..].starts_with('<'),
        limit: read.ok_or_else(|| format!("`{limit}` is no {} for `{name}`", measure.unit))?,
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
            state: State::Unknown,
            // One line: the rest would be taken for further output.
            text: error.lines().next().unwrap_or_default().to_owned(),
            performance: String::new(),
        },
    };
    print.value(&checked, |print, checked| {
        let Checked {
            state,
            text,
            performance,
        } = checked;
        let bar = if performance.is_empty() { "" } else { " | " };
        print.line(format_args!("{state} - {text}{bar}{performance}"));
    });
    match checked.state {
        State::Ok => Exit::Fine,
        State::Warning => Exit::Problem,
        State::Critical => Exit::Critical,
        State::Unknown => Exit::NothingMatched,
    }
}

async fn status(config: &Path) -> Result<Status, String> {
    let config = Config::load(config).map_err(|error| error.to_string())?;
    let ask = async {
        Client::connect(&config.control.socket)
            .await?
            .ask(ask::Status {})
            .await
    };
    ask.await.map_err(|error| error.to_string())
}

fn check(status: &Status, critical: &[Condition], warn: &[Condition]) -> Checked {
    let mut state = State::Ok;
    let mut words = Vec::new();
    for (conditions, otherwise) in [(critical, State::Critical), (warn, State::Warning)] {
        for condition in conditions {
            let (found, text) = condition.look(status, otherwise);
            // The same number is told once, unless there is more to say.
            if found != State::Ok || !words.contains(&text) {
                words.push(text);
            }
            state = state.max(found);
        }
    }
    let mut performance: Vec<String> = Vec::new();
    for Condition { measure, .. } in critical.iter().chain(warn) {
        let limit = |conditions: &[Condition]| {
            let mut same = conditions
                .iter()
                .filter(|other| other.measure.name == measure.name);
            same.next()
                .map(|other| measure.bare(other.limit))
                .unwrap_or_default()
        };
        let Some(value) = (measure.of)(status) else {
            continue;
        };
        let (name, value, unit) = (measure.name, measure.bare(value), measure.unit.symbol());
        let row = format!("{name}={value}{unit};{};{}", limit(warn), limit(critical));
        if !performance.contains(&row) {
            performance.push(row);
        }
    }
    Checked {
        state,
        text: words.join(", "),
        performance: performance.join(" "),
    }
}

impl Condition {
    fn look(&self, status: &Status, otherwise: State) -> (State, String) {
        let Measure { name, of, .. } = self.measure;
        let Some(value) = of(status) else {
            return (State::Unknown, format!("{name} is not known"));
        };
        let holds = match self.below {
            true => value < self.limit,
            false => value > self.limit,
        };
        let shown = self.measure.shown(value);
        if holds {
            return (State::Ok, format!("{name} {shown}"));
        }
        let sign = if self.below { '<' } else { '>' };
        let limit = self.measure.shown(self.limit);
        (otherwise, format!("{name} {shown} is not {sign} {limit}"))
    }
}

impl Measure {
    /// For people.
    fn shown(&self, value: u64) -> String {
        match self.unit {
            Unit::Number => value.to_string(),
            Unit::Millis => span(value),
            Unit::Octets => bytesize::ByteSize(value).display().iec().to_string(),
        }
    }

    /// For machines; spans in seconds.
    fn bare(&self, value: u64) -> String {
        match self.unit {
            Unit::Millis => (value as f64 / 1000.0).to_string(),
            Unit::Number | Unit::Octets => value.to_string(),
        }
    }
}

impl Unit {
    const fn symbol(self) -> &'static str {
        match self {
            Self::Number => "",
            Self::Millis => "s",
            Self::Octets => "B",
        }
    }
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Number => "number",
            Self::Millis => "span (as `90s`, `1h`)",
            Self::Octets => "size (as `1GiB`)",
        })
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ok => "OK",
            Self::Warning => "WARNING",
            Self::Critical => "CRITICAL",
            Self::Unknown => "UNKNOWN",
        })
    }
}

const fn number(name: &'static str, of: fn(&Status) -> Option<u64>) -> Measure {
    Measure {
        name,
        unit: Unit::Number,
        of,
    }
}

const fn time(name: &'static str, of: fn(&Status) -> Option<u64>) -> Measure {
    Measure {
        name,
        unit: Unit::Millis,
        of,
    }
}

fn minute(status: &Status, event: &str) -> Option<u64> {
    Some(status.minute.get(event).copied().unwrap_or_default())
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// Named in the help of `--check`.
const MEASURES: [Measure; 19] = [
    number("queue", |s| {
        Some(s.queue.waiting + s.queue.active + s.queue.held)
    }),
    number("waiting", |s| Some(s.queue.waiting)),
    number("active", |s| Some(s.queue.active)),
    number("held", |s| Some(s.queue.held)),
    number("frozen", |s| Some(s.frozen)),
    number("connections", |s| Some(s.connections.incoming)),
    number("log-lost", |s| Some(s.log_lines_lost)),
    number("filters-down", |s| {
        Some(
            s.filters
                .values()
                .filter(|filter| filter.failing > 0)
                .count() as u64,
        )
    }),
    number("reload-failed", |s| {
        let failed = s
            .reload
            .as_ref()
            .is_some_and(|reload| reload.error.is_some());
        Some(u64::from(failed))
    }),
    number("received", |s| minute(s, "received")),
    number("delivered", |s| minute(s, "delivered")),
    number("deferred", |s| minute(s, "deferred")),
    number("failed", |s| minute(s, "failed")),
    number("refused", |s| minute(s, "refused")),
    // Nothing there is nothing late.
    time("oldest", |s| {
        Some(s.queue.oldest.map_or(0, |at| millis(s.now.since(at))))
    }),
    time("delay", |s| Some(s.delays.p99_ms.unwrap_or_default())),
    time("commit", |s| Some(s.commits.p99_ms.unwrap_or_default())),
    time("uptime", |s| Some(millis(s.now.since(s.started)))),
    Measure {
        name: "free",
        unit: Unit::Octets,
        of: |s| s.disk.free,
    },
];

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
        assert_eq!(checked.state, State::Unknown);
    }

    #[test]
    fn what_is_no_condition() {
        for (text, expected) in [
            ("queue", "`queue` is no condition"),
            ("quue<1", "there is no `quue`: queue, waiting"),
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
        for measure in &MEASURES {
            assert!(
                help.contains(&format!("`{}`", measure.name)),
                "{}",
                measure.name
            );
        }
    }
}
