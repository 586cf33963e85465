//! Bodies that are not plain 7-bit text: 8BITMIME, SMTPUTF8, BDAT, sizes; and destinations that cannot take them.

use testkit::mail;
use testkit::net::Net;
use testkit::sender::{Plain, send, send_with};

use crate::relay;

const FORWARDS: &str =
    "alice@example.test alice@target.test\njürgen@example.test jürgen@target.test\n";

#[tokio::test]
async fn eight_bit_and_utf8_parameters_go_on() {
    let net = Net::new().await;
    let sink = net.sink("target.test", "").await;
    let relay = relay(&net, FORWARDS).start().await;
    let mail = mail::long(30_000);
    send_with(
        relay.address(),
        "<origin@sender.test> BODY=8BITMIME SIZE=30000",
        &["<alice@example.test>"],
        &mail,
    )
    .await;
    let got = sink.message().await;
    assert!(
        got.from_parameters.contains(&"BODY=8BITMIME".to_owned()),
        "{:?}",
        got.from_parameters
    );
    let size = format!("SIZE={}", got.data.len());
    assert!(
        got.from_parameters.contains(&size),
        "{:?}",
        got.from_parameters
    );
    mail::added_on_top(&got.data, &mail);

    send_with(
        relay.address(),
        "<böb@sender.test> SMTPUTF8",
        &["<jürgen@example.test>"],
        &mail,
    )
    .await;
    let got = sink.message().await;
    assert!(
        got.from_parameters.contains(&"SMTPUTF8".to_owned()),
        "{:?}",
        got.from_parameters
    );
    assert_eq!(got.to(), ["jürgen@target.test"]);
    assert!(
        got.from.ends_with("=sender.test=böb@fwd.test"),
        "{}",
        got.from
    );
}

#[tokio::test]
async fn destination_without_smtputf8_or_room() {
    let net = Net::new().await;
    let target = net.sink("target.test", "offer: -SMTPUTF8 SIZE=1000").await;
    let origin = net.sink("sender.test", "").await;
    let relay = relay(&net, FORWARDS).start().await;
    send_with(
        relay.address(),
        "<origin@sender.test> SMTPUTF8",
        &["<jürgen@example.test>"],
        b"Subject: a\r\n\r\n",
    )
    .await;
    relay
        .wait_for("failed target=jürgen@target.test status=5.6.7")
        .await;
    send(
        relay.address(),
        "origin@sender.test",
        &["alice@example.test"],
        &mail::long(5_000),
    )
    .await;
    relay
        .wait_for("failed target=alice@target.test status=5.3.4")
        .await;
    origin.messages(2).await;
    assert_eq!(target.received(), []);
    assert!(
        target
            .transcript()
            .iter()
            .all(|line| !line.contains("C: MAIL")),
        "nothing was even tried"
    );
}

#[tokio::test]
async fn bdat_in() {
    let net = Net::new().await;
    let sink = net.sink("target.test", "").await;
    let relay = relay(&net, FORWARDS).start().await;
    let mail = mail::long(100_000);
    let mut plain = Plain::hello(relay.address()).await;
    plain
        .expect("MAIL FROM:<origin@sender.test> BODY=8BITMIME", "250")
        .await;
    plain.expect("RCPT TO:<alice@example.test>", "250").await;
    let (first, rest) = mail.split_at(33_333);
    for (chunk, last) in [(first, ""), (rest, " LAST")] {
        plain
            .raw(format!("BDAT {}{last}\r\n", chunk.len()).as_bytes())
            .await;
        plain.raw(chunk).await;
        assert!(plain.reply().await.starts_with("250"));
    }
    mail::added_on_top(&sink.message().await.data, &mail);
}

#[tokio::test]
async fn large_and_too_large() {
    let net = Net::new().await;
    let sink = net.sink("target.test", "").await;
    let relay = relay(&net, FORWARDS)
        .set("limits.message_size", "\"10 MB\"")
        .start()
        .await;
    let mail = mail::long(9_999_999);
    send(
        relay.address(),
        "origin@sender.test",
        &["alice@example.test"],
        &mail,
    )
    .await;
    mail::added_on_top(&sink.message().await.data, &mail);
    let mut plain = Plain::hello(relay.address()).await;
    plain
        .expect("MAIL FROM:<origin@sender.test> SIZE=10000001", "552 5.3.4")
        .await;
    let to = ["<alice@example.test>"];
    let (_, end) = plain
        .transaction("<origin@sender.test>", &to, &mail::long(10_100_000))
        .await;
    assert!(end.starts_with("552 5.3.4"), "{end}");
    plain.expect("NOOP", "250").await;
    assert_eq!(sink.received().len(), 1);
}
