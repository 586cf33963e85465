//! The crash campaign: a relay under load, killed at random moments, started again; and the proof that nothing was lost.
//!
//! Clients (`client.rs`) offer random mail (`draw.rs`) to the addresses of a small world (`world.rs`); sinks (`sink.rs`) take, put
//! off or refuse it; both write into books of the harness's own (`ledger.rs`). After the last kill, and now and then before, the
//! relay drains, and the books must prove (`proof.rs`) that each acknowledged message reached all its places byte for
//! byte, and that each duplicate falls into a window that `spool/README.md` names.
//!
//! kill -9 leaves the page cache alone: what a power cut does is another test's matter.

mod client;
mod disk;
mod draw;
mod dsn;
mod ledger;
pub mod nodes;
mod proof;
mod report;
mod sink;
mod world;

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::PATIENCE;
use crate::daemon::{Relay, Setup};
use crate::net::Net;
use client::{Client, REST};
use draw::{Dice, Draft, Pool};
use ledger::Offer;
pub use proof::Account;
pub use report::Report;
use sink::Shared;
use world::Place;

/// What to do.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The relay's binary: `env!("CARGO_BIN_EXE_onward")`.
    pub program: String,
    /// Runs that end with a kill.
    pub runs: u32,
    /// What the lots are drawn from.
    pub seed: u64,
    /// Clients at the same time.
    pub connections: u32,
    /// The longest load of a usual run; one in ten is [`LONG`] times as long.
    pub load: Duration,
    /// Kills between two drains with a proof.
    pub drain_every: u32,
    /// After each kill wipe the end of the spool's log, as a disk does that lied about fdatasync. The campaign must find
    /// what is lost then: it is the test of the campaign itself.
    pub wipe: bool,
    /// Clients get the verdicts of destinations (`answer=destination`).
    pub online: bool,
}

/// A campaign under way.
struct Campaign {
    settings: Settings,
    dice: Dice,
    pool: Pool,
    shared: Arc<Shared>,
    _net: Net,
    _sinks: JoinSet<()>,
    /// What clients have heard no 250 for.
    pending: Vec<Draft>,
    killed_starting: u32,
    loaded: Duration,
    account: Account,
}

/// Does it all; `progress` gets a line after each run.
///
/// # Panics
/// When the relay does not start, or the machine refuses a file or socket.
pub async fn run(settings: Settings, mut progress: impl FnMut(&str)) -> Report {
    let begun = Instant::now();
    let (mut campaign, mut setup) = Campaign::new(settings).await;
    let mut runs = 0;
    while runs < campaign.settings.runs && campaign.account.findings.is_empty() {
        runs += 1;
        setup = campaign.run(setup, runs).await;
        if runs % campaign.settings.drain_every == 0 || runs == campaign.settings.runs {
            setup = campaign.drain(setup).await;
        }
        let (queued, messages) = {
            let books = campaign.shared.ledger.books();
            (books.open, campaign.account.messages + books.messages.len())
        };
        let seconds = begun.elapsed().as_secs();
        let all = campaign.settings.runs;
        progress(&format!(
            "run {runs}/{all}: {messages} messages, {queued} copies to come, {seconds} s"
        ));
    }
    let kept = (!campaign.account.findings.is_empty()).then(|| setup.keep());
    Report {
        runs,
        killed_starting: campaign.killed_starting,
        time: begun.elapsed(),
        loaded: campaign.loaded,
        account: campaign.account.clone(),
        kept,
        settings: campaign.settings.clone(),
    }
}

impl Campaign {
    async fn new(settings: Settings) -> (Self, Setup) {
        let net = Net::new().await;
        let shared = Shared::new(settings.online);
        let mut sinks = JoinSet::new();
        let [usual, flaky] = [net.address(), net.address()];
        for (address, is_flaky) in [(usual, false), (flaky, true)] {
            let listener = TcpListener::bind(address)
                .await
                .expect("an address of ours");
            sinks.spawn(sink::listen(listener, Arc::clone(&shared), is_flaky));
        }
        net.publish("sender.test", usual);
        for (domain, is_flaky) in shared.world.domains() {
            net.publish(domain, if is_flaky { flaky } else { usual });
        }
        let setup = Setup::new(
            &settings.program,
            &net,
            "fwd.test",
            &shared.world.forwards(),
        )
        .set("delivery.probe_longest", "\"2s\"");
        let campaign = Self {
            dice: Dice::new(settings.seed),
            pool: Pool::new(settings.seed),
            settings,
            shared,
            _net: net,
            _sinks: sinks,
            pending: Vec::new(),
            killed_starting: 0,
            loaded: Duration::ZERO,
            account: Account::default(),
        };
        (campaign, setup)
    }

