//! Every copy that came, by run: which, how often, how whole and how late.
//!
//! Copies are kept as numbers (24 octets each), so that a million of them fit in memory; messages are not kept.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use super::body::Arrived;
use super::{Received, RunCounts};
use crate::latency::Latency;
use crate::load::Sent;
use crate::stamp::Stamp;

/// What came of all runs.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    runs: HashMap<u32, RunLedger>,
    strays: u64,
    reverse_paths: HashSet<String>,
    reverse_paths_max: usize,
}

/// What came of one run.
#[derive(Debug)]
struct RunLedger {
    /// How often each copy came, by sequence number and the hash of the recipient's address.
    copies: HashMap<(u64, u64), u16>,
    /// Recipients that notifications named, by sequence number.
    notices: HashMap<u64, u16>,
    notified: u64,
    damaged: u64,
    proved: u64,
    latency: Latency,
    last_micros: u64,
    paths: Paths,
}

/// Reverse paths by kind.
#[derive(Debug, Clone, Copy, Default)]
struct Paths {
    null: u64,
    srs: u64,
    other: u64,
}

/// A message that was answered 250.
#[derive(Debug)]
pub(super) struct Delivery {
    /// What it is.
    pub(super) arrived: Arrived,
    /// Its reverse path's kind.
    pub(super) kind: PathKind,
    /// Hashes of its recipients' addresses.
    pub(super) recipients: Vec<u64>,
}

/// What a reverse path is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PathKind {
    /// `<>`
    Null,
    /// Rewritten once: SRS0 and a separator.
    Srs0,
    /// Rewritten again: SRS1 and a separator.
    Srs1,
    /// Anything else.
    Other,
}

impl PathKind {
    /// The kind of a path without its brackets.
    pub(super) fn of(path: &[u8]) -> Self {
        let is_srs = |tag: &[u8]| {
            path.len() > 5 && path[..4].eq_ignore_ascii_case(tag) && b"=+-".contains(&path[4])
        };
        match path {
            [] => Self::Null,
            _ if is_srs(b"SRS0") => Self::Srs0,
            _ if is_srs(b"SRS1") => Self::Srs1,
            _ => Self::Other,
        }
    }
}

impl Ledger {
    /// Writes a delivery down; the run it belongs to.
    pub(super) fn record(&mut self, delivery: &Delivery, now_micros: u64) -> Option<u32> {
        match delivery.arrived {
            Arrived::Stray => {
                self.strays += 1;
                None
            }
            Arrived::Notice { about, failed } => {
                let run = self.run(about.run);
                *run.notices.entry(about.sequence).or_default() += failed;
                run.notified += u64::from(failed);
                Some(about.run)
            }
            Arrived::Stamped {
                stamp,
                is_intact,
                is_proved,
            } => {
                let run = self.run(stamp.run);
                run.proved += if is_proved {
                    delivery.recipients.len() as u64
                } else {
                    0
                };
                run.record(&stamp, is_intact, delivery, now_micros);
                Some(stamp.run)
            }
        }
    }

    /// Distinct copies of a run, and those of them that were reported to their sender instead.
    pub(super) fn settled(&self, run: u32) -> (u64, u64) {
        let run = self.runs.get(&run);
        run.map_or((0, 0), |run| (run.copies.len() as u64, run.notified))
    }

    /// Holds a run against what was sent.
    pub(super) fn report(&self, sent: &Sent) -> Received {
        let empty = RunLedger::new();
        let run = self.runs.get(&sent.run).unwrap_or(&empty);
        let mut came: HashMap<u64, (u64, u64)> = HashMap::with_capacity(run.copies.len());
        for ((sequence, _), times) in &run.copies {
            let (distinct, extra) = came.entry(*sequence).or_default();
            *distinct += 1;
            *extra += u64::from(*times) - 1;
        }
        let mut received = Received {
            distinct: run.copies.len() as u64,
            duplicates: 0,
            lost: 0,
            damaged: run.damaged,
            notified: run.notified,
            latency: run.latency.clone(),
            last: run.last(sent.started_micros),
            srs_share: run.paths.srs_share(),
            proved: run.proved,
        };
        for (sequence, entry) in sent.ledger.iter() {
            let (distinct, extra) = came.remove(&sequence).unwrap_or_default();
            let notified = run.notices.get(&sequence).copied().unwrap_or_default();
            received.lost +=
                u64::from(entry.accepted).saturating_sub(distinct + u64::from(notified));
            received.duplicates += extra.saturating_sub(u64::from(entry.uncertain));
        }
        // What the load does not know that it sent: extra copies are duplicates all the same.
        received.duplicates += came.values().map(|(_, extra)| extra).sum::<u64>();
        received
    }

