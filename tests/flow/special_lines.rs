//! Lines of the forwards file that are no targets: discard, reject, options; postmaster; and what is refused.

use testkit::mail;
use testkit::net::Net;
use testkit::sender::{Plain, send};

use crate::{origin_sends, relay};

const FORWARDS: &str = "\
# address            targets                         options
@catch.test          all@a.test
plain@example.test   plain@a.test                    srs=off
junk@example.test    :discard:
old@example.test     :reject: 550 5.1.6 moved, write to new@example.test
";

#[tokio::test]
async fn discard_reject_srs_off_and_unknown() {
    let net = Net::new().await;
    let sink = net.sink("a.test", "").await;
    let relay = relay(&net, FORWARDS)
        .set("forwards.postmaster", "\"admin@a.test\"")
        .start()
        .await;
    let mut plain = Plain::hello(relay.address()).await;
    plain.expect("MAIL FROM:<origin@sender.test>", "250").await;
    let moved = plain
        .expect("RCPT TO:<old@example.test>", "550 5.1.6")
        .await;
    assert!(
        moved.contains("moved, write to new@example.test"),
        "{moved}"
    );
    plain
        .expect("RCPT TO:<nobody@example.test>", "550 5.1.1")
        .await;
    plain
        .expect("RCPT TO:<alice@elsewhere.test>", "550 5.7.1")
        .await;
    plain.expect("RCPT TO:<postmaster@catch.test>", "250").await;
    plain.expect("RSET", "250").await;
    plain.quit().await;
    relay.wait_for("refused stage=rcpt to=elsewhere.test").await;

    origin_sends(&relay, "junk@example.test", "junk").await;
    relay.wait_for("discarded to=junk@example.test").await;
    origin_sends(&relay, "plain@example.test", "off").await;
    assert_eq!(sink.message().await.from, "origin@sender.test");
    for postmaster in ["postmaster", "PostMaster@example.test"] {
        send(
            relay.address(),
            "origin@sender.test",
            &[postmaster],
            &mail::short("help"),
        )
        .await;
        assert_eq!(sink.message().await.to(), ["admin@a.test"]);
    }
}
