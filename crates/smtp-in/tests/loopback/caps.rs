//! Connection caps.

use std::sync::atomic::Ordering;

use smtp_in::{Cap, Incident, Limits};

use crate::support::{World, settings};

#[tokio::test]
async fn one_too_many_in_total() {
    let limits = Limits {
        connections_max: 2,
        ..Limits::default()
    };
    check(limits, "421 4.3.2 ", Cap::Total).await;
}

#[tokio::test]
async fn one_too_many_from_an_address() {
    let limits = Limits {
        connections_per_address_max: 2,
        ..Limits::default()
    };
    check(limits, "421 4.7.0 ", Cap::PerAddress).await;
}

#[tokio::test]
async fn whom_the_service_trusts_by_now_has_no_cap_of_its_own() {
    let limits = Limits {
        connections_per_address_max: 1,
        ..Limits::default()
    };
    let world = World::start(settings(), limits);
    let mut first = world.connect().await;
    first.hello().await;
    world.connect().await.expect("421 4.7.0 ").await;
    world.trusting.store(true, Ordering::Relaxed);
    let mut peers = Vec::new();
    for _ in 0..3 {
        let mut peer = world.connect().await;
        peer.hello().await;
        peers.push(peer);
    }
    world.trusting.store(false, Ordering::Relaxed);
    world.connect().await.expect("421 4.7.0 ").await;
}

/// Two have room, the third is told why not, and has room once one of them is gone.
async fn check(limits: Limits, reply: &str, cap: Cap) {
    let mut world = World::start(settings(), limits);
    let mut first = world.connect().await;
    first.hello().await;
    let mut second = world.connect().await;
    second.hello().await;

    let mut third = world.connect().await;
    third.expect(reply).await;
    third.expect_end().await;
    let (client, incident) = loop {
        match world.incident().await {
            (_, Incident::Connected) => {}
            other => break other,
        }
    };
    assert!(
        matches!(incident, Incident::Refused(c) if c == cap),
        "{incident:?}"
    );
    assert_eq!(client.id, 3);

    second.ask("QUIT", "221 ").await;
    drop(second);
    world.closed().await;
    // The slot is given back right after the end is reported.
    loop {
        let mut fourth = world.connect().await;
        let line = fourth.read_once().await;
        if line.starts_with("220 ") {
            break;
        }
        assert!(line.starts_with(reply), "{line}");
    }
    first.ask("NOOP", "250 ").await;
}
