//! Where a recipient's mail goes: several targets, chains, patterns, catch-all.

use testkit::mail;
use testkit::net::Net;
use testkit::sender::send;

use crate::{origin_sends, relay};

const FORWARDS: &str = "\
# address            targets                         options
both@example.test    one@a.test, two@a.test, three@b.test
start@example.test   middle@example.test, one@a.test
middle@example.test  end@other.test
end@other.test       last@a.test, one@a.test
user@example.test    user@a.test
paul-*@example.test  paul@a.test
@catch.test          all@b.test
keep@catch.test      kept@a.test
";

/// The targets that one recipient's mail reaches, sorted.
async fn check(recipient: &str, expected: &[&str]) {
    let net = Net::new().await;
    let (a, b) = (net.sink("a.test", "").await, net.sink("b.test", "").await);
    let relay = relay(&net, FORWARDS).start().await;
    origin_sends(&relay, recipient, "one").await;
    relay.wait_for_count(expected.len(), "delivered").await;
    let mut got: Vec<_> = [a.received(), b.received()].concat();
    got.iter()
        .for_each(|got| drop(mail::added_on_top(&got.data, &mail::short("one"))));
    let mut to: Vec<_> = got
        .drain(..)
        .flat_map(|got| got.recipients)
        .map(|r| r.to)
        .collect();
    to.sort();
    assert_eq!(to, expected, "{recipient}");
}

#[tokio::test]
async fn several_targets() {
    check(
        "both@example.test",
        &["one@a.test", "three@b.test", "two@a.test"],
    )
    .await;
}

#[tokio::test]
async fn chain_within_hosted_domains_without_duplicates() {
    check("start@example.test", &["last@a.test", "one@a.test"]).await;
}

#[tokio::test]
async fn plus_suffix_pattern_and_catch_all() {
    check("User+list@Example.TEST", &["user@a.test"]).await;
    check("paul-shop@example.test", &["paul@a.test"]).await;
    check("anything@catch.test", &["all@b.test"]).await;
    check("keep@catch.test", &["kept@a.test"]).await;
}

#[tokio::test]
async fn legs_to_one_site_share_a_transaction_and_a_body() {
    let net = Net::new().await;
    let sink = net.sink("a.test", "").await;
    let relay = relay(&net, FORWARDS).start().await;
    let mail = mail::long(3_000_000);
    send(
        relay.address(),
        "origin@sender.test",
        &["both@example.test"],
        &mail,
    )
    .await;
    let got = sink.message().await;
    mail::added_on_top(&got.data, &mail);
    assert_eq!(got.to(), ["one@a.test", "two@a.test"]);
}
