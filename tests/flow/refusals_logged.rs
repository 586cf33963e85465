//! Nothing is refused without a line in the mail log, by whichever layer; nor is a transaction lost without one.

use testkit::net::Net;
use testkit::sender::Plain;

use crate::relay;

const FORWARDS: &str = "alice@example.test alice@target.test\n";

#[tokio::test]
async fn what_the_protocol_refuses_has_a_line() {
    let net = Net::new().await;
    let relay = relay(&net, FORWARDS)
        .set("limits.recipients", "1")
        .set("limits.message_size", "\"10 kB\"")
        .start()
        .await;
    let mut plain = Plain::hello(relay.address()).await;
    plain
        .expect("MAIL FROM:<bro@ken@sender.test>", "501 5.1.7")
        .await;
    let size = "MAIL FROM:<origin@sender.test> SIZE=999999";
    plain.expect(size, "552").await;
    plain.expect("MAIL FROM:<origin@sender.test>", "250").await;
    plain.expect("RCPT TO:<nobody>", "501 5.1.3").await;
    plain.expect("RCPT TO:<alice@example.test>", "250").await;
    plain.expect("RCPT TO:<alice@example.test>", "452").await;
    plain.expect("AUTH PLAIN c2VjcmV0", "50").await;
    plain.expect("DATA", "354").await;
    plain.raw(b"a\nb\r\n.\r\n").await;
    assert!(plain.reply().await.starts_with("554 5.6.0"));

    for line in [
        "refused stage=mail rule=bad-sender from=bro@ken@sender.test reply=501",
        "refused stage=mail rule=too-large from=SIZE=999999 reply=552",
        "refused stage=rcpt rule=bad-recipient from=<origin@sender.test> to=<nobody>",
        "refused stage=rcpt rule=too-many-recipients to=alice@example.test reply=452",
        "refused stage=message rule=bare-newline from=<origin@sender.test> reply=554",
    ] {
        let event = relay.wait_for(line).await;
        assert!(!event.text("hello").is_empty(), "{event}");
    }
    let secret = relay.wait_for("refused stage=auth command=AUTH").await;
    assert!(!secret.to_string().contains("c2VjcmV0"), "{secret}");
}

/// 452 counts as no error, so only the log's own limit bounds what one client can write into it.
#[tokio::test]
async fn a_flood_of_refusals_is_counted() {
    let net = Net::new().await;
    let relay = relay(&net, FORWARDS)
        .set("limits.recipients", "1")
        .start()
        .await;
    let mut plain = Plain::hello(relay.address()).await;
    plain.expect("MAIL FROM:<origin@sender.test>", "250").await;
    plain.expect("RCPT TO:<alice@example.test>", "250").await;
    for _ in 0..150 {
        plain.expect("RCPT TO:<alice@example.test>", "452").await;
    }
    plain.quit().await;
    let closed = relay.wait_for("connection-closed").await;
    assert!(
        closed.text("reason").contains("50 more refusals"),
        "{closed}"
    );
    assert_eq!(relay.count("refused rule=too-many-recipients"), 100);
}

#[tokio::test]
async fn a_client_that_goes_within_data_has_a_line() {
    let net = Net::new().await;
    let relay = relay(&net, FORWARDS).start().await;
    let mut plain = Plain::hello(relay.address()).await;
    plain.expect("MAIL FROM:<origin@sender.test>", "250").await;
    plain.expect("RCPT TO:<alice@example.test>", "250").await;
    plain.expect("DATA", "354").await;
    plain.raw(b"Subject: half a message\r\n").await;
    drop(plain);
    let lost = "connection-closed from=<origin@sender.test> recipients=1 reason=closed";
    let lost = relay.wait_for(lost).await;
    assert!(lost.fields().contains_key("size"), "{lost}");

    // One that says QUIT, or has nothing open, loses nothing.
    let mut plain = Plain::hello(relay.address()).await;
    plain.expect("MAIL FROM:<origin@sender.test>", "250").await;
    plain.quit().await;
    drop(Plain::hello(relay.address()).await);
    relay.stop().await;
}
