//! The destination bounces later: mail to our SRS address goes back to the original sender, and only if it is one.

use testkit::mail;
use testkit::net::Net;
use testkit::sender::{Plain, send};

use crate::{origin_sends, relay};

#[tokio::test]
async fn bounce_to_srs0_reaches_the_original_sender() {
    let net = Net::new().await;
    let target = net.sink("target.test", "").await;
    let origin = net.sink("sender.test", "").await;
    let relay = relay(
        &net,
        "alice@example.test alice@target.test\n@fwd.test all@target.test\n",
    )
    .start()
    .await;
    send(
        relay.address(),
        "Mixed.Case@sender.test",
        &["alice@example.test"],
        &mail::short("one"),
    )
    .await;
    let srs0 = target.message().await.from;

    // Relays on the way may fold the case of the local part.
    for address in [srs0.clone(), srs0.to_lowercase()] {
        send(relay.address(), "", &[&address], &mail::short("bounce")).await;
        let bounce = origin.message().await;
        assert_eq!(bounce.from, "");
        assert!(
            bounce.to()[0].eq_ignore_ascii_case("Mixed.Case@sender.test"),
            "{bounce:?}"
        );
        mail::added_on_top(&bounce.data, &mail::short("bounce"));
    }
    assert_eq!(
        origin.received()[0].to(),
        ["Mixed.Case@sender.test"],
        "the case is kept"
    );
}

#[tokio::test]
async fn forged_expired_and_misused_addresses_are_refused() {
    let net = Net::new().await;
    let target = net.sink("target.test", "").await;
    // The catch-all must not take what looks like an SRS address but is none of ours.
    let relay = relay(
        &net,
        "alice@example.test alice@target.test\n@fwd.test all@target.test\n",
    )
    .start()
    .await;
    origin_sends(&relay, "alice@example.test", "one").await;
    let srs0 = target.message().await.from;

    let mut plain = Plain::hello(relay.address()).await;
    plain.expect("MAIL FROM:<>", "250").await;
    let forged = srs0.replacen("=sender.test=", "=victim.test=", 1);
    plain.expect(&format!("RCPT TO:<{forged}>"), "550 5.").await;
    plain
        .expect("RCPT TO:<SRS0=AAAA=AA=a.test=b@fwd.test>", "550 5.")
        .await;
    plain.expect("RCPT TO:<SRS0=@fwd.test>", "550 5.").await;
    plain.expect(&format!("RCPT TO:<{srs0}>"), "250").await;
    plain.expect("RSET", "250").await;
    plain.expect("MAIL FROM:<spammer@bad.test>", "250").await;
    plain.expect(&format!("RCPT TO:<{forged}>"), "550 5.").await;
    plain.expect(&format!("RCPT TO:<{srs0}>"), "250").await;
    // What stands beside it is not refused with it.
    plain
        .expect("RCPT TO:<alice@example.test>", "452 4.5.3")
        .await;
    plain.expect("DATA", "550 5.7.1").await;
    plain.expect("RSET", "250").await;
    plain.expect("MAIL FROM:<spammer@bad.test>", "250").await;
    plain.expect("RCPT TO:<alice@example.test>", "250").await;
    plain
        .expect(&format!("RCPT TO:<{srs0}>"), "550 5.7.1")
        .await;
    plain.expect("DATA", "354").await;
    plain.expect(".", "250").await;
    plain.quit().await;
    relay
        .wait_for("refused stage=rcpt to=victim.test reply=550")
        .await;
    let refused = "refused stage=data rule=srs-not-a-notification to=sender.test";
    relay.wait_for(refused).await;
}

/// It asks with a sender of its own whether the sender that we gave exists, and takes our mail only then.
#[tokio::test]
async fn a_destination_may_verify_our_senders() {
    let net = Net::new().await;
    let target = net.sink("target.test", "").await;
    let relay = relay(&net, "alice@example.test alice@target.test\n")
        .start()
        .await;
    origin_sends(&relay, "alice@example.test", "one").await;
    let srs0 = target.message().await.from;
    for sender in ["<double-bounce@mx.target.test>", "<>"] {
        let mut plain = Plain::hello(relay.address()).await;
        plain.expect(&format!("MAIL FROM:{sender}"), "250").await;
        plain.expect(&format!("RCPT TO:<{srs0}>"), "250").await;
        plain.quit().await;
    }
}
