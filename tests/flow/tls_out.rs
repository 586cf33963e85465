//! TLS to destinations that is broken: the mail goes in clear.

use testkit::mail;
use testkit::net::Net;

use crate::relay;

const FORWARDS: &str = "alice@example.test alice@target.test\n";

#[tokio::test]
async fn broken_tls_at_the_destination_means_clear_text() {
    let net = Net::new().await;
    // Says 220 and then cannot shake hands: the sink closes.
    let script = "offer: STARTTLS\nstarttls first 1: 220 go ahead";
    let sink = net.sink("target.test", script).await;
    let relay = relay(&net, FORWARDS).start().await;
    testkit::sender::send(
        relay.address(),
        "",
        &["alice@example.test"],
        &mail::short("one"),
    )
    .await;
    let got = sink.message().await;
    assert!(!got.tls && got.connection == 2, "{got:?}");
    relay.wait_for("delivered attempt=1").await;
}
