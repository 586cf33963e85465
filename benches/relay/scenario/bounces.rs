//! Scenario 6: bounces in both directions.
//!
//! * Half of the targets answer 5xx to RCPT, and a notice (DSN) goes to each original sender, at a site of its own.
//! * Bounces come to SRS addresses, which the relay made before: 10,000 a minute, and as fast as it takes them.

use std::io;

use super::relay::{closed_loop, run_load, warm_up};
use super::{USUAL_CONNECTIONS, relays, template, usual_load};
use crate::load::Pace;
use crate::report::figure::Figure;
use crate::report::results::{Point, Repeat};
use crate::runner::Bench;
use crate::sink::{Phase, Script};
use crate::stand::{Plan, Stand};
use crate::system::System;

/// Measures both.
pub(super) fn run(bench: &mut Bench) {
    let systems = relays(bench);
    let repeats = bench.settings.repeats;
    let point = |label: String| Point::named(label, USUAL_CONNECTIONS, 10 << 10);

    let messages = bench.scaled(MESSAGES);
    let points = [(
        point(format!("half of {messages} messages get a 5xx")),
        messages,
    )];
    bench.interleave(
        "bounce storm",
        &points,
        &systems,
        repeats,
        |bench, system, messages, _| refused(bench, system, *messages),
    );

    let minute = bench.scaled(PER_MINUTE);
    let points = [
        (point(format!("{minute} in a minute's pace")), Some(minute)),
        (point("as fast as it can".to_owned()), None),
    ];
    bench.interleave(
        "bounces to SRS",
        &points,
        &systems,
        repeats,
        |bench, system, count, _| to_srs(bench, system, *count),
    );
}

/// Targets are one site, original senders another.
fn plan() -> Plan {
    Plan {
        routes: vec![("out.example".to_owned(), 0), ("*".to_owned(), 1)],
        sites: 2,
        ..Plan::default()
    }
}

fn refused(bench: &Bench, system: System, messages: u64) -> io::Result<Repeat> {
    let stand = Stand::start(bench, system, &plan())?;
    let mut load = usual_load(bench, &stand, USUAL_CONNECTIONS)?;
    warm_up(bench, &stand, &load)?;
    stand
        .sink
        .set_script_of(0, Script::refusing(Phase::Rcpt, 0.5));
    load.messages = messages;
    let measured = run_load(bench, &stand, &load)?;
    let mut figures = measured.figures();
    let last = measured.received.last.unwrap_or_default().as_secs_f64();
    figures.set(Figure::Notices, measured.received.notified as f64 / last);
    Ok(figures)
}

fn to_srs(bench: &Bench, system: System, count: Option<u64>) -> io::Result<Repeat> {
    let stand = Stand::start(bench, system, &plan())?;
    stand.sink.collect_reverse_paths(ADDRESSES);
    let mut load = usual_load(bench, &stand, USUAL_CONNECTIONS)?;
    load.messages = ADDRESSES as u64 * 2;
    run_load(bench, &stand, &load)?;
    load.bounce_to = stand.sink.reverse_paths();
    if load.bounce_to.is_empty() {
        return Err(io::Error::other("no SRS address was seen"));
    }
    load.null_share = 1.0;
    load.recipients = template("unused@in.example")?;
    let measured = match count {
        Some(count) => {
            load.pace = Pace::Open {
                per_second: PER_MINUTE as f64 / 60.0,
            };
            load.messages = count;
            run_load(bench, &stand, &load)?
        }
        None => closed_loop(bench, &stand, &load)?,
    };
    let mut figures = measured.figures();
    // Bounces have the null sender: there is none to rewrite.
    figures.figures.remove(&Figure::Srs);
    Ok(figures)
}

const MESSAGES: u64 = 20_000;
const PER_MINUTE: u64 = 10_000;
/// SRS addresses that bounces go to.
const ADDRESSES: usize = 1000;
