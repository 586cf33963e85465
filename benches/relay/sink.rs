//! The destination: one thread that receives mail on any number of addresses, answers by script, and knows every copy.
//!
//! A *copy* is one recipient of one message: what a sender has to deliver. It is known by the stamp's run and sequence number and by the
//! recipient's address, counts when its 250 was written, and is checked against the stamp's checksum and timed from the stamp's
//! moment. Held against the load's ledger ([`Sink::report`]) it tells losses and duplicates.
//!
//! It does *not* keep messages, and not more of one in memory than its header: large mail is checked as it passes.

pub(crate) mod body;
pub(crate) mod command;
mod commands;
mod ledger;
mod script;
mod server;
mod session;
mod site;

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde::Serialize;
use testkit::tls::Identity;
use tokio::sync::mpsc::UnboundedSender;
use tokio_rustls::TlsAcceptor;

use self::ledger::{Delivery, Ledger, PathKind};
#[expect(unused_imports, reason = "for the scenarios, which are not here yet")]
pub(crate) use self::script::{Phase, Rule, Script};
use self::server::Order;
use self::site::Site;
use crate::cpu::ThreadCpu;
use crate::descriptors;
use crate::latency::{Latency, Summary};
use crate::load::Sent;
use crate::stamp;

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
pub(crate) struct Sink {
    addresses: Vec<SocketAddr>,
    shared: Arc<Shared>,
    orders: UnboundedSender<Order>,
    thread: Option<JoinHandle<()>>,
    cpu: ThreadCpu,
}

/// What the thread and the handle both use.
struct Shared {
    sites: Vec<Arc<Site>>,
    ledger: Mutex<Ledger>,
    /// The run and the count of settled copies that somebody waits for.
    wanted: Mutex<Option<(u32, u64)>>,
    reached: Condvar,
    collects_paths: AtomicBool,
    acceptor: OnceLock<TlsAcceptor>,
}

/// Whether a site takes connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Door {
    /// It does.
    Open,
    /// Nothing listens: the system refuses (ECONNREFUSED). Attempts are *not* seen, so not counted.
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
    /// The most open at the same time; for all sites, the sum of theirs.
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
    /// Copies whose header says that SPF, DKIM and DMARC pass.
    pub(crate) proved: u64,
}

/// What came of one run, by the sink's own knowledge.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct RunCounts {
    /// The run.
    pub(crate) run: u32,
    /// Copies, each counted once.
    pub(crate) distinct: u64,
    /// Copies beyond the first.
    pub(crate) duplicates: u64,
    /// Copies whose checksum or length is wrong.
    pub(crate) damaged: u64,
    /// Sequence numbers below the greatest of which nothing came: lost, or still under way, or never accepted.
    pub(crate) gaps: u64,
    /// Recipients named in delivery status notifications.
    pub(crate) notified: u64,
    /// From the stamp's moment to the 250.
    pub(crate) latency_micros: Summary,
}

impl Sink {
    /// Listens on all addresses.
    ///
    /// # Errors
    /// When an address is taken or a thread cannot be started.
    pub(crate) fn start(settings: SinkSettings) -> io::Result<Self> {
        descriptors::raise_limit();
        let started = server::start(settings)?;
        let sites = started.shared.sites.iter();
        Ok(Self {
            addresses: sites.map(|site| site.address).collect(),
            shared: started.shared,
            orders: started.orders,
            thread: Some(started.thread),
            cpu: started.cpu,
        })
    }

    /// Where it listens, in the order of [`SinkSettings::binds`].
    pub(crate) fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// From now on answers so, at all sites: a connection learns of it at its next EHLO or MAIL.
    pub(crate) fn set_script(&self, script: &Script) {
        (0..self.addresses.len()).for_each(|site| self.set_script_of(site, script.clone()));
    }

    /// From now on answers so, at one site.
    pub(crate) fn set_script_of(&self, site: usize, script: Script) {
        self.shared.sites[site].script.store(Arc::new(script));
    }

    /// Opens or closes one site. Connections that are open stay.
    ///
    /// # Errors
    /// When the address cannot be bound again.
    pub(crate) fn set_door(&self, site: usize, door: Door) -> io::Result<()> {
        let resets = &self.shared.sites[site].resets;
        resets.store(door == Door::Reset, Ordering::Relaxed);
        let (done, answer) = std::sync::mpsc::channel();
        let order = Order {
            site,
            listen: door != Door::Closed,
            done,
        };
        let ended = || io::Error::other("the sink's thread has ended");
        self.orders.send(order).map_err(|_| ended())?;
        answer.recv().map_err(|_| ended())?
    }

    /// What all sites saw since the start.
    pub(crate) fn counts(&self) -> Counts {
        let sites = 0..self.addresses.len();
        sites.fold(Counts::default(), |sum, site| {
            sum.plus(self.counts_of(site))
        })
    }

    /// What one site saw since the start.
    pub(crate) fn counts_of(&self, site: usize) -> Counts {
        *self.shared.sites[site].counts()
    }

