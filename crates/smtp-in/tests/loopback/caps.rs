//! Connection caps.

use std::sync::atomic::Ordering;

use smtp_in::{Cap, Ending, Incident, Limits, Role, Settings};

use crate::support::{FOREVER, Peer, World, settings};

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

/// All but the reserve of one are taken by clients that keep us waiting: it is the first that has a transaction.
async fn nearly_full(settings: Settings) -> (World, Vec<Peer>) {
    let limits = Limits {
        connections_max: 8,
        ..Limits::default()
    };
    let world = World::start(settings, limits);
    let mut peers = Vec::new();
    for _ in 0..7 {
        let mut peer = world.connect().await;
        peer.hello().await;
        peers.push(peer);
    }
    peers[0].ask("MAIL FROM:<ann@client.example>", "250 ").await;
    (world, peers)
}

/// A newcomer is served, and `peer` is told to go.
async fn check_makes_room(world: &mut World, mut peer: Peer, id: u64) -> Peer {
    let mut newcomer = world.connect().await;
    newcomer.hello().await;
    peer.expect("421 4.3.2 ").await;
    peer.expect_end().await;
    let (client, ending) = world.closed().await;
    assert_eq!((client.id, ending), (id, Ending::MadeRoom));
    newcomer
}

#[tokio::test]
async fn a_newcomer_has_the_place_of_who_was_silent_longest() {
    let (mut world, mut peers) = nearly_full(settings()).await;
    // The second has spoken since.
    peers[1].ask("NOOP", "250 ").await;
    let mut newcomers = Vec::new();
    for id in [3, 4, 5, 6, 7, 2] {
        let at = if id == 2 { 1 } else { 2 };
        newcomers.push(check_makes_room(&mut world, peers.remove(at), id).await);
    }
    // Whoever has no transaction goes before the one that has.
    for (peer, id) in newcomers.into_iter().zip(8..) {
        peers.push(check_makes_room(&mut world, peer, id).await);
    }
    peers[0].ask("RCPT TO:<bob@example.org>", "250 ").await;
}

#[tokio::test]
async fn one_with_a_transaction_goes_when_all_have_one() {
    let (mut world, mut peers) = nearly_full(settings()).await;
    for peer in &mut peers[1..] {
        peer.begin("ann@client.example").await;
        peer.send("half a mess").await;
    }
    check_makes_room(&mut world, peers.remove(0), 1).await;
}

#[tokio::test]
async fn trusted_clients_keep_their_places() {
    let mut world = World::start(
        settings(),
        Limits {
            connections_max: 8,
            ..Limits::default()
        },
    );
    world.trusting.store(true, Ordering::Relaxed);
    let mut peers = Vec::new();
    for _ in 0..8 {
        let mut peer = world.connect().await;
        peer.hello().await;
        peers.push(peer);
    }
    world.connect().await.expect("421 4.3.2 ").await;
    drop(peers.pop());
    world.closed().await;
    for peer in &mut peers {
        peer.ask("NOOP", "250 ").await;
    }
}

#[tokio::test]
async fn users_keep_their_places() {
    let mut settings = settings();
    settings.role = Role::Submission;
    settings.xclient_from = vec!["127.0.0.0/8".parse().unwrap()];
    let (mut world, mut peers) = nearly_full(settings).await;
    peers[1].ask("XCLIENT LOGIN=ann", "220 ").await;
    peers[2].ask("NOOP", "250 ").await;
    let mut newcomers = Vec::new();
    for id in [4, 5, 6, 7, 3] {
        let at = if id == 3 { 2 } else { 3 };
        newcomers.push(check_makes_room(&mut world, peers.remove(at), id).await);
    }
    peers[1].ask("EHLO client.example", "250 ").await;
}

#[tokio::test]
async fn who_waits_for_the_greeting_makes_room() {
    let limits = Limits {
        connections_max: 8,
        ..Limits::default()
    };
    let mut world = World::start(settings(), limits);
    *world.greet_wait.lock() = FOREVER;
    let mut silent = Vec::new();
    for _ in 0..7 {
        silent.push(world.connect().await);
        world.incident().await;
    }
    let _newcomer = world.connect().await;
    silent[0].expect("421 4.3.2 ").await;
    assert_eq!(world.closed().await.1, Ending::MadeRoom);
}
