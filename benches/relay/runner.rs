//! The runner: measures systems in turn, again and again, until all repeats are there or the time is over.
//!
//! Order: repeat, then point, then system, so that what changes on the machine in the meantime meets every system alike; the first system
//! of a round is another one each time. Every measurement starts from a clean folder. One that fails becomes a note, and the others go on.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::load::Sizes;
use crate::report::figure::Figure;
use crate::report::goal::Goal;
use crate::report::progress::Progress;
use crate::report::results::{Point, Repeat, Results};
use crate::report::terminal;
use crate::system::System;

/// What is measured, how often and for how long.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// Those that were found, in the order of reports.
    pub(crate) systems: Vec<System>,
    pub(crate) repeats: usize,
    /// The points of scenario 1.
    pub(crate) points: Vec<LoadPoint>,
    /// How long one measured load should last.
    pub(crate) length: Duration,
    /// Counts of messages and connections of the other scenarios are multiplied by it.
    pub(crate) scale: f64,
    pub(crate) seed: u64,
    /// Spools are made in it: the same file system for all.
    pub(crate) folder: PathBuf,
    /// Whether the load of scenario 1 is made by Postfix's tools.
    pub(crate) tools: Tools,
    /// A short look: what is not the heart of a scenario is left out.
    pub(crate) is_quick: bool,
}

/// Connections and size of a closed-loop load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LoadPoint {
    pub(crate) connections: usize,
    pub(crate) sizes: Sizes,
}

/// Who sends and receives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Tools {
    /// The load and the sink of this bench.
    Ours,
    /// smtp-source and smtp-sink.
    Postfix,
}

/// A run of the bench.
pub(crate) struct Bench {
    pub(crate) settings: Settings,
    pub(crate) results: Results,
    pub(crate) notes: Vec<String>,
    pub(crate) progress: Progress,
    deadline: Instant,
    last_run: Cell<u32>,
    failures: usize,
    /// How each system's CPU time is counted.
    counted: RefCell<BTreeMap<String, &'static str>>,
}

/// A point and what it means to its scenario.
pub(crate) type Points<P> = [(Point, P)];

impl Bench {
    /// Nothing measured yet.
    pub(crate) fn new(settings: Settings, progress: Progress, deadline: Instant) -> Self {
        Self {
            settings,
            results: Results {
                format: Results::FORMAT,
                ..Results::default()
            },
            notes: Vec::new(),
            progress,
            deadline,
            last_run: Cell::new(0),
            failures: 0,
            counted: RefCell::default(),
        }
    }

    /// Measures every system at every point, `repeats` times, and adds the figures to the results.
    ///
    /// `measure` gets the repeat's number from 0. A measurement that cannot be finished before the deadline, as the longest of its kind so
    /// far goes, is not begun; what is missing becomes a note.
    pub(crate) fn interleave<P>(
        &mut self,
        scenario: &str,
        points: &Points<P>,
        systems: &[System],
        repeats: usize,
        mut measure: impl FnMut(&Self, System, &P, usize) -> io::Result<Repeat>,
    ) {
        let cases = points.iter().map(|case| (case.0.label.clone(), case));
        let cases: Vec<_> = cases.collect();
        self.in_turn(
            scenario,
            &cases,
            systems,
            repeats,
            |bench, system, case, repeat| {
                let (point, what) = *case;
                Ok(vec![(point.clone(), measure(bench, system, what, repeat)?)])
            },
        );
    }

    /// As [`Bench::interleave`], for measurements that give figures at several points at once: those that need the same queue, for example.
    pub(crate) fn in_turn<C>(
        &mut self,
        scenario: &str,
        cases: &[(String, C)],
        systems: &[System],
        repeats: usize,
        mut measure: impl FnMut(&Self, System, &C, usize) -> io::Result<Vec<(Point, Repeat)>>,
    ) {
        // Of the first of its kind nothing is known but what its load takes.
        let least = self.settings.length + OVERHEAD;
        let mut longest: HashMap<(usize, System), Duration> = HashMap::new();
        let mut failed: HashMap<System, usize> = HashMap::new();
        for (repeat, (at, (label, case)), system) in turns(cases, systems, repeats) {
            if failed.get(&system) == Some(&FAILURES_MAX) {
                continue;
            }
            let expected = longest.entry((at, system)).or_insert(least);
            if !self.has_time(*expected) {
                let number = repeat + 1;
                self.note(format!(
                    "the time limit came in repeat {number} of {repeats} of `{scenario}`, {label}"
                ));
                return;
            }
            let begun = Instant::now();
            let name = format!("{scenario}: {system}, {label}");
            self.progress
                .task(format_args!("{name}, {} of {repeats}", repeat + 1));
            let measured = measure(self, system, case, repeat);
            *expected = begun.elapsed().max(*expected);
            match measured {
                Ok(repeats) => {
                    failed.remove(&system);
                    self.keep(scenario, system, repeats);
                }
                Err(error) => {
                    *failed.entry(system).or_default() += 1;
                    self.fail(&name, &error, failed.get(&system) == Some(&FAILURES_MAX));
                }
            }
        }
    }

