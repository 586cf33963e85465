//! The daemon dies at the points of the crash table (`spool/README.md`), under mail; it starts again and has kept its word.
//!
//! What each row promises in detail, and the points that only a log of many segments comes to, are `crates/queue/tests/processes/crash.rs`.

use std::collections::BTreeSet;
use std::path::PathBuf;

use testkit::daemon::{Relay, Setup};
use testkit::mail;
use testkit::net::Net;
use testkit::sender::Plain;
use testkit::sink::{Received, Sink};

use crate::relay;

/// Points that mail leads to, or the time that passes meanwhile; the how-manieth time.
const AT_WORK: [(&str, u32); 13] = [
    ("accept.chunk_written", 2),
    ("commit.before_write", 5),
    ("commit.before_sync", 5),
    ("commit.after_sync", 5),
    ("commit.before_answer", 5),
    ("change.before_record", 3),
    ("change.recorded", 3),
    ("end.noted", 3),
    ("notice.before_record", 2),
    ("checkpoint.before_barrier", 1),
    ("checkpoint.before_index", 1),
    ("checkpoint.before_sync", 1),
    ("checkpoint.synced", 1),
];

/// Points on the way up, on a spool with mail that a kill has left.
const STARTING: [&str; 6] = [
    "recover.before_cut",
    "recover.segment_read",
    "recover.replayed",
    "recover.checkpointed",
    "segment.before_rename",
    "segment.begun",
];

const FORWARDS: &str = "taken@example.test a@target.test\nrefused@example.test b@gone.test\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_that_dies_at_work() {
    for (point, nth) in AT_WORK {
        let world = World::new().await;
        let first = world.relay().environment(FAULT, armed(point, nth));
        let first = first.start().await;
        let acknowledged = send_until_it_dies(&first, point).await;
        let second = first.died().await.environment(FAULT, PathBuf::new());
        world
            .prove(&second.start().await, &acknowledged, 1, point)
            .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_that_dies_as_it_starts() {
    for point in STARTING {
        let world = World::new().await;
        let first = world.relay().start().await;
        let mut plain = Plain::hello(first.address()).await;
        let mut acknowledged = Vec::new();
        for number in 0..10 {
            let reply = offer(&mut plain, number).await.expect("a reply");
            assert!(reply.starts_with("250"), "{point}: {reply}");
            acknowledged.push(number);
        }
        let second = first.kill().await.environment(FAULT, armed(point, 1));
        let third = second.spawn().died().await;
        let third = third.environment(FAULT, PathBuf::new()).start().await;
        world.prove(&third, &acknowledged, 2, point).await;
    }
}

const FAULT: &str = "ONWARD_FAULT";

fn armed(point: &str, nth: u32) -> PathBuf {
    format!("{point}:{nth}").into()
}

/// A destination that takes mail, one that refuses it, and the sender's own, for notices.
struct World {
    net: Net,
    taken: Sink,
    _refused: Sink,
    origin: Sink,
}

impl World {
    async fn new() -> Self {
        let net = Net::new().await;
        Self {
            taken: net.sink("target.test", "").await,
            _refused: net.sink("gone.test", "rcpt: 550 5.1.1 gone").await,
            origin: net.sink("sender.test", "").await,
            net,
        }
    }

    fn relay(&self) -> Setup {
        relay(&self.net, FORWARDS)
    }

    /// What was acknowledged arrives, or its sender is told; each of the crashes may have repeated it once, and what comes is
    /// whole.
    async fn prove(&self, relay: &Relay, acknowledged: &[usize], crashes: usize, point: &str) {
        let (refused, taken): (BTreeSet<usize>, BTreeSet<usize>) =
            acknowledged.iter().partition(|number| is_refused(**number));
        let all = |wanted: &BTreeSet<usize>, got: &[Received]| {
            let got = got.iter().filter_map(number).collect();
            wanted.is_subset(&got)
        };
        let what = format!("{point}: what was acknowledged");
        self.taken
            .received_until(&what, |got| all(&taken, got))
            .await;
        let what = format!("{point}: a notice about each that was refused");
        self.origin
            .received_until(&what, |got| all(&refused, got))
            .await;
        while relay.run_json(&["queue", "list"]).await["legs"] != serde_json::json!([]) {
            tokio::task::yield_now().await;
        }
        for got in self.taken.received() {
            let number = number(&got).expect("only our mail comes here");
            mail::added_on_top(&got.data, &message(number));
        }
        for sink in [&self.taken, &self.origin] {
            let numbers: Vec<_> = sink.received().iter().filter_map(number).collect();
            let most = |number: &usize| numbers.iter().filter(|other| *other == number).count();
            assert!(
                numbers.iter().all(|number| most(number) <= 1 + crashes),
                "{point}: {numbers:?}"
            );
        }
    }
}

/// Sends one message after the other until the connection breaks; the numbers of those that were acknowledged.
async fn send_until_it_dies(relay: &Relay, point: &str) -> Vec<usize> {
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS {
        connections.push(Plain::hello(relay.address()).await);
    }
    let mut acknowledged = Vec::new();
    for plain in &mut connections {
        for _ in 0..MESSAGES_EACH {
            let number = acknowledged.len();
            let Some(reply) = offer(plain, number).await else {
                return acknowledged;
            };
            assert!(reply.starts_with("250"), "{point}: {reply}");
            acknowledged.push(number);
        }
    }
    panic!("{point} was not met in {} messages", acknowledged.len());
}

/// Together enough for several seconds, since checkpoints come by the clock; the relay takes so many messages of one connection.
const CONNECTIONS: usize = 50;
const MESSAGES_EACH: usize = 100;

async fn offer(plain: &mut Plain, number: usize) -> Option<String> {
    let to = match is_refused(number) {
        true => "<refused@example.test>",
        false => "<taken@example.test>",
    };
    plain
        .try_transaction("<origin@sender.test>", to, &message(number))
        .await
}

fn is_refused(number: usize) -> bool {
    number % 4 == 1
}

/// The second of each five comes in chunks.
fn message(number: usize) -> Vec<u8> {
    let mut mail = mail::short(&number.to_string());
    if number < 10 && number % 5 == 2 {
        mail.extend_from_slice(
            &b"a line of a message that is too large for one record\r\n".repeat(30_000),
        );
    }
    mail
}

/// Of a message, or of the one that a notice is about: its subject, or the one quoted.
fn number(got: &Received) -> Option<usize> {
    let text = got.text();
    let quoted = text.rsplit("\r\nSubject: ").next()?;
    quoted.split("\r\n").next()?.parse().ok()
}
