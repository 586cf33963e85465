//! Connections to destinations: one is used for one message after the other, from the source address that is configured.

use testkit::net::Net;

use crate::{origin_sends, relay};

#[tokio::test]
async fn reused_and_from_the_configured_address() {
    let net = Net::new().await;
    let sink = net.sink("target.test", "greeting: 421 4.3.2 not yet").await;
    let source = net.address().ip();
    let relay = relay(&net, "alice@example.test alice@target.test\n")
        .set("delivery.concurrency", "1")
        .set("delivery.bind", &format!("[\"{source}\"]"))
        .start()
        .await;
    for subject in ["one", "two", "three", "four"] {
        origin_sends(&relay, "alice@example.test", subject).await;
    }
    relay.wait_for("site-down").await;
    sink.script("");
    let got = sink.messages(4).await;
    let last = got[3].connection;
    assert!(got[1..].iter().all(|got| got.connection == last), "{got:?}");
    assert!(got.iter().all(|got| got.peer.ip() == source), "{got:?}");
}
