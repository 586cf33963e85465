//! SIGKILL: what was answered 250 survives, and nothing else appears.

use testkit::mail;
use testkit::net::Net;
use testkit::sender::{Plain, send};

use crate::{origin_sends, relay};

const FORWARDS: &str = "alice@example.test alice@target.test\n";

#[tokio::test]
async fn every_250_survives_sigkill() {
    let net = Net::new().await;
    let sink = net.sink("target.test", "rcpt: 450 4.2.1 busy").await;
    let first = relay(&net, FORWARDS).start().await;
    // One is small, one is streamed to the spool in chunks, and one never gets its 250.
    let large = mail::long(3_000_000);
    origin_sends(&first, "alice@example.test", "small").await;
    send(
        first.address(),
        "origin@sender.test",
        &["alice@example.test"],
        &large,
    )
    .await;
    let mut plain = Plain::hello(first.address()).await;
    plain.expect("MAIL FROM:<origin@sender.test>", "250").await;
    plain.expect("RCPT TO:<alice@example.test>", "250").await;
    plain.expect("DATA", "354").await;
    plain.raw(&b"no end\r\n".repeat(250_000)).await;
    let setup = first.kill().await;

    sink.script("");
    let second = setup.start().await;
    let got = sink.messages(2).await;
    let by_size = |large: bool| {
        got.iter()
            .find(|got| (got.data.len() > 1_000_000) == large)
            .expect("one of each")
    };
    mail::added_on_top(&by_size(false).data, &mail::short("small"));
    mail::added_on_top(&by_size(true).data, &large);
    second.wait_for_count(2, "delivered").await;
    assert_eq!(sink.received().len(), 2);
}
