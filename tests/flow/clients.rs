//! Clients by address: a limit for each, and trusted ones.

use testkit::net::Net;
use testkit::sender::Plain;

use crate::{origin_sends, relay};

const FORWARDS: &str = "alice@example.test alice@target.test\n";

#[tokio::test]
async fn connections_per_address_are_limited() {
    let net = Net::new().await;
    let relay = relay(&net, FORWARDS)
        .set("limits.connections_per_address", "2")
        .start()
        .await;
    let first = Plain::hello(relay.address()).await;
    let _second = Plain::hello(relay.address()).await;
    let (_, refusal) = Plain::connect(relay.address()).await;
    assert!(
        refusal.starts_with("421 4.7.0") || refusal.starts_with("421 4.3.2"),
        "{refusal}"
    );
    first.quit().await;
}

#[tokio::test]
async fn trusted_clients_may_relay_and_others_may_not() {
    let net = Net::new().await;
    let sink = net.sink("elsewhere.test", "").await;
    let relay = relay(&net, FORWARDS)
        .set("policy.trusted", "[\"127.0.0.1/32\"]")
        .start()
        .await;
    origin_sends(&relay, "x@elsewhere.test", "one").await;
    let got = sink.message().await;
    assert_eq!(
        got.from, "origin@sender.test",
        "what is not forwarded is not rewritten"
    );
}
