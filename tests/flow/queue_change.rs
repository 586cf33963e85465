//! The operator changes the queue: hold, release, retry, remove, bounce.

use testkit::net::Net;

use crate::waiting;

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
