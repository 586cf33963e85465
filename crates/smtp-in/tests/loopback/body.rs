//! Bodies: large, refused, broken.

use std::time::Duration;

use smtp_in::Limits;
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use crate::support::{BREAK_OCTETS, Peer, Seen, World, settings, within};

const LINE: &str = "0123456789012345678901234567890123456789012345678901234567890123456789\r\n";

/// Sends `LINE` until there are `octets` of them, without the final dot. Returns how many there were.
async fn send_lines(peer: &mut Peer, octets: usize) -> usize {
    let block = LINE.repeat(1000);
    let mut sent = 0;
    while sent < octets {
        peer.send(&block).await;
        sent += block.len();
    }
    sent
}

#[tokio::test]
async fn twenty_megabytes_come_in_small_chunks() {
    let mut world = World::start(settings(), Limits::default());
    let mut peer = world.connect().await;
    peer.hello().await;
    peer.begin("bob@client.example").await;
    let sent = send_lines(&mut peer, 20_000_000).await;
    peer.send(".\r\n").await;
    peer.expect("250 2.0.0 queued").await;
    let message = world.message().await;
    assert_eq!(message.octets, sent);
    assert!(message.chunk_max <= 64 * 1024, "{}", message.chunk_max);
}

#[tokio::test]
async fn a_slow_draft_slows_the_client() {
    let mut world = World::start(settings(), Limits::default());
    let mut peer = world.connect().await;
    peer.hello().await;
    peer.begin("slow@client.example").await;
    let mut stream = peer.into_stream();
    // The server has stopped reading when, long before the end, there is no more room in the sockets' buffers.
    let block = LINE.repeat(1000);
    let mut sent = 0;
    loop {
        assert!(sent < 40_000_000, "the server reads without bound");
        let rest = &block.as_bytes()[sent % block.len()..];
        match timeout(Duration::from_millis(100), stream.write(rest)).await {
            Ok(written) => sent += written.unwrap(),
            Err(_) => break,
        }
    }
    world.permits.add_permits(1);
    // Nothing is lost by the wait.
    let rest = &block.as_bytes()[sent % block.len()..];
    within(stream.write_all(rest)).await.unwrap();
    let mut peer = Peer::new(stream);
    peer.send("\r\n.\r\n").await;
    peer.expect("250 2.0.0 queued").await;
    assert_eq!(world.message().await.octets, sent + rest.len() + 2);
}

#[tokio::test]
async fn a_draft_that_breaks_reads_on_to_the_true_end() {
    let mut world = World::start(settings(), Limits::default());
    let mut peer = world.connect().await;
    peer.hello().await;
    peer.begin("break@client.example").await;
    send_lines(&mut peer, 5 * BREAK_OCTETS).await;
    // Gone at the first failed write, not at the end of the body.
    loop {
        match world.seen().await {
            Seen::Abandoned => break,
            Seen::Message(message) => panic!("{message:?}"),
            _ => {}
        }
    }
    peer.send("QUIT\r\n.\r\n").await;
    peer.expect("451 4.3.0 disk trouble").await;
    peer.begin("bob@client.example").await;
    peer.send("x\r\n.\r\n").await;
    peer.expect("250 2.0.0 queued").await;
    assert_eq!(world.message().await.text, "x\r\n");
}

#[tokio::test]
async fn no_room_is_said_before_the_body() {
    let world = World::start(settings(), Limits::default());
    let mut peer = world.connect().await;
    peer.hello().await;
    peer.ask("MAIL FROM:<full@client.example>", "250 ").await;
    peer.ask("RCPT TO:<alice@example.org>", "250 ").await;
    peer.ask("DATA", "452 4.3.0 no room").await;
    peer.ask("RSET", "250 ").await;
    peer.begin("bob@client.example").await;
    peer.send(".\r\n").await;
    peer.expect("250 2.0.0 queued").await;
}

#[tokio::test]
async fn bdat_chunks_make_one_message() {
    let mut world = World::start(settings(), Limits::default());
    let mut peer = world.connect().await;
    peer.hello().await;
    peer.ask("MAIL FROM:<bob@client.example>", "250 ").await;
    peer.ask("RCPT TO:<alice@example.org>", "250 ").await;
    peer.send("BDAT 8\r\n.first\r\nBDAT 9 LAST\r\n.\r\nlast\r\n")
        .await;
    peer.expect("250 ").await;
    peer.expect("250 ").await;
    assert_eq!(world.message().await.text, ".first\r\n.\r\nlast\r\n");
}
