//! Scenario 3: a dead single MX. 100,000 messages wait for a site that refuses connections; healthy mail goes on beside them.
//!
//! A measurement: 1,000 messages a second to the healthy site for some seconds; then the backlog for the dead one comes in; then the
//! healthy load again. Nothing listens at the dead site's address, so that the kernel refuses each connection, and the kernel's own
//! counter (`AttemptFails` of `/proc/net/snmp`) says how many were tried. It counts everybody on the machine: run it alone.

use std::fs;
use std::io;
use std::time::{Duration, Instant};

use super::beside::{self, ALONE, healthy_alone, healthy_beside};
use super::{USUAL_CONNECTIONS, relays};
use crate::report::figure::Figure;
use crate::report::goal::{Bound, Goal};
use crate::report::results::{Point, Repeat};
use crate::runner::Bench;
use crate::sink::Door;
use crate::stand::{Plan, Stand};
use crate::system::System;

const NAME: &str = "dead";

/// Measures, and compares healthy mail with and without the dead site's.
pub(super) fn run(bench: &mut Bench) {
    let waiting = bench.scaled(MESSAGES);
    let label = format!("with {waiting} for a dead site");
    let case = [(label.clone(), waiting)];
    let systems = relays(bench);
    let repeats = bench.settings.repeats;
    let mut probes = 0;
    bench.in_turn(
        NAME,
        &case,
        &systems,
        repeats,
        |bench, system, waiting, _| {
            let (alone, with, took) = measure(bench, system, *waiting)?;
            probes = probes.max(probes_due(took));
            let point = |label: &str| Point::named(label, USUAL_CONNECTIONS, 10 << 10);
            Ok(vec![(point(ALONE), alone), (point(&label), with)])
        },
    );
    let figure = Figure::EndToEndP99;
    let moved = beside::goal(bench, NAME, &label, figure, "p99 of healthy mail");
    moved.into_iter().for_each(|goal| bench.goal(goal));
    if let Some(attempts) = bench.median(NAME, System::Onward, &label, Figure::Attempts) {
        let text = "dead site: connection attempts, one per probe";
        let count = |value: f64| format!("{value:.0}");
        let detail =
            format!("the first, and a probe each {FIRST_PROBE:?}, then twice as long, and so on");
        bench.goal(Goal::new(
            text,
            Bound::AtMost,
            f64::from(probes),
            attempts,
            count,
            &detail,
        ));
    }
}

/// Figures of healthy mail alone and beside the dead site's, and how long the site was tried.
fn measure(bench: &Bench, system: System, waiting: u64) -> io::Result<(Repeat, Repeat, Duration)> {
    let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
    let plan = Plan {
        forwards: vec![
            pair("@in.example", "box@out.example"),
            pair("@away.example", "box@dead.example"),
        ],
        routes: vec![("dead.example".to_owned(), 1), ("*".to_owned(), 0)],
        sites: 2,
        ..Plan::default()
    };
    let stand = Stand::start(bench, system, &plan)?;
    stand.sink.set_door(1, Door::Closed)?;
    let (healthy, alone) = healthy_alone(bench, &stand, HEALTHY_RATE)?;
    let (begun, failed) = (Instant::now(), attempts_failed()?);
    let recipients = "box{n:1000}@away.example";
    let mut with = healthy_beside(bench, &stand, &healthy, recipients, waiting)?;
    let attempts = attempts_failed()?.saturating_sub(failed);
    with.set(Figure::Attempts, attempts as f64);
    Ok((alone, with, begun.elapsed()))
}

/// The first attempt, and a probe after each pause, which doubles.
pub(crate) fn probes_due(time: Duration) -> u32 {
    let mut probes = 1;
    let (mut at, mut pause) = (FIRST_PROBE, FIRST_PROBE);
    while at <= time {
        probes += 1;
        pause = (2 * pause).min(LONGEST_PAUSE);
        at += pause;
    }
    probes
}

/// TCP connections of this machine that were refused or reset before they stood, since it started.
fn attempts_failed() -> io::Result<u64> {
    let text = fs::read_to_string("/proc/net/snmp")?;
    attempts_in(&text).ok_or_else(|| io::Error::other("/proc/net/snmp has no AttemptFails"))
}

/// The column of a table of two lines that begin with `Tcp:`.
pub(crate) fn attempts_in(snmp: &str) -> Option<u64> {
    let mut lines = snmp.lines().filter(|line| line.starts_with("Tcp:"));
    let (names, values) = (lines.next()?, lines.next()?);
    let mut columns = names.split_whitespace().zip(values.split_whitespace());
    let (_, value) = columns.find(|(name, _)| *name == "AttemptFails")?;
    value.parse().ok()
}

const MESSAGES: u64 = 100_000;
/// Messages per second.
const HEALTHY_RATE: f64 = 1000.0;
/// What Onward is configured with, and its default.
const FIRST_PROBE: Duration = Duration::from_secs(30);
const LONGEST_PAUSE: Duration = Duration::from_secs(600);
