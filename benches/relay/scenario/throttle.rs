//! Scenario 16: a provider that throttles. For two minutes it answers `450 4.7.28` to every RCPT, while ten messages a second come in
//! for it; then it takes mail again.
//!
//! Attempts are the connections that it saw meanwhile: one a pause is enough to learn that it still throttles. Then it is told how long the
//! first and the last message took from the end of the throttling. What Onward itself puts off at RCPT (`[policy] pressure`) counts as
//! offered, and not as queued.

use std::io;
use std::time::{Duration, Instant};

use super::relay::warm_up;
use super::{PATIENCE, USUAL_CONNECTIONS, at_one_point, usual_load};
use crate::load::Pace;
use crate::report::figure::Figure;
use crate::report::goal::{Bound, Goal};
use crate::report::results::Repeat;
use crate::runner::Bench;
use crate::sink::Script;
use crate::stand::{Plan, Stand, send};
use crate::system::System;

const NAME: &str = "throttle";

/// Measures, and compares what the throttling cost with one attempt a pause.
pub(super) fn run(bench: &mut Bench) {
    let seconds = bench.scaled(SECONDS);
    let label = format!("{seconds} s of 450 4.7.28");
    at_one_point(bench, NAME, &label, |bench, system| {
        measure(bench, system, seconds)
    });
    let goals = [
        (Figure::Attempts, PROBES, "connections while it throttles"),
        (
            Figure::Tail,
            PAUSE,
            "seconds from its end to the last delivery",
        ),
    ];
    for (figure, most, text) in goals {
        if let Some(found) = bench.median(NAME, System::Onward, &label, figure) {
            let text = format!("throttling provider: {text}");
            let show = |value: f64| format!("{value:.1}");
            let detail = "one connection a pause, which grows";
            bench.goal(Goal::new(text, Bound::AtMost, most, found, show, detail));
        }
    }
}

fn measure(bench: &Bench, system: System, seconds: u64) -> io::Result<Repeat> {
    let stand = Stand::start(bench, system, &Plan::default())?;
    let mut load = usual_load(bench, &stand, USUAL_CONNECTIONS)?;
    warm_up(bench, &stand, &load)?;
    stand.sink.set_script(&Script {
        throttles: true,
        ..Script::default()
    });
    let before = stand.sink.counts();
    load.run = bench.next_run();
    load.pace = Pace::Open {
        per_second: PER_SECOND,
    };
    load.messages = (PER_SECOND * seconds as f64) as u64;
    load.time_limit = bench.patience(PATIENCE + Duration::from_secs(seconds));
    let sent = send(&load, &bench.progress)?;
    let during = stand.sink.counts();
    stand.sink.set_script(&Script::default());
    let (over, end) = (Instant::now(), bench.patience(RETRIES));
    let mut first = None;
    let mut arrived = 0;
    while arrived < sent.accepted {
        if over.elapsed() > end {
            let missing = sent.accepted - arrived;
            return Err(io::Error::other(format!(
                "{missing} did not arrive in time"
            )));
        }
        std::thread::sleep(Duration::from_millis(20));
        arrived = stand.sink.copies(load.run);
        if arrived > 0 {
            first.get_or_insert_with(|| over.elapsed());
        }
    }
    let report = stand.sink.report(&sent);
    let mut repeat = Repeat::default();
    repeat
        .set(Figure::Offered, PER_SECOND)
        .set(Figure::Queued, sent.accepted as f64)
        .set(
            Figure::Attempts,
            (during.connections - before.connections) as f64,
        )
        .set(
            Figure::FirstDelivery,
            first.unwrap_or_default().as_secs_f64(),
        )
        .set(Figure::Tail, over.elapsed().as_secs_f64())
        .set(Figure::Lost, report.lost as f64)
        .set(Figure::Duplicates, report.duplicates as f64)
        .set(Figure::Damaged, report.damaged as f64);
    Ok(repeat)
}

const SECONDS: u64 = 120;
/// Messages.
const PER_SECOND: f64 = 10.0;
/// Onward's first pause is half a minute, and each is twice the one before; connections before the pauses begin count too.
const PROBES: f64 = 5.0;
/// Seconds: the pause that two minutes of throttling have grown to, and its jitter.
const PAUSE: f64 = 135.0;
/// How long the slowest retry of a peer may take.
const RETRIES: Duration = Duration::from_mins(40);
