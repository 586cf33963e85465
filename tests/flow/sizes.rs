//! Sizes: ours, announced and found out, and the destination's; and a destination without SMTPUTF8.

use testkit::mail;
use testkit::net::Net;
use testkit::sender::{Plain, send, send_with};

use crate::relay;

const FORWARDS: &str =
    "alice@example.test alice@target.test\njürgen@example.test jürgen@target.test\n";

#[tokio::test]
async fn destination_without_smtputf8_or_room() {
    let net = Net::new().await;
    let target = net.sink("target.test", "offer: -SMTPUTF8 SIZE=1000").await;
    let origin = net.sink("sender.test", "").await;
    let relay = relay(&net, FORWARDS).start().await;
    send_with(
        relay.address(),
        "<origin@sender.test> SMTPUTF8",
        &["<jürgen@example.test>"],
        b"Subject: a\r\n\r\n",
    )
    .await;
    relay
        .wait_for("failed target=jürgen@target.test status=5.6.7")
        .await;
    send(
        relay.address(),
        "origin@sender.test",
        &["alice@example.test"],
        &mail::long(5_000),
    )
    .await;
    relay
        .wait_for("failed target=alice@target.test status=5.3.4")
        .await;
    origin.messages(2).await;
    assert_eq!(target.received(), []);
    assert!(
        target
            .transcript()
            .iter()
            .all(|line| !line.contains("C: MAIL")),
        "nothing was even tried"
    );
}

#[tokio::test]
async fn large_and_too_large() {
    let net = Net::new().await;
    let sink = net.sink("target.test", "").await;
    let relay = relay(&net, FORWARDS)
        .set("limits.message_size", "\"10 MB\"")
        .start()
        .await;
    let mail = mail::long(9_999_999);
    send(
        relay.address(),
        "origin@sender.test",
        &["alice@example.test"],
        &mail,
    )
    .await;
    mail::added_on_top(&sink.message().await.data, &mail);
    let mut plain = Plain::hello(relay.address()).await;
    plain
        .expect("MAIL FROM:<origin@sender.test> SIZE=10000001", "552 5.3.4")
        .await;
    let to = ["<alice@example.test>"];
    let (_, end) = plain
        .transaction("<origin@sender.test>", &to, &mail::long(10_100_000))
        .await;
    assert!(end.starts_with("552 5.3.4"), "{end}");
    plain.expect("NOOP", "250").await;
    assert_eq!(sink.received().len(), 1);
}
