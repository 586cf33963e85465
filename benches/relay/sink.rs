//! The destination: one thread that receives mail on any number of addresses, answers by script, and knows every copy.
//!
//! A *copy* is one recipient of one message: what a sender has to deliver. It is known by the stamp's run and sequence number and by the
//! recipient's address, counts when its 250 was written, and is checked against the stamp's checksum and timed from the stamp's
//! moment. Held against the load's ledger ([`Sink::report`]) it tells losses and duplicates.
//!
//! It does *not* keep messages, and not more of one in memory than its header: large mail is checked as it passes.

pub(crate) mod command;
mod script;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use serde::Serialize;

#[expect(unused_imports, reason = "for the scenarios, which are not here yet")]
pub(crate) use self::script::{Phase, Rule, Script};
use crate::latency::Latency;
use crate::load::Sent;

/// Where to listen and what to answer at first.
#[derive(Debug, Clone)]
pub(crate) struct SinkSettings {
    /// The addresses, each a *site* with a script of its own. Port 0 takes a free one.
    pub(crate) binds: Vec<SocketAddr>,
    /// For all of them, until changed.
    pub(crate) script: Script,
    /// What shares are drawn from.
    pub(crate) seed: u64,
}

/// A running destination; dropped, it ends its thread and cuts its connections.
#[derive(Debug)]
pub(crate) struct Sink {
    addresses: Vec<SocketAddr>,
}

/// Whether a site takes connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Door {
    /// It does.
    Open,
    /// Nobody listens: the system refuses (ECONNREFUSED). Attempts are *not* seen, so not counted.
    Closed,
    /// Each connection is taken, counted and reset at once.
    Reset,
}

/// What a site, or all of them, saw since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Counts {
    /// Connections taken, those refused by a 421 or reset included.
    pub(crate) connections: u64,
    /// Connections open now.
    pub(crate) open: u64,
    /// The most open at the same time.
    pub(crate) open_max: u64,
    /// Connections answered 421 in the greeting, or reset.
    pub(crate) turned_away: u64,
    /// Messages answered 250.
    pub(crate) messages: u64,
    /// Their recipients.
    pub(crate) copies: u64,
    /// Their octets.
    pub(crate) octets: u64,
    /// 4xx replies to MAIL, RCPT, DATA and the end of the data.
    pub(crate) deferred: u64,
    /// 5xx replies to the same.
    pub(crate) refused: u64,
    /// Connections cut by script.
    pub(crate) dropped: u64,
    /// Reverse paths in MAIL that were taken: in all.
    pub(crate) reverse_paths: u64,
    /// The null ones.
    pub(crate) null: u64,
    /// Those with a local part in SRS0.
    pub(crate) srs0: u64,
    /// Those with a local part in SRS1.
    pub(crate) srs1: u64,
}

/// What came of one load's mail.
#[derive(Debug, Clone)]
pub(crate) struct Received {
    /// Copies that had to come: the recipients that the load's server accepted.
    pub(crate) expected: u64,
    /// Copies that came, each counted once.
    pub(crate) distinct: u64,
    /// Copies beyond the first, without those that a missing answer excuses.
    pub(crate) duplicates: u64,
    /// Copies that neither came nor were reported to the sender as undeliverable.
    pub(crate) lost: u64,
    /// Copies whose checksum or length is wrong.
    pub(crate) damaged: u64,
    /// Recipients named in delivery status notifications for this load's messages.
    pub(crate) notified: u64,
    /// From the stamp's moment to the 250 for the copy.
    pub(crate) latency: Latency,
    /// From the load's start to the last copy.
    pub(crate) last: Option<Duration>,
    /// Of the non-null reverse paths, the share in SRS0 or SRS1: 1 when all were rewritten.
    pub(crate) srs_share: f64,
}

impl Sink {
    /// Listens on all addresses.
    ///
    /// # Errors
    /// When an address is taken or a thread cannot be started.
    pub(crate) fn start(settings: SinkSettings) -> io::Result<Self> {
        let _ = settings;
        Err(io::Error::other("not built yet"))
    }

    /// Where it listens, in the order of [`SinkSettings::binds`].
    pub(crate) fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// From now on answers so, at all sites.
    pub(crate) fn set_script(&self, script: Script) {
        let _ = script;
    }

    /// From now on answers so, at one site.
    pub(crate) fn set_script_of(&self, site: usize, script: Script) {
        let _ = (site, script);
    }

    /// Opens or closes one site. Open connections stay.
    ///
    /// # Errors
    /// When the address cannot be bound again.
    pub(crate) fn set_door(&self, site: usize, door: Door) -> io::Result<()> {
        let _ = (site, door);
        Ok(())
    }

    /// What all sites saw since the start.
    pub(crate) fn counts(&self) -> Counts {
        Counts::default()
    }

    /// What one site saw since the start.
    pub(crate) fn counts_of(&self, site: usize) -> Counts {
        let _ = site;
        Counts::default()
    }

    /// Waits until all copies of a load that must come have come or were reported undeliverable; false when they did not within `limit`.
    pub(crate) fn wait_for(&self, sent: &Sent, limit: Duration) -> bool {
        let _ = (sent, limit);
        false
    }

    /// Waits until `copies` distinct copies of `run` have come; false when they did not within `limit`.
    pub(crate) fn wait_for_copies(&self, run: u32, copies: u64, limit: Duration) -> bool {
        let _ = (run, copies, limit);
        false
    }

    /// Distinct copies of `run` so far.
    pub(crate) fn copies(&self, run: u32) -> u64 {
        let _ = run;
        0
    }

    /// Holds what came against what was sent.
    pub(crate) fn report(&self, sent: &Sent) -> Received {
        let _ = sent;
        Received {
            expected: 0,
            distinct: 0,
            duplicates: 0,
            lost: 0,
            damaged: 0,
            notified: 0,
            latency: Latency::new(),
            last: None,
            srs_share: 0.0,
        }
    }

    /// Forgets a run, and frees its memory: after a warm-up, or between repeats.
    pub(crate) fn forget(&self, run: u32) {
        let _ = run;
    }

    /// From now on keeps the first `count` different reverse paths that are not null.
    pub(crate) fn collect_reverse_paths(&self, count: usize) {
        let _ = count;
    }

    /// The reverse paths kept so far.
    pub(crate) fn reverse_paths(&self) -> Vec<String> {
        Vec::new()
    }

    /// CPU time of its thread so far.
    pub(crate) fn cpu(&self) -> Duration {
        Duration::ZERO
    }
}
