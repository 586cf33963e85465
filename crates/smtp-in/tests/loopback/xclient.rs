//! XCLIENT: another client in the place of a listed one, and for the caps too.

use smtp_in::{Ending, Incident, Limits};

use crate::support::{World, settings};

fn world(from: &str, limits: Limits) -> World {
    let mut settings = settings();
    settings.xclient_from = vec![from.parse().unwrap()];
    World::start(settings, limits)
}

#[tokio::test]
async fn the_named_client_is_the_client() {
    let mut world = world("127.0.0.0/8", Limits::default());
    let mut sender = world.connect().await;
    sender.hello().await;
    let attributes = "ADDR=IPV6:2001:db8::7 PORT=50000 DESTADDR=198.51.100.2 DESTPORT=25";
    sender.ask(&format!("XCLIENT {attributes}"), "220 ").await;
    sender.ask("QUIT", "221 ").await;
    drop(sender);
    let (client, ending) = world.closed().await;
    assert_eq!(ending, Ending::Session);
    assert_eq!(client.peer, "[2001:db8::7]:50000".parse().unwrap());
    assert_eq!(client.local, "198.51.100.2:25".parse().unwrap());
    assert!(client.proxy.unwrap().ip().is_loopback() && client.hello.is_none());
}

#[tokio::test]
async fn from_others_it_is_refused() {
    let mut world = world("192.0.2.0/24", Limits::default());
    let mut sender = world.connect().await;
    sender.hello().await;
    sender.ask("XCLIENT ADDR=192.0.2.7", "550 5.7.0 ").await;
    sender.ask("QUIT", "221 ").await;
    drop(sender);
    assert!(world.closed().await.0.peer.ip().is_loopback());
}

#[tokio::test]
async fn the_named_client_is_charged() {
    let limits = Limits {
        connections_per_address_max: 1,
        ..Limits::default()
    };
    let mut world = world("127.0.0.0/8", limits);
    let mut first = world.connect().await;
    first.hello().await;
    first.ask("XCLIENT ADDR=192.0.2.7", "220 ").await;
    // The proxy has room for another connection now, and its client has none.
    let mut second = world.connect().await;
    second.hello().await;
    second.ask("XCLIENT ADDR=192.0.2.7", "421 4.7.0 ").await;
    second.expect_end().await;
    let mut third = world.connect().await;
    third.hello().await;
    third.ask("XCLIENT ADDR=192.0.2.8", "220 ").await;
    let connected = |incident: &Incident| matches!(incident, Incident::Connected);
    assert!(connected(&world.incident().await.1));
}
