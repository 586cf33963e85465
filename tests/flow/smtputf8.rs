//! SMTPUTF8: what a message holds decides whether the next hop must have it, not what the client said.

use testkit::net::Net;
use testkit::sender::send_with;

use crate::relay;

const FORWARDS: &str =
    "alice@example.test alice@target.test\nbücher@example.test books@target.test\n";

#[tokio::test]
async fn an_ascii_message_goes_anywhere() {
    let net = Net::new().await;
    let target = net.sink("target.test", "offer: -SMTPUTF8").await;
    let origin = net.sink("sender.test", "").await;
    let relay = relay(&net, FORWARDS).start().await;
    // Composed or not, the recipient has a line; and a sender that only SMTPUTF8 could carry becomes a token.
    for (from, to) in [
        ("origin@sender.test", "alice@example.test"),
        ("origin@sender.test", "bu\u{308}cher@example.test"),
        ("böb@sender.test", "alice@example.test"),
    ] {
        let mail = "Subject: x\r\n\r\nü\r\n".as_bytes();
        send_with(
            relay.address(),
            &format!("<{from}> SMTPUTF8"),
            &[&format!("<{to}>")],
            mail,
        )
        .await;
        let got = target.message().await;
        assert!(
            got.from.is_ascii() && got.from.starts_with("SRS0="),
            "{}",
            got.from
        );
        assert!(
            !got.from_parameters.contains(&"SMTPUTF8".to_owned()),
            "{:?}",
            got.from_parameters
        );
        let header = got
            .data
            .split(|byte| *byte == b'S')
            .next()
            .unwrap_or_default();
        assert!(header.is_ascii(), "our trace is no reason for SMTPUTF8");
        send_with(
            relay.address(),
            "<>",
            &[&format!("<{}>", got.from)],
            b"Subject: bounce\r\n\r\n",
        )
        .await;
        assert_eq!(origin.message().await.to(), [from]);
    }
}

#[tokio::test]
async fn a_header_in_utf8_needs_it() {
    let net = Net::new().await;
    let target = net.sink("target.test", "offer: -SMTPUTF8").await;
    let origin = net.sink("sender.test", "").await;
    let relay = relay(&net, FORWARDS).start().await;
    let mail = "Subject: ü\r\n\r\nx\r\n".as_bytes();
    let to = ["<alice@example.test>"];
    send_with(relay.address(), "<origin@sender.test> SMTPUTF8", &to, mail).await;
    relay
        .wait_for("failed target=alice@target.test status=5.6.7")
        .await;
    origin.message().await;
    assert_eq!(target.received(), []);
}
