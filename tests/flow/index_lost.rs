//! The spool's index is only an index: lost, it is made anew from the log.

use std::fs;

use testkit::net::Net;

use crate::{origin_sends, relay};

#[tokio::test]
async fn queue_survives_the_loss_of_its_index() {
    let net = Net::new().await;
    let sink = net.sink("target.test", "rcpt: 450 4.2.1 busy").await;
    let setup = relay(&net, "alice@example.test alice@target.test\n");
    let first = setup.set("queue.retry", "[\"1h\"]").start().await;
    origin_sends(&first, "alice@example.test", "one").await;
    origin_sends(&first, "alice@example.test", "two").await;
    let deferred = first.wait_for_count(2, "deferred").await;
    first.run(&["queue", "hold", &deferred[0].text("id")]).await;
    let setup = first.stop().await;
    fs::remove_dir_all(setup.path("spool/index")).expect("the index can be removed");

    sink.script("");
    let second = setup.start().await;
    assert_eq!(second.wait_for("ready").await.text("queued"), "2");
    second.run(&["queue", "retry", "--all"]).await;
    assert!(sink.message().await.text().contains("Subject: two"));
    let list = second.run_json(&["queue", "list"]).await.to_string();
    assert!(list.contains("\"state\":\"held\""), "{list}");
}
