//! A sender too long for SRS0 gets a short token, which brings its bounce back, also after a restart.

use testkit::mail;
use testkit::net::Net;
use testkit::sender::{send, send_with};

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

/// As bulk mail has them, in every place: sender, recipient of a catch-all, target.
#[tokio::test]
async fn long_addresses_everywhere() {
    let net = Net::new().await;
    let target = net.sink("target.test", "").await;
    let origin = net.sink("sender.test", "").await;
    let long = "bounces+12345678-ab12-firstname.lastname=department.company-name.example".repeat(5);
    let forwards = format!("@example.test {long}@target.test\n");
    let relay = relay(&net, &forwards).start().await;
    let (from, to) = (
        format!("{long}@sender.test"),
        format!("{long}@example.test"),
    );
    send(relay.address(), &from, &[&to], &mail::short("one")).await;
    let got = target.message().await;
    assert_eq!(got.to(), [format!("{long}@target.test")]);
    let longest = String::from_utf8_lossy(&got.data)
        .lines()
        .map(str::len)
        .max();
    assert!(longest.is_some_and(|octets| octets <= 998), "{longest:?}");
    send(relay.address(), "", &[&got.from], &mail::short("bounce")).await;
    assert_eq!(origin.message().await.to(), [from.as_str()]);
}

#[tokio::test]
async fn dots_anywhere_are_quoted_on_the_way() {
    let net = Net::new().await;
    let target = net.sink("target.test", "").await;
    let origin = net.sink("sender.test", "").await;
    let relay = relay(&net, "name.@example.test .x@target.test\n")
        .start()
        .await;
    send_with(
        relay.address(),
        "<try..this..0511@sender.test>",
        &["<name.@example.test>"],
        &mail::short("one"),
    )
    .await;
    let got = target.message().await;
    assert_eq!(got.to(), ["\".x\"@target.test"]);
    assert!(got.from.starts_with("\"SRS0="), "{}", got.from);
    send(relay.address(), "", &[&got.from], &mail::short("bounce")).await;
    assert_eq!(
        origin.message().await.to(),
        ["\"try..this..0511\"@sender.test"]
    );
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
