//! The operator looks into the queue: list, show, cat.

use testkit::daemon::Relay;
use testkit::mail;
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
async fn looking() {
    let net = Net::new().await;
    let _sink = net.sink("target.test", "rcpt: 450 4.2.1 busy").await;
    let (relay, ids) = waiting(&net, &["one", "two"]).await;
    let list = relay.run(&["queue", "list"]).await;
    assert!(
        ids.iter().all(|id| list.contains(id)) && list.contains("alice@example.test"),
        "{list}"
    );
    let json = relay.run_json(&["queue", "list"]).await;
    let text = json.to_string();
    assert!(
        text.contains("450 4.2.1 busy") && text.contains("\"attempts\":1"),
        "{text}"
    );
    let show = relay.run(&["queue", "show", &ids[0]]).await;
    assert!(
        show.contains("origin@sender.test") && show.contains("alice@target.test"),
        "{show}"
    );
    let cat = relay.run(&["queue", "cat", &ids[0]]).await;
    assert!(
        cat.ends_with(&String::from_utf8_lossy(&mail::short("one")).into_owned()),
        "{cat}"
    );
    relay
        .setup()
        .run_into_error(&["queue", "show", "01ARZ3NDEKTSV4RRFFQ69G5FAV"], &[])
        .await;
}
