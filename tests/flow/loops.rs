//! Mail that runs in circles is stopped: too many Received fields, or a Delivered-To of the address being expanded.

use testkit::net::Net;
use testkit::sender::Plain;

use crate::relay;

const HOP: &str = "Received: from a by b; Sat, 21 Nov 2026 12:34:56 +0000\r\n";

#[tokio::test]
async fn loops_are_refused_at_the_end_of_data() {
    let net = Net::new().await;
    let sink = net.sink("target.test", "").await;
    let relay = relay(
        &net,
        "alice@example.test alice@target.test\nbob@example.test bob@target.test\n",
    )
    .start()
    .await;
    let mut plain = Plain::hello(relay.address()).await;
    let mut answer = async |top: &str, to: &str| {
        let mail = format!("{top}Subject: round and round\r\n\r\nbody\r\n");
        plain
            .transaction("<origin@sender.test>", &[to], mail.as_bytes())
            .await
            .1
    };
    let too_many = answer(&HOP.repeat(51), "<alice@example.test>").await;
    assert!(too_many.starts_with("554 5.4.6"), "{too_many}");
    let enough = answer(&HOP.repeat(50), "<alice@example.test>").await;
    assert!(enough.starts_with("250"), "{enough}");
    let seen = "Delivered-To: Alice@example.test\r\n";
    let again = answer(seen, "<alice@example.test>").await;
    assert!(again.starts_with("554 5.4.6"), "{again}");
    let other = answer(seen, "<bob@example.test>").await;
    assert!(other.starts_with("250"), "{other}");
    assert_eq!(sink.messages(2).await.len(), 2);
    relay
        .wait_for_count(2, "refused stage=message rule=loop")
        .await;
}

/// A mail client redirected the message and kept its Delivered-To: ann has it, ben has not.
#[tokio::test]
async fn the_leg_that_loops_is_left_out_alone() {
    let net = Net::new().await;
    let sink = net.sink("target.test", "").await;
    let forwards = "team@example.test ann@example.test, ben@example.test\n\
                    ann@example.test ann@target.test\nben@example.test ben@target.test\n";
    let relay = relay(&net, forwards).start().await;
    let mail = b"Delivered-To: ann@example.test\r\nSubject: x\r\n\r\nx\r\n";
    let mut plain = Plain::hello(relay.address()).await;
    let mut answer = async |to: &str| {
        let sent = plain.transaction("<origin@sender.test>", &[to], mail).await;
        sent.1
    };
    let team = answer("<team@example.test>").await;
    assert!(team.starts_with("250"), "{team}");
    assert_eq!(sink.message().await.to(), ["ben@target.test"]);
    relay
        .wait_for("looped to=team@example.test target=ann@target.test passed=ann@example.test")
        .await;
    let ann = answer("<ann@example.test>").await;
    let named = "554 5.4.6 mail loop: this message has passed ann@example.test before";
    assert!(ann.starts_with(named), "{ann}");
}
