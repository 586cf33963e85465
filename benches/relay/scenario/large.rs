//! Scenario 7: large mail. 25 MB messages over 100 connections at once: memory must not grow with them.

use std::io;

use super::relay::run_load;
use super::{relays, usual_load};
use crate::load::Sizes;
use crate::report::figure::Figure;
use crate::report::goal::{Bound, Goal};
use crate::report::results::{Point, Repeat, show_size};
use crate::runner::Bench;
use crate::stand::{Plan, Stand};
use crate::system::System;

const NAME: &str = "large";

/// Measures, and looks at memory.
pub(super) fn run(bench: &mut Bench) {
    let connections = bench.scaled(CONNECTIONS);
    let label = format!("{} × {connections} at once", show_size(SIZE));
    let point = Point::named(&label, connections as usize, SIZE);
    let systems = relays(bench);
    let repeats = bench.settings.repeats;
    let points = [(point, connections)];
    bench.interleave(
        NAME,
        &points,
        &systems,
        repeats,
        |bench, system, connections, _| measure(bench, system, *connections),
    );
    if let Some(memory) = bench.median(NAME, System::Onward, &label, Figure::Memory) {
        // The figure is in MiB, the goal in MB.
        let show = |value: f64| format!("{value:.0} MB");
        let found = memory * f64::from(1 << 20) / 1e6;
        let text = format!("large mail ({label}): memory");
        bench.goal(Goal::new(text, Bound::AtMost, 200.0, found, show, ""));
    }
}

fn measure(bench: &Bench, system: System, connections: u64) -> io::Result<Repeat> {
    let stand = Stand::start(bench, system, &Plan::default())?;
    let mut load = usual_load(bench, &stand, connections as usize)?;
    load.sizes = Sizes::Fixed(SIZE as usize);
    load.messages = 2 * connections;
    Ok(run_load(bench, &stand, &load)?.figures())
}

/// Octets.
const SIZE: u64 = 25_000_000;
const CONNECTIONS: u64 = 100;
