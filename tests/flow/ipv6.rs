//! IPv6 on both sides, and the next address when one does not answer.

use testkit::net::Net;
use testkit::sink::Sink;

use crate::{origin_sends, relay};

const FORWARDS: &str = "alice@example.test alice@target.test\n";

#[tokio::test]
async fn ipv6_in_and_out() {
    let net = Net::new().await;
    let sink = Sink::start(
        format!("[::1]:{}", net.port()).parse().expect("an address"),
        "",
    )
    .await;
    net.publish("target.test", sink.address());
    // The better address is v4 and nobody is there: the v6 one is next.
    net.dns
        .add(&format!("mx.target.test A {}", net.address().ip()));
    let relay = relay(&net, FORWARDS)
        .listener("bind = \"[::1]:0\"")
        .start()
        .await;
    assert!(relay.address().is_ipv6());
    origin_sends(&relay, "alice@example.test", "one").await;
    let got = sink.message().await;
    assert!(got.text().contains("[IPv6:::1]"), "{}", got.text());
    relay.wait_for("delivered host=[::1]").await;
}
