//! The operator pauses a site, over a restart, and limits one.

use testkit::net::Net;

use crate::{origin_sends, relay};

const FORWARDS: &str = "a@example.test a@target.test\nb@example.test b@other.test\n";

#[tokio::test]
async fn a_paused_site_gets_nothing_until_it_is_resumed() {
    let net = Net::new().await;
    let (sink, other) = (
        net.sink("target.test", "").await,
        net.sink("other.test", "").await,
    );
    let first = relay(&net, FORWARDS).start().await;
    // By the domain, before any mail for it: its MX is not known yet.
    let said = first
        .run(&[
            "site",
            "pause",
            "target.test",
            "--reason",
            "they asked for it",
        ])
        .await;
    assert!(
        said.contains("pause of target.test") && said.contains("no site that is known now"),
        "{said}"
    );
    let event = first.wait_for("site-paused site=target.test").await;
    assert_eq!(event.text("reason"), "they asked for it");
    for subject in ["one", "two"] {
        origin_sends(&first, "a@example.test", subject).await;
        origin_sends(&first, "b@example.test", subject).await;
    }
    other.messages(2).await;
    let waits = |list: &serde_json::Value| {
        list["legs"][0]["waits"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    loop {
        let list = first.run_json(&["queue", "list"]).await;
        if list["legs"].as_array().unwrap().len() == 2 && waits(&list).contains("paused since") {
            assert!(waits(&list).ends_with(": they asked for it"), "{list}");
            break;
        }
    }
    let retried = first.run(&["queue", "retry", "--all"]).await;
    assert!(retried.contains("paused"), "{retried}");
    assert_eq!(sink.connections(), 0);

    let second = first.stop().await.start().await;
    origin_sends(&second, "a@example.test", "three").await;
    origin_sends(&second, "b@example.test", "three").await;
    other.messages(3).await;
    let list = second.run_json(&["site", "list"]).await;
    assert_eq!(list["orders"][0]["reason"], "they asked for it");
    let finished = second.setup().run(&["site", "resume", "target"]).await;
    assert_eq!(
        finished.code,
        Some(3),
        "not the name of the pause: {finished}"
    );
    assert_eq!(sink.connections(), 0, "still paused");
    second.run(&["site", "resume", "target.test"]).await;
    sink.messages(3).await;
    second.wait_for("site-resumed site=target.test").await;
    second
        .wait_for_count(3, "delivered target=a@target.test")
        .await;
    // They are counted a moment after they are logged.
    let show = ["site", "show", "target"];
    while !second.run(&show).await.contains("250 2.0.0 × 3") {}
    let third = second.stop().await.start().await;
    assert_eq!(
        third.run_json(&["site", "list"]).await["orders"],
        serde_json::json!([])
    );
}

#[tokio::test]
async fn a_limit_lets_so_many_messages_go() {
    let net = Net::new().await;
    let (sink, other) = (
        net.sink("target.test", "").await,
        net.sink("other.test", "").await,
    );
    let relay = relay(&net, FORWARDS).start().await;
    relay
        .run(&[
            "site",
            "limit",
            "target",
            "--rate",
            "1/m",
            "--connections",
            "1",
        ])
        .await;
    for subject in ["one", "two", "three"] {
        origin_sends(&relay, "a@example.test", subject).await;
        origin_sends(&relay, "b@example.test", subject).await;
    }
    other.messages(3).await;
    sink.message().await;
    // A minute has not passed; if it has, the machine is slower than this test can wait.
    assert!(sink.received().len() <= 2);
    relay.run(&["site", "limit", "target", "--off"]).await;
    sink.messages(3).await;
    relay.wait_for("site-unlimited site=target").await;
}
