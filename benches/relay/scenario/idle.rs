//! Scenario 8: idle cost. 10,000 connections that said EHLO and then nothing: memory of each; and CPU while nothing happens.
//!
//! Memory is that of the system's processes; what the kernel keeps for a socket is not in it. The system has relayed some mail before, so
//! that what it allocates once does not count as the connections'.

use std::io;
use std::time::Duration;

use super::relay::warm_up;
use super::{PATIENCE, USUAL_CONNECTIONS, relays, usual_load};
use crate::load::Idle;
use crate::report::figure::{Figure, Unit};
use crate::report::goal::{Bound, Goal};
use crate::report::results::{Point, Repeat};
use crate::runner::Bench;
use crate::stand::{Plan, Stand, mebibytes};
use crate::system::{Running, System};

const NAME: &str = "idle";

/// Measures, and looks at memory.
pub(super) fn run(bench: &mut Bench) {
    let connections = bench.scaled(CONNECTIONS);
    let label = format!("{connections} idle connections");
    let systems = relays(bench);
    let repeats = bench.settings.repeats;
    let cases = [(label.clone(), connections)];
    bench.in_turn(
        NAME,
        &cases,
        &systems,
        repeats,
        |bench, system, connections, _| measure(bench, system, *connections),
    );
    let median = bench.median(NAME, System::Onward, &label, Figure::MemoryPerConnection);
    if let Some(each) = median {
        let show = |value| Unit::KiB.show(value);
        let text = format!("memory with {label}, each");
        bench.goal(Goal::new(text, Bound::AtMost, 20.0, each, show, ""));
    }
}

fn measure(bench: &Bench, system: System, connections: u64) -> io::Result<Vec<(Point, Repeat)>> {
    let plan = Plan {
        connections_in: connections as usize + USUAL_CONNECTIONS,
        ..Plan::default()
    };
    let stand = Stand::start(bench, system, &plan)?;
    let load = usual_load(bench, &stand, USUAL_CONNECTIONS)?;
    warm_up(bench, &stand, &load)?;
    let running = stand.running()?;
    let (alone, before) = doing_nothing(running)?;
    let open = Idle::open(
        running.address(),
        connections as usize,
        0,
        bench.patience(PATIENCE),
    )?;
    if (open.connections() as u64) < connections {
        let text = format!(
            "{} of {connections} connections: {}; hint: ulimit -n {}",
            open.connections(),
            open.first_error().unwrap_or("no reason known"),
            connections + FILES_SPARE
        );
        return Err(io::Error::other(text));
    }
    let (mut with, after) = doing_nothing(running)?;
    if (open.still_open() as u64) < connections {
        return Err(io::Error::other("the system closed idle connections"));
    }
    let each = after.saturating_sub(before) as f64 / connections as f64;
    with.set(Figure::MemoryPerConnection, each / 1024.0);
    let point = |label: String| Point::named(label, connections as usize, 0);
    Ok(vec![
        (point("nobody there".to_owned()), alone),
        (point(format!("{connections} idle connections")), with),
    ])
}

/// CPU over some seconds, and memory at their end, in octets.
pub(super) fn doing_nothing(running: &Running) -> io::Result<(Repeat, u64)> {
    // What is still being written and freed behind the last delivery is not idle cost.
    std::thread::sleep(SETTLE);
    let before = running.cost()?;
    std::thread::sleep(WATCH);
    let after = running.cost()?;
    let cpu = after.since(&before).cpu;
    let mut repeat = Repeat::default();
    repeat
        .set(Figure::IdleCpu, cpu.as_secs_f64() / WATCH.as_secs_f64())
        .set(Figure::Memory, mebibytes(after.memory));
    Ok((repeat, after.memory))
}

const CONNECTIONS: u64 = 10_000;
/// Open files for all else.
const FILES_SPARE: u64 = 1000;
const SETTLE: Duration = Duration::from_secs(5);
const WATCH: Duration = Duration::from_secs(10);
