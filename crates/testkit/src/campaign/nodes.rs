//! Several nodes on one database, and something that stands still for a while, or dies: what clients see of it, and the proof.
//!
//! Clients offer mail at a steady pace, each to its node, and again what they heard no 250 for; to another node only when theirs is
//! gone. The books are those of the crash campaign.

mod report;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use super::client::{Client, REST};
use super::draw::{Dice, Draft, Pool};
use super::ledger::Offer;
use super::proof;
use super::sink::{self, Shared};
use crate::PATIENCE;
use crate::daemon::{Relay, Setup, Signal};
use crate::link::Link;
use crate::net::Net;
use crate::postgres::{Postgres, signal_to};
use report::Answer;
pub use report::Report;

/// What happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hurt {
    /// A process of the database stands still, in the middle of a commit of the first node.
    Backend,
    /// The database stands still.
    Primary,
    /// The way between the first node and the database stands still.
    Link,
    /// The first node is killed.
    Node,
}

/// What to do.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The relay's binary: `env!("CARGO_BIN_EXE_onward")`.
    pub program: String,
    /// What happens.
    pub hurt: Hurt,
    /// For how long.
    pub pause: Duration,
    /// Load before and after that.
    pub around: Duration,
    /// How many nodes.
    pub nodes: usize,
    /// Clients of each.
    pub clients: usize,
    /// Messages a second that each node is offered, while it answers.
    pub rate: f64,
    /// What the lots are drawn from.
    pub seed: u64,
}

struct Cluster {
    settings: Settings,
    shared: Arc<Shared>,
    server: Postgres,
    link: Link,
    nodes: Vec<Option<Relay>>,
    _net: Net,
    _sinks: JoinSet<()>,
}

/// Does it all.
///
/// # Panics
/// When a node or PostgreSQL does not start, or the machine refuses a file or socket.
pub async fn run(settings: Settings) -> Report {
    let mut cluster = Cluster::start(settings).await;
    let (begun, over) = (Instant::now(), Arc::new(AtomicBool::new(false)));
    let mut clients = cluster.load(&over);
    let settings = cluster.settings.clone();
    sleep(settings.around).await;
    let hurt = cluster.hurt().await;
    sleep(settings.around).await;
    over.store(true, Ordering::Relaxed);
    let mut answers = Vec::new();
    let patience = Instant::now() + PATIENCE * 4;
    while let Ok(Some(some)) = timeout(patience - Instant::now(), clients.join_next()).await {
        answers.extend(some.expect("a client ends"));
    }
    cluster.note_if(!clients.is_empty(), || {
        format!("{} clients hear no 250 any more", clients.len())
    });
    cluster.drain().await;
    let books = cluster.shared.ledger.books();
    let copies = books.messages.values().flat_map(|entry| &entry.copies);
    let sent = copies.map(|copy| (node_of(&copy.by), copy.at)).collect();
    let dead = answers
        .iter()
        .filter(|it| it.taken && it.node == 0 && it.asked < hurt.0);
    let arrived = dead.filter_map(|it| {
        let copies = books.messages[&it.message].copies.iter();
        copies.map(|copy| copy.at).max()
    });
    let taken_over = arrived.max().filter(|_| settings.hurt == Hurt::Node);
    let account = proof::prove(&books, &cluster.shared.world);
    Report {
        account,
        answers,
        begun,
        hurt,
        sent,
        taken_over,
        settings,
    }
}

/// From its name.
fn node_of(hostname: &str) -> usize {
    let number = hostname
        .strip_prefix("mx")
        .and_then(|it| it.split_once('.'));
    number.map_or(0, |(number, _)| number.parse().unwrap_or(0))
}

impl Cluster {
    async fn start(settings: Settings) -> Self {
        let server = Postgres::start(&["shared_buffers=512MB", "max_wal_size=4GB"]).await;
        let url = server.database("mail").await;
        let link = Link::new(server.port()).await;
        let net = Net::new().await;
        let shared = Shared::new(false);
        let [usual, flaky] = [net.address(), net.address()];
        let mut sinks = JoinSet::new();
        for (address, is_flaky) in [(usual, false), (flaky, true)] {
            let listener = TcpListener::bind(address).await;
            let listener = listener.expect("an address of ours");
            let shared = Arc::clone(&shared);
            sinks.spawn(sink::listen(listener, shared, is_flaky));
        }
        net.publish("sender.test", usual);
        for (domain, is_flaky) in shared.world.domains() {
            net.publish(domain, if is_flaky { flaky } else { usual });
        }
        let mut nodes = Vec::new();
        for number in 0..settings.nodes {
            let by_link = settings.hurt == Hurt::Link && number == 0;
            let port = if by_link { link.port() } else { server.port() };
            let url = url.replace(&format!(":{}/", server.port()), &format!(":{port}/"));
            let setup = Setup::new(
                &settings.program,
                &net,
                "fwd.test",
                &shared.world.forwards(),
            )
            .set("hostname", &format!("\"mx{number}.fwd.test\""))
            .set("queue.store", &format!("\"{url}\""))
            .set("delivery.probe_longest", "\"2s\"");
            nodes.push(Some(setup.start().await));
        }
        Self {
            settings,
            shared,
            server,
            link,
            nodes,
            _net: net,
            _sinks: sinks,
        }
    }

