//! The destination says no: the original sender gets a DSN that does not show where the forward goes.

use testkit::mail;
use testkit::net::Net;
use testkit::sender::Plain;

use crate::{origin_sends, relay};

#[tokio::test]
async fn dsn_names_the_recipient_and_hides_the_target() {
    let net = Net::new().await;
    let script = "rcpt: 550 5.1.1 <secret.box@private.test>: recipient unknown in private.test";
    let _target = net.sink("private.test", script).await;
    let origin = net.sink("sender.test", "").await;
    let relay = relay(&net, "alice@example.test secret.box@private.test\n")
        .start()
        .await;
    origin_sends(&relay, "alice@example.test", "one").await;

    let dsn = origin.message().await;
    assert_eq!(dsn.envelope(), ("", vec!["origin@sender.test"]));
    let text = dsn.text();
    for wanted in [
        "Auto-Submitted: auto-replied",
        "multipart/report; report-type=delivery-status",
        "Reporting-MTA: dns; mx.fwd.test",
        "Final-Recipient: rfc822; alice@example.test",
        "Action: failed",
        "Status: 5.1.1",
        "Diagnostic-Code: smtp; 550 5.1.1",
        "Subject: one",
    ] {
        assert!(text.contains(wanted), "no {wanted:?} in:\n{text}");
    }
    assert!(
        !text.contains("secret.box") && !text.contains("private.test"),
        "{text}"
    );
    relay
        .wait_for("failed to=alice@example.test target=secret.box@private.test status=5.1.1")
        .await;
    relay
        .wait_for("bounced kind=failed to=<origin@sender.test>")
        .await;
    relay.wait_for("delivered target=origin@sender.test").await;
}

#[tokio::test]
async fn one_notice_tells_of_all_targets_and_names_none() {
    let net = Net::new().await;
    let script = "dot: 550 5.7.1 first.box@private.test and second.box of mx.private.test: refused";
    let _target = net.sink("private.test", script).await;
    let origin = net.sink("sender.test", "").await;
    let forwards = "alice@example.test first.box@private.test, second.box@private.test\n";
    let relay = relay(&net, forwards).start().await;
    origin_sends(&relay, "alice@example.test", "one").await;
    relay.wait_for_count(2, "failed status=5.7.1").await;
    let text = origin.message().await.text();
    assert_eq!(text.matches("Action: failed").count(), 2, "{text}");
    assert!(
        !text.contains(".box") && !text.contains("private.test"),
        "{text}"
    );
}

#[tokio::test]
async fn one_notice_names_all_recipients_of_a_catch_all() {
    let net = Net::new().await;
    let script = "rcpt: 550 5.1.1 <secret.box@private.test>: unknown";
    let target = net.sink("private.test", script).await;
    let origin = net.sink("sender.test", "").await;
    let relay = relay(&net, "@example.test secret.box@private.test\n")
        .start()
        .await;
    let names: Vec<_> = (0..40).map(|n| format!("any{n}@example.test")).collect();
    let paths: Vec<_> = names.iter().map(|name| format!("<{name}>")).collect();
    let paths: Vec<_> = paths.iter().map(String::as_str).collect();
    Plain::hello(relay.address())
        .await
        .transaction("<origin@sender.test>", &paths, &mail::short("one"))
        .await;

    let text = origin.message().await.text();
    for name in &names {
        let group = format!("Final-Recipient: rfc822; {name}\r\nAction: failed\r\n");
        assert_eq!(text.matches(&group).count(), 1, "{name} in:\n{text}");
        let line = format!("forwarded to={name} target=secret.box@private.test leg=0");
        relay.wait_for(&line).await;
    }
    assert!(!text.contains("secret.box") && !text.contains("private.test"));
    relay.wait_for_count(1, "failed status=5.1.1").await;
    drop(target);
}
