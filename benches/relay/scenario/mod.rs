//! The scenarios of the bench, one a file: each measures through the runner, and then compares what it found with its goals.

mod beside;
mod bounces;
pub(crate) mod checks;
pub(crate) mod dead;
mod drain;
mod flood;
pub(crate) mod foreign;
mod idle;
mod large;
mod million;
mod mx;
mod open;
mod relay;
mod single;
mod sites;
mod slow;
mod throttle;
mod tokens;

use std::io;
use std::time::Duration;

use crate::load::{Load, Sizes, Template};
use crate::report::figure::Figure;
use crate::report::results::{Point, Repeat};
use crate::runner::{Bench, Tools};
use crate::stand::Stand;
use crate::system::System;

/// The main scenario's name in the results.
pub(crate) const RELAY: &str = "relay";
/// Its part with a fixed offered load.
pub(crate) const OPEN_LOOP: &str = "relay, open loop";

/// A scenario, by its name on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Scenario {
    /// 1: forward with SRS to one site: closed loop at many points, open loop, one connection beside a bare fdatasync.
    Relay,
    /// 2: 10,000 domains, drawn as mail is spread over them, on 50 sites.
    Sites,
    /// 3: 100,000 messages to a site that refuses connections, beside 1,000 a second to healthy ones.
    Dead,
    /// 4: a slow site beside fast ones; a storm of 4xx; greylisting everywhere.
    Slow,
    /// 5: 300,000 queued while the destination is away, then it comes back.
    Drain,
    /// 6: half of the targets answer 5xx; bounces to SRS addresses.
    Bounces,
    /// 7: 25 MB messages, 100 at once.
    Large,
    /// 8: 10,000 idle connections; nothing happens.
    Idle,
    /// 9: a million queued: memory, restarts, drain, disk.
    Million,
    /// 10: one message a connection, in clear and with TLS.
    Mx,
    /// 11: every sender unique and too long for SRS.
    Tokens,
    /// 12: 50,000 domains on one dead MX set, beside healthy mail.
    Domains,
    /// 13: 1,000 sites that answer after minutes, beside healthy mail.
    Tarpits,
    /// 14: signed mail, with and without SPF, DKIM, DMARC and two blocklists.
    Checks,
    /// 15: 2,000 new connections a second from 10,000 addresses, beside healthy clients.
    Flood,
    /// 16: a provider that answers 450 4.7.28 to all mail for two minutes.
    Throttle,
}

impl Scenario {
    /// Measures it, and adds its goals.
    pub(crate) fn run(self, bench: &mut Bench) {
        match self {
            Self::Relay => {
                relay::run(bench);
                // Postfix's tools tell no latencies.
                if bench.settings.tools == Tools::Ours {
                    single::run(bench);
                    open::run(bench);
                }
            }
            Self::Sites => sites::run(bench),
            Self::Dead => dead::run(bench),
            Self::Slow => slow::run(bench),
            Self::Drain => drain::run(bench),
            Self::Bounces => bounces::run(bench),
            Self::Large => large::run(bench),
            Self::Idle => idle::run(bench),
            Self::Million => million::run(bench),
            Self::Mx => mx::run(bench),
            Self::Tokens => tokens::run(bench),
            Self::Domains => beside::domains(bench),
            Self::Tarpits => beside::tarpits(bench),
            Self::Checks => checks::run(bench),
            Self::Flood => flood::run(bench),
            Self::Throttle => throttle::run(bench),
        }
    }
}

/// A closed-loop load of 10 KiB messages from many senders to many addresses of `in.example`, for a stand of the default plan.
///
/// # Errors
/// When the system does not run.
pub(crate) fn usual_load(bench: &Bench, stand: &Stand, connections: usize) -> io::Result<Load> {
    let mut load = Load::new(
        stand.running()?.address(),
        template("user{n:5000}@d{n:997}.origin.example")?,
        template("box{n:1000}@in.example")?,
    );
    load.connections = connections;
    load.per_connection = Some(MESSAGES_PER_CONNECTION);
    load.sizes = USUAL_SIZE;
    load.seed = bench.settings.seed;
    load.run = bench.next_run();
    Ok(load)
}

/// What every system takes of one connection without a 421: Onward's limit, told in its EHLO (RFC 9422), is a thousand.
const MESSAGES_PER_CONNECTION: u64 = 1000;

/// An address template of ours.
///
/// # Errors
/// When it is none.
pub(crate) fn template(text: &str) -> io::Result<Template> {
    text.parse()
        .map_err(|error| io::Error::other(format!("{text}: {error}")))
}

/// The relays among the systems: `direct` shows limits, but has no queue.
pub(crate) fn relays(bench: &Bench) -> Vec<System> {
    let systems = bench.settings.systems.iter().copied();
    systems.filter(|system| *system != System::Direct).collect()
}

/// Measures all relays at one point, with usual connections and messages.
pub(crate) fn at_one_point(
    bench: &mut Bench,
    scenario: &str,
    label: &str,
    mut measure: impl FnMut(&Bench, System) -> io::Result<Repeat>,
) {
    let points = [(Point::named(label, USUAL_CONNECTIONS, 10 << 10), ())];
    let (systems, repeats) = (relays(bench), bench.settings.repeats);
    bench.interleave(
        scenario,
        &points,
        &systems,
        repeats,
        |bench, system, (), _| measure(bench, system),
    );
}

/// The value of a figure in one repeat; not a number when it is not there.
pub(crate) fn value(repeat: &Repeat, figure: Figure) -> f64 {
    repeat.figures.get(&figure).copied().unwrap_or(f64::NAN)
}

/// `12.3 ×`
pub(crate) fn times(value: f64) -> String {
    crate::report::figure::Unit::Times.show(value)
}

/// `41.0 %`
pub(crate) fn percent(value: f64) -> String {
    crate::report::figure::Unit::Share.show(value)
}

/// The size of a message where a scenario does not say another.
pub(crate) const USUAL_SIZE: Sizes = Sizes::Fixed(10 << 10);
/// Connections where a scenario does not say another number.
pub(crate) const USUAL_CONNECTIONS: usize = 100;
/// How long mail may take that is not expected to wait.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);