    fn load(&self, over: &Arc<AtomicBool>) -> JoinSet<Vec<Answer>> {
        let Settings {
            clients,
            rate,
            seed,
            ..
        } = self.settings;
        let (dice, pool) = (Dice::new(seed), Pool::new(seed));
        let nodes = self.nodes.iter().flatten();
        let addresses: Vec<_> = nodes.map(Relay::address).collect();
        let mut tasks = JoinSet::new();
        for number in 0..self.nodes.len() * clients {
            let worker = Worker {
                shared: Arc::clone(&self.shared),
                pool: pool.clone(),
                dice: dice.part(number as u64 + 1),
                next: number as u64 * 1_000_000,
                over: Arc::clone(over),
                node: number % self.nodes.len(),
                addresses: addresses.clone(),
            };
            tasks.spawn(worker.work(Duration::from_secs_f64(clients as f64 / rate)));
        }
        tasks
    }

    /// From when until when.
    async fn hurt(&mut self) -> (Instant, Instant) {
        let pause = self.settings.pause;
        let backend = match self.settings.hurt {
            Hurt::Backend => self.busy().await,
            _ => String::new(),
        };
        let mut gone = None;
        let begun = Instant::now();
        self.shared.ledger.books().hurt = Some((begun, begun + pause));
        match self.settings.hurt {
            Hurt::Backend => signal_to(&backend, Signal::STOP),
            Hurt::Primary => self.server.stand_still(true),
            Hurt::Link => self.link.stop(true),
            Hurt::Node => {
                let node = self.nodes[0].take().expect("it runs");
                gone = Some(node.kill().await);
            }
        }
        sleep(pause).await;
        match self.settings.hurt {
            Hurt::Backend => signal_to(&backend, Signal::CONT),
            Hurt::Primary => self.server.stand_still(false),
            Hurt::Link => self.link.stop(false),
            Hurt::Node => drop(gone),
        }
        let hurt = (begun, Instant::now());
        self.shared.ledger.books().hurt = Some(hurt);
        hurt
    }

    /// A process of the database that commits for the first node.
    async fn busy(&self) -> String {
        let busy = "SELECT pid FROM pg_stat_activity WHERE application_name = 'onward mx0.fwd.test'
            AND state = 'active' AND query LIKE 'WITH j AS%' LIMIT 1;";
        let began = Instant::now();
        loop {
            let said = self.server.say("mail", busy).await.success().stdout;
            if !said.trim().is_empty() {
                return said;
            }
            assert!(began.elapsed() < PATIENCE, "the first node commits nothing");
        }
    }

    /// Until all has arrived and nothing is queued, and a while for what comes twice; not without end when nothing moves.
    async fn drain(&self) {
        let node = self.nodes.iter().flatten().next_back().expect("one lives");
        let mut last = (usize::MAX, Instant::now());
        loop {
            let list = node.run_json(&["queue", "list"]).await;
            let queued = list["legs"].as_array().map_or(0, Vec::len);
            let left = queued + self.shared.ledger.books().open;
            if left == 0 {
                break;
            }
            if left != last.0 {
                last = (left, Instant::now());
            }
            if last.1.elapsed() > LEASE + PATIENCE {
                let list = node.run(&["queue", "list", "--limit", "20"]).await;
                return self.note_if(true, || format!("{left} do not move:\n{list}"));
            }
            sleep(REST * 10).await;
        }
        sleep(PATIENCE / 6).await;
    }

    fn note_if(&self, is_so: bool, finding: impl FnOnce() -> String) {
        if is_so {
            self.shared.ledger.books().note(finding());
        }
    }
}

/// One client.
struct Worker {
    shared: Arc<Shared>,
    pool: Pool,
    dice: Dice,
    next: u64,
    over: Arc<AtomicBool>,
    node: usize,
    addresses: Vec<SocketAddr>,
}

impl Worker {
    /// Until it is over, and the last message acknowledged.
    async fn work(mut self, every: Duration) -> Vec<Answer> {
        let (mut answers, mut pending, mut open) = (Vec::new(), None, None);
        // Not all at once.
        sleep(self.dice.between(Duration::ZERO, every)).await;
        let mut ticks = interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while pending.is_some() || !self.over.load(Ordering::Relaxed) {
            ticks.tick().await;
            let client = match open.take() {
                Some(client) => Ok(client),
                None => Client::connect(self.addresses[self.node]).await,
            };
            let Ok(mut client) = client else {
                self.node = (self.node + 1) % self.addresses.len();
                continue;
            };
            let draft = pending.take().unwrap_or_else(|| self.draw());
            let offer = client.offer(&self.shared, &draft).await;
            let taken = offer == Offer::Acknowledged;
            answers.push(Answer {
                message: draft.id,
                node: self.node,
                asked: Instant::now() - client.waited,
                waited: client.waited,
                taken,
            });
            match taken {
                true => open = Some(client),
                false => pending = Some(draft),
            }
        }
        answers
    }

    fn draw(&mut self) -> Draft {
        self.next += 1;
        Draft::draw(self.next, &mut self.dice, &self.shared.world, &self.pool)
    }
}

/// A lease lasts so long.
const LEASE: Duration = Duration::from_secs(180);
