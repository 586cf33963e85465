//! A message that begins with no header field: an empty line keeps it apart from our trace, and nothing else changes.

use testkit::net::Net;
use testkit::sender::{Plain, send};

use crate::relay;

#[tokio::test]
async fn what_is_no_header_stays_text() {
    let net = Net::new().await;
    let sink = net.sink("target.test", "").await;
    let relay = relay(&net, "alice@example.test alice@target.test\n")
        .start()
        .await;
    let delivered = async |mail: &str| {
        let to = ["alice@example.test"];
        send(relay.address(), "origin@sender.test", &to, mail.as_bytes()).await;
        let got = String::from_utf8(sink.message().await.data).expect("ASCII");
        let (trace, rest) = got.split_once("\r\n\r\n").expect("a header and text");
        assert!(trace.starts_with("Delivered-To: alice@example.test\r\nReceived: "));
        (trace.lines().count(), rest.to_owned())
    };
    let lines = 4;
    for text in [
        " as if it went on with our Received\r\nX: y\r\n",
        "Hello,\r\nReceived: is only text here\r\n\r\nx\r\n",
    ] {
        assert_eq!(delivered(text).await, (lines, text.to_owned()));
    }
    // An empty line of its own is enough, and so is a header.
    let got = delivered("\r\ntext\r\n").await;
    assert_eq!(got, (lines, "text\r\n".to_owned()));
    let got = delivered("Subject: x\r\n\r\ntext\r\n").await;
    assert_eq!(got, (lines + 1, "text\r\n".to_owned()));
}

#[tokio::test]
async fn bodies_shorter_than_a_name() {
    let net = Net::new().await;
    let sink = net.sink("target.test", "").await;
    let relay = relay(&net, "alice@example.test alice@target.test\n")
        .start()
        .await;
    let mut plain = Plain::hello(relay.address()).await;
    for (chunk, end) in [
        ("BDAT 3 LAST\r\nabc", "\r\n\r\nabc"),
        ("BDAT 0 LAST\r\n", "+0000\r\n"),
    ] {
        plain.expect("MAIL FROM:<origin@sender.test>", "250").await;
        plain.expect("RCPT TO:<alice@example.test>", "250").await;
        plain.raw(chunk.as_bytes()).await;
        let reply = plain.reply().await;
        assert!(reply.starts_with("250"), "{reply}");
        let got = sink.message().await.data;
        let got = String::from_utf8_lossy(&got).into_owned();
        assert!(
            got.trim_end_matches("\r\n")
                .ends_with(end.trim_end_matches("\r\n")),
            "{got:?}"
        );
    }
}
