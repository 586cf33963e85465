//! A sender too long for SRS0 gets a short token, which brings its bounce back, also after a restart.

use testkit::mail;
use testkit::net::Net;
use testkit::sender::send;

use crate::relay;

#[tokio::test]
async fn token_instead_of_an_over_long_address() {
    let net = Net::new().await;
    let target = net.sink("target.test", "").await;
    let origin = net.sink("sender.test", "").await;
    let first = relay(&net, "alice@example.test alice@target.test\n")
        .start()
        .await;
    let long = format!("{}@sender.test", "Long-Name.".repeat(6) + "End");
    send(
        first.address(),
        &long,
        &["alice@example.test"],
        &mail::short("one"),
    )
    .await;
    let rewritten = target.message().await.from;
    let (local, domain) = rewritten.rsplit_once('@').expect("an address");
    assert_eq!(domain, "fwd.test");
    assert!(local.len() <= 64 && local.starts_with("SRS0"), "{local}");

    let second = first.kill().await.start().await;
    send(
        second.address(),
        "",
        &[&rewritten.to_lowercase()],
        &mail::short("bounce"),
    )
    .await;
    assert_eq!(origin.message().await.to(), [long.as_str()]);
}

#[tokio::test]
async fn quoted_local_parts_survive_both_ways() {
    let net = Net::new().await;
    let target = net.sink("target.test", "").await;
    let origin = net.sink("sender.test", "").await;
    let relay = relay(&net, "alice@example.test alice@target.test\n")
        .start()
        .await;
    let quoted = r#""John \"J\" Doe> x@y"@sender.test"#;
    send(
        relay.address(),
        quoted,
        &["alice@example.test"],
        &mail::short("one"),
    )
    .await;
    let rewritten = target.message().await.from;
    assert!(rewritten.starts_with("\"SRS0="), "{rewritten}");
    send(relay.address(), "", &[&rewritten], &mail::short("bounce")).await;
    assert_eq!(origin.message().await.to(), [quoted]);
}
