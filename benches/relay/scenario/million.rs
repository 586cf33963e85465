//! Scenario 9: a million queued, through SMTP, for a destination that refuses connections.
//!
//! Messages of 2 KiB. Accept rate and memory with a thousand in the queue and with all; then SIGTERM, start, first delivery; SIGKILL in the
//! middle of the drain, start, first delivery; then the rest of the drain, and what is left on disk after it.

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use super::relay::warm_up;
use super::{PATIENCE, USUAL_CONNECTIONS, relays, usual_load};
use crate::load::{Sent, Sizes};
use crate::report::figure::Figure;
use crate::report::results::{Point, Repeat};
use crate::runner::Bench;
use crate::stand::{Plan, Stand, mebibytes, send};
use crate::system::System;

const NAME: &str = "million";

/// Measures.
pub(super) fn run(bench: &mut Bench) {
    let messages = bench.scaled(MESSAGES).max(4 * USUAL_CONNECTIONS as u64);
    let cases = [(format!("{messages} queued"), messages)];
    let systems = relays(bench);
    // One is long enough.
    let repeats = bench.settings.repeats.min(1);
    bench.in_turn(
        NAME,
        &cases,
        &systems,
        repeats,
        |bench, system, messages, _| measure(bench, system, *messages),
    );
}

fn measure(bench: &Bench, system: System, messages: u64) -> io::Result<Vec<(Point, Repeat)>> {
    let mut stand = Stand::start(bench, system, &Plan::default())?;
    let load = usual_load(bench, &stand, USUAL_CONNECTIONS)?;
    warm_up(bench, &stand, &load)?;
    stand.take_away(0)?;

    // First, a sample, the bulk, a sample: the samples' rates are compared.
    let sample = (messages / 4).min(SAMPLE);
    let first = (messages - 2 * sample).min(FIRST);
    let mut sent = vec![queue(bench, &stand, first)?, queue(bench, &stand, sample)?];
    let few = filled(&stand, &sent)?;
    let bulk = messages - 2 * sample - first;
    if bulk > 0 {
        sent.push(queue(bench, &stand, bulk)?);
    }
    sent.push(queue(bench, &stand, sample)?);
    let mut all = filled(&stand, &sent)?;

    stand.stop()?;
    stand.bring_back(0)?;
    let clean = restart(bench, &mut stand, &sent)?;
    stand.kill()?;
    let killed = restart(bench, &mut stand, &sent)?;
    all.set(Figure::RestartClean, clean.as_secs_f64())
        .set(Figure::RestartKilled, killed.as_secs_f64());

    let all_sent: Vec<&Sent> = sent.iter().collect();
    let mut drained = super::drain::drain(bench, &stand, &all_sent)?;
    // A crash in the middle of a drain may repeat what was under way: that is no fault, but it is told.
    thread::sleep(SETTLE);
    drained.set(Figure::Disk, mebibytes(stand.disk()));
    let point = |label: String| Point::named(label, USUAL_CONNECTIONS, SIZE as u64);
    Ok(vec![
        (point(format!("{first} queued")), few),
        (point(format!("{messages} queued")), all),
        (point(format!("{messages} drained")), drained),
    ])
}

/// Sends so many to the queue.
fn queue(bench: &Bench, stand: &Stand, messages: u64) -> io::Result<Sent> {
    let mut load = usual_load(bench, stand, USUAL_CONNECTIONS)?;
    load.sizes = Sizes::Fixed(SIZE);
    load.messages = messages;
    load.time_limit = bench.patience(20 * PATIENCE);
    send(&load, &bench.progress)
}

/// Figures of the last of these loads, and of the queue behind it.
fn filled(stand: &Stand, sent: &[Sent]) -> io::Result<Repeat> {
    let cost = stand.running()?.cost()?;
    let queued = stand.running()?.queued()?;
    let mut repeat = Repeat::default();
    if let Some(last) = sent.last() {
        let latency = last.latency.summary();
        let before = queued.saturating_sub(last.accepted);
        repeat
            .set(Figure::Queued, before as f64)
            .set(Figure::AcceptRate, last.rate())
            .set(Figure::AcceptP99, latency.p99 as f64 / 1000.0);
    }
    repeat
        .set(Figure::Memory, mebibytes(cost.memory))
        .set(Figure::Disk, mebibytes(stand.disk()));
    Ok(repeat)
}

/// Starts the system again and waits for the first delivery. Only what was never tried is due after a start; where that is nothing, the
/// system is told to try again.
fn restart(bench: &Bench, stand: &mut Stand, sent: &[Sent]) -> io::Result<Duration> {
    let arrived = |stand: &Stand| {
        sent.iter()
            .map(|sent| stand.sink.copies(sent.run))
            .sum::<u64>()
    };
    let before = arrived(stand);
    let begun = Instant::now();
    stand.restart()?;
    let end = begun + bench.patience(PATIENCE);
    let mut retry_at = Some(begun + RETRY_AFTER);
    while arrived(stand) == before {
        if Instant::now() > end {
            return Err(io::Error::other("nothing was delivered after the start"));
        }
        if retry_at.take_if(|at| *at < Instant::now()).is_some() {
            stand.running()?.retry_all()?;
        }
        thread::sleep(Duration::from_millis(2));
    }
    Ok(begun.elapsed())
}

const MESSAGES: u64 = 1_000_000;
/// Queued before the first sample.
const FIRST: u64 = 1000;
/// Messages whose accept rate is measured.
const SAMPLE: u64 = 20_000;
/// Octets of a message.
const SIZE: usize = 2 << 10;
const RETRY_AFTER: Duration = Duration::from_secs(20);
/// What is given back on disk is given back some seconds later.
const SETTLE: Duration = Duration::from_secs(10);
