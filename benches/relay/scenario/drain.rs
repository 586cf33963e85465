//! Scenario 5: the backlog drain. 300,000 messages wait while the destination refuses connections; then it comes back.
//!
//! The relay rate is measured first, on a stand of its own, in the same repeat. When the destination is back, the system's own command for it
//! makes all mail due (`onward queue retry --all`, `postqueue -f`, …). A relay may still wait for its next probe of the site: how long the
//! first delivery takes is a figure of its own, and the drain's rate counts from there.

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use super::relay::{closed_loop, warm_up};
use super::{PATIENCE, USUAL_CONNECTIONS, at_one_point, percent, usual_load, value};
use crate::load::Sent;
use crate::report::figure::{Figure, Unit};
use crate::report::goal::{Bound, Goal};
use crate::report::results::Repeat;
use crate::runner::Bench;
use crate::stand::{Plan, Stand, mebibytes, micros, send};
use crate::system::System;

const NAME: &str = "drain";

/// Measures, and compares the drain with the relay rate.
pub(super) fn run(bench: &mut Bench) {
    let messages = bench.scaled(MESSAGES);
    let label = format!("{messages} of 10 KiB queued");
    at_one_point(bench, NAME, &label, |bench, system| {
        measure(bench, system, messages)
    });
    let median = |figure| bench.median(NAME, System::Onward, &label, figure);
    if let (Some(share), Some(drain), Some(rate)) = (
        median(Figure::DrainShare),
        median(Figure::DrainRate),
        median(Figure::Rate),
    ) {
        let show = |value| Unit::PerSecond.show(value);
        let detail = format!("{} against {}", show(drain), show(rate));
        let text = "backlog drain as a share of the relay rate";
        bench.goal(Goal::new(
            text,
            Bound::AtLeast,
            0.8,
            share,
            percent,
            &detail,
        ));
    }
}

fn measure(bench: &Bench, system: System, messages: u64) -> io::Result<Repeat> {
    let rate = {
        let stand = Stand::start(bench, system, &Plan::default())?;
        let load = usual_load(bench, &stand, USUAL_CONNECTIONS)?;
        closed_loop(bench, &stand, &load)?.rate()
    };
    let plan = Plan {
        retry_quickly: true,
        ..Plan::default()
    };
    let stand = Stand::start(bench, system, &plan)?;
    let mut load = usual_load(bench, &stand, USUAL_CONNECTIONS)?;
    warm_up(bench, &stand, &load)?;
    stand.take_away(0)?;
    load.messages = messages;
    load.run = bench.next_run();
    load.time_limit = bench.patience(10 * PATIENCE);
    let sent = send(&load, &bench.progress)?;
    stand.bring_back(0)?;
    let mut repeat = drain(bench, &stand, &[&sent])?;
    let share = value(&repeat, Figure::DrainRate) / rate;
    repeat
        .set(Figure::Rate, rate)
        .set(Figure::DrainShare, share)
        .set(Figure::AcceptRate, sent.rate());
    Ok(repeat)
}

/// Makes everything due, and waits until all of these loads has arrived: rate, CPU, disk and memory of that.
///
/// # Errors
/// When the system cannot be told, or does not deliver all in time.
pub(super) fn drain(bench: &Bench, stand: &Stand, sent: &[&Sent]) -> io::Result<Repeat> {
    let arrived = || {
        sent.iter()
            .map(|sent| stand.sink.copies(sent.run))
            .sum::<u64>()
    };
    let expected: u64 = sent.iter().map(|sent| sent.accepted).sum();
    let before = arrived();
    let queued = expected.saturating_sub(before);
    let running = stand.running()?;
    let cost = running.cost()?;
    let begun = Instant::now();
    let end = begun + bench.patience(10 * PATIENCE);
    let mut first = None;
    let mut last = (before, begun);
    thread::scope(|scope| {
        // Deliveries begin while a long queue is still being told.
        let telling = scope.spawn(|| running.retry_all());
        while last.0 < expected && Instant::now() < end {
            thread::sleep(LOOK);
            let now = arrived();
            if now > last.0 {
                last = (now, Instant::now());
                first.get_or_insert(last);
            }
            bench.progress.set(now - before, queued);
        }
        let told = telling.join();
        told.unwrap_or_else(|_| Err(io::Error::other("the command to try again panicked")))
    })?;
    if last.0 < expected {
        let missing = expected - last.0;
        return Err(io::Error::other(format!(
            "{missing} of {queued} did not arrive in time"
        )));
    }
    let first = first.unwrap_or(last);
    let cost = running.cost()?.since(&cost);
    let copies = queued as f64;
    let mut repeat = Repeat::default();
    repeat
        .set(Figure::Queued, copies)
        .set(Figure::FirstDelivery, (first.1 - begun).as_secs_f64())
        .set(
            Figure::DrainRate,
            rate_between(first, last, (before, begun)),
        )
        .set(Figure::Cpu, micros(cost.cpu) / copies)
        .set(Figure::Memory, mebibytes(cost.memory_peak));
    let reports = sent.iter().map(|sent| stand.sink.report(sent));
    let (mut lost, mut duplicates, mut damaged) = (0, 0, 0);
    for report in reports {
        lost += report.lost;
        duplicates += report.duplicates;
        damaged += report.damaged;
    }
    repeat
        .set(Figure::Lost, lost as f64)
        .set(Figure::Duplicates, duplicates as f64)
        .set(Figure::Damaged, damaged as f64);
    Ok(repeat)
}

/// Messages per second between two counts; from the beginning, when the first count already had all.
fn rate_between(first: (u64, Instant), last: (u64, Instant), begun: (u64, Instant)) -> f64 {
    let from = if first.0 < last.0 { first } else { begun };
    (last.0 - from.0) as f64 / (last.1 - from.1).as_secs_f64()
}

const MESSAGES: u64 = 300_000;
/// How often arrivals are counted: the error of a rate over seconds is small.
const LOOK: Duration = Duration::from_millis(2);
