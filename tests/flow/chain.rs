//! Two relays in a row: SRS0 by the first, SRS1 by the second, and bounces all the way back.

use std::net::SocketAddr;

use testkit::daemon::Relay;
use testkit::mail;
use testkit::net::Net;
use testkit::sender::send;
use testkit::sink::Sink;

use crate::{origin_sends, relay_called};

struct Chain {
    net: Net,
    first: Relay,
    second: Relay,
    origin: Sink,
}

/// origin@sender.test → a@first.test → b@second.test → c@target.test; the SRS domains are fwd-a.test and fwd-b.test.
async fn chain() -> Chain {
    let net = Net::new().await;
    let origin = net.sink("sender.test", "").await;
    let start = async |name: &str, hosted: &str, forwards: &str| {
        let address: SocketAddr = net.address();
        net.publish(name, address);
        net.publish(hosted, address);
        let listener = format!("bind = \"{address}\"");
        let setup = relay_called(name, &net, forwards).listener(&listener);
        setup.start().await
    };
    let first = start("fwd-a.test", "first.test", "a@first.test b@second.test\n").await;
    let second = start("fwd-b.test", "second.test", "b@second.test c@target.test\n").await;
    Chain {
        first,
        second,
        origin,
        net,
    }
}

#[tokio::test]
async fn refusal_at_the_end_becomes_a_dsn_at_the_start() {
    let chain = chain().await;
    let _target = chain
        .net
        .sink("target.test", "rcpt: 550 5.1.1 no such user")
        .await;
    origin_sends(&chain.first, "a@first.test", "one").await;
    let dsn = chain.origin.message().await;
    assert_eq!(dsn.envelope(), ("", vec!["origin@sender.test"]));
    let text = dsn.text();
    assert!(
        text.contains("multipart/report") && text.contains("5.1.1"),
        "{text}"
    );
    assert!(
        !text.contains("c@target.test"),
        "the private target is shown: {text}"
    );
}

#[tokio::test]
async fn bounce_to_srs1_goes_back_over_both() {
    let chain = chain().await;
    let target = chain.net.sink("target.test", "").await;
    origin_sends(&chain.first, "a@first.test", "one").await;
    let got = target.message().await;
    assert!(got.from.starts_with("SRS1="), "{}", got.from);
    assert!(
        got.from.contains("=fwd-a.test==") && got.from.ends_with("=sender.test=origin@fwd-b.test"),
        "{}",
        got.from
    );

    let bounce = mail::short("bounce");
    send(chain.second.address(), "", &[&got.from], &bounce).await;
    let bounce = chain.origin.message().await;
    assert_eq!(bounce.envelope(), ("", vec!["origin@sender.test"]));
    assert!(bounce.text().contains("Subject: bounce"));
}
