//! Scenario 1: forward with SRS to one site, closed loop.
//!
//! A measurement: start on a clean folder; warm up with rounds that grow until one lasts as long as a load, which also tells how many
//! messages make a load of the wanted length; send these; wait for the last delivery. Every repeat of a system at a point sends the same number.

use std::collections::BTreeMap;
use std::io;
use std::time::{Duration, Instant};

use super::{PATIENCE, RELAY, USUAL_CONNECTIONS, USUAL_SIZE, percent, times, usual_load};
use crate::load::{Load, Pace};
use crate::report::figure::{Figure, Unit};
use crate::report::goal::{Bound, Goal};
use crate::report::results::Repeat;
use crate::runner::{Bench, LoadPoint, Tools};
use crate::stand::{Measured, Plan, Stand};
use crate::system::System;

/// Messages of a measured load, by system and label of the point.
type Counts = BTreeMap<(String, String), u64>;

/// Measures all points, and compares systems.
pub(crate) fn run(bench: &mut Bench) {
    let points = bench.settings.points.iter();
    let points: Vec<_> = points.map(|point| (point.point(), *point)).collect();
    let systems = bench.settings.systems.clone();
    let repeats = bench.settings.repeats;
    if bench.settings.tools == Tools::Postfix {
        super::foreign::run(bench, &points, &systems, repeats);
        return;
    }
    let mut counts = Counts::new();
    bench.interleave(
        RELAY,
        &points,
        &systems,
        repeats,
        |bench, system, point, repeat| measure(bench, system, *point, repeat, &mut counts),
    );
    goals(bench);
    // The limit as the issue puts it: the share of what Postfix's tools can do, at one point.
    let ours = [System::Direct, System::Onward];
    let ours: Vec<_> = systems
        .into_iter()
        .filter(|system| ours.contains(system))
        .collect();
    if ours.len() == 2 && !bench.settings.is_quick {
        super::foreign::run(bench, &super::foreign::main_point(), &ours, repeats);
    }
}

/// One measurement.
fn measure(
    bench: &Bench,
    system: System,
    point: LoadPoint,
    repeat: usize,
    counts: &mut Counts,
) -> io::Result<Repeat> {
    let plan = Plan {
        connections_in: point.connections + 20,
        ..Plan::default()
    };
    let stand = Stand::start(bench, system, &plan)?;
    let mut load = usual_load(bench, &stand, point.connections)?;
    load.sizes = point.sizes;
    load.seed += repeat as u64;
    let rate = warm_up(bench, &stand, &load)?;
    let key = (system.to_string(), point.point().label);
    load.messages = *counts
        .entry(key)
        .or_insert_with(|| lasting(bench, rate, &load));
    Ok(run_load(bench, &stand, &load)?.figures())
}

/// Warms up, then sends what takes about [`crate::runner::Settings::length`], and waits for all of it.
///
/// # Errors
/// When the system takes nothing.
pub(super) fn closed_loop(bench: &Bench, stand: &Stand, load: &Load) -> io::Result<Measured> {
    let rate = warm_up(bench, stand, load)?;
    let mut load = load.clone();
    load.messages = lasting(bench, rate, &load);
    run_load(bench, stand, &load)
}

/// Messages that keep a system busy for the wanted length; each connection has one.
fn lasting(bench: &Bench, rate: f64, load: &Load) -> u64 {
    let messages = (rate * bench.settings.length.as_secs_f64()) as u64;
    messages.max(load.connections as u64)
}

/// Sends a load under a number of its own, and waits for all of it.
///
/// # Errors
/// When the system takes nothing.
pub(super) fn run_load(bench: &Bench, stand: &Stand, load: &Load) -> io::Result<Measured> {
    let mut load = load.clone();
    load.run = bench.next_run();
    load.time_limit = bench.patience(PATIENCE);
    stand.measure(&load, || bench.patience(PATIENCE), &bench.progress)
}

/// Sends rounds that grow until one lasts as long as a measured load, since a relay on an empty spool first makes its files; the rate
/// of the last, in messages delivered per second.
///
/// # Errors
/// When the system takes nothing.
pub(super) fn warm_up(bench: &Bench, stand: &Stand, load: &Load) -> io::Result<f64> {
    let end = Instant::now() + WARM_UP_MAX;
    let wanted = match bench.settings.is_quick {
        true => bench.settings.length / QUICK_PART,
        false => bench.settings.length,
    };
    let mut load = load.clone();
    load.pace = Pace::Closed;
    load.messages = 20.max(load.connections as u64);
    loop {
        let measured = run_load(bench, stand, &load)?;
        let took = measured.received.last.unwrap_or(PATIENCE);
        if took >= wanted || Instant::now() > end {
            return Ok(measured.rate());
        }
        // Grows by what is missing, but not by more than the first, cold rounds can tell.
        let factor = wanted.as_secs_f64() / took.as_secs_f64().max(0.001) * 1.2;
        load.messages = (load.messages as f64 * factor.clamp(1.5, 8.0)) as u64;
    }
}

/// The point that the goals are about.
pub(super) fn main_label() -> String {
    let point = LoadPoint {
        connections: USUAL_CONNECTIONS,
        sizes: USUAL_SIZE,
    };
    point.point().label
}

fn goals(bench: &mut Bench) {
    let label = main_label();
    let median = |system, figure| bench.median(RELAY, system, &label, figure);
    let Some(rate) = median(System::Onward, Figure::Rate) else {
        return;
    };
    let per_second = |value| Unit::PerSecond.show(value);
    let mut goals = Vec::new();
    for peer in [System::Postfix, System::Exim] {
        if let Some(theirs) = median(peer, Figure::Rate) {
            let detail = format!("{} against {}", per_second(rate), per_second(theirs));
            let text = format!("relay rate against {peer}");
            goals.push(Goal::new(
                text,
                Bound::AtLeast,
                10.0,
                rate / theirs,
                times,
                &detail,
            ));
        }
    }
    if let Some(limit) = median(System::Direct, Figure::Rate) {
        let detail = format!("{} of {}", per_second(rate), per_second(limit));
        let text = "relay rate as a share of our own tools without a relay";
        goals.push(Goal::new(
            text,
            Bound::AtLeast,
            0.4,
            rate / limit,
            percent,
            &detail,
        ));
    }
    let cpu = |system| median(system, Figure::Cpu);
    if let (Some(ours), Some(theirs)) = (cpu(System::Onward), cpu(System::Postfix)) {
        let show = |value| Unit::Microseconds.show(value);
        let detail = format!("{} against {}", show(ours), show(theirs));
        let text = "CPU time per message against Postfix";
        let eighth = |value: f64| format!("1/{:.1}", 1.0 / value);
        goals.push(Goal::new(
            text,
            Bound::AtMost,
            0.125,
            ours / theirs,
            eighth,
            &detail,
        ));
    }
    if let Some(ratio) = median(System::Onward, Figure::WrittenRatio) {
        let text = "bytes written to disk per message";
        let by_processes = median(System::Onward, Figure::Written).unwrap_or(f64::NAN);
        let detail = format!(
            "by the disk's counter; the process wrote {}",
            Unit::Octets.show(by_processes)
        );
        goals.push(Goal::new(text, Bound::AtMost, 1.3, ratio, times, &detail));
    }
    goals.into_iter().for_each(|goal| bench.goal(goal));
}

/// With `--quick` the last round of the warm-up lasts only this part of a measured load.
const QUICK_PART: u32 = 4;
/// A system that is so slow that no round is long enough is warm after this.
const WARM_UP_MAX: Duration = Duration::from_secs(10);
