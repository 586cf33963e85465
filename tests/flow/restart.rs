//! What was answered 250 survives: SIGTERM drains and stops, SIGKILL just ends; either way the next start delivers.

use testkit::daemon::Signal;
use testkit::mail;
use testkit::net::Net;
use testkit::sender::{Plain, send};

use crate::relay;

const FORWARDS: &str = "alice@example.test alice@target.test\n";

#[tokio::test]
async fn queued_mail_survives_sigterm() {
    let net = Net::new().await;
    let sink = net.sink("target.test", "rcpt: 450 4.2.1 busy").await;
    let first = relay(&net, FORWARDS).start().await;
    for subject in ["one", "two", "three"] {
        send(
            first.address(),
            "origin@sender.test",
            &["alice@example.test"],
            &mail::short(subject),
        )
        .await;
    }
    first.wait_for_count(3, "deferred").await;
    let setup = first.stop().await;
    sink.script("");
    let second = setup.start().await;
    assert_eq!(second.wait_for("ready").await.text("queued"), "3");
    sink.messages(3).await;
    second.wait_for_count(3, "delivered").await;
    let third = second.stop().await.start().await;
    assert_eq!(third.wait_for("ready").await.text("queued"), "0");
    assert_eq!(sink.received().len(), 3);
}

#[tokio::test]
async fn every_250_survives_sigkill() {
    let net = Net::new().await;
    let sink = net.sink("target.test", "rcpt: 450 4.2.1 busy").await;
    let first = relay(&net, FORWARDS).start().await;
    // One is small, one is streamed to the spool in chunks, and one never gets its 250.
    let large = mail::long(3_000_000);
    send(
        first.address(),
        "origin@sender.test",
        &["alice@example.test"],
        &mail::short("small"),
    )
    .await;
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
    plain.raw(&large[..2_000_000]).await;
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

#[tokio::test]
async fn sigterm_lets_a_transaction_finish_and_refuses_new_ones() {
    let net = Net::new().await;
    let sink = net.sink("target.test", "").await;
    let relay = relay(&net, FORWARDS).start().await;
    let mut busy = Plain::hello(relay.address()).await;
    let mut idle = Plain::hello(relay.address()).await;
    busy.expect("MAIL FROM:<origin@sender.test>", "250").await;
    busy.expect("RCPT TO:<alice@example.test>", "250").await;
    busy.expect("DATA", "354").await;
    relay.signal(Signal::TERM);
    assert!(
        idle.reply().await.starts_with("421"),
        "an idle client is told"
    );
    busy.raw(b"Subject: last\r\n\r\n").await;
    busy.expect(".", "250").await;
    let setup = relay.stopped().await;
    // Delivered before the end, or by the next start: never lost.
    let _relay = setup.start().await;
    assert!(sink.message().await.text().contains("Subject: last"));
}
