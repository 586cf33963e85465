//! A drain: no new mail, what is open ends, what is queued goes out.

use testkit::net::Net;
use testkit::sender::Plain;

use crate::{origin_sends, relay};

#[tokio::test]
async fn a_drain_refuses_new_mail_and_delivers_on() {
    let net = Net::new().await;
    let sink = net.sink("target.test", "").await;
    let relay = relay(&net, "alice@example.test alice@target.test\n")
        .start()
        .await;
    let mut busy = Plain::hello(relay.address()).await;
    let mut idle = Plain::hello(relay.address()).await;
    busy.expect("MAIL FROM:<origin@sender.test>", "250").await;
    busy.expect("RCPT TO:<alice@example.test>", "250").await;
    let said = relay.run(&["drain", "--reason", "new disk"]).await;
    assert!(
        said.starts_with("not drained yet: no mail is taken; 1 open transaction"),
        "{said}"
    );
    let event = relay.wait_for("drained").await;
    assert_eq!(event.text("reason"), "new disk");
    let (_client, greeting) = Plain::connect(relay.address()).await;
    assert!(greeting.starts_with("421 4.3.2"), "{greeting}");
    idle.expect("MAIL FROM:<origin@sender.test>", "421 4.3.2")
        .await;
    relay.wait_for_count(2, "refused rule=drained").await;
    relay
        .setup()
        .run_into_error(&["drain", "--wait", "1ms"], &["1 open transaction"])
        .await;

    busy.expect("DATA", "354").await;
    busy.raw(b"Subject: last\r\n\r\n").await;
    busy.expect(".", "250").await;
    busy.expect("MAIL FROM:<origin@sender.test>", "421 4.3.2")
        .await;
    let said = relay.run(&["drain", "--wait", "1h"]).await;
    assert!(
        said.contains("drained: no mail is taken, nothing is at work; nothing waits"),
        "{said}"
    );
    assert!(sink.message().await.text().contains("Subject: last"));
    assert_eq!(relay.run_json(&["status"]).await["drained"], true);
    relay.run(&["drain", "--end"]).await;
    relay.wait_for("undrained").await;
    origin_sends(&relay, "alice@example.test", "again").await;
    sink.messages(2).await;
}
