//! Plain sessions.

use smtp_in::{Ending, Incident, Limits, Role};

use crate::support::{Seen, World, forward_path, settings};

#[tokio::test]
async fn a_message_and_its_facts() {
    let mut world = World::start(settings(), Limits::default());
    let mut peer = world.connect().await;
    let extensions = peer.hello().await;
    assert!(!extensions.contains("STARTTLS"), "{extensions}");
    peer.begin("bob@client.example").await;
    peer.send("Subject: hi\r\n\r\n..dot\r\n.\r\n").await;
    peer.expect("250 2.0.0 queued as TEST").await;
    peer.ask("QUIT", "221 ").await;
    peer.expect_end().await;

    let (client, incident) = world.incident().await;
    assert!(matches!(incident, Incident::Connected), "{incident:?}");
    assert_eq!((client.id, client.role), (1, Role::Mx));
    assert!(client.hello.is_none() && client.tls.is_none() && client.proxy.is_none());
    let Seen::Hello(name) = world.seen().await else {
        panic!("no hello");
    };
    assert_eq!(name, "client.example");
    let Seen::Draft(client, envelope) = world.seen().await else {
        panic!("no draft");
    };
    assert_eq!(client.local, world.address);
    assert!(client.peer.ip().is_loopback());
    let hello = client.hello.unwrap();
    assert_eq!((&*hello.name, hello.extended), ("client.example", true));
    assert_eq!(envelope.reverse_path.to_string(), "<bob@client.example>");
    let recipients: Vec<_> = envelope.recipients.iter().map(forward_path).collect();
    assert_eq!(recipients, ["alice@example.org"]);
    let message = world.message().await;
    assert_eq!(message.text, "Subject: hi\r\n\r\n.dot\r\n");
    drop(peer);
    assert_eq!(world.closed().await.1, Ending::Session);
}

#[tokio::test]
async fn a_pipelined_group_is_answered_at_once() {
    let world = World::start(settings(), Limits::default());
    let mut peer = world.connect().await;
    peer.hello().await;
    let group = "MAIL FROM:<bob@client.example>\r\nRCPT TO:<nobody@example.org>\r\n\
                 RCPT TO:<alice@example.org>\r\nDATA\r\n";
    peer.send(group).await;
    // One write of the server's is one read here: loopback keeps small segments whole.
    let replies = peer.read_once().await;
    let codes: Vec<_> = replies.lines().map(|line| &line[..4]).collect();
    assert_eq!(codes, ["250 ", "550 ", "250 ", "354 "], "{replies}");
    peer.send("x\r\n.\r\nQUIT\r\n").await;
    peer.expect("250 2.0.0 queued").await;
    peer.expect("221 ").await;
    peer.expect_end().await;
}

#[tokio::test]
async fn verdicts_reach_the_client() {
    let mut world = World::start(settings(), Limits::default());
    let mut peer = world.connect().await;
    peer.expect("220 ").await;
    peer.ask("EHLO unwelcome.example", "550 5.1.1 not you")
        .await;
    peer.ask("EHLO client.example", "250 ").await;
    peer.ask("MAIL FROM:<>", "250 ").await;
    peer.ask("RCPT TO:<trap@example.org>", "421 4.3.0 go away")
        .await;
    peer.expect_end().await;
    drop(peer);
    assert_eq!(world.closed().await.1, Ending::Session);
}

#[tokio::test]
async fn a_bug_in_one_connection_leaves_the_others_alone() {
    let mut world = World::start(settings(), Limits::default());
    let mut healthy = world.connect().await;
    healthy.hello().await;
    let mut doomed = world.connect().await;
    doomed.hello().await;
    doomed.ask("MAIL FROM:<>", "250 ").await;
    doomed.send("RCPT TO:<bug@example.org>\r\n").await;
    doomed.expect_end().await;
    let (client, ending) = world.closed().await;
    assert_eq!((client.id, ending), (2, Ending::Panicked));
    healthy.ask("NOOP", "250 ").await;
    world.connect().await.hello().await;
}

#[tokio::test]
async fn a_client_that_goes_abandons_its_draft() {
    let mut world = World::start(settings(), Limits::default());
    let mut peer = world.connect().await;
    peer.hello().await;
    peer.begin("bob@client.example").await;
    peer.send("half a mess").await;
    drop(peer);
    let (_, ending) = world.closed().await;
    assert_eq!(ending, Ending::PeerClosed);
    assert!(matches!(world.seen().await, Seen::Abandoned));
}

#[tokio::test]
async fn ipv4_through_a_dual_stack_socket_is_ipv4() {
    let mut settings = settings();
    settings.bind = "[::]:0".parse().unwrap();
    let mut world = World::start(settings, Limits::default());
    world.address.set_ip("127.0.0.1".parse().unwrap());
    world.connect().await.hello().await;
    let (client, _) = world.incident().await;
    assert!(
        client.peer.is_ipv4() && client.local.is_ipv4(),
        "{client:?}"
    );
    assert_eq!(client.local, world.address);
}
