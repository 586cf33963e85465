//! Three nodes on one PostgreSQL: one is killed, one is stopped for a while, the database is killed. Whatever was answered 250 arrives.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use testkit::campaign::nodes::{self, Hurt, Settings};
use testkit::daemon::{Relay, Setup, Signal};
use testkit::net::Net;
use testkit::postgres::Postgres;
use testkit::sender::Plain;
use testkit::sink::{Received, Sink};
use tokio::task::JoinSet;

/// The nodes, what they share, and where their mail goes.
struct Cluster {
    net: Net,
    sink: Sink,
    /// It lets the first message wait for longer than a test lasts.
    slow: Sink,
    nodes: Vec<Relay>,
}

impl Cluster {
    /// With the first of its nodes.
    async fn new(url: &str) -> Self {
        let net = Net::new().await;
        let sink = net.sink("target.test", "").await;
        let slow = net.sink("slow.test", "dot first 1: wait 90s").await;
        let mut cluster = Self {
            net,
            sink,
            slow,
            nodes: Vec::new(),
        };
        cluster.start(url, 1..=1).await;
        cluster
    }

    async fn start(&mut self, url: &str, numbers: RangeInclusive<u32>) {
        for number in numbers {
            let setup = Setup::new(
                env!("CARGO_BIN_EXE_onward"),
                &self.net,
                "fwd.test",
                "@example.org @target.test\n@slow.example @slow.test\n",
            )
            .set("queue.store", &format!("'{url}'"))
            .set("queue.node", &format!("'mx{number}'"));
            self.nodes.push(setup.start().await);
        }
    }

    fn load(&self) -> Load {
        Load::begin("", self.nodes.iter().map(Relay::address))
    }

