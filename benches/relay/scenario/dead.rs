//! Scenario 3: a dead single MX. 100,000 messages wait for a site that refuses connections; healthy mail goes on beside them.
//!
//! A measurement: 1,000 messages a second to the healthy site for some seconds; then the backlog for the dead one comes in; then the
//! healthy load again. The dead site's address is bound by nobody, so that the kernel refuses each connection, and the kernel's own
//! counter (`AttemptFails` of `/proc/net/snmp`) says how many were tried. It counts everybody on the machine: run it alone.

use std::fs;
use std::io;
use std::time::{Duration, Instant};

use super::relay::{run_load, warm_up};
use super::{PATIENCE, USUAL_CONNECTIONS, percent, relays, template, usual_load, value};
use crate::load::Pace;
use crate::report::figure::Figure;
use crate::report::goal::{Bound, Goal};
use crate::report::results::{Point, Repeat};
use crate::runner::Bench;
use crate::sink::Door;
use crate::stand::{Plan, Stand, send};
use crate::system::System;

const NAME: &str = "dead";

/// Measures, and compares healthy mail with and without the dead site's.
pub(super) fn run(bench: &mut Bench) {
    let waiting = bench.scaled(MESSAGES);
    let labels = (
        "healthy mail alone".to_owned(),
        format!("with {waiting} for a dead site"),
    );
    let case = [(labels.1.clone(), waiting)];
    let systems = relays(bench);
    let repeats = bench.settings.repeats;
    let mut probes = 0;
    bench.in_turn(
        NAME,
        &case,
        &systems,
        repeats,
        |bench, system, waiting, _| {
            let (alone, beside, took) = measure(bench, system, *waiting)?;
            probes = probes.max(probes_due(took));
            let point = |label: &str| Point::named(label, USUAL_CONNECTIONS, 10 << 10);
            Ok(vec![(point(&labels.0), alone), (point(&labels.1), beside)])
        },
    );
    let median = |label: &str, figure| bench.median(NAME, System::Onward, label, figure);
    let p99 = |label| median(label, Figure::EndToEndP99);
    let mut goals = Vec::new();
    if let (Some(alone), Some(beside)) = (p99(&labels.0), p99(&labels.1)) {
        let detail = format!("end to end {alone:.2} ms alone, {beside:.2} ms beside the dead site");
        let text = "dead site: p99 of healthy mail moves by";
        let change = beside / alone - 1.0;
        goals.push(Goal::new(
            text,
            Bound::AtMost,
            0.1,
            change,
            percent,
            &detail,
        ));
    }
    if let Some(attempts) = median(&labels.1, Figure::Attempts) {
        let text = "dead site: connection attempts, one per probe";
        let count = |value: f64| format!("{value:.0}");
        let detail =
            format!("the first, and a probe each {FIRST_PROBE:?}, then twice as long, and so on");
        goals.push(Goal::new(
            text,
            Bound::AtMost,
            f64::from(probes),
            attempts,
            count,
            &detail,
        ));
    }
    goals.into_iter().for_each(|goal| bench.goal(goal));
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
    let mut healthy = usual_load(bench, &stand, USUAL_CONNECTIONS)?;
    warm_up(bench, &stand, &healthy)?;
    healthy.pace = Pace::Open {
        per_second: HEALTHY_RATE,
    };
    healthy.messages = (HEALTHY_RATE * 2.0 * bench.settings.length.as_secs_f64()) as u64;
    let alone = run_load(bench, &stand, &healthy)?;

    let begun = Instant::now();
    let failed = attempts_failed()?;
    let mut dead = usual_load(bench, &stand, USUAL_CONNECTIONS)?;
    dead.recipients = template("box{n:1000}@away.example")?;
    dead.messages = waiting;
    dead.time_limit = bench.patience(5 * PATIENCE);
    let sent = send(&dead, &bench.progress)?;
    let beside = run_load(bench, &stand, &healthy)?;
    let mut figures = beside.figures();
    let attempts = attempts_failed()?.saturating_sub(failed);
    figures
        .set(Figure::Attempts, attempts as f64)
        .set(Figure::Queued, stand.running()?.queued()? as f64);
    if sent.accepted < waiting {
        return Err(io::Error::other(
            "not all mail for the dead site was accepted",
        ));
    }
    let alone = alone.figures();
    // Without deliveries there is nothing to compare.
    if value(&figures, Figure::EndToEndP99) == 0.0 {
        return Err(io::Error::other(
            "no healthy mail arrived beside the dead site",
        ));
    }
    Ok((alone, figures, begun.elapsed()))
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
