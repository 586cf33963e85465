//! Scenario 14: what it costs to check who sends.
//!
//! All mail is signed (RSA-2048, relaxed/relaxed; made once, since what differs stands above it). Its reverse paths are of a thousand
//! domains whose SPF names this client, its From is of a domain with `p=reject`, and neither the sender's domain nor the name in EHLO is
//! on one of two blocklists (about a client on loopback no list is asked). It goes to a relay that checks nothing, and to one that checks
//! all of it, refuses what fails, and tells in Authentication-Results what passed. A load before the warm-up has every answer cached and
//! every process started.
//!
//! DNS is a server in this process: as root on port 53 of a loopback address of its own, since Debian's tools know no other port. A
//! measurement is void if one message arrives without the three that pass.

use std::fmt::Write as _;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use authentic::{Key, Kind};
use testkit::dns::Dns;
use tokio::runtime::{self, Runtime};

use super::relay::{closed_loop, run_load};
use super::{USUAL_CONNECTIONS, relays, template, times, usual_load};
use crate::load::Template;
use crate::report::figure::{Figure, Unit};
use crate::report::goal::{Bound, Goal};
use crate::report::results::{Point, Repeat};
use crate::runner::Bench;
use crate::stand::{Plan, Stand};
use crate::system::System;

const NAME: &str = "checks of senders";

/// What the senders have to be known by.
pub(crate) struct World {
    pub(crate) signer: Arc<Key>,
    dns: Dns,
    /// Where the server lives.
    _runtime: Runtime,
}

/// Measures with and without checks, and compares.
pub(super) fn run(bench: &mut Bench) {
    let world = match World::make() {
        Ok(world) => world,
        Err(error) => return bench.note(format!("`{NAME}` was not measured: {error}")),
    };
    let points = [(point(NOTHING), false), (point(ALL), true)];
    let systems = relays(bench);
    let repeats = bench.settings.repeats;
    bench.interleave(
        NAME,
        &points,
        &systems,
        repeats,
        |bench, system, checks, _| measure(bench, system, &world, *checks),
    );
    goals(bench);
}

fn point(label: &str) -> Point {
    Point::named(label.to_owned(), USUAL_CONNECTIONS, 10 << 10)
}

fn measure(bench: &Bench, system: System, world: &World, checks: bool) -> io::Result<Repeat> {
    let plan = Plan {
        checks: checks.then(|| world.resolver()),
        ..Plan::default()
    };
    let stand = Stand::start(bench, system, &plan)?;
    let mut load = usual_load(bench, &stand, USUAL_CONNECTIONS)?;
    load.senders = world.senders()?;
    load.signer = Some(Arc::clone(&world.signer));
    load.messages = COLD;
    run_load(bench, &stand, &load)?;
    let measured = closed_loop(bench, &stand, &load)?;
    let mut figures = measured.figures();
    if checks {
        let proved = measured.received.proved as f64 / measured.received.distinct as f64;
        if proved < 1.0 {
            let share = Unit::Share.show(proved);
            let text = format!("SPF, DKIM and DMARC passed for {share} only: this is void");
            return Err(io::Error::other(text));
        }
        figures.set(Figure::Proved, proved);
    }
    Ok(figures)
}

impl World {
    /// Makes the key, and starts the DNS server.
    ///
    /// # Errors
    /// When that cannot be.
    pub(crate) fn make() -> io::Result<Self> {
        let name = |text: &str| text.parse().map_err(io::Error::other);
        let made = Key::generate(name("load.example")?, name("bench")?, Kind::Rsa2048);
        let (signer, _) = made.ok_or_else(|| io::Error::other("no key could be made"))?;
        let records = records(&signer);
        let runtime = runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        let start = |port| {
            let address = SocketAddr::from((RESOLVER, port));
            runtime.block_on(Dns::start_at(address, TTL, &records))
        };
        let dns = start(53).or_else(|_| start(0))?;
        Ok(Self {
            signer: Arc::new(signer),
            dns,
            _runtime: runtime,
        })
    }

    /// Where DNS is.
    pub(crate) fn resolver(&self) -> SocketAddr {
        self.dns.address()
    }

    /// Reverse paths that pass SPF.
    ///
    /// # Errors
    /// None, but for a mistake of ours.
    pub(crate) fn senders(&self) -> io::Result<Template> {
        template(&format!("user{{n:5000}}@d{{n:{DOMAINS}}}.load.example"))
    }
}

/// In the format of [`testkit::dns`]. What is not there does not exist: all names below the blocklists, for one.
fn records(signer: &Key) -> String {
    let key = signer.record().unwrap_or_default();
    let mut records = format!(
        "load.example A 127.0.0.1\nload.example TXT {SPF}\n_dmarc.load.example TXT v=DMARC1; p=reject\n{} TXT {key}\n",
        signer.record_name()
    );
    for number in 0..DOMAINS {
        // Writing to a String does not fail.
        let _ = writeln!(records, "d{number}.load.example TXT {SPF}");
    }
    records
}

fn goals(bench: &mut Bench) {
    let median = |system, label, figure| bench.median(NAME, system, label, figure);
    let mut goals = Vec::new();
    let cpu = |label| median(System::Onward, label, Figure::Cpu);
    let micros = |value| Unit::Microseconds.show(value);
    if let (Some(without), Some(with)) = (cpu(NOTHING), cpu(ALL)) {
        let detail = format!("{} against {}", micros(with), micros(without));
        let text = "CPU time that SPF, DKIM, DMARC and two blocklists add to a message";
        goals.push(Goal::new(
            text,
            Bound::AtMost,
            ADDED_MAX,
            with - without,
            micros,
            &detail,
        ));
    }
    for (figure, text) in [
        (
            Figure::Rate,
            "relay rate with all checks against Postfix with Debian's",
        ),
        (
            Figure::Cpu,
            "CPU time of Postfix with Debian's checks against Onward with all",
        ),
    ] {
        let of = |system| median(system, ALL, figure);
        let (Some(ours), Some(theirs)) = (of(System::Onward), of(System::Postfix)) else {
            continue;
        };
        let show = |value| figure.unit().show(value);
        let (more, less) = if figure == Figure::Rate {
            (ours, theirs)
        } else {
            (theirs, ours)
        };
        let detail = format!("{} against {}", show(more), show(less));
        goals.push(Goal::new(
            text,
            Bound::AtLeast,
            10.0,
            more / less,
            times,
            &detail,
        ));
    }
    goals.into_iter().for_each(|goal| bench.goal(goal));
}

const NOTHING: &str = "no checks";
const ALL: &str = "SPF, DKIM, DMARC, two blocklists";
/// Microseconds.
const ADDED_MAX: f64 = 60.0;
/// Of reverse paths.
const DOMAINS: u32 = 1000;
/// Messages before the warm-up: two of each domain, twenty over each connection.
const COLD: u64 = 2000;
const SPF: &str = "v=spf1 ip4:127.0.0.0/8 -all";
const RESOLVER: Ipv4Addr = Ipv4Addr::new(127, 0, 53, 1);
/// Longer than any run.
const TTL: u32 = 86_400;
