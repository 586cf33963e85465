//! Connections from networks that must send a PROXY header. The header's own grammar is tested beside its reader.

use smtp_in::{Cap, Client, Ending, Incident, Limits, ProxyError, TlsMode};

use crate::support::{Peer, World, settings};

const V1: &[u8] = b"PROXY TCP4 192.0.2.7 198.51.100.2 50000 25\r\n";

/// From [2001:db8::7]:50000 to [2001:db8::25]:25.
fn v2() -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x21\0\x24".to_vec();
    header.extend(
        "2001:db8::7"
            .parse::<std::net::Ipv6Addr>()
            .unwrap()
            .octets(),
    );
    header.extend(
        "2001:db8::25"
            .parse::<std::net::Ipv6Addr>()
            .unwrap()
            .octets(),
    );
    header.extend([0xc3, 0x50, 0, 25]);
    header
}

fn world(limits: Limits) -> World {
    let mut settings = settings();
    settings.proxy_from = vec!["127.0.0.0/8".parse().unwrap()];
    World::start(settings, limits)
}

async fn connected(world: &mut World) -> Client {
    match world.incident().await {
        (client, Incident::Connected) => client,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn check_client(client: &Client, peer: &str, local: &str) {
    assert_eq!(client.peer, peer.parse().unwrap());
    assert_eq!(client.local, local.parse().unwrap());
    let proxy = client.proxy.unwrap();
    assert!(proxy.ip().is_loopback(), "{proxy}");
}

#[tokio::test]
async fn both_versions_octet_by_octet() {
    let mut world = world(Limits::default());
    for (header, peer, local) in [
        (V1.to_vec(), "192.0.2.7:50000", "198.51.100.2:25"),
        (v2(), "[2001:db8::7]:50000", "[2001:db8::25]:25"),
    ] {
        let mut sender = world.connect().await;
        for octet in header {
            sender.send([octet]).await;
        }
        sender.hello().await;
        check_client(&connected(&mut world).await, peer, local);
        sender.ask("QUIT", "221 ").await;
        drop(sender);
        assert_eq!(world.closed().await.1, Ending::Session);
    }
}

#[tokio::test]
async fn what_follows_the_header_is_the_session_s() {
    let mut world = world(Limits::default());
    let mut sender = world.connect().await;
    let eager = [V1, b"EHLO client.example\r\nNOOP\r\nQUIT\r\n"].concat();
    sender.send(eager).await;
    sender.expect("220 ").await;
    sender.expect("250 ").await;
    sender.expect("250 ").await;
    sender.expect("221 ").await;
    assert_eq!(connected(&mut world).await.peer.port(), 50000);
}

#[tokio::test]
async fn missing_header_is_refused() {
    let mut world = world(Limits::default());
    let mut sender = world.connect().await;
    sender.send("EHLO client.example\r\n").await;
    sender.expect_end().await;
    let (client, ending) = world.closed().await;
    assert_eq!(ending, Ending::Proxy(ProxyError::Missing));
    assert!(client.proxy.is_none());
}

#[tokio::test]
async fn late_header_is_refused() {
    let mut world = world(Limits {
        proxy_header: std::time::Duration::from_millis(50),
        ..Limits::default()
    });
    let mut sender = world.connect().await;
    sender.send("PROXY TCP4 192.0.2.7").await;
    sender.expect_end().await;
    assert_eq!(world.closed().await.1, Ending::Proxy(ProxyError::TimedOut));
}

#[tokio::test]
async fn local_is_the_proxy_itself() {
    let mut world = world(Limits::default());
    let mut sender = world.connect().await;
    sender.send(b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0").await;
    sender.hello().await;
    let client = connected(&mut world).await;
    assert!(
        client.proxy.is_none() && client.peer.ip().is_loopback(),
        "{client:?}"
    );
}

#[tokio::test]
async fn from_elsewhere_a_header_is_an_unknown_command() {
    let mut settings = settings();
    settings.proxy_from = vec!["192.0.2.0/24".parse().unwrap()];
    let mut world = World::start(settings, Limits::default());
    let mut sender = world.connect().await;
    sender.expect("220 ").await;
    sender.send(V1).await;
    sender.expect("50").await;
    let client = connected(&mut world).await;
    assert!(
        client.proxy.is_none() && client.peer.ip().is_loopback(),
        "{client:?}"
    );
}

#[tokio::test]
async fn the_cap_counts_the_client_not_the_proxy() {
    let mut world = world(Limits {
        connections_per_address_max: 1,
        ..Limits::default()
    });
    let mut first = world.connect().await;
    first.send(V1).await;
    first.hello().await;
    let mut other = world.connect().await;
    other.send(v2()).await;
    other.hello().await;
    let mut again = world.connect().await;
    again.send(V1).await;
    again.expect("421 4.7.0 ").await;
    again.expect_end().await;
    connected(&mut world).await;
    connected(&mut world).await;
    let (client, incident) = world.incident().await;
    assert!(
        matches!(incident, Incident::Refused(Cap::PerAddress)),
        "{incident:?}"
    );
    check_client(&client, "192.0.2.7:50000", "198.51.100.2:25");
}

#[tokio::test]
async fn header_before_implicit_tls() {
    let identity = crate::tls::Identity::new();
    let mut settings = settings();
    settings.proxy_from = vec!["127.0.0.0/8".parse().unwrap()];
    settings.tls = TlsMode::Implicit(identity.holder());
    let mut world = World::start(settings, Limits::default());
    let mut sender = world.connect().await;
    sender.send(V1).await;
    let mut sender = Peer::new(identity.handshake(sender.into_stream()).await.unwrap());
    sender.hello().await;
    check_client(
        &connected(&mut world).await,
        "192.0.2.7:50000",
        "198.51.100.2:25",
    );
}
