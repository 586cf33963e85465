//! Shutting down.

use std::time::Duration;

use smtp_in::{Ending, Limits};
use tokio::net::TcpStream;

use crate::support::{Seen, World, settings};

#[tokio::test]
async fn idle_sessions_are_told_and_transactions_finish() {
    let mut world = World::start(settings(), Limits::default());
    let mut idle = world.connect().await;
    idle.hello().await;
    let mut busy = world.connect().await;
    busy.hello().await;
    busy.begin("bob@client.example").await;
    busy.send("first half\r\n").await;

    world.shutdown.cancel();
    idle.expect("421 4.3.2 ").await;
    idle.expect_end().await;
    drop(idle);
    assert_eq!(world.closed().await.1, Ending::Drained);
    let refused = TcpStream::connect(world.address).await.unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);

    busy.send("second half\r\n.\r\n").await;
    busy.expect("250 2.0.0 queued").await;
    busy.expect("421 4.3.2 ").await;
    busy.expect_end().await;
    drop(busy);
    assert_eq!(world.message().await.text, "first half\r\nsecond half\r\n");
    world.over().await;
}

#[tokio::test]
async fn a_commit_under_way_is_answered() {
    let mut world = World::start(settings(), Limits::default());
    let mut peer = world.connect().await;
    peer.hello().await;
    peer.begin("wait@client.example").await;
    loop {
        if let Seen::Draft(..) = world.seen().await {
            break;
        }
    }
    peer.send("x\r\n.\r\n").await;
    world.shutdown.cancel();
    world.permits.add_permits(1);
    peer.expect("250 2.0.0 queued").await;
    peer.expect("421 4.3.2 ").await;
    peer.expect_end().await;
    drop(peer);
    world.over().await;
}

#[tokio::test]
async fn draining_has_an_end() {
    let limits = Limits {
        drain: Duration::from_millis(50),
        ..Limits::default()
    };
    let mut world = World::start(settings(), limits);
    let mut stuck = world.connect().await;
    stuck.hello().await;
    stuck.begin("bob@client.example").await;
    world.shutdown.cancel();
    assert_eq!(world.closed().await.1, Ending::Killed);
    stuck.expect_end().await;
    world.over().await;
}

#[tokio::test]
async fn a_handshake_under_way_is_not_waited_for() {
    let mut settings = settings();
    settings.proxy_from = vec!["127.0.0.0/8".parse().unwrap()];
    let mut world = World::start(settings, Limits::default());
    let mut first = world.connect().await;
    first.send("PROXY TCP4 192.0.2.7").await;
    // A second connection's end says that the first, older one has been accepted.
    let mut second = world.connect().await;
    second.send("QUIT\r\n").await;
    world.closed().await;
    world.shutdown.cancel();
    assert_eq!(world.closed().await.1, Ending::Drained);
    first.expect_end().await;
    world.over().await;
}
