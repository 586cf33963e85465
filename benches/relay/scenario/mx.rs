//! Scenario 10: what an MX really has: one message a connection, in clear and with STARTTLS.
//!
//! A connection is made, one message of 10 KiB sent, and QUIT said; connecting and the handshake are part of the message's time and of
//! its CPU. With one client at a time, and with 100. TLS is 1.3 with a self-signed certificate: full handshakes with an RSA and with an
//! ECDSA key, and resumed ones. Load comes from 100 addresses, so that ports do not run out.

use std::io;

use super::relay::closed_loop;
use super::{USUAL_CONNECTIONS, relays, usual_load};
use crate::report::figure::{Figure, Unit};
use crate::report::goal::{Bound, Goal};
use crate::report::results::{Point, Repeat};
use crate::runner::Bench;
use crate::stand::{Plan, Stand};
use crate::system::{Key, System};

const NAME: &str = "one message a connection";

/// How the connections are made.
#[derive(Debug, Clone, Copy)]
struct Way {
    name: &'static str,
    key: Option<Key>,
    resume: bool,
    /// µs of CPU that a message may take at one connection and at 100.
    cpu_max: [Option<f64>; 2],
}

/// Measures all ways, and looks at CPU time and latency.
pub(super) fn run(bench: &mut Bench) {
    let counts: &[usize] = match bench.settings.is_quick {
        true => &COUNTS[1..],
        false => &COUNTS,
    };
    let points = WAYS.iter().flat_map(|way| {
        let point = |&connections| (point(way, connections), (*way, connections));
        counts.iter().map(point)
    });
    let points: Vec<_> = points.collect();
    let systems = relays(bench);
    let repeats = bench.settings.repeats;
    bench.interleave(
        NAME,
        &points,
        &systems,
        repeats,
        |bench, system, case, _| measure(bench, system, case.0, case.1),
    );
    goals(bench);
}

fn point(way: &Way, connections: usize) -> Point {
    let clients = if connections == 1 {
        "client"
    } else {
        "clients"
    };
    let label = format!("{}, {connections} {clients}", way.name);
    Point::named(label, connections, 10 << 10)
}

fn measure(bench: &Bench, system: System, way: Way, connections: usize) -> io::Result<Repeat> {
    let plan = Plan {
        tls: way.key,
        ..Plan::default()
    };
    let stand = Stand::start(bench, system, &plan)?;
    let mut load = usual_load(bench, &stand, connections)?;
    load.per_connection = Some(1);
    load.sources = SOURCES;
    load.starttls = way.key.is_some();
    load.resume = way.resume;
    Ok(closed_loop(bench, &stand, &load)?.figures())
}

fn goals(bench: &mut Bench) {
    let mut goals = Vec::new();
    let micros = |value| Unit::Microseconds.show(value);
    for way in &WAYS {
        for (connections, most) in COUNTS.into_iter().zip(way.cpu_max) {
            let label = point(way, connections).label;
            let median = bench.median(NAME, System::Onward, &label, Figure::Cpu);
            let (Some(most), Some(value)) = (most, median) else {
                continue;
            };
            let text = format!("CPU time per message: {label}");
            goals.push(Goal::new(text, Bound::AtMost, most, value, micros, ""));
        }
    }
    let label = point(&WAYS[0], 1).label;
    if let Some(value) = bench.median(NAME, System::Onward, &label, Figure::EndToEndP50) {
        let text = format!("from connect to delivered: {label}");
        let show = |value| Unit::Milliseconds.show(value);
        goals.push(Goal::new(text, Bound::AtMost, ARRIVAL_MAX, value, show, ""));
    }
    goals.into_iter().for_each(|goal| bench.goal(goal));
}

const COUNTS: [usize; 2] = [1, USUAL_CONNECTIONS];

const WAYS: [Way; 4] = [
    Way {
        name: "in clear",
        key: None,
        resume: false,
        cpu_max: [Some(350.0), Some(200.0)],
    },
    Way {
        name: "TLS, RSA",
        key: Some(Key::Rsa),
        resume: false,
        cpu_max: [None, Some(1150.0)],
    },
    Way {
        name: "TLS, ECDSA",
        key: Some(Key::Ecdsa),
        resume: false,
        cpu_max: [None, Some(700.0)],
    },
    Way {
        name: "TLS, resumed",
        key: Some(Key::Rsa),
        resume: true,
        cpu_max: [None, Some(550.0)],
    },
];

/// Addresses of the load.
const SOURCES: u16 = 100;
/// Milliseconds.
const ARRIVAL_MAX: f64 = 1.2;
