//! The greeting that a client must wait for, and replies that come late.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use smtp_in::{Ending, Incident, Limits, Role, Settings};
use tokio::net::TcpStream;

use crate::support::{DELAY, FOREVER, Peer, Seen, World, settings};

fn world(settings: Settings, greet_wait: Duration) -> World {
    let world = World::start(settings, Limits::default());
    *world.greet_wait.lock() = greet_wait;
    world
}

/// What it says is no command: nothing but its refusal comes of it.
async fn check_refused(settings: Settings, packets: &[&[u8]]) {
    let mut world = world(settings, FOREVER);
    let mut peer = world.connect().await;
    for packet in packets {
        peer.send(packet).await;
    }
    peer.expect("554 5.1.1 wait").await;
    peer.expect_end().await;
    drop(peer);
    let (client, incident) = world.incident().await;
    assert!(matches!(incident, Incident::Connected), "{incident:?}");
    assert!(!client.talked_early);
    match world.seen().await {
        Seen::Incident(client, Incident::Closed(Ending::Session)) => assert!(client.talked_early),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn who_talks_early_is_refused() {
    check_refused(settings(), &[b"EHLO client.example\r\n"]).await;
    check_refused(settings(), &[b"H"]).await;
    check_refused(
        settings(),
        &[b"EH", b"LO a\r\nMAIL FROM:<>\r\n", b"QUIT\r\n"],
    )
    .await;
    // The beginning of a TLS ClientHello.
    check_refused(
        settings(),
        &[b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"],
    )
    .await;
    check_refused(settings(), &[b"GET / HTTP/1.1\r\n\r\n", &[0; 100_000]]).await;
}

#[tokio::test]
async fn the_wait_begins_behind_the_proxy_header() {
    let proxied = || Settings {
        proxy_from: vec!["127.0.0.0/8".parse().unwrap()],
        ..settings()
    };
    let header = b"PROXY TCP4 192.0.2.1 192.0.2.2 4000 25\r\n";
    check_refused(proxied(), &[header, b"EHLO a\r\n"]).await;
    check_refused(proxied(), &[&[&header[..], b"EHLO a\r\n"].concat()]).await;
    let world = world(proxied(), DELAY);
    let mut peer = world.connect().await;
    peer.send(header).await;
    peer.expect("220 ").await;
}

#[tokio::test]
async fn who_waits_is_greeted() {
    let mut world = world(settings(), DELAY);
    let began = Instant::now();
    let mut peer = world.connect().await;
    peer.expect("220 ").await;
    assert!(began.elapsed() >= DELAY);
    peer.ask("EHLO a.example", "250 ").await;
    peer.ask("QUIT", "221 ").await;
    drop(peer);
    assert_eq!(world.closed().await.1, Ending::Session);
}

#[tokio::test]
async fn who_is_gone_before_the_greeting_holds_nothing() {
    let mut world = world(settings(), FOREVER);
    drop(world.connect().await);
    assert_eq!(world.closed().await.1, Ending::PeerClosed);
}

#[tokio::test]
async fn clients_of_ours_do_not_wait() {
    let role = Role::Submission;
    let submission = world(Settings { role, ..settings() }, FOREVER);
    submission.connect().await.expect("220 ").await;
    let trusting = world(settings(), FOREVER);
    trusting.trusting.store(true, Ordering::Relaxed);
    trusting.connect().await.expect("220 ").await;
}

#[tokio::test]
async fn a_shutdown_ends_the_wait() {
    let mut world = world(settings(), FOREVER);
    let mut waiting = world.connect().await;
    world.incident().await;
    world.shutdown.cancel();
    waiting.expect("220 ").await;
    waiting.expect("421 4.3.2 ").await;
    drop(waiting);
    world.over().await;
}

#[tokio::test]
async fn replies_are_late_and_a_shutdown_is_not() {
    let mut world = world(settings(), Duration::ZERO);
    let mut late = world.connect().await;
    late.expect("220 ").await;
    let began = Instant::now();
    late.ask("EHLO late.example", "250 ").await;
    // Replies to a group are one write, so they are late once. What the session answers by itself is late too.
    late.send("NOOP\r\nNOSUCH\r\n").await;
    late.expect("250 ").await;
    late.expect("500 ").await;
    assert!(began.elapsed() >= 2 * DELAY);

    let mut very_late = Peer::new(TcpStream::connect(world.address).await.unwrap());
    very_late.expect("220 ").await;
    very_late.send("EHLO very-late.example\r\n").await;
    loop {
        if let Seen::Hello(name) = world.seen().await
            && name == "very-late.example"
        {
            break;
        }
    }
    world.shutdown.cancel();
    very_late.expect("250 ").await;
    very_late.expect("421 4.3.2 ").await;
    drop((late, very_late));
    world.over().await;
}

#[tokio::test]
async fn too_many_commands_end_the_session_in_a_transaction_too() {
    let mut world = world(settings(), Duration::ZERO);
    let mut peer = world.connect().await;
    peer.expect("220 ").await;
    peer.ask("EHLO busy.example", "250 ").await;
    peer.ask("MAIL FROM:<a@busy.example>", "250 ").await;
    peer.ask("NOSUCH", "500 ").await;
    peer.send("NOOP\r\nNOOP\r\n").await;
    peer.expect("250 ").await;
    peer.expect("250 ").await;
    peer.expect("421 4.3.0 too much").await;
    peer.expect_end().await;
    drop(peer);
    assert_eq!(world.closed().await.1, Ending::Session);
}