    /// Start, load, kill.
    async fn run(&mut self, setup: Setup, run: u32) -> Setup {
        self.shared.ledger.books().run = run;
        let mut dice = self.dice.part(u64::from(run));
        if dice.one_in(8) {
            self.killed_starting += 1;
            let relay = setup.spawn();
            tokio::time::sleep(dice.between(Duration::ZERO, START)).await;
            return self.kill(relay, run).await;
        }
        let mut load = dice.between(Duration::ZERO, self.settings.load);
        if dice.one_in(10) {
            load *= LONG;
        }
        let relay = setup.start().await;
        let over = Arc::new(AtomicBool::new(false));
        let mut clients = JoinSet::new();
        for number in 0..self.settings.connections {
            let worker = Worker {
                shared: Arc::clone(&self.shared),
                pool: self.pool.clone(),
                dice: dice.part(u64::from(number) + 1),
                next: u64::from(run) * 10_000_000 + u64::from(number) * 10_000,
                over: Arc::clone(&over),
            };
            clients.spawn(worker.work(relay.address(), self.pending.pop()));
        }
        tokio::time::sleep(load).await;
        self.loaded += load;
        let setup = self.kill(relay, run).await;
        over.store(true, Ordering::Relaxed);
        while let Some(pending) = clients.join_next().await {
            self.pending.extend(pending.expect("a client ends"));
        }
        setup
    }

    async fn kill(&self, relay: Relay, run: u32) -> Setup {
        self.shared.ledger.books().kills.insert(run, Instant::now());
        let log = relay.log();
        let setup = relay.kill().await;
        let log = log.to_the_end().await;
        self.keep_log(&setup, run, &log);
        let known = log.iter().filter_map(|line| self.delivered(line));
        let known = known.map(|(id, place)| (run, id, place));
        self.shared.ledger.books().known.extend(known);
        if self.settings.wipe {
            disk::wipe_end(&setup.path("spool/log")).expect("the log can be written");
        }
        setup
    }

    /// Everything out, the proof, and fresh books.
    async fn drain(&mut self, setup: Setup) -> Setup {
        let (spool, copy) = (setup.path("spool"), setup.path("spool.before-drain"));
        let _ = fs::remove_dir_all(&copy);
        disk::copy_folder(&spool, &copy).expect("the spool can be copied");
        self.shared.ledger.books().run += 1;
        let relay = setup.start().await;
        for draft in std::mem::take(&mut self.pending) {
            let offer = match Client::connect(relay.address()).await {
                Ok(mut client) => client.offer(&self.shared, &draft).await,
                Err(_) => Offer::Cut,
            };
            if matches!(offer, Offer::Unheard | Offer::Cut) {
                self.note(format!("m{}: {offer:?} while draining", draft.id));
            }
        }
        self.wait_until_drained(&relay).await;
        let (run, log) = (self.shared.ledger.books().run, relay.log());
        let setup = relay.stop().await;
        self.keep_log(&setup, run, &log.to_the_end().await);
        self.look_into_quarantine(&setup.path("spool/quarantine"));
        let proof = proof::prove(&self.shared.ledger.books(), &self.shared.world);
        self.account.add(proof);
        // Whatever arrives of these from now on was sent by nobody.
        self.shared.forget();
        if self.account.findings.is_empty() {
            let _ = fs::remove_file(setup.path("mail.log"));
        }
        setup
    }