    /// Forgets a run.
    pub(super) fn forget(&mut self, run: u32) {
        self.runs.remove(&run);
    }

    /// Messages that no load had stamped.
    pub(super) fn strays(&self) -> u64 {
        self.strays
    }

    /// What came of each run, in order.
    pub(super) fn runs(&self) -> Vec<RunCounts> {
        let mut runs: Vec<_> = self.runs.iter().map(|(run, it)| it.counts(*run)).collect();
        runs.sort_unstable_by_key(|counts| counts.run);
        runs
    }

    /// Sets how many reverse paths are kept.
    pub(super) fn collect_reverse_paths(&mut self, count: usize) {
        self.reverse_paths_max = count;
    }

    /// Keeps a reverse path, if it is new and there is room.
    pub(super) fn keep_reverse_path(&mut self, path: &[u8]) {
        if self.reverse_paths.len() < self.reverse_paths_max
            && let Ok(path) = std::str::from_utf8(path)
            && !self.reverse_paths.contains(path)
        {
            self.reverse_paths.insert(path.to_owned());
        }
    }

    /// The reverse paths that were kept.
    pub(super) fn reverse_paths(&self) -> Vec<String> {
        self.reverse_paths.iter().cloned().collect()
    }

    fn run(&mut self, run: u32) -> &mut RunLedger {
        self.runs.entry(run).or_insert_with(RunLedger::new)
    }
}

impl RunLedger {
    fn new() -> Self {
        Self {
            copies: HashMap::new(),
            notices: HashMap::new(),
            notified: 0,
            damaged: 0,
            proved: 0,
            latency: Latency::new(),
            last_micros: 0,
            paths: Paths::default(),
        }
    }

    fn record(&mut self, stamp: &Stamp, is_intact: bool, delivery: &Delivery, now_micros: u64) {
        let late = now_micros.saturating_sub(stamp.intended_micros);
        self.last_micros = self.last_micros.max(now_micros);
        match delivery.kind {
            PathKind::Null => self.paths.null += 1,
            PathKind::Srs0 | PathKind::Srs1 => self.paths.srs += 1,
            PathKind::Other => self.paths.other += 1,
        }
        for recipient in &delivery.recipients {
            let times = self.copies.entry((stamp.sequence, *recipient)).or_default();
            *times = times.saturating_add(1);
            self.latency.record_micros(late);
            self.damaged += u64::from(!is_intact);
        }
    }

    fn counts(&self, run: u32) -> RunCounts {
        let sequences: HashSet<u64> = self.copies.keys().map(|(sequence, _)| *sequence).collect();
        let numbers = sequences.iter().max().map_or(0, |greatest| greatest + 1);
        RunCounts {
            run,
            distinct: self.copies.len() as u64,
            duplicates: self
                .copies
                .values()
                .map(|times| u64::from(*times) - 1)
                .sum(),
            damaged: self.damaged,
            gaps: numbers - sequences.len() as u64,
            notified: self.notified,
            latency_micros: self.latency.summary(),
        }
    }

    fn last(&self, started_micros: u64) -> Option<Duration> {
        let is_any = self.last_micros > 0;
        is_any.then(|| Duration::from_micros(self.last_micros.saturating_sub(started_micros)))
    }
}

impl Paths {
    fn srs_share(self) -> f64 {
        match self.srs + self.other {
            0 => 0.0,
            all => self.srs as f64 / all as f64,
        }
    }
}
