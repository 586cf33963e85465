//! Forwards that are asked for elsewhere: at a start, at a reload, and every now and then in between.
//!
//! A snapshot is one more file for the loader. One that cannot be had, or of which a query has lost too much, leaves the one of
//! before, and is said once. In between only a text that differs is looked at, and only the table is replaced.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use control::Finding;
use control::Health::{Bad, Good, Risky};
use directory::{Questions, Rendered, Rows, Settings, Snapshot};
use forwarder::table::{Captured, DOMAIN_ACTION, Table};
use futures_util::future::join_all;
use journal::{Event, Journal};
use policy::Profiles;
use relay::{Routing, store};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};

use crate::config::{Config, Percent};
use crate::forwards;
use crate::print::plural;
use crate::reload::Reload;
use crate::routing;

/// Asks every snapshot of the configuration, for the loader: for no longer than this, if what it said before is known.
pub(crate) async fn fetch(config: &mut Config, force: bool, within: Duration) {
    let snapshots: Vec<_> = snapshots(config).map(|(settings, _)| settings).collect();
    if snapshots.is_empty() {
        return;
    }
    // What is wrong with the measures, the loader says.
    let profiles = routing::profiles_of(config).unwrap_or_default();
    let kept = match force {
        true => None,
        false => forwards::copied(config),
    };
    let kept = kept.map(|(_, files)| files).unwrap_or_default();
    let asked = snapshots.into_iter().map(async |mut settings| {
        let name = settings.name.clone();
        let old = kept.iter().find(|file| file.name == name);
        if old.is_some() {
            settings.timeout = settings.timeout.min(within);
        }
        let rows = match Snapshot::new(settings) {
            Ok(snapshot) => snapshot.ask().await.map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        (name, old, rows)
    });
    // Those that hang hang together.
    for (name, old, rows) in join_all(asked).await {
        let old = old.map(|file| String::from_utf8_lossy(&file.content));
        let judged = (&*old.unwrap_or_default(), config.forwards.max_shrink);
        let said = rows.and_then(|rows| taken(rows, &profiles, judged));
        config.forwards.fetched.insert(name, said);
    }
}

/// Keeps no text twice: the table has it now.
pub(crate) fn forget(config: &mut Config) {
    for said in config.forwards.fetched.values_mut().flatten() {
        said.text = String::new();
    }
}

/// A line about each that was asked for.
pub(crate) fn said(config: &Config) -> impl Iterator<Item = String> {
    let fetched = config.forwards.fetched.iter();
    fetched.map(|(name, said)| match said {
        Ok(Rendered {
            lines, left_out: 0, ..
        }) => format!("source {name}: {lines} lines"),
        Ok(said) => format!(
            "source {name}: {} lines, {} rows or targets left out: {}",
            said.lines,
            said.left_out,
            said.examples.join("; ")
        ),
        Err(error) => format!("source {name}: {error}; what it said before is used"),
    })
}

/// What it says, if that may follow what it said before.
fn taken(rows: Rows, profiles: &Profiles, (old, max): (&str, Percent)) -> Result<Rendered, String> {
    let measure = |name: &str, value: &str| store::check(profiles, name, value);
    let said = rows.render(&|line| Table::key_of(line, &measure));
    if said.lines == 0 && !old.is_empty() {
        return Err(format!("it has no forwards any more{STAYS}"));
    }
    if said.text == old {
        return Ok(said);
    }
    // The loader judges addresses. A query of domains may fail alone: all their addresses are still there.
    let kinds = ["domains", "alias domains"].into_iter();
    let counts = domains(old).into_iter().zip(domains(&said.text));
    for (kind, (before, now)) in kinds.zip(counts) {
        if max.is_under(before.saturating_sub(now), before) {
            let over = format_args!("over `forwards.max_shrink` of {max}");
            return Err(format!("{now} of {before} {kind} are left, {over}{STAYS}"));
        }
    }
    Ok(said)
}

/// How many lines are about domains, and lead all of a domain to another.
fn domains(text: &str) -> [usize; 2] {
    text.lines().fold([0, 0], |[domains, aliases], line| {
        let action = line.split(' ').nth(1).unwrap_or_default();
        let is_alias = line.starts_with('@') && action.starts_with('@');
        [
            domains + usize::from(action == DOMAIN_ACTION),
            aliases + usize::from(is_alias),
        ]
    })
}

/// Those of the configuration, and how often each is asked.
fn snapshots(config: &Config) -> impl Iterator<Item = (Settings, Duration)> {
    let asked = config
        .forwards
        .sources()
        .filter_map(|source| source.asked());
    asked.filter(|(settings, _)| matches!(settings.questions, Questions::Snapshot { .. }))
}

/// What the doctor finds of each that is asked: whether it answers now, and what is in use of it meanwhile.
pub(crate) async fn examine(config: &Config, routing: &Routing) -> Vec<Finding> {
    let mut findings: Vec<_> = look_ups(routing).await.collect();
    let table = Arc::clone(&routing.table);
    // Of half a million lines this takes a moment.
    let captured = spawn_blocking(move || table.captured()).await;
    findings.extend(self::captured(captured.unwrap_or_default()));
    let kept = forwards::kept_for(config).map_or_else(String::new, |span| {
        let span = Duration::from_secs(span.as_secs());
        format!(", last changed {} ago", humantime::format_duration(span))
    });
    for (settings, _) in snapshots(config) {
        let name = settings.name.clone();
        let mut files = routing.table.files();
        let text = files.find(|(file, _)| *file == name);
        let lines = text.map_or(0, |(_, text)| text.lines().count()) as u64;
        let lines = plural(lines, "line");
        let answer = match Snapshot::new(settings) {
            Ok(snapshot) => snapshot.ping().await.map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        findings.push(match answer {
            Ok(()) => Finding::new(
                Good,
                "source",
                name,
                format!("answers; {lines} in use{kept}"),
            ),
            Err(error) => Finding::new(
                Bad,
                "source",
                name,
                format!("{error}; what it said before holds: {lines}{kept}{HINT}"),
            ),
        });
    }
    findings
}

/// Domains that others forward to.
pub(crate) fn captured(all: Vec<Captured>) -> impl Iterator<Item = Finding> {
    let found = |(domain, text)| Finding::new(Risky, "source", domain, text);
    forwards::captured(all).map(found)
}

/// What each look-up answers to a question about nobody.
pub(crate) async fn look_ups(routing: &Routing) -> impl Iterator<Item = Finding> {
    let answers = routing.lookups.probe().await.into_iter();
    answers.map(|(name, answer)| match answer {
        Ok(()) => Finding::new(Good, "source", name, "answers"),
        Err(error) => Finding::new(
            Bad,
            "source",
            name,
            format!("{error}; mail for whom only it may know is put off with 451{HINT}"),
        ),
    })
}

/// A snapshot between two questions.
struct Watched {
    settings: Settings,
    snapshot: Snapshot,
    due: Instant,
    /// What was wrong the last time, and with which text.
    failed: Option<String>,
    refused: Option<String>,
}

/// Asks again and again, until it is dropped. Follows the configuration of each reload.
pub(crate) async fn watch(reload: Arc<Reload>, journal: Journal) {
    let mut watched: BTreeMap<String, Watched> = BTreeMap::new();
    loop {
        let config = reload.config();
        let all: BTreeMap<_, _> = snapshots(&config)
            .map(|asked| (asked.0.name.clone(), asked))
            .collect();
        // What is not asked any more is not down any more.
        for (_, mut gone) in watched.extract_if(.., |name, _| !all.contains_key(name)) {
            gone.note(None, &journal);
        }
        for (name, (settings, every)) in all {
            let (known, failed) = match watched.remove(&name) {
                Some(old) if old.settings == settings => (Some(old), None),
                // It was asked with its new settings; what is known of it is why it failed with the old.
                old => (None, old.and_then(|old| old.failed)),
            };
            let first = || first(settings, &config, &journal, every, failed);
            let Some(mut one) = known.or_else(first) else {
                continue;
            };
            if one.due <= Instant::now() {
                one.look(&reload, &journal).await;
                one.due = Instant::now() + every;
            }
            watched.insert(name, one);
        }
        sleep(TICK).await;
    }
}

/// One that was asked with the configuration, just now.
fn first(
    settings: Settings,
    config: &Config,
    journal: &Journal,
    every: Duration,
    failed: Option<String>,
) -> Option<Watched> {
    let snapshot = Snapshot::new(settings.clone()).ok()?;
    let said = config.forwards.fetched.get(&settings.name);
    let mut one = Watched {
        settings,
        snapshot,
        due: Instant::now() + every,
        failed,
        refused: None,
    };
    if let Some(said) = said {
        one.note(said.as_ref().err().cloned(), journal);
    }
    Some(one)
}

impl Watched {
    async fn look(&mut self, reload: &Arc<Reload>, journal: &Journal) {
        let rows = self.snapshot.ask().await;
        let (routing, name) = (reload.routing(), self.settings.name.clone());
        let max = reload.config().forwards.max_shrink;
        // Half a million rows keep a thread busy for a while: not one that serves connections.
        let taking = spawn_blocking(move || {
            let old = routing.table.files().find(|(file, _)| *file == name);
            let old = old.map(|(_, text)| text).unwrap_or_default();
            let rows = rows.map_err(|error| error.to_string())?;
            let said = taken(rows, &routing.profiles, (old, max))?;
            Ok((said.text != old).then_some(said))
        });
        let said = taking.await.unwrap_or_else(|error| Err(error.to_string()));
        let error = match said {
            Err(error) => Some(error),
            Ok(None) => None,
            // It was refused before, and why has been said.
            Ok(Some(said)) if Some(&said.text) == self.refused.as_ref() => return,
            Ok(Some(said)) => {
                let (reload, text) = (Arc::clone(reload), said.text.clone());
                let name = self.settings.name.clone();
                let replacing = spawn_blocking(move || reload.replace(&name, &text));
                let replaced = replacing.await.map_err(|error| error.to_string());
                let replaced = replaced.and_then(|done| done.map_err(|error| error.to_string()));
                self.refused = replaced.is_err().then_some(said.text);
                for example in &said.examples {
                    tracing::warn!(
                        source = self.settings.name,
                        left_out = said.left_out,
                        "no forward: {example}"
                    );
                }
                replaced.err()
            }
        };
        self.note(error, journal);
    }

    /// Says what has changed about it.
    fn note(&mut self, error: Option<String>, journal: &Journal) {
        if error != self.failed {
            let name = self.settings.name.clone();
            journal.record(Event::Source {
                name,
                error: error.clone(),
            });
            self.failed = error;
        }
    }
}

const HINT: &str = "\n\nhint: see to `url` and the queries of this [[forwards.source]], and whether its server runs";
const STAYS: &str =
    "; the old ones stay\n\nhint: if this is meant, `onward reload --force` takes it";
/// How soon a change of the configuration is noticed.
const TICK: Duration = Duration::from_secs(1);
