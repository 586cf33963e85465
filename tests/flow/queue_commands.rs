//! The operator's commands against a running relay: list, show, cat, hold, release, retry, remove, bounce.

use testkit::daemon::Relay;
use testkit::mail;
use testkit::net::Net;
use testkit::sender::send;

use crate::relay;

/// A relay whose messages to target.test wait, an hour between tries.
async fn waiting(net: &Net, subjects: &[&str]) -> (Relay, Vec<String>) {
    let relay = relay(net, "alice@example.test alice@target.test\n")
        .set("queue.retry", "[\"1h\"]")
        .start()
        .await;
    let mut ids = Vec::new();
    for subject in subjects {
        send(
            relay.address(),
            "origin@sender.test",
            &["alice@example.test"],
            &mail::short(subject),
        )
        .await;
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
        .run_into_error(&["queue", "hold"], &["hint"])
        .await;
}

#[tokio::test]
async fn a_hold_survives_a_restart_and_a_stopped_daemon_is_said() {
    let net = Net::new().await;
    let sink = net.sink("target.test", "rcpt: 450 4.2.1 busy").await;
    let (relay, ids) = waiting(&net, &["one"]).await;
    relay.run(&["queue", "hold", &ids[0]]).await;
    let setup = relay.stop().await;
    setup
        .run_into_error(&["queue", "list"], &["control.sock", "hint: "])
        .await;
    sink.script("");
    let relay = setup.start().await;
    let list = relay.run_json(&["queue", "list"]).await.to_string();
    assert!(list.contains("held"), "{list}");
    relay.run(&["queue", "release", "--all"]).await;
    relay.run(&["queue", "retry", "--all"]).await;
    sink.message().await;
}
