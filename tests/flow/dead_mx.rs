//! A single MX that is down: one connection a probe, however many messages wait; others are not affected.

use testkit::mail;
use testkit::net::Net;
use testkit::sender::Plain;

use crate::{origin_sends, relay};

const WAITING: usize = 60;

#[tokio::test]
async fn many_messages_wait_behind_one_probe() {
    let net = Net::new().await;
    let dead = net.sink("dead.test", "greeting: drop").await;
    let healthy = net.sink("healthy.test", "").await;
    let relay = relay(
        &net,
        "d@example.test d@dead.test\nh@example.test h@healthy.test\n",
    )
    .set("delivery.probe_longest", "\"1s\"")
    .start()
    .await;
    origin_sends(&relay, "d@example.test", "first").await;
    relay.wait_for("site-down").await;
    let before = dead.connections();

    let mut plain = Plain::hello(relay.address()).await;
    for number in 0..WAITING {
        let subject = format!("waiting-{number}");
        for to in ["<d@example.test>", "<h@example.test>"] {
            let (_, end) = plain
                .transaction("<origin@sender.test>", &[to], &mail::short(&subject))
                .await;
            assert!(end.starts_with("250"), "{end}");
        }
    }
    plain.quit().await;
    healthy.messages(WAITING).await;
    dead.connected(before + 2).await;
    let probes = dead.connections() - before;
    assert!(probes <= 10, "{probes} connections for {WAITING} messages");

    dead.script("");
    dead.messages(WAITING + 1).await;
    relay.wait_for("site-up").await;
    relay
        .wait_for_count(WAITING + 1, "delivered target=d@dead.test")
        .await;
    assert_eq!(relay.count("failed"), 0);
    assert_eq!(dead.received().len(), WAITING + 1, "none twice");
}

#[tokio::test]
async fn nobody_listens() {
    let net = Net::new().await;
    let address = net.address();
    net.publish("gone.test", address);
    let relay = relay(&net, "g@example.test g@gone.test\n").start().await;
    origin_sends(&relay, "g@example.test", "one").await;
    let deferred = relay
        .wait_for("deferred target=g@gone.test status=4.4.1")
        .await;
    assert!(deferred.text("reason").contains("refused"), "{deferred}");
    let late = testkit::sink::Sink::start(address, "").await;
    late.message().await;
    relay.wait_for("delivered target=g@gone.test").await;
}
