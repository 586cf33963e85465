//! Scenarios 12 and 13: mail that goes nowhere, for very many names, beside healthy mail.
//!
//! * 50,000 domains on one dead MX set: a message each, and the one host that takes their mail refuses connections.
//! * 1,000 tarpits: sites of an address each that greet after minutes, with twenty messages each.
//!
//! A measurement: 200 messages a second to the healthy site for some seconds; the others' mail comes in; the healthy load again.

use std::io;
use std::time::Duration;

use super::relay::{run_load, warm_up};
use super::{PATIENCE, USUAL_CONNECTIONS, percent, relays, template, usual_load, value};
use crate::load::{Load, Pace};
use crate::report::figure::Figure;
use crate::report::goal::{Bound, Goal};
use crate::report::results::{Point, Repeat};
use crate::runner::Bench;
use crate::sink::{Door, Phase, Script};
use crate::stand::{Plan, Stand, send};
use crate::system::System;

/// What is beside the healthy mail.
struct Beside {
    name: &'static str,
    label: String,
    /// Hosted addresses `box0`, `box1`, …, each forwarded into a domain of its own.
    domains: u64,
    messages: u64,
    /// The sites of these domains, from 1 on.
    sites: usize,
    close: fn(&Stand, usize) -> io::Result<()>,
}

/// Measures with many domains on one dead site.
pub(super) fn domains(bench: &mut Bench) {
    let domains = bench.scaled(DOMAINS);
    let beside = Beside {
        name: "many domains",
        label: format!("with {domains} domains on a dead MX set"),
        domains,
        messages: domains,
        sites: 1,
        close: |stand, site| stand.sink.set_door(site, Door::Closed),
    };
    run(bench, &beside);
}

/// Measures with many sites that answer late.
pub(super) fn tarpits(bench: &mut Bench) {
    let sites = bench.scaled(TARPITS);
    let beside = Beside {
        name: "tarpits",
        label: format!("with {sites} tarpits"),
        domains: sites,
        messages: sites * MESSAGES_EACH,
        sites: sites as usize,
        close: |stand, site| {
            let mut script = Script::default();
            script.at_mut(Phase::Greeting).wait = TARPIT_WAIT;
            stand.sink.set_script_of(site, script);
            Ok(())
        },
    };
    run(bench, &beside);
}

fn run(bench: &mut Bench, beside: &Beside) {
    let systems = relays(bench);
    let repeats = bench.settings.repeats;
    let case = [(beside.label.clone(), ())];
    bench.in_turn(
        beside.name,
        &case,
        &systems,
        repeats,
        |bench, system, (), _| {
            let figures = measure(bench, system, beside)?;
            let labels = [ALONE, &beside.label].map(str::to_owned);
            let point = |label| Point::named(label, USUAL_CONNECTIONS, 10 << 10);
            Ok(labels.map(point).into_iter().zip(figures).collect())
        },
    );
    let mut goals = Vec::new();
    for (figure, what) in [
        (Figure::EndToEndP99, "p99 of healthy mail"),
        (Figure::Cpu, "CPU time per healthy message"),
    ] {
        goals.extend(goal(bench, beside.name, &beside.label, figure, what));
    }
    goals.into_iter().for_each(|goal| bench.goal(goal));
}

/// How far a figure of healthy mail may move.
pub(super) fn goal(
    bench: &Bench,
    name: &str,
    label: &str,
    figure: Figure,
    what: &str,
) -> Option<Goal> {
    let median = |label: &str| bench.median(name, System::Onward, label, figure);
    let (alone, with) = (median(ALONE)?, median(label)?);
    let text = format!("{name}: {what} moves by");
    let detail = format!("{alone:.2} alone, {with:.2} {label}");
    let change = with / alone - 1.0;
    Some(Goal::new(
        text,
        Bound::AtMost,
        0.1,
        change,
        percent,
        &detail,
    ))
}

/// Figures of healthy mail alone, and beside the others'.
fn measure(bench: &Bench, system: System, beside: &Beside) -> io::Result<[Repeat; 2]> {
    let healthy = ("@in.example".to_owned(), "box@out.example".to_owned());
    let forward = |n| {
        (
            format!("box{n}@away.example"),
            format!("box@d{n}.away.test"),
        )
    };
    let route = |n: u64| (format!("d{n}.away.test"), n as usize + 1);
    let mut routes = vec![("out.example".to_owned(), 0)];
    match beside.sites {
        1 => routes.push(("*".to_owned(), 1)),
        _ => routes.extend((0..beside.domains).map(route).chain([("*".to_owned(), 0)])),
    }
    let plan = Plan {
        forwards: (0..beside.domains).map(forward).chain([healthy]).collect(),
        routes,
        sites: 1 + beside.sites,
        ..Plan::default()
    };
    let stand = Stand::start(bench, system, &plan)?;
    (1..=beside.sites).try_for_each(|site| (beside.close)(&stand, site))?;
    let (healthy, alone) = healthy_alone(bench, &stand, HEALTHY_RATE)?;
    let recipients = format!("box{{n:{}}}@away.example", beside.domains);
    let with = healthy_beside(bench, &stand, &healthy, &recipients, beside.messages)?;
    Ok([alone, with])
}

/// The load of healthy mail, and its figures with nothing beside.
pub(super) fn healthy_alone(
    bench: &Bench,
    stand: &Stand,
    per_second: f64,
) -> io::Result<(Load, Repeat)> {
    let mut healthy = usual_load(bench, stand, USUAL_CONNECTIONS)?;
    warm_up(bench, stand, &healthy)?;
    healthy.pace = Pace::Open { per_second };
    healthy.messages = (per_second * 2.0 * bench.settings.length.as_secs_f64()) as u64;
    let alone = run_load(bench, stand, &healthy)?.figures();
    Ok((healthy, alone))
}

/// Figures of healthy mail when so many messages to these recipients have come in.
pub(super) fn healthy_beside(
    bench: &Bench,
    stand: &Stand,
    healthy: &Load,
    recipients: &str,
    messages: u64,
) -> io::Result<Repeat> {
    let mut others = usual_load(bench, stand, USUAL_CONNECTIONS)?;
    others.recipients = template(recipients)?;
    others.messages = messages;
    others.time_limit = bench.patience(5 * PATIENCE);
    if send(&others, &bench.progress)?.accepted < messages {
        return Err(io::Error::other("not all mail of the others was accepted"));
    }
    let mut with = run_load(bench, stand, healthy)?.figures();
    // Without deliveries there is nothing to compare.
    if value(&with, Figure::EndToEndP99) == 0.0 {
        return Err(io::Error::other(
            "no healthy mail arrived beside the others",
        ));
    }
    with.set(Figure::Queued, stand.running()?.queued()? as f64);
    Ok(with)
}

pub(super) const ALONE: &str = "healthy mail alone";
const DOMAINS: u64 = 50_000;
const TARPITS: u64 = 1000;
const MESSAGES_EACH: u64 = 20;
const TARPIT_WAIT: Duration = Duration::from_mins(5);
/// Messages per second.
const HEALTHY_RATE: f64 = 200.0;
