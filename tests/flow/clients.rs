//! Clients by address: a limit for each, and trusted ones.

use testkit::net::Net;
use testkit::sender::Plain;

use crate::{origin_sends, relay};

const FORWARDS: &str = "alice@example.test alice@target.test\n";

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
    origin_sends(&relay, "x@elsewhere.test", "one").await;
    let got = sink.message().await;
    assert_eq!(
        got.from, "origin@sender.test",
        "what is not forwarded is not rewritten"
    );
}

/// `x%victim@relay` would make the next hop pass it on, on our word.
#[tokio::test]
async fn addresses_that_name_a_further_host_are_refused() {
    let net = Net::new().await;
    let sink = net.sink("primary.test", "").await;
    let setup = |trusted: &str| {
        relay(&net, "@old.test @primary.test\n")
            .set("policy.relay_domains", "[\"primary.test\"]")
            .set("policy.trusted", trusted)
    };
    let strict = setup("[]").start().await;
    let mut stranger = Plain::hello(strict.address()).await;
    stranger
        .expect("MAIL FROM:<origin@sender.test>", "250")
        .await;
    for local in ["v%victim", "\"v@victim\"", "victim!v"] {
        for domain in ["primary.test", "old.test"] {
            let rcpt = format!("RCPT TO:<{local}@{domain}>");
            stranger.expect(&rcpt, "550 5.7.1").await;
        }
    }
    stranger.expect("RCPT TO:<v@primary.test>", "250").await;
    strict
        .wait_for_count(6, "refused rule=untrusted-routing")
        .await;

    // Clients of our own may, and may leave out the brackets.
    let open = setup("[\"127.0.0.1/32\"]").start().await;
    let mut known = Plain::hello(open.address()).await;
    known.expect("MAIL FROM:origin@sender.test", "250").await;
    known.expect("RCPT TO:v%victim@primary.test", "250").await;
    known.expect("DATA", "354").await;
    known.expect("Subject: x\r\n\r\nx\r\n.", "250").await;
    assert_eq!(sink.message().await.to(), ["v%victim@primary.test"]);
}