    /// Until nothing is open in the books, nothing is in the queue, and its space was given back; not without end when
    /// nothing moves.
    async fn wait_until_drained(&self, relay: &Relay) {
        // What was wiped does not come, however long one waits.
        let patience = if self.settings.wipe {
            PATIENCE / 6
        } else {
            PATIENCE
        };
        let mut last = (usize::MAX, Instant::now());
        loop {
            let open = self.shared.ledger.books().open;
            let queued = if open > 0 {
                open
            } else {
                let list = relay.run_json(&["queue", "list"]).await;
                list["legs"].as_array().map_or(0, Vec::len)
            };
            let segments = fs::read_dir(relay.setup().path("spool/log")).map_or(0, Iterator::count);
            if queued == 0 && segments <= SEGMENTS_MAX {
                return;
            }
            let queued = queued + segments;
            if queued != last.0 {
                last = (queued, Instant::now());
            } else if last.1.elapsed() > patience {
                let list = relay.run(&["queue", "list", "--limit", "20"]).await;
                self.note(format!(
                    "{open} copies do not move, {segments} segments:\n{list}"
                ));
                return;
            }
            tokio::time::sleep(REST).await;
        }
    }

    /// What a kill in the middle of a write leaves is kept there as `.tail`, emptied here; anything else is damage.
    fn look_into_quarantine(&mut self, folder: &Path) {
        for file in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = file.path();
            if path.extension().is_some_and(|suffix| suffix == "tail") {
                self.account.tails += 1;
                fs::remove_file(path).expect("a file of ours");
            } else {
                self.note(format!("quarantined: {}", path.display()));
            }
        }
    }

    fn note(&self, finding: String) {
        self.shared.ledger.books().note(finding);
    }

    /// The relay's name for a message, and the place it went to, of a line that says so.
    fn delivered(&self, line: &str) -> Option<(String, Place)> {
        let rest = line.strip_prefix("delivered ")?;
        let value = |key: &str| {
            let (_, rest) = rest.split_once(key)?;
            let rest = rest.strip_prefix('"')?;
            Some(rest.split_once('"')?.0)
        };
        let (place, _) = self.shared.world.mailbox(value(" target=")?)?;
        Some((value(" id=")?.to_owned(), place))
    }

    /// For a replay by eye; a panic is a finding.
    fn keep_log(&self, setup: &Setup, run: u32, log: &[String]) {
        for line in log.iter().filter(|line| line.contains("panicked at")) {
            self.note(format!("run {run}: {line}"));
        }
        let file = fs::File::options()
            .create(true)
            .append(true)
            .open(setup.path("mail.log"));
        let written = file.and_then(|mut file| writeln!(file, "=== run {run}\n{}", log.join("\n")));
        written.expect("the log can be kept");
    }
}

/// One client for one run.
struct Worker {
    shared: Arc<Shared>,
    pool: Pool,
    dice: Dice,
    next: u64,
    over: Arc<AtomicBool>,
}

impl Worker {
    /// Offers until the connection breaks; what is left then is for the next run.
    async fn work(
        mut self,
        address: std::net::SocketAddr,
        mut pending: Option<Draft>,
    ) -> Option<Draft> {
        let Ok(mut client) = Client::connect(address).await else {
            return pending;
        };
        loop {
            while self.shared.ledger.books().open > OPEN_MAX {
                if self.over.load(Ordering::Relaxed) {
                    return pending;
                }
                tokio::time::sleep(REST).await;
            }
            let draft = pending.take().unwrap_or_else(|| self.draw());
            let offer = client.offer(&self.shared, &draft).await;
            if matches!(offer, Offer::Unheard | Offer::Cut) {
                return Some(draft);
            }
        }
    }

    fn draw(&mut self) -> Draft {
        self.next += 1;
        Draft::draw(self.next, &mut self.dice, &self.shared.world, &self.pool)
    }
}

/// To how many segments the log of an empty queue has to shrink. Each start begins one, so that many quick deaths leave many.
const SEGMENTS_MAX: usize = 30;
/// How many times longer the long runs are: long enough for a checkpoint of the spool.
const LONG: u32 = 4;
/// A relay is ready within about this time.
const START: Duration = Duration::from_millis(120);
/// Copies to come at which clients rest: a queue that only grows would prove the same, later.
const OPEN_MAX: usize = 4_000;
