//! The destination says "later": the message waits and is tried again, for the recipients that are left.

use testkit::mail;
use testkit::net::Net;
use testkit::sender::send;

use crate::{origin_sends, relay};

#[tokio::test]
async fn deferred_at_the_end_of_data_then_delivered() {
    let net = Net::new().await;
    let sink = net
        .sink("target.test", "dot first 1: 451 4.3.0 try later")
        .await;
    let relay = relay(&net, "alice@example.test alice@target.test\n")
        .start()
        .await;
    origin_sends(&relay, "alice@example.test", "one").await;
    let deferred = relay
        .wait_for("deferred to=alice@example.test status=4.3.0 attempt=1")
        .await;
    assert_eq!(deferred.text("reply"), "451 4.3.0 try later");
    relay
        .wait_for("delivered to=alice@example.test attempt=2")
        .await;
    mail::added_on_top(&sink.message().await.data, &mail::short("one"));
}

#[tokio::test]
async fn only_the_deferred_recipient_is_tried_again() {
    let net = Net::new().await;
    let sink = net
        .sink(
            "target.test",
            "rcpt for bob@ first 1: 450 4.2.1 mailbox busy",
        )
        .await;
    let relay = relay(
        &net,
        "alice@example.test alice@target.test\nbob@example.test bob@target.test\n",
    )
    .start()
    .await;
    let to = ["alice@example.test", "bob@example.test"];
    send(
        relay.address(),
        "origin@sender.test",
        &to,
        &mail::short("one"),
    )
    .await;
    relay
        .wait_for("deferred to=bob@example.test status=4.2.1")
        .await;
    relay
        .wait_for("delivered to=bob@example.test attempt=2")
        .await;
    let mut to: Vec<_> = sink
        .messages(2)
        .await
        .iter()
        .flat_map(|got| got.recipients.clone())
        .map(|r| r.to)
        .collect();
    to.sort();
    assert_eq!(to, ["alice@target.test", "bob@target.test"]);
}
