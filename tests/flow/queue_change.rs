//! The operator changes the queue: hold, release, retry, remove, bounce.

use testkit::net::Net;

use crate::{origin_sends, relay, waiting};

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
    for (id, action) in ids.iter().zip(["hold", "remove", "bounce"]) {
        let line = format!("operator id={id} action={action} outcome=done uid=");
        relay.wait_for(&line).await;
    }
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
    assert!(sink.message().await.text().contains("Subject: one"));
    relay
        .setup()
        .run_into_error(&["queue", "hold"], &["say which legs", "--all"])
        .await;
}

/// An attempt that runs is not stopped: what was asked for is pending, and said to be.
#[tokio::test]
async fn changing_what_is_being_tried() {
    let net = Net::new().await;
    let sink = net.sink("target.test", "rcpt: wait 600s").await;
    let relay = relay(&net, "alice@example.test alice@target.test\n")
        .start()
        .await;
    origin_sends(&relay, "alice@example.test", "one").await;
    let id = relay.wait_for("received").await.text("id");
    sink.connected(1).await;
    let said = relay.run_json(&["queue", "hold", &id]).await;
    let counts = ["matched", "done", "pending"].map(|count| said[count].as_u64());
    assert_eq!(counts, [Some(1), Some(0), Some(1)], "{said}");
    let list = relay.run_json(&["queue", "list"]).await.to_string();
    assert!(list.contains(r#""pending":"hold""#), "{list}");
    let said = relay.run(&["queue", "bounce", "--all", "--yes"]).await;
    assert!(said.contains("1 leg being tried: bounced after"), "{said}");
    for look in [&["queue", "list"][..], &["queue", "show", &id]] {
        let said = relay.run(look).await;
        assert!(
            said.contains("pending") && said.contains("bounce"),
            "{said}"
        );
    }
    let said = relay.run(&["queue", "remove", &id]).await;
    assert!(said.contains("1 leg removed while being tried"), "{said}");
    for action in ["hold", "bounce", "remove"] {
        let line = format!("operator id={id} action={action} outcome=pending uid=");
        relay.wait_for(&line).await;
    }
}
