//! Bodies and addresses that are not 7-bit: 8BITMIME and SMTPUTF8, BDAT.

use testkit::mail;
use testkit::net::Net;
use testkit::sender::{Plain, send_with};

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
    assert!(got.from.is_ascii(), "a token: {}", got.from);
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
