//! Scenario 2: many destinations. 10,000 domains, drawn with weights 1, 1/2, 1/3, … as mail spreads over domains, on 50 sites.
//!
//! Every domain has a forward and a route of its own: no DNS is asked, so that what is measured is the relay's scheduling, not a resolver.

use std::io;

use super::relay::closed_loop;
use super::{USUAL_CONNECTIONS, USUAL_SIZE, template, usual_load};
use crate::load::Sizes;
use crate::report::results::{Point, Repeat};
use crate::runner::Bench;
use crate::stand::{Plan, Stand};
use crate::system::System;

const NAME: &str = "sites";

/// Measures with messages of one size, and with sizes as real mail has them.
pub(super) fn run(bench: &mut Bench) {
    let domains = bench.scaled(DOMAINS);
    let point = |what, size| {
        Point::named(
            format!("{domains} domains on {SITES} sites, {what}"),
            USUAL_CONNECTIONS,
            size,
        )
    };
    let points = [
        (point("10 KiB", 10 << 10), USUAL_SIZE),
        (point("sizes as in real mail", 0), Sizes::Real),
    ];
    let systems = bench.settings.systems.clone();
    let repeats = bench.settings.repeats;
    bench.interleave(
        NAME,
        &points,
        &systems,
        repeats,
        |bench, system, sizes, repeat| measure(bench, system, *sizes, domains, repeat),
    );
}

fn measure(
    bench: &Bench,
    system: System,
    sizes: Sizes,
    domains: u64,
    repeat: usize,
) -> io::Result<Repeat> {
    let forward = |n| (format!("u{n}@in.example"), format!("box@d{n}.example"));
    let route = |n| (format!("d{n}.example"), n as usize % SITES);
    let plan = Plan {
        forwards: (0..domains).map(forward).collect(),
        // The first is also where a load without a relay goes.
        routes: (0..domains)
            .map(route)
            .chain([("*".to_owned(), 0)])
            .collect(),
        sites: SITES,
        ..Plan::default()
    };
    let stand = Stand::start(bench, system, &plan)?;
    let mut load = usual_load(bench, &stand, USUAL_CONNECTIONS)?;
    load.recipients = template(&format!("u{{zipf:{domains}}}@in.example"))?;
    load.sizes = sizes;
    load.seed += repeat as u64;
    Ok(closed_loop(bench, &stand, &load)?.figures())
}

const DOMAINS: u64 = 10_000;
const SITES: usize = 50;
