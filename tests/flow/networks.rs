//! Where clients come from: PROXY headers, IPv6 on both sides, limits per address.

use testkit::mail;
use testkit::net::Net;
use testkit::sender::{Plain, send};
use testkit::sink::Sink;

use crate::relay;

const FORWARDS: &str = "alice@example.test alice@target.test\n";

#[tokio::test]
async fn proxy_header_tells_the_client() {
    let net = Net::new().await;
    let table = "bind = \"127.0.0.1:0\"\nproxy_protocol_from = [\"127.0.0.0/8\"]";
    let relay = relay(&net, FORWARDS).listener(table).start().await;
    let v1 = b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 25\r\n".to_vec();
    let mut v2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x21\0\x24".to_vec();
    v2.extend_from_slice(&[0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7]);
    v2.extend_from_slice(&[0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    v2.extend_from_slice(&[0x12, 0x67, 0, 25]);
    for (header, client) in [(v1, "192.0.2.7:4711"), (v2, "[2001:db8::7]:4711")] {
        let mut plain = Plain::connect_silently(relay.address()).await;
        plain.raw(&header).await;
        assert!(plain.reply().await.starts_with("220 "));
        plain.expect("EHLO client.test", "250").await;
        plain.expect("MAIL FROM:<origin@sender.test>", "250").await;
        plain
            .expect("RCPT TO:<x@elsewhere.test>", "550 5.7.1")
            .await;
        relay.wait_for(&format!("refused client={client}")).await;
    }
    let mut without = Plain::connect_silently(relay.address()).await;
    without.raw(b"EHLO client.test\r\n").await;
    let answer = without.reply().await;
    assert!(!answer.starts_with("2"), "a header is required: {answer}");
}

#[tokio::test]
async fn ipv6_in_and_out() {
    let net = Net::new().await;
    let sink = Sink::start(
        format!("[::1]:{}", net.port()).parse().expect("an address"),
        "",
    )
    .await;
    net.publish("target.test", sink.address());
    // The better address is v4 and nobody is there: the v6 one is next.
    net.dns
        .add(&format!("mx.target.test A {}", net.address().ip()));
    let relay = relay(&net, FORWARDS)
        .listener("bind = \"[::1]:0\"")
        .start()
        .await;
    assert!(relay.address().is_ipv6());
    send(
        relay.address(),
        "origin@sender.test",
        &["alice@example.test"],
        &mail::short("one"),
    )
    .await;
    let got = sink.message().await;
    assert!(got.text().contains("[IPv6:::1]"), "{}", got.text());
    relay.wait_for("delivered host=[::1]").await;
}

#[tokio::test]
async fn connections_per_address_are_limited() {
    let net = Net::new().await;
    let relay = relay(&net, FORWARDS)
        .set("limits.connections_per_address", "2")
        .start()
        .await;
    let first = Plain::hello(relay.address()).await;
    let _second = Plain::hello(relay.address()).await;
    let (_, refusal) = Plain::connect(relay.address()).await;
    assert!(
        refusal.starts_with("421 4.7.0") || refusal.starts_with("421 4.3.2"),
        "{refusal}"
    );
    first.quit().await;
}

#[tokio::test]
async fn trusted_clients_may_relay_and_others_may_not() {
    let net = Net::new().await;
    let sink = net.sink("elsewhere.test", "").await;
    let relay = relay(&net, FORWARDS)
        .set("policy.trusted", "[\"127.0.0.1/32\"]")
        .start()
        .await;
    send(
        relay.address(),
        "origin@sender.test",
        &["x@elsewhere.test"],
        &mail::short("one"),
    )
    .await;
    let got = sink.message().await;
    assert_eq!(
        got.from, "origin@sender.test",
        "what is not forwarded is not rewritten"
    );
}
