//! A milter that adds fields, one that wants the message changed, and milters that have a bad day: mail goes on, unchanged below
//! our trace, or waits with its sender.

use testkit::daemon::{Event, Relay};
use testkit::milter::Milter;
use testkit::net::Net;
use testkit::sender::Plain;
use testkit::{mail, sender};

use crate::relay;

/// A relay that asks this milter.
async fn asking(net: &Net, milter: &Milter, more: &str) -> Relay {
    let table = format!(
        "[{{ name = \"m\", kind = \"milter\", address = \"{}\", {more} }}]",
        milter.address()
    );
    relay(net, "alice@example.test alice@target.test\n")
        .set("filter", &table)
        .set("profile", "[{ name = \"default\", filter = [\"m\"] }]")
        .start()
        .await
}

/// What is logged of the milter's opinion, and the fields on top of the message, once it is delivered.
async fn delivered(script: &str) -> (Event, Vec<(String, String)>) {
    let net = Net::new().await;
    let target = net.sink("target.test", "").await;
    let milter = Milter::start(script).await;
    let relay = asking(&net, &milter, "timeout = \"2s\"").await;
    let original = mail::short("milter");
    let to = ["alice@example.test"];
    sender::send(relay.address(), "origin@sender.test", &to, &original).await;
    let logged = relay.wait_for("filtered filter=m").await;
    let delivered = target.message().await;
    (logged, mail::added_on_top(&delivered.data, &original))
}

#[tokio::test]
async fn its_fields_go_on_top() {
    let script = r"E hX-Last\x00one\n\ttwo\x00 | i\x00\x00\x00\x01X-First\x00a\x00 | c";
    let (logged, fields) = delivered(script).await;
    assert_eq!(logged.text("opinion"), "accept");
    let names: Vec<_> = fields.iter().map(|(name, _)| name.as_str()).collect();
    let ours = names.iter().position(|name| *name == "X-First");
    let ours = &names[ours.expect("its field")..];
    assert!(
        ours.starts_with(&["X-First", "X-Last"]) && ours.contains(&"Received"),
        "{names:?}"
    );
}

#[tokio::test]
async fn what_it_wants_changed_stays() {
    let script = r"E bnew body\r\n | m\x00\x00\x00\x01Subject\x00x\x00 | i\x00\x00\x00\x05X-A\x00b\x00 | e<x@y.test>\x00 | +<x@y.test>\x00 | -<alice@example.test>\x00 | c";
    let (logged, fields) = delivered(script).await;
    assert_eq!(logged.text("opinion"), "accept");
    let remarks = "not done: change of body; not done: change of field Subject; not done: field further down X-A; \
        not done: change of sender <x@y.test>; not done: further recipient <x@y.test>; \
        not done: removal of recipient <alice@example.test>";
    assert_eq!(logged.text("remarks"), remarks);
    assert!(!fields.iter().any(|(name, _)| name == "X-A"), "{fields:?}");
}

#[tokio::test]
async fn a_bad_day_costs_its_time_and_is_logged() {
    for (script, error) in [
        ("L hang", "no answer within 2s"),
        ("E ~\\x00\\x00\\x01\\x00yhalf | hang", "no answer within 2s"),
        (
            "E ~\\x00\\x00\\x01\\x00yhalf | close",
            "bytes remaining on stream",
        ),
        ("B ~\\xff\\xff\\xff\\xff", "frame size too big"),
        (
            "E ~HTTP/1.1 400 Bad Request\\r\\n\\r\\n",
            "frame size too big",
        ),
    ] {
        let (logged, _) = delivered(script).await;
        let said = (logged.text("opinion"), logged.text("error"));
        assert_eq!(said, ("failed".to_owned(), error.to_owned()));
    }
}

#[tokio::test]
async fn mail_waits_for_a_milter_that_must_see_it() {
    let net = Net::new().await;
    let milter = Milter::start("O close\nO nothing").await;
    let relay = asking(&net, &milter, "timeout = \"1s\", on_failure = \"defer\"").await;
    for number in 1..=2 {
        let mut plain = Plain::hello(relay.address()).await;
        plain.expect("MAIL FROM:<origin@sender.test>", "250").await;
        plain.expect("RCPT TO:<alice@example.test>", "250").await;
        plain.expect("DATA", "354").await;
        plain
            .expect("Subject: x\r\n\r\nbody\r\n.", "451 4.7.1")
            .await;
        relay
            .wait_for_count(number, "filtered opinion=failed")
            .await;
    }
    assert_eq!(relay.count("filter-down"), 1);
}
