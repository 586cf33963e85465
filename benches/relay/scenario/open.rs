//! Scenario 1, open loop: accept latency at shares of the best rate, each message timed from the moment when it was due.

use std::io;

use super::{OPEN_LOOP, RELAY, relay, usual_load};
use crate::load::Pace;
use crate::report::figure::Figure;
use crate::report::results::{Point, Repeat, show_size};
use crate::runner::Bench;
use crate::stand::{Plan, Stand};
use crate::system::System;

/// Shares of the best rate that are offered.
const SHARES: [f64; 4] = [0.2, 0.5, 0.7, 0.9];
const QUICK_SHARES: [f64; 2] = [0.3, 0.7];

/// Measures every system at its own shares: what is half of what it can do is asked of each.
pub(crate) fn run(bench: &mut Bench) {
    let label = relay::main_label();
    let systems = bench.settings.systems.clone();
    let best = |bench: &Bench, system| bench.median(RELAY, system, &label, Figure::Rate);
    let systems: Vec<_> = systems
        .into_iter()
        .filter(|system| best(bench, *system).is_some())
        .collect();
    let size = show_size(10 << 10);
    let shares = match bench.settings.is_quick {
        true => &QUICK_SHARES[..],
        false => &SHARES,
    };
    let points = shares.iter().map(|share| {
        let label = format!("{:.0} % of its rate, {size}", share * 100.0);
        (Point::named(label, CONNECTIONS, 10 << 10), *share)
    });
    let points: Vec<_> = points.collect();
    let repeats = bench.settings.repeats.min(REPEATS_MAX);
    bench.interleave(
        OPEN_LOOP,
        &points,
        &systems,
        repeats,
        |bench, system, share, repeat| {
            let best = best(bench, system).unwrap_or(1.0);
            measure(bench, system, best * share, repeat)
        },
    );
}

fn measure(bench: &Bench, system: System, per_second: f64, repeat: usize) -> io::Result<Repeat> {
    let plan = Plan {
        connections_in: CONNECTIONS + 20,
        ..Plan::default()
    };
    let stand = Stand::start(bench, system, &plan)?;
    let mut load = usual_load(bench, &stand, CONNECTIONS)?;
    relay::warm_up(bench, &stand, &load)?;
    load.pace = Pace::Open { per_second };
    load.messages = (per_second * bench.settings.length.as_secs_f64()).max(20.0) as u64;
    load.seed += repeat as u64;
    let measured = relay::run_load(bench, &stand, &load)?;
    let mut figures = measured.figures();
    figures.set(Figure::Offered, per_second);
    Ok(figures)
}

/// Enough that a message that is due seldom waits for a free one.
const CONNECTIONS: usize = 200;
/// Percentiles of thousands of messages need fewer repeats than rates do.
const REPEATS_MAX: usize = 2;
