//! The operator changes the queue: hold, release, retry, remove, bounce.

use testkit::daemon::Relay;
use testkit::net::Net;

use crate::{origin_sends, relay};

/// A relay whose messages to target.test wait, an hour between tries.
async fn waiting(net: &Net, subjects: &[&str]) -> (Relay, Vec<String>) {
    let relay = relay(net, "alice@example.test alice@target.test\n")
        .set("queue.retry", "[\"1h\"]")
        .start()
        .await;
    let mut ids = Vec::new();
    for subject in subjects {
        origin_sends(&relay, "alice@example.test", subject).await;
        ids = relay
            .wait_for_count(ids.len() + 1, "deferred")
            .await
            .iter()
            .map(|event| event.text("id"))
            .collect();
    }
    (relay, ids)
}

#[tokio::test]
async fn changing() {
    let net = Net::new().await;
    let sink = net.sink("target.test", "rcpt: 450 4.2.1 busy").await;
    let origin = net.sink("sender.test", "").await;
    let (relay, ids) = waiting(&net, &["one", "two", "three", "four"]).await;
    sink.script("");
    relay.run(&["queue", "hold", &ids[0]]).await;
    relay.run(&["queue", "remove", &ids[1]]).await;
    relay.run(&["queue", "bounce", &ids[2]]).await;
    let bounce = origin.message().await.text();
    assert!(
        bounce.contains("Subject: three") && bounce.contains("Action: failed"),
        "{bounce}"
    );

    relay.run(&["queue", "retry", "--all"]).await;
    assert!(sink.message().await.text().contains("Subject: four"));
    relay.wait_for(&format!("delivered id={}", ids[3])).await;
    let list = relay.run_json(&["queue", "list"]).await.to_string();
    assert!(list.contains(&ids[0]) && list.contains("held"), "{list}");
    for id in &ids[1..] {
        assert!(!list.contains(id), "{list}");
    }
    relay.run(&["queue", "release", &ids[0]]).await;
    relay.run(&["queue", "retry", "--to", "target.test"]).await;
    assert!(sink.message().await.text().contains("Subject: one"));
    relay
        .setup()
        .run_into_error(&["queue", "hold"], &["say which legs", "--all"])
        .await;
}