    /// Waits until all copies of a load that must come have come or were reported undeliverable; false when they did not within `limit`.
    pub(crate) fn wait_for(&self, sent: &Sent, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        let mut copies = sent.ledger.copies();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if !self.wait(sent.run, copies, left) {
                return false;
            }
            // The count may be reached by copies that did not have to come: then look closer, and wait for more.
            let lost = self.report(sent).lost;
            if lost == 0 {
                return true;
            }
            copies += lost;
        }
    }

    /// Distinct copies of `run` so far.
    pub(crate) fn copies(&self, run: u32) -> u64 {
        self.shared.ledger().settled(run).0
    }

    /// Holds what came against what was sent.
    pub(crate) fn report(&self, sent: &Sent) -> Received {
        self.shared.ledger().report(sent)
    }

    /// What came of each run, for who has no [`Sent`].
    pub(crate) fn runs(&self) -> Vec<RunCounts> {
        self.shared.ledger().runs()
    }

    /// Messages that no load had stamped.
    pub(crate) fn strays(&self) -> u64 {
        self.shared.ledger().strays()
    }

    /// Forgets a run, and frees its memory: after a warm-up, or between repeats.
    pub(crate) fn forget(&self, run: u32) {
        self.shared.ledger().forget(run);
    }

    /// From now on keeps the first `count` different reverse paths that are not null.
    pub(crate) fn collect_reverse_paths(&self, count: usize) {
        self.shared.ledger().collect_reverse_paths(count);
        let collects = &self.shared.collects_paths;
        collects.store(count > 0, Ordering::Relaxed);
    }

    /// The reverse paths kept so far.
    pub(crate) fn reverse_paths(&self) -> Vec<String> {
        self.shared.ledger().reverse_paths()
    }

    /// CPU time of its thread so far.
    pub(crate) fn cpu(&self) -> Duration {
        self.cpu.spent()
    }

    /// Waits until that many copies have come or were reported.
    fn wait(&self, run: u32, count: u64, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        loop {
            let mut wanted = self.shared.wanted();
            let (copies, notified) = self.shared.ledger().settled(run);
            if copies + notified >= count {
                *wanted = None;
                return true;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                *wanted = None;
                return false;
            }
            *wanted = Some((run, count));
            let step = left.min(WAIT_STEP);
            let woken = self.shared.reached.wait_timeout(wanted, step);
            drop(woken.unwrap_or_else(PoisonError::into_inner));
        }
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        // The thread ends when no sender of orders is left.
        self.orders = tokio::sync::mpsc::unbounded_channel().0;
        if let Some(thread) = self.thread.take() {
            // A panic there was printed there.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wanted(&self) -> MutexGuard<'_, Option<(u32, u64)>> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes deliveries down, and wakes who waits for the last of them.
    fn record(&self, deliveries: &[Delivery]) {
        let now = stamp::now_micros();
        let mut ledger = self.ledger();
        for delivery in deliveries {
            ledger.record(delivery, now);
        }
        drop(ledger);
        let wanted = *self.wanted();
        if let Some((run, count)) = wanted {
            let (copies, notified) = self.ledger().settled(run);
            if copies + notified >= count {
                self.reached.notify_all();
            }
        }
    }

    fn keep_reverse_path(&self, kind: PathKind, path: &[u8]) {
        if kind != PathKind::Null && self.collects_paths.load(Ordering::Relaxed) {
            self.ledger().keep_reverse_path(path);
        }
    }

    /// The one certificate, made when it is first wanted.
    fn acceptor(&self) -> &TlsAcceptor {
        self.acceptor
            .get_or_init(|| Identity::new("sink.example").acceptor())
    }
}

impl Counts {
    fn plus(mut self, other: Self) -> Self {
        let pairs = [
            (&mut self.connections, other.connections),
            (&mut self.open, other.open),
            (&mut self.open_max, other.open_max),
            (&mut self.turned_away, other.turned_away),
            (&mut self.messages, other.messages),
            (&mut self.copies, other.copies),
            (&mut self.octets, other.octets),
            (&mut self.deferred, other.deferred),
            (&mut self.refused, other.refused),
            (&mut self.dropped, other.dropped),
            (&mut self.reverse_paths, other.reverse_paths),
            (&mut self.null, other.null),
            (&mut self.srs0, other.srs0),
            (&mut self.srs1, other.srs1),
        ];
        for (sum, count) in pairs {
            *sum += count;
        }
        self
    }

    fn count_path(&mut self, kind: PathKind) {
        self.reverse_paths += 1;
        match kind {
            PathKind::Null => self.null += 1,
            PathKind::Srs0 => self.srs0 += 1,
            PathKind::Srs1 => self.srs1 += 1,
            PathKind::Other => {}
        }
    }

    fn count_message(&mut self, recipients: usize, octets: u64) {
        self.messages += 1;
        self.copies += recipients as u64;
        self.octets += octets;
    }
}

/// Who waits looks by itself this often.
const WAIT_STEP: Duration = Duration::from_millis(250);
