//! SMTP smuggling: whatever looks like an end of data but is none neither ends the data nor goes on to the destination.

use testkit::net::Net;
use testkit::sender::Plain;

use crate::relay;

#[tokio::test]
async fn false_ends_of_data_are_refused_at_the_true_one() {
    let net = Net::new().await;
    let sink = net.sink("target.test", "").await;
    let relay = relay(&net, "alice@example.test alice@target.test\n")
        .start()
        .await;
    let ends: [&[u8]; 7] = [
        b"\n.\n",
        b"\r\n.\n",
        b"\n.\r\n",
        b"\r.\r",
        b"\r\n.\r",
        b"\r\n.\r\r\n",
        b"\r.\r\n",
    ];
    for end in ends {
        let mut plain = Plain::hello(relay.address()).await;
        plain.expect("MAIL FROM:<origin@sender.test>", "250").await;
        plain.expect("RCPT TO:<alice@example.test>", "250").await;
        plain.expect("DATA", "354").await;
        let shown = end.escape_ascii();
        plain.raw(b"Subject: smuggled\r\n\r\nouter").await;
        plain.raw(end).await;
        plain.raw(b"MAIL FROM:<evil@bad.test>\r\nRCPT TO:<alice@example.test>\r\nDATA\r\ninner\r\n.\r\n").await;
        let answer = plain.reply().await;
        assert!(answer.starts_with("5"), "{shown}: {answer}");
        assert_eq!(plain.line().await, None, "closed behind {shown}");
    }
    assert_eq!(sink.received(), []);
}

#[tokio::test]
async fn normalized_where_the_operator_wants_it() {
    let net = Net::new().await;
    let sink = net.sink("target.test", "").await;
    let relay = relay(&net, "alice@example.test alice@target.test\n")
        .set("limits.bare_newline", "\"normalize\"")
        .start()
        .await;
    let mut plain = Plain::hello(relay.address()).await;
    plain.expect("MAIL FROM:<origin@sender.test>", "250").await;
    plain.expect("RCPT TO:<alice@example.test>", "250").await;
    plain.expect("DATA", "354").await;
    plain
        .raw(b"Subject: x\n\nouter\n.\r\nMAIL FROM:<evil@bad.test>\r\n.\r\n")
        .await;
    assert!(plain.reply().await.starts_with("250"));
    plain.expect("NOOP", "250").await;
    relay
        .wait_for("received from=<origin@sender.test> normalized=3")
        .await;
    let got = String::from_utf8(sink.message().await.data).expect("ASCII");
    let expected = "Subject: x\r\n\r\nouter\r\n.\r\nMAIL FROM:<evil@bad.test>\r\n";
    assert!(got.ends_with(expected), "{got}");
}