    /// Waits until all that was acknowledged has arrived; how many copies came besides.
    async fn prove(&self, acknowledged: &BTreeSet<String>) -> usize {
        let began = Instant::now();
        loop {
            let received = self.sink.received();
            let names = received
                .iter()
                .map(|message| message.to()[0].replace("@target.test", ""));
            let arrived: BTreeSet<String> = names.collect();
            let missing: Vec<_> = acknowledged.difference(&arrived).collect();
            if missing.is_empty() {
                return received.len() - arrived.len();
            }
            if began.elapsed() > TAKEN_OVER * 2 {
                let list = self.nodes[1].run(&["queue", "list", "--limit", "20"]).await;
                panic!(
                    "{} are missing, such as {}\n{list}\n{}",
                    missing.len(),
                    missing[0],
                    self.nodes[1].log()
                );
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

/// What clients do, until it is over.
pub(super) struct Load {
    over: Arc<AtomicBool>,
    clients: JoinSet<(usize, Vec<Heard>)>,
}

/// A message that was acknowledged, and when.
type Heard = (String, Instant);

impl Load {
    /// Clients that send to each node until told to stop; the names of their messages begin so.
    pub(super) fn begin(label: &str, nodes: impl IntoIterator<Item = SocketAddr>) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let mut clients = JoinSet::new();
        for (node, address) in nodes.into_iter().enumerate() {
            for client in 0..4 {
                let (over, label) = (Arc::clone(&over), label.to_owned());
                clients.spawn(async move {
                    let mut heard = Vec::new();
                    let mut plain = Plain::hello(address).await.patience(ANSWERED);
                    for number in 0.. {
                        if over.load(Ordering::Relaxed) {
                            break;
                        }
                        let name = format!("{label}n{node}c{client}m{number}");
                        match offer(&mut plain, &name).await {
                            None => break,
                            Some(true) => heard.push((name, Instant::now())),
                            Some(false) => tokio::time::sleep(Duration::from_millis(100)).await,
                        }
                    }
                    (node, heard)
                });
            }
        }
        Self { over, clients }
    }

    /// What was acknowledged, and by which node.
    async fn end(self) -> Vec<BTreeSet<String>> {
        let by_node = self.heard().await;
        let names = by_node
            .into_iter()
            .map(|heard| heard.into_iter().map(|(name, _)| name).collect());
        names.collect()
    }

    /// As [`Load::end`], with when each was.
    pub(super) async fn heard(self) -> Vec<Vec<Heard>> {
        self.over.store(true, Ordering::Relaxed);
        let mut by_node = vec![Vec::new(); 3];
        for (node, heard) in self.clients.join_all().await {
            by_node[node].extend(heard);
        }
        by_node
    }
}

/// Whether a message was taken; none when the connection broke.
async fn offer(plain: &mut Plain, name: &str) -> Option<bool> {
    for (line, expected) in [
        ("MAIL FROM:<origin@sender.test>".to_owned(), "250"),
        (format!("RCPT TO:<{name}@example.org>"), "250"),
        ("DATA".to_owned(), "354"),
        (
            format!("Subject: {name}\r\n\r\n{}\r\n.", "text ".repeat(400)),
            "250",
        ),
    ] {
        plain.raw(format!("{line}\r\n").as_bytes()).await;
        let reply = plain.line().await?;
        if !reply.starts_with(expected) {
            assert!(reply.starts_with('4'), "{name}: {reply}");
            plain.raw(b"RSET\r\n").await;
            return plain.line().await.map(|_| false);
        }
    }
    Some(true)
}

/// Its mail is delivered by the others, soon.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "foreign: PostgreSQL"]
async fn a_node_is_killed() {
    let server = Postgres::start(&[]).await;
    let url = server.database("mail").await;
    let mut cluster = Cluster::new(&url).await;
    let mut plain = Plain::hello(cluster.nodes[0].address()).await;
    for n in 0..SLOW {
        let to = format!("<s{n}@slow.example>");
        let reply = plain
            .try_transaction("<origin@sender.test>", &to, b"Subject: slow\r\n\r\n")
            .await;
        assert!(reply.is_some_and(|reply| reply.starts_with("250")));
    }
    // It is in the middle of the first before there are others.
    cluster.slow.connected(1).await;
    cluster.start(&url, 2..=3).await;
    let load = cluster.load();
    tokio::time::sleep(Duration::from_secs(3)).await;
    let killed = cluster.nodes.remove(0).kill().await;
    let died = Instant::now();
    tokio::time::sleep(Duration::from_secs(3)).await;
    let by_node = load.end().await;
    assert!(by_node.iter().all(|heard| heard.len() > 50), "{by_node:?}");
    let acknowledged = together(&by_node);
    let twice = cluster.prove(&acknowledged).await;
    println!("{} acknowledged, {twice} twice", acknowledged.len());
    // Four clients at most were in the middle of something, and as many deliveries as the node had begun.
    assert!(twice <= acknowledged.len() / 20, "{twice} came twice");
    // What it was working on waits for no longer than that.
    let all = |received: &[Received]| {
        (0..SLOW).all(|n| {
            let to = format!("s{n}@slow.test");
            received.iter().any(|message| message.to() == [&*to])
        })
    };
    cluster
        .slow
        .received_until("what the killed node had in hand", all)
        .await;
    println!(
        "its own legs were delivered {:?} after the kill",
        died.elapsed()
    );
    assert!(died.elapsed() < TAKEN_OVER, "{:?}", died.elapsed());
    let list = cluster.nodes[0].run_json(&["node", "list"]).await;
    let rows = list.as_array().expect("rows").iter();
    let states: Vec<_> = rows.map(|row| row["state"].as_str()).collect();
    assert_eq!(states, [Some("gone"), Some("working"), Some("working")]);
    let forget = |name| ["node", "forget", name];
    let alive = cluster.nodes[0].setup();
    alive
        .run_into_error(&forget("mx2"), &["no node named `mx2` is gone"])
        .await;
    cluster.nodes[0].run(&forget("mx1")).await;
    let list = cluster.nodes[0].run_json(&["node", "list"]).await;
    assert_eq!(list.as_array().map(Vec::len), Some(2), "{list}");
    // It comes back under its name, and takes mail.
    let back = killed.start().await;
    let mut plain = Plain::hello(back.address()).await;
    assert_eq!(offer(&mut plain, "again").await, Some(true));
    cluster.prove(&BTreeSet::from(["again".to_owned()])).await;
}

/// For longer than the others wait for it. What it had in hand it does not send when it goes on.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "foreign: PostgreSQL"]
async fn a_node_is_stopped_for_a_while() {
    let server = Postgres::start(&[]).await;
    let url = server.database("mail").await;
    let mut cluster = Cluster::new(&url).await;
    cluster.start(&url, 2..=3).await;
    let load = cluster.load();
    tokio::time::sleep(Duration::from_secs(2)).await;
    cluster.nodes[0].signal(Signal::STOP);
    // The others give it up after 20 seconds, give or take a heartbeat.
    tokio::time::sleep(Duration::from_secs(26)).await;
    cluster.nodes[0].signal(Signal::CONT);
    tokio::time::sleep(Duration::from_secs(3)).await;
    let acknowledged = together(&load.end().await);
    let twice = cluster.prove(&acknowledged).await;
    println!("{} acknowledged, {twice} twice", acknowledged.len());
    assert!(twice <= acknowledged.len() / 20, "{twice} came twice");
}

/// For less long than makes a node give up: clients wait, and that is all. `cargo bench --bench pauses` does the same for longer.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "foreign: PostgreSQL"]
async fn the_way_to_the_database_stands_still() {
    let report = nodes::run(Settings {
        program: env!("CARGO_BIN_EXE_onward").to_owned(),
        hurt: Hurt::Link,
        pause: Duration::from_secs(5),
        around: Duration::from_secs(4),
        nodes: 2,
        clients: 4,
        rate: 20.0,
        seed: 1,
    })
    .await;
    println!("{report}");
    let account = &report.account;
    assert!(account.findings.is_empty(), "{report}");
    assert!(account.acknowledged > 100, "{report}");
    let without_250 = account.unheard + account.cut;
    assert_eq!((without_250, account.duplicates()), (0, 0), "{report}");
}

/// And started again: clients wait, or are answered 451.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "foreign: PostgreSQL"]
async fn the_database_is_killed() {
    let mut server = Postgres::start(&[]).await;
    let url = server.database("mail").await;
    let mut cluster = Cluster::new(&url).await;
    cluster.start(&url, 2..=3).await;
    let load = cluster.load();
    for _ in 0..2 {
        tokio::time::sleep(Duration::from_secs(2)).await;
        server.kill();
        tokio::time::sleep(Duration::from_secs(1)).await;
        server.go_on().await;
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    let acknowledged = together(&load.end().await);
    let twice = cluster.prove(&acknowledged).await;
    println!("{} acknowledged, {twice} twice", acknowledged.len());
    assert!(acknowledged.len() > 200);
    assert!(twice <= acknowledged.len() / 20, "{twice} came twice");
}

/// A database that keeps no promise is not started on.
#[tokio::test]
#[ignore = "foreign: PostgreSQL"]
async fn a_promise_that_cannot_be_kept_is_not_made() {
    let server = Postgres::start(&["fsync=off"]).await;
    let net = Net::new().await;
    let url = server.database("mail").await;
    let setup = Setup::new(
        env!("CARGO_BIN_EXE_onward"),
        &net,
        "fwd.test",
        "@example.org @target.test\n",
    )
    .set("queue.store", &format!("'{url}'"));
    let wanted = ["fsync = off", "store_check"];
    setup.run_into_error(&["serve"], &wanted).await;
    setup.run_into_error(&["check"], &wanted[..1]).await;
    let relay = setup.set("queue.store_check", "'warn'").start().await;
    let told = relay.setup().run(&["doctor"]).await.stdout;
    assert!(told.contains("fsync = off"), "{told}");
    relay.stop().await;
}

fn together(by_node: &[BTreeSet<String>]) -> BTreeSet<String> {
    by_node.iter().flatten().cloned().collect()
}

/// Messages to a destination at which the first one hangs.
const SLOW: usize = 2;
/// A client may have to wait for so long: a primary that fails over takes its time.
const ANSWERED: Duration = Duration::from_mins(2);
/// From the last heartbeat on.
const TAKEN_OVER: Duration = Duration::from_secs(30);