    fn fail(&mut self, name: &str, error: &io::Error, is_last: bool) {
        self.failures += 1;
        self.note(format!("{name}: failed: {error}"));
        if is_last {
            self.note(format!(
                "{name}: failed {FAILURES_MAX} times in turn: the system is left out of the rest"
            ));
        }
    }

    fn keep(&mut self, scenario: &str, system: System, repeats: Vec<(Point, Repeat)>) {
        for (point, repeat) in repeats {
            let name = format!("{scenario}: {system}, {}", point.label);
            let figures = Figure::ALL
                .into_iter()
                .filter_map(|figure| Some((figure, *repeat.figures.get(&figure)?)));
            let summary = terminal::summary(figures.take(SUMMARY));
            self.progress.say(format_args!("{name}: {summary}"));
            self.judge(&name, &repeat);
            self.results
                .add(scenario, &system.to_string(), &point, repeat);
        }
    }

    /// What a relay must never do is told beside the tables, too.
    fn judge(&mut self, name: &str, repeat: &Repeat) {
        for figure in [Figure::Lost, Figure::Duplicates, Figure::Damaged] {
            let count = repeat.figures.get(&figure).copied().unwrap_or(0.0);
            if count > 0.0 {
                self.note(format!("{name}: {count} {}", figure.title()));
            }
        }
    }

    /// Whether something that lasts so long ends before the deadline.
    pub(crate) fn has_time(&self, for_: Duration) -> bool {
        !crate::stop::requested() && Instant::now() + for_ < self.deadline
    }

    /// What is left of the time, at most `most`: the limit of a wait.
    pub(crate) fn patience(&self, most: Duration) -> Duration {
        let left = self.deadline.saturating_duration_since(Instant::now());
        // A wait that began may end a little later than the deadline, so that what ran is not thrown away.
        most.min(left + GRACE)
    }

    /// Something that a reader has to know; said once.
    pub(crate) fn note(&mut self, text: String) {
        // What a system said may have lines; a note is one.
        let text = text.trim().replace('\n', "; ");
        if !self.notes.contains(&text) {
            self.progress.say(format_args!("note: {text}"));
            self.notes.push(text);
        }
    }

    /// Adds a goal, reached or not.
    pub(crate) fn goal(&mut self, goal: Goal) {
        self.results.goals.retain(|old| old.text != goal.text);
        self.results.goals.push(goal);
    }

    /// A number that no other load of this run has.
    pub(crate) fn next_run(&self) -> u32 {
        self.last_run.set(self.last_run.get() + 1);
        self.last_run.get()
    }

    /// A count, scaled; at least 1.
    pub(crate) fn scaled(&self, count: u64) -> u64 {
        ((count as f64 * self.settings.scale).round() as u64).max(1)
    }

    /// A system that was started says how its CPU time is counted.
    pub(crate) fn heard(&self, system: System, how: &'static str) {
        if system != System::Direct {
            self.counted.borrow_mut().insert(system.to_string(), how);
        }
    }

    /// How CPU time is counted, if the system was started.
    pub(crate) fn counted(&self, system: &str) -> Option<&'static str> {
        self.counted.borrow().get(system).copied()
    }

    /// Measurements that failed.
    pub(crate) fn failures(&self) -> usize {
        self.failures
    }

    /// The median of a figure, of a scenario's system at a point.
    pub(crate) fn median(
        &self,
        scenario: &str,
        system: System,
        label: &str,
        figure: Figure,
    ) -> Option<f64> {
        let spread = self
            .results
            .spread(scenario, &system.to_string(), label, figure);
        spread.map(|spread| spread.median)
    }
}

/// The order: repeat, then case with its number, then system; each round begins with another system.
fn turns<'a, C>(
    cases: &'a [C],
    systems: &'a [System],
    repeats: usize,
) -> impl Iterator<Item = (usize, (usize, &'a C), System)> {
    (0..repeats).flat_map(move |repeat| {
        cases.iter().enumerate().flat_map(move |case| {
            let first = repeat % systems.len().max(1);
            let order = systems[first..].iter().chain(&systems[..first]);
            order.map(move |system| (repeat, case, *system))
        })
    })
}

impl LoadPoint {
    /// As it stands in the results.
    pub(crate) fn point(self) -> Point {
        let size = match self.sizes {
            Sizes::Fixed(octets) => octets as u64,
            Sizes::Real => 0,
        };
        Point::load(self.connections, size)
    }
}

/// Figures in the line of a finished measurement.
const SUMMARY: usize = 6;
/// A system that fails so often in turn is left alone.
const FAILURES_MAX: usize = 3;
/// Start, warm-up and stop of a system, about.
const OVERHEAD: Duration = Duration::from_secs(2);
/// How much later than the deadline a wait may end.
const GRACE: Duration = Duration::from_secs(5);
