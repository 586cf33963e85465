//! SIGHUP reads the forwards again, all or nothing: a typo keeps the old table and says where it is.

use testkit::net::Net;
use testkit::sender::Plain;

use crate::{origin_sends, relay};

#[tokio::test]
async fn typo_keeps_the_old_table() {
    let net = Net::new().await;
    let sink = net.sink("target.test", "").await;
    let relay = relay(&net, "alice@example.test alice@target.test\n")
        .start()
        .await;

    relay.setup().write(
        "forwards",
        "bob@example.test bob@target.test\n\nalice@example.test alice@\n",
    );
    relay.reload();
    let failed = relay
        .wait_for("reload-failed error=forwards:3:")
        .await
        .text("error");
    assert!(failed.contains("hint: "), "{failed}");
    origin_sends(&relay, "alice@example.test", "one").await;
    assert_eq!(sink.message().await.to(), ["alice@target.test"]);
    let mut plain = Plain::hello(relay.address()).await;
    plain.expect("MAIL FROM:<origin@sender.test>", "250").await;
    plain
        .expect("RCPT TO:<bob@example.test>", "550 5.1.1")
        .await;

    relay
        .setup()
        .write("forwards", "bob@example.test bob@target.test\n");
    relay.reload();
    relay.wait_for("reloaded").await;
    // The transaction that is open keeps the rules under which it began; the next one has the new.
    plain.expect("RCPT TO:<alice@example.test>", "250").await;
    plain.expect("RSET", "250").await;
    plain.expect("MAIL FROM:<origin@sender.test>", "250").await;
    plain.expect("RCPT TO:<bob@example.test>", "250").await;
    plain
        .expect("RCPT TO:<alice@example.test>", "550 5.1.1")
        .await;
}

#[tokio::test]
async fn broken_certificate_keeps_the_old_one() {
    let net = Net::new().await;
    let relay = relay(&net, "").with_tls().start().await;
    let certificate = relay.setup().path("cert.pem");
    let good = std::fs::read_to_string(&certificate).expect("a certificate");
    relay.setup().write("cert.pem", "nonsense");
    relay.reload();
    relay.wait_for("reload-failed error=cert.pem").await;
    Plain::hello(relay.address()).await.start_tls().await;
    relay.setup().write("cert.pem", &good);
    relay.reload();
    relay.wait_for("reloaded").await;
    Plain::hello(relay.address()).await.start_tls().await;
}
