//! The mail log tells the way of a message: received, forwarded, delivered, with one id.

use testkit::net::Net;
use testkit::sender::send;

use crate::relay;

#[tokio::test]
async fn mail_log_tells_the_way_of_a_message() {
    let net = Net::new().await;
    let sink = net
        .sink("target.test", "dot: 250 2.0.0 taken as 4711")
        .await;
    let relay = relay(&net, "alice@example.test alice@target.test\n")
        .start()
        .await;
    send(
        relay.address(),
        "origin@sender.test",
        &["alice@example.test"],
        include_bytes!("../mail/plain.eml"),
    )
    .await;
    let got = sink.message().await;

    let received = relay
        .wait_for(
            "received from=<origin@sender.test> recipients=1 client=127.0.0.1: hello=client.test",
        )
        .await;
    let id = received.text("id");
    assert_eq!(received.text("message_id"), "<plain@sender.test>");
    assert_eq!(received.text("listener"), relay.address().to_string());
    assert!(received.fields().contains_key("before_queue_ms"));
    assert!(
        got.text().contains(&id),
        "the id stands in the Received field: {}",
        got.text()
    );
    let forwarded = relay
        .wait_for(&format!(
            "forwarded id={id} to=alice@example.test target=alice@target.test"
        ))
        .await;
    assert_eq!(forwarded.text("sender"), format!("<{}>", got.from));
    let delivered = relay
        .wait_for(&format!(
            "delivered id={id} to=alice@example.test target=alice@target.test"
        ))
        .await;
    assert_eq!(delivered.text("reply"), "250 2.0.0 taken as 4711");
    assert_eq!(delivered.text("attempt"), "1");
    let at = sink.address();
    let host = format!("mx.target.test[{}]:{}", at.ip(), at.port());
    assert_eq!(delivered.text("host"), host);
    assert_eq!(delivered.text("site"), "mx.target.test");
    assert!(!delivered.fields().contains_key("tls"));
    let part = |key: &str| delivered.fields()[key].as_u64().unwrap();
    let parts = ["queued_ms", "connect_ms", "transmission_ms"].map(part);
    let sum: u64 = parts.iter().sum();
    assert!(
        sum <= part("delay_ms") + 2 && sum + 2 >= part("delay_ms"),
        "{delivered}"
    );
}
