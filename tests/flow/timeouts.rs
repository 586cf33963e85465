//! Slow clients: one that says nothing, or drips a command byte by byte, is told and closed.

use testkit::net::Net;
use testkit::sender::Plain;

use crate::relay;

#[tokio::test]
async fn silent_clients_are_closed() {
    let net = Net::new().await;
    let setup = relay(&net, "").set("limits.command_timeout", "\"1s\"");
    let relay = setup.start().await;
    let mut silent = Plain::hello(relay.address()).await;
    let mut dripping = Plain::hello(relay.address()).await;
    dripping.raw(b"NO").await;
    for plain in [&mut silent, &mut dripping] {
        let told = plain.reply().await;
        assert!(told.starts_with("421 4.4.2"), "{told}");
        assert_eq!(plain.line().await, None, "and closed");
    }
}
