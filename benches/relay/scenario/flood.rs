//! Scenario 15: a flood of connections beside healthy clients.
//!
//! 200 messages a second come over connections of one message each, whose making is part of the message's time: alone, and then beside
//! 2,000 new connections a second from 10,000 addresses, most of which are held open, so that all places are taken before the measurement
//! begins. With nothing configured, and with a pause before the greeting and a limit that counts connections. Load, flood and relay share
//! the machine. A message of the healthy that is not accepted at once ends the measurement.

use std::io;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::relay::{run_load, warm_up};
use super::{USUAL_CONNECTIONS, relays, times, usual_load};
use crate::load::{Flood, Load, Pace};
use crate::report::figure::Figure;
use crate::report::goal::{Bound, Goal};
use crate::report::results::{Point, Repeat};
use crate::runner::Bench;
use crate::stand::{Plan, Stand};
use crate::system::System;

const NAME: &str = "flood of connections";

/// Measures, and compares the healthy clients' slowest.
pub(super) fn run(bench: &mut Bench) {
    let systems = relays(bench);
    let repeats = bench.settings.repeats;
    let cases = CASES.map(|(name, extra)| (name.to_owned(), (name, extra)));
    bench.in_turn(
        NAME,
        &cases,
        &systems,
        repeats,
        |bench, system, (name, extra), _| {
            let figures = measure(bench, system, extra)?;
            let point = |label| Point::named(label, USUAL_CONNECTIONS, 10 << 10);
            Ok(labels(name).map(point).into_iter().zip(figures).collect())
        },
    );
    for (name, _) in CASES {
        let median = |label: &String| bench.median(NAME, System::Onward, label, Figure::AcceptP99);
        let [alone, with] = labels(name);
        if let (Some(alone), Some(with)) = (median(&alone), median(&with)) {
            let detail = format!("{alone:.2} ms alone, {with:.2} ms in the flood");
            let text = format!("{NAME}: p99 of healthy clients, {name}");
            let ratio = with / alone;
            bench.goal(Goal::new(text, Bound::AtMost, 2.0, ratio, times, &detail));
        }
    }
}

fn labels(name: &str) -> [String; 2] {
    [
        format!("healthy clients alone, {name}"),
        format!("in a flood, {name}"),
    ]
}

fn measure(bench: &Bench, system: System, extra: &'static str) -> io::Result<[Repeat; 2]> {
    let plan = Plan {
        connections_in: CONNECTIONS_MAX,
        extra,
        ..Plan::default()
    };
    let stand = Stand::start(bench, system, &plan)?;
    let mut healthy = usual_load(bench, &stand, USUAL_CONNECTIONS)?;
    warm_up(bench, &stand, &healthy)?;
    healthy.per_connection = Some(1);
    healthy.sources = HEALTHY_SOURCES;
    healthy.connections = HEALTHY_CONNECTIONS;
    healthy.pace = Pace::Open {
        per_second: HEALTHY_RATE,
    };
    healthy.messages = (HEALTHY_RATE * 2.0 * bench.settings.length.as_secs_f64()) as u64;
    let alone = all_accepted(bench, &stand, &healthy)?;
    let flood = Flood::start(stand.running()?.address(), FLOOD_RATE, FLOOD_SOURCES)?;
    sleep(FILL);
    let (before, since) = (flood.connected(), Instant::now());
    let with = all_accepted(bench, &stand, &healthy)?;
    let rate = (flood.connected() - before) as f64 / since.elapsed().as_secs_f64();
    bench.progress.say(format_args!(
        "the flood made {rate:.0} connections a second"
    ));
    if rate < 0.9 * FLOOD_RATE {
        let text = format!("the flood made only {rate:.0} connections a second");
        return Err(io::Error::other(text));
    }
    Ok([alone, with])
}

fn all_accepted(bench: &Bench, stand: &Stand, healthy: &Load) -> io::Result<Repeat> {
    let measured = run_load(bench, stand, healthy)?;
    let sent = &measured.sent;
    if sent.accepted == healthy.messages {
        return Ok(measured.figures());
    }
    let text = format!(
        "{} of {} messages of healthy clients were accepted: {}",
        sent.accepted,
        healthy.messages,
        sent.first_error.as_deref().unwrap_or("no reason known")
    );
    Err(io::Error::other(text))
}

/// What is configured.
const CASES: [(&str, &str); 2] = [
    ("nothing configured", ""),
    (
        "with [connect] and a limit",
        "[connect]\ngreet_wait = \"1s\"\n\n[[limit]]\nname = \"connections\"\nkey = \"client\"\nof = \"connections\"\n\
         max = 100000\nper = \"1m\"\nthen = \"defer\"\n",
    ),
];

/// Onward's default of `limits.connections`.
const CONNECTIONS_MAX: usize = 10_000;
/// Messages per second.
const HEALTHY_RATE: f64 = 200.0;
/// So many that none is late for want of one.
const HEALTHY_CONNECTIONS: usize = 400;
const HEALTHY_SOURCES: u16 = 100;
/// Connections per second.
const FLOOD_RATE: f64 = 2000.0;
const FLOOD_SOURCES: u16 = 10_000;
/// Until all places are taken.
const FILL: Duration = Duration::from_secs(8);
