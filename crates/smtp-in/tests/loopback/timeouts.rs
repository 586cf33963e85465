//! Every wait for a client has an end.

use std::time::Duration;

use smtp_in::{Ending, Limits};

use crate::support::{Seen, World, settings};

const SHORT: Duration = Duration::from_millis(50);

#[tokio::test]
async fn a_silent_client_is_told_and_dropped() {
    let mut settings = settings();
    settings.session.timeouts.command = SHORT;
    let mut world = World::start(settings, Limits::default());
    let mut peer = world.connect().await;
    peer.hello().await;
    peer.expect("421 4.4.2 ").await;
    peer.expect_end().await;
    drop(peer);
    assert_eq!(world.closed().await.1, Ending::TimedOut);
}

#[tokio::test]
async fn a_session_has_an_end_however_busy() {
    let mut settings = settings();
    settings.session.timeouts.session = SHORT;
    settings.session.idle_commands_max = u32::MAX;
    let mut world = World::start(settings, Limits::default());
    let mut peer = world.connect().await;
    peer.hello().await;
    loop {
        peer.send("NOOP\r\n").await;
        let reply = peer.read_once().await;
        // The end may come together with the last reply.
        if reply.lines().any(|line| line.starts_with("421 ")) {
            break;
        }
        assert!(reply.starts_with("250 "), "{reply}");
    }
    drop(peer);
    assert_eq!(world.closed().await.1, Ending::TimedOut);
}

#[tokio::test]
async fn a_stalled_body_is_abandoned() {
    let mut settings = settings();
    settings.session.timeouts.body_bytes = SHORT;
    let mut world = World::start(settings, Limits::default());
    let mut peer = world.connect().await;
    peer.hello().await;
    peer.begin("bob@client.example").await;
    peer.send("half a mess").await;
    peer.expect("421 4.4.2 ").await;
    drop(peer);
    // The draft is there until the end is told, so that whoever logs it knows what was lost.
    assert_eq!(world.closed().await.1, Ending::TimedOut);
    assert!(matches!(world.seen().await, Seen::Abandoned));
}

#[tokio::test]
async fn a_client_that_does_not_read_is_dropped() {
    let mut settings = settings();
    settings.session.idle_commands_max = u32::MAX;
    settings.session.errors_max = u32::MAX;
    let limits = Limits {
        write: SHORT,
        ..Limits::default()
    };
    let mut world = World::start(settings, limits);
    let mut peer = world.connect().await;
    peer.hello().await;
    let (mut reading, mut writing) = tokio::io::split(peer.into_stream());
    // Fills the sockets' buffers in both directions until the server gives up.
    let flood = tokio::spawn(async move {
        use tokio::io::AsyncWriteExt;
        let commands = "HELP\r\n".repeat(1000);
        while writing.write_all(commands.as_bytes()).await.is_ok() {}
    });
    assert_eq!(world.closed().await.1, Ending::WriteTimedOut);
    // Only now read on, so that nothing keeps the flood waiting.
    let mut rest = Vec::new();
    let _ = tokio::io::AsyncReadExt::read_to_end(&mut reading, &mut rest).await;
    flood.await.unwrap();
}
