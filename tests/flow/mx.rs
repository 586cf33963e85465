//! Which host gets the mail: preference, the next one on trouble, never ourselves.

use testkit::mail;
use testkit::net::Net;
use testkit::sender::send;

use crate::{origin_sends, relay};

#[tokio::test]
async fn next_host_when_the_best_is_away_or_busy() {
    let net = Net::new().await;
    let busy = net
        .sink("busy.target.test", "greeting: 421 4.3.2 busy")
        .await;
    let good = net.sink("good.target.test", "").await;
    net.dns
        .add(&format!("away.target.test A {}", net.address().ip()));
    net.dns.add(
        "target.test MX 30 mx.good.target.test\ntarget.test MX 20 mx.busy.target.test\n\
         target.test MX 10 away.target.test",
    );
    let relay = relay(&net, "alice@example.test alice@target.test\n")
        .start()
        .await;
    origin_sends(&relay, "alice@example.test", "one").await;
    good.message().await;
    assert_eq!(busy.connections(), 1);
    relay
        .wait_for("delivered attempt=1 host=mx.good.target.test")
        .await;
}

#[tokio::test]
async fn mail_that_would_come_back_to_us_fails() {
    let net = Net::new().await;
    let address = net.address();
    net.publish("loop.test", address);
    let setup =
        relay(&net, "l@example.test l@loop.test\n").listener(&format!("bind = \"{address}\""));
    let relay = setup.start().await;
    send(
        relay.address(),
        "",
        &["l@example.test"],
        &mail::short("one"),
    )
    .await;
    relay
        .wait_for("failed target=l@loop.test status=5.4.6")
        .await;
}
