//! What a run of the bench found, as it is written to `results.json` and read back to make tables and plots.
//!
//! Times are seconds, rates are per second; each [`Figure`] names its own unit. Nothing is rounded here.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::figure::Figure;
use super::goal::Goal;
use super::machine::Machine;

/// Everything that one or several runs found.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Results {
    /// The version of this format.
    pub(crate) format: u32,
    /// One for each run of the program: results of several runs can be shown together.
    pub(crate) runs: Vec<Run>,
    pub(crate) measurements: Vec<Measurement>,
    pub(crate) goals: Vec<Goal>,
}

/// One run of the program: where and how.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Run {
    /// As it was typed.
    pub(crate) command: String,
    /// RFC 3339, in UTC.
    pub(crate) started: String,
    /// Seconds.
    pub(crate) took: f64,
    pub(crate) machine: Machine,
    pub(crate) systems: Vec<SystemNote>,
    /// Below 1: counts of messages and connections were made smaller.
    pub(crate) scale: f64,
    pub(crate) seed: u64,
    /// What a reader has to know: skipped systems, a machine that was not idle, the end of the time.
    pub(crate) notes: Vec<String>,
}

/// A system that was measured: what it is and how it was configured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SystemNote {
    pub(crate) system: String,
    pub(crate) version: String,
    /// What differs from the others, and what makes its 250 durable.
    pub(crate) configured: String,
}

/// One system at one point of one scenario, measured one or more times.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Measurement {
    /// The scenario's name on the command line, with its part: `relay`, `relay open loop`.
    pub(crate) scenario: String,
    pub(crate) system: String,
    pub(crate) point: Point,
    pub(crate) repeats: Vec<Repeat>,
}

/// What was asked of the system.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Point {
    /// In words; no two points of a scenario have the same.
    pub(crate) label: String,
    pub(crate) connections: usize,
    /// Octets of a message; 0: a mixture.
    pub(crate) size: u64,
}

/// The figures of one measurement. A figure that could not be measured is not there.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Repeat {
    pub(crate) figures: BTreeMap<Figure, f64>,
}

/// A figure over all repeats.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
    /// How many values.
    pub(crate) count: usize,
}

impl Results {
    /// The version that this program writes.
    pub(crate) const FORMAT: u32 = 1;

    /// Adds a repeat to its measurement, which is made if need be.
    pub(crate) fn add(&mut self, scenario: &str, system: &str, point: &Point, repeat: Repeat) {
        let same = |m: &&mut Measurement| {
            m.scenario == scenario && m.system == system && m.point.label == point.label
        };
        match self.measurements.iter_mut().find(same) {
            Some(measurement) => measurement.repeats.push(repeat),
            None => self.measurements.push(Measurement {
                scenario: scenario.to_owned(),
                system: system.to_owned(),
                point: point.clone(),
                repeats: vec![repeat],
            }),
        }
    }

    /// Joins what another run found. A measurement or goal that both have is taken from `other`, which is newer.
    pub(crate) fn join(&mut self, other: Self) {
        self.runs.extend(other.runs);
        for new in other.measurements {
            self.measurements.retain(|old| {
                (&old.scenario, &old.system, &old.point.label)
                    != (&new.scenario, &new.system, &new.point.label)
            });
            self.measurements.push(new);
        }
        for new in other.goals {
            self.goals.retain(|old| old.text != new.text);
            self.goals.push(new);
        }
    }

    /// A figure of a system at a point, over the repeats; `None` when it was not measured.
    pub(crate) fn spread(
        &self,
        scenario: &str,
        system: &str,
        label: &str,
        figure: Figure,
    ) -> Option<Spread> {
        let same = |m: &&Measurement| {
            m.scenario == scenario && m.system == system && m.point.label == label
        };
        self.measurements.iter().find(same)?.spread(figure)
    }
}

impl Measurement {
    /// Median, least and greatest of a figure; `None` when no repeat has it.
    pub(crate) fn spread(&self, figure: Figure) -> Option<Spread> {
        let values = self
            .repeats
            .iter()
            .filter_map(|repeat| repeat.figures.get(&figure).copied());
        Spread::of(values.collect())
    }
}

impl Point {
    /// A point of a closed-loop load: so many connections, messages of one size.
    pub(crate) fn load(connections: usize, size: u64) -> Self {
        let s = if connections == 1 { "" } else { "s" };
        Self {
            label: format!("{connections} connection{s}, {}", show_size(size)),
            connections,
            size,
        }
    }

    /// A point with words of its own.
    pub(crate) fn named(label: impl Into<String>, connections: usize, size: u64) -> Self {
        Self {
            label: label.into(),
            connections,
            size,
        }
    }
}

impl Repeat {
    /// Notes a figure, in the unit of [`Figure::unit`]. A value that is no number is left out.
    pub(crate) fn set(&mut self, figure: Figure, value: f64) -> &mut Self {
        if value.is_finite() {
            self.figures.insert(figure, value);
        }
        self
    }
}

impl Spread {
    /// `None` for no values. Of an even number of values, the median is the mean of the middle two.
    pub(crate) fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let half = values.len() / 2;
        let median = if values.len().is_multiple_of(2) {
            f64::midpoint(values[half - 1], values[half])
        } else {
            values[half]
        };
        Some(Self {
            median,
            min,
            max,
            count: values.len(),
        })
    }
}

/// A size in the largest unit that leaves it whole: `10 KiB`, `25 MB`, `500 B`.
pub(crate) fn show_size(octets: u64) -> String {
    const UNITS: [(u64, &str); 3] = [(1 << 20, "MiB"), (1_000_000, "MB"), (1 << 10, "KiB")];
    if octets == 0 {
        return "mixed sizes".to_owned();
    }
    let whole = UNITS
        .iter()
        .find(|(factor, _)| octets.is_multiple_of(*factor));
    match whole {
        Some((factor, unit)) => format!("{} {unit}", octets / factor),
        None => format!("{octets} B"),
    }
}
