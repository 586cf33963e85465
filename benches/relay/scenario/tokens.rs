//! Scenario 11: bulk mail, whose every sender is unique and too long to fit into an SRS address, so that each needs a token.
//!
//! A measurement: the usual load, whose senders fit; then 250,000 messages with a sender each that does not; then a load of more such
//! senders, which is compared with the first; then nothing for some seconds, which must cost nothing.

use std::io;

use super::idle::doing_nothing;
use super::relay::{closed_loop, run_load};
use super::{PATIENCE, USUAL_CONNECTIONS, percent, relays, template, usual_load};
use crate::report::figure::{Figure, Unit};
use crate::report::goal::{Bound, Goal};
use crate::report::results::{Point, Repeat};
use crate::runner::Bench;
use crate::stand::{Plan, Stand};
use crate::system::System;

const NAME: &str = "unique long senders";

/// Measures, and compares both kinds of senders.
pub(super) fn run(bench: &mut Bench) {
    let made = bench.scaled(SENDERS);
    let systems = relays(bench);
    let repeats = bench.settings.repeats;
    let labels = labels(made);
    let cases = [(labels[2].clone(), made)];
    bench.in_turn(NAME, &cases, &systems, repeats, |bench, system, made, _| {
        let figures = measure(bench, system, *made)?;
        let point = |label: String| Point::named(label, USUAL_CONNECTIONS, 10 << 10);
        Ok(labels.clone().map(point).into_iter().zip(figures).collect())
    });
    goals(bench, &labels);
}

fn labels(made: u64) -> [String; 4] {
    [
        "senders that fit".to_owned(),
        format!("the first {made} that do not"),
        format!("more that do not, after {made}"),
        format!("idle, after {made}"),
    ]
}

fn measure(bench: &Bench, system: System, made: u64) -> io::Result<[Repeat; 4]> {
    let stand = Stand::start(bench, system, &Plan::default())?;
    let mut load = usual_load(bench, &stand, USUAL_CONNECTIONS)?;
    let fitting = closed_loop(bench, &stand, &load)?;
    load.senders = template(&format!("first-{LONG}"))?;
    load.messages = made;
    load.time_limit = bench.patience(5 * PATIENCE);
    let making = run_load(bench, &stand, &load)?;
    load.senders = template(&format!("more-{LONG}"))?;
    let more = closed_loop(bench, &stand, &load)?;
    let (idle, _) = doing_nothing(stand.running()?)?;
    let [fitting, making, more] = [fitting, making, more].map(|measured| measured.figures());
    Ok([fitting, making, more, idle])
}

fn goals(bench: &mut Bench, [fitting, _, more, idle]: &[String; 4]) {
    let median = |label: &str, figure| bench.median(NAME, System::Onward, label, figure);
    let mut goals = Vec::new();
    for (figure, bound, share, what) in [
        (Figure::Rate, Bound::AtLeast, 0.85, "relay rate"),
        (Figure::Cpu, Bound::AtMost, 1.15, "CPU time per message"),
        (
            Figure::Written,
            Bound::AtMost,
            1.15,
            "octets written per message",
        ),
    ] {
        if let (Some(before), Some(after)) = (median(fitting, figure), median(more, figure)) {
            let text = format!("{what} with unique long senders, as a share of that without");
            goals.push(Goal::new(text, bound, share, after / before, percent, ""));
        }
    }
    if let Some(value) = median(idle, Figure::IdleCpu) {
        let show = |value| Unit::Share.show(value);
        let text = format!("CPU time while {idle}");
        goals.push(Goal::new(text, Bound::AtMost, 0.01, value, show, ""));
    }
    goals.into_iter().for_each(|goal| bench.goal(goal));
}

const SENDERS: u64 = 250_000;
/// 57 octets before the `@` at most: with the domain and SRS more than the 64 that every server takes.
const LONG: &str = "{n}-firstname.lastname=department.company@d{n:997}.origin.example";
