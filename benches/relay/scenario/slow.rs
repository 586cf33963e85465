//! Scenario 4: destinations that are slow or say no for now.
//!
//! * A site that takes 2 s for each message, beside a fast one: what the fast one's mail notices of it.
//! * A storm: half of all RCPTs get a 4xx, and are tried again a second later, until all is delivered.
//! * Greylisting everywhere: all mail is refused once; then the destinations take it, and the queue is told to try again.

use std::io;
use std::time::{Duration, Instant};

use super::relay::{run_load, warm_up};
use super::{PATIENCE, USUAL_CONNECTIONS, relays, template, usual_load};
use crate::load::Pace;
use crate::report::figure::Figure;
use crate::report::results::{Point, Repeat};
use crate::runner::Bench;
use crate::sink::{Phase, Script};
use crate::stand::{Plan, Stand, send};
use crate::system::System;

/// Measures the three.
pub(super) fn run(bench: &mut Bench) {
    let systems = relays(bench);
    let repeats = bench.settings.repeats;
    let point = |label: String| Point::named(label, USUAL_CONNECTIONS, 10 << 10);

    let waiting = bench.scaled(SLOW_MESSAGES);
    let case = [(format!("with {waiting} for a slow site"), waiting)];
    bench.in_turn(
        "slow site",
        &case,
        &systems,
        repeats,
        |bench, system, waiting, _| {
            let (alone, beside) = slow_site(bench, system, *waiting)?;
            Ok(vec![
                (point("fast mail alone".to_owned()), alone),
                (point(format!("with {waiting} for a slow site")), beside),
            ])
        },
    );

    let messages = bench.scaled(MESSAGES);
    let points = [(
        point(format!(
            "half of the RCPTs of {messages} messages get a 4xx"
        )),
        messages,
    )];
    bench.interleave(
        "4xx storm",
        &points,
        &systems,
        repeats,
        |bench, system, messages, _| storm(bench, system, *messages),
    );

    let points = [(
        point(format!("{messages} messages greylisted, then released")),
        messages,
    )];
    bench.interleave(
        "greylisting",
        &points,
        &systems,
        repeats,
        |bench, system, messages, _| greylisting(bench, system, *messages),
    );
}

fn slow_site(bench: &Bench, system: System, waiting: u64) -> io::Result<(Repeat, Repeat)> {
    let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
    let plan = Plan {
        forwards: vec![
            pair("@in.example", "box@out.example"),
            pair("@late.example", "box@slow.example"),
        ],
        routes: vec![("slow.example".to_owned(), 1), ("*".to_owned(), 0)],
        sites: 2,
        ..Plan::default()
    };
    let stand = Stand::start(bench, system, &plan)?;
    stand.sink.set_script_of(1, Script::slow(SLOW));
    let mut fast = usual_load(bench, &stand, USUAL_CONNECTIONS)?;
    warm_up(bench, &stand, &fast)?;
    fast.pace = Pace::Open {
        per_second: FAST_RATE,
    };
    fast.messages = (FAST_RATE * bench.settings.length.as_secs_f64()) as u64;
    let alone = run_load(bench, &stand, &fast)?;
    let mut slow = usual_load(bench, &stand, USUAL_CONNECTIONS)?;
    slow.recipients = template("box{n:1000}@late.example")?;
    slow.messages = waiting;
    slow.time_limit = bench.patience(PATIENCE);
    let sent = send(&slow, &bench.progress)?;
    let mut beside = run_load(bench, &stand, &fast)?.figures();
    let left = sent.accepted.saturating_sub(stand.sink.copies(slow.run));
    beside.set(Figure::Queued, left as f64);
    Ok((alone.figures(), beside))
}

fn storm(bench: &Bench, system: System, messages: u64) -> io::Result<Repeat> {
    let plan = Plan {
        retry_quickly: true,
        ..Plan::default()
    };
    let stand = Stand::start(bench, system, &plan)?;
    let mut load = usual_load(bench, &stand, USUAL_CONNECTIONS)?;
    warm_up(bench, &stand, &load)?;
    stand.sink.set_script(&Script::deferring(Phase::Rcpt, 0.5));
    load.messages = messages;
    Ok(run_load(bench, &stand, &load)?.figures())
}

fn greylisting(bench: &Bench, system: System, messages: u64) -> io::Result<Repeat> {
    let stand = Stand::start(bench, system, &Plan::default())?;
    let mut load = usual_load(bench, &stand, USUAL_CONNECTIONS)?;
    warm_up(bench, &stand, &load)?;
    stand.sink.set_script(&Script {
        greylist: Some(Duration::from_secs(3600)),
        ..Script::default()
    });
    let before = stand.sink.counts().deferred;
    load.messages = messages;
    load.run = bench.next_run();
    load.time_limit = bench.patience(PATIENCE);
    let sent = send(&load, &bench.progress)?;
    let end = Instant::now() + bench.patience(PATIENCE);
    while stand.sink.counts().deferred - before < sent.accepted {
        if Instant::now() > end {
            return Err(io::Error::other("not all mail was tried once"));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    stand.sink.set_script(&Script::default());
    super::drain::drain(bench, &stand, &[&sent])
}

const SLOW: Duration = Duration::from_secs(2);
const SLOW_MESSAGES: u64 = 2000;
/// Messages per second.
const FAST_RATE: f64 = 500.0;
const MESSAGES: u64 = 20_000;
