//! What an idle connection costs, measured in a process of its own: all tests share one process's memory.

use std::process::Command;

use smtp_in::{Limits, TlsMode};

use crate::support::{Peer, World, settings};
use crate::tls::Identity;

const CONNECTIONS: usize = 400;
const IDLE_OCTETS_MAX: usize = 20 * 1024;
/// Set in the child.
const ALONE: &str = "ONWARD_MEASURED_ALONE";

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "the test starts itself")]
async fn idle_connections_are_small() {
    if std::env::var_os(ALONE).is_some() {
        return measure().await;
    }
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "memory::idle_connections_are_small"])
        .env(ALONE, "yes")
        .status();
    assert!(status.unwrap().success());
}

async fn measure() {
    let identity = Identity::new();
    let mut settings = settings();
    settings.tls = TlsMode::StartTls(identity.holder());
    let limits = Limits {
        connections_per_address_max: CONNECTIONS,
        ..Limits::default()
    };
    let mut world = World::start(settings, limits);
    let before = resident_octets();
    let mut peers = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut peer = world.connect().await;
        peer.hello().await;
        peers.push(peer);
    }
    let plain = (resident_octets() - before) / CONNECTIONS;
    for peer in &mut peers {
        peer.begin("bob@client.example").await;
        peer.send("x\r\n".repeat(30_000) + ".\r\n").await;
        peer.expect("250 ").await;
        world.message().await;
    }
    let used = (resident_octets() - before) / CONNECTIONS;
    let mut secured = Vec::new();
    for mut peer in peers {
        peer.ask("STARTTLS", "220 ").await;
        let stream = identity.handshake(peer.into_stream()).await.unwrap();
        secured.push(Peer::new(stream));
    }
    let both_ends = (resident_octets() - before) / CONNECTIONS;
    println!("idle: {plain}; after a message: {used}; TLS, client included: {both_ends} octets");
    assert!(plain <= IDLE_OCTETS_MAX && used <= IDLE_OCTETS_MAX);
}

/// Linux only: the second number of `statm`, in pages.
fn resident_octets() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}
